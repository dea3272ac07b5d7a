package actions

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image/jpeg"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/uefi"
)

func (a *Actions) registerInstanceData(t *api.Table) {
	api.Register(t, api.Action[ec2types.GetPasswordDataInput, ec2types.GetPasswordDataOutput]{
		Name: "GetPasswordData", Handler: a.getPasswordData, Acts: []string{"InstanceId"},
	})
	api.Register(t, api.Action[ec2types.GetConsoleScreenshotInput, ec2types.GetConsoleScreenshotOutput]{
		Name: "GetConsoleScreenshot", Handler: a.getConsoleScreenshot, Acts: []string{"InstanceId", "WakeUp=false"},
	})
	api.Register(t, api.Action[ec2types.GetInstanceUefiDataInput, ec2types.GetInstanceUefiDataOutput]{
		Name: "GetInstanceUefiData", Handler: a.getInstanceUefiData, Acts: []string{"InstanceId"},
	})
}

// getPasswordData is the encrypted password of a Windows guest's administrator,
// which its own launch agent writes to the console. As on EC2 other guests have
// none, and the answer is empty.
func (a *Actions) getPasswordData(ctx context.Context, in *ec2types.GetPasswordDataInput) (*ec2types.GetPasswordDataOutput, error) {
	i, err := a.account(ctx).Instance(ctx, *in.InstanceId)
	if err != nil {
		return nil, err
	}
	return &ec2types.GetPasswordDataOutput{InstanceId: ptr(i.ID), PasswordData: ptr(""), Timestamp: ptr(a.cloud.Now())}, nil
}

// getConsoleScreenshot is a JPEG of the instance's display, as EC2 has it.
func (a *Actions) getConsoleScreenshot(ctx context.Context, in *ec2types.GetConsoleScreenshotInput) (*ec2types.GetConsoleScreenshotOutput, error) {
	i, err := a.account(ctx).Instance(ctx, *in.InstanceId)
	if err != nil {
		return nil, err
	}
	if i.State != model.InstanceRunning {
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is %s: only a running one has a display to be seen", i.ID, i.State)
	}
	shot, err := a.node.Screenshot(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	if err := jpeg.Encode(&data, shot, nil); err != nil {
		return nil, fmt.Errorf("encoding the picture: %w", err)
	}
	return &ec2types.GetConsoleScreenshotOutput{InstanceId: ptr(i.ID), ImageData: ptr(base64.StdEncoding.EncodeToString(data.Bytes()))}, nil
}

// getInstanceUefiData is the firmware's variable store, as EC2 hands it out.
func (a *Actions) getInstanceUefiData(ctx context.Context, in *ec2types.GetInstanceUefiDataInput) (*ec2types.GetInstanceUefiDataOutput, error) {
	i, err := a.account(ctx).Instance(ctx, *in.InstanceId)
	if err != nil {
		return nil, err
	}
	if i.Boot.Firmware != model.FirmwareUEFI {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The instance '%s' does not boot by UEFI, so it has no UEFI variables", i.ID)
	}
	if i.State == model.InstanceTerminated {
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is %s: its UEFI variables are gone", i.ID, i.State)
	}
	vars, err := a.node.UEFIVariables(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	data, err := uefi.Data(vars)
	if err != nil {
		return nil, err
	}
	return &ec2types.GetInstanceUefiDataOutput{InstanceId: ptr(i.ID), UefiData: ptr(data)}, nil
}

// wantsDisplay reads the tag that asks for a display.
func wantsDisplay(tags model.Tags) (bool, error) {
	switch v := tags[model.DisplayTag]; v {
	case "", "off":
		return false, nil
	case "on":
		return true, nil
	default:
		return false, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for the tag %s is invalid: it is on or off", v, model.DisplayTag)
	}
}
