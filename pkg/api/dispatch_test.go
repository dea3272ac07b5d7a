package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

var someone = api.Principal{AccountID: "000000000000", Name: "unix:1000"}

func allow(context.Context, *api.Call) error { return nil }

// fixture is a dispatcher with one action, RunInstances, and what reached it.
type fixture struct {
	dispatcher *api.Dispatcher
	got        *ec2types.RunInstancesInput // of the last call that reached the handler
	principal  api.Principal
	fail       func() error
	log        bytes.Buffer
}

func newFixture(t *testing.T, o api.Options) *fixture {
	t.Helper()
	f := &fixture{fail: func() error { return nil }}
	table := api.NewTable()
	api.Register(table, api.Action[ec2types.RunInstancesInput, ec2types.RunInstancesOutput]{
		Name: "RunInstances",
		Handler: func(ctx context.Context, in *ec2types.RunInstancesInput) (*ec2types.RunInstancesOutput, error) {
			f.got, f.principal = in, api.PrincipalFrom(ctx)
			return nil, f.fail()
		},
		Acts: []string{
			"MinCount", "MaxCount", "ImageId", "InstanceInitiatedShutdownBehavior", "TagSpecifications", "SubnetId",
			"Placement.AvailabilityZone", "Placement.Tenancy=default", "Monitoring.Enabled=false",
			"BlockDeviceMappings.DeviceName", "BlockDeviceMappings.NoDevice", "BlockDeviceMappings.Ebs.VolumeSize",
		},
		KeepEmpty: []string{"BlockDeviceMappings.NoDevice"},
	})
	if o.Authorize == nil {
		o.Authorize = allow
	}
	o.Log = slog.New(slog.NewTextHandler(&f.log, nil))
	d, err := api.NewDispatcher(table, o)
	if err != nil {
		t.Fatal(err)
	}
	f.dispatcher = d
	return f
}

func (f *fixture) run(in *ec2types.RunInstancesInput) (any, error) {
	return f.dispatcher.Call(context.Background(), &api.Call{Action: "RunInstances", Input: in, Principal: someone})
}

// valid returns the least request that is accepted, changed by change.
func valid(change func(in *ec2types.RunInstancesInput)) *ec2types.RunInstancesInput {
	in := &ec2types.RunInstancesInput{MinCount: new(int32(1)), MaxCount: new(int32(1)), ImageId: new("ami-1")}
	if change != nil {
		change(in)
	}
	return in
}

func TestRefusals(t *testing.T) {
	type in = ec2types.RunInstancesInput
	for name, tc := range map[string]struct {
		change  func(in *in)
		code    string
		mention string
	}{
		"required member absent": {func(in *in) { in.MinCount = nil }, model.CodeMissingParameter, "MinCount"},
		"required in a list's item": {func(in *in) {
			in.ElasticGpuSpecification = []ec2types.ElasticGpuSpecification{{}}
		}, model.CodeMissingParameter, "ElasticGpuSpecification.1.Type"},
		"not in the enum": {func(in *in) { in.InstanceInitiatedShutdownBehavior = new("explode") }, model.CodeInvalidParameterValue, "InstanceInitiatedShutdownBehavior"},
		"enum below a covered list": {func(in *in) {
			in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("instance")}, {ResourceType: new("cake")}}
		}, model.CodeInvalidParameterValue, "TagSpecifications.2.ResourceType"},
		"known but not acted on": {func(in *in) { in.HibernationOptions = &ec2types.HibernationOptionsRequest{Configured: new(true)} }, model.CodeUnsupportedOperation, "HibernationOptions"},
		"false is said as well":  {func(in *in) { in.EbsOptimized = new(false) }, model.CodeUnsupportedOperation, "EbsOptimized"},
		"member of a structure in part": {func(in *in) {
			in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{Ebs: &ec2types.EbsBlockDevice{VolumeSize: new(int32(1)), Iops: new(int32(1))}}}
		}, model.CodeUnsupportedOperation, "BlockDeviceMappings.1.Ebs.Iops"},
		"other value than allowed": {func(in *in) { in.Placement = &ec2types.Placement{Tenancy: new("dedicated")} }, model.CodeUnsupportedOperation, "Placement.Tenancy"},
		"other boolean than allowed": {func(in *in) {
			in.Monitoring = &ec2types.RunInstancesMonitoringEnabled{Enabled: new(true)}
		}, model.CodeUnsupportedOperation, "Monitoring.Enabled"},
		"dry run": {func(in *in) { in.DryRun = new(true) }, model.CodeDryRunOperation, "DryRun"},
		"invalid dry run": {func(in *in) {
			in.DryRun, in.ImageId = new(true), nil
			in.MaxCount = nil
		}, model.CodeMissingParameter, "MaxCount"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, api.Options{})
			_, err := f.run(valid(tc.change))
			if model.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.mention) {
				t.Errorf("got error %v, want %s about %s", err, tc.code, tc.mention)
			}
			if f.got != nil {
				t.Error("the handler was called")
			}
		})
	}
}

func TestEmptyMeansAbsent(t *testing.T) {
	f := newFixture(t, api.Options{})
	_, err := f.run(valid(func(in *ec2types.RunInstancesInput) {
		in.SubnetId = new("")
		in.KeyName = new("") // not acted on, but not set either
		in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: new("")}
		in.Placement = &ec2types.Placement{AvailabilityZone: new("")}
		in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: new(""), NoDevice: new("")}}
		in.SecurityGroupIds = []string{}
		in.DryRun = new(false)
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := valid(func(in *ec2types.RunInstancesInput) {
		in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{NoDevice: new("")}}
		in.SecurityGroupIds = []string{}
	})
	if diff := cmp.Diff(want, f.got); diff != "" {
		t.Errorf("handler's input (-want +got):\n%s", diff)
	}
}

func TestAcceptsWhatItActsOn(t *testing.T) {
	f := newFixture(t, api.Options{})
	out, err := f.run(valid(func(in *ec2types.RunInstancesInput) {
		in.Placement = &ec2types.Placement{AvailabilityZone: new("z"), Tenancy: new("default")}
		in.Monitoring = &ec2types.RunInstancesMonitoringEnabled{Enabled: new(false)}
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("k"), Value: new("v")}}}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if f.principal != someone {
		t.Errorf("the handler saw principal %+v", f.principal)
	}
	if r := out.(*ec2types.RunInstancesOutput); r.Instances == nil || len(r.Instances) != 0 {
		t.Errorf("an output's empty list is %#v, want empty, not absent", r.Instances)
	}
}

func TestHandlerErrors(t *testing.T) {
	secret := errors.New("etcd: secret")
	for name, tc := range map[string]struct {
		fail func() error
		code string
		log  string
	}{
		"model error":   {func() error { return model.Errorf(model.CodeImageIDNotFound, "no") }, model.CodeImageIDNotFound, ""},
		"wrapped":       {func() error { return fmt.Errorf("running: %w", model.Errorf(model.CodeKeyPairNotFound, "no")) }, model.CodeKeyPairNotFound, ""},
		"plain error":   {func() error { return secret }, model.CodeInternalError, "secret"},
		"panic":         {func() error { panic("secret in a panic") }, model.CodeInternalError, "secret in a panic"},
		"client is off": {func() error { return fmt.Errorf("x: %w", context.Canceled) }, model.CodeServiceUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, api.Options{})
			f.fail = tc.fail
			_, err := f.run(valid(nil))
			if model.CodeOf(err) != tc.code || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %s without secrets", err, tc.code)
			}
			if !strings.Contains(f.log.String(), tc.log) || (tc.log == "" && f.log.Len() > 0) {
				t.Errorf("log is %q, want %q in it", f.log.String(), tc.log)
			}
		})
	}
}

func TestAuthorisationComesBeforeDryRun(t *testing.T) {
	f := newFixture(t, api.Options{Authorize: func(_ context.Context, c *api.Call) error {
		if c.Principal != someone || c.Action != "RunInstances" {
			t.Errorf("authorisation saw %+v", c)
		}
		return model.Errorf(api.CodeUnauthorizedOperation, "You are not authorized to perform this operation.")
	}})
	_, err := f.run(valid(func(in *ec2types.RunInstancesInput) { in.DryRun = new(true) }))
	if model.CodeOf(err) != api.CodeUnauthorizedOperation || f.got != nil {
		t.Errorf("got %v, handler saw %v", err, f.got)
	}
}

func TestInterceptors(t *testing.T) {
	var order []string
	spy := func(name string) api.Interceptor {
		return func(ctx context.Context, c *api.Call, next api.Next) (any, error) {
			out, err := next(ctx, c)
			order = append(order, name+" "+c.Action+" "+model.CodeOf(err))
			if c.RequestID == "" {
				t.Error("a call has no request id")
			}
			return out, err
		}
	}
	f := newFixture(t, api.Options{Interceptors: []api.Interceptor{spy("outer"), spy("inner")}})
	f.fail = func() error { panic("oh") }
	if _, err := f.run(valid(nil)); model.CodeOf(err) != model.CodeInternalError {
		t.Errorf("got %v", err)
	}
	if _, err := f.run(&ec2types.RunInstancesInput{}); model.CodeOf(err) != model.CodeMissingParameter {
		t.Errorf("got %v", err)
	}
	// What is not in the table is seen as well, and panics are caught.
	for _, do := range []func(context.Context) (any, error){
		func(ctx context.Context) (any, error) { return api.PrincipalFrom(ctx).Name, nil },
		func(context.Context) (any, error) { return nil, errors.New("secret") },
		func(context.Context) (any, error) { panic("oh") },
	} {
		out, err := f.dispatcher.Do(t.Context(), &api.Call{Action: "Upload", RequestID: "r", Principal: api.Principal{Name: "ana"}}, do)
		if err == nil && out != "ana" {
			t.Errorf("got %v", out)
		}
	}
	want := []string{
		"inner RunInstances InternalError", "outer RunInstances InternalError",
		"inner RunInstances MissingParameter", "outer RunInstances MissingParameter",
		"inner Upload ", "outer Upload ",
		"inner Upload InternalError", "outer Upload InternalError",
		"inner Upload InternalError", "outer Upload InternalError",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error(diff)
	}
}

func TestWrongCalls(t *testing.T) {
	f := newFixture(t, api.Options{})
	for action, code := range map[string]string{
		"LaunchRockets":          model.CodeInvalidAction,
		"DescribeInstances":      model.CodeUnsupportedOperation, // EC2 has it, this table does not
		"DescribeVpcClassicLink": model.CodeUnsupportedOperation,
	} {
		if _, err := f.dispatcher.Call(context.Background(), &api.Call{Action: action}); model.CodeOf(err) != code {
			t.Errorf("%s: got %v, want %s", action, err, code)
		}
	}
	if err := f.dispatcher.Stream(context.Background(), &api.Call{Action: "RunInstances", Input: valid(nil)}, func(any) error { return nil }); model.CodeOf(err) != model.CodeInvalidAction {
		t.Errorf("streaming what is no stream: %v", err)
	}
	_, err := f.dispatcher.Call(context.Background(), &api.Call{Action: "RunInstances", Input: &ec2types.StopInstancesInput{}})
	if model.CodeOf(err) != model.CodeInternalError {
		t.Errorf("input of another action: %v", err)
	}
	if _, err := api.NewDispatcher(api.NewTable(), api.Options{}); err == nil {
		t.Error("there is a dispatcher without authorisation")
	}
}

func TestRegisterPanicsOnMistakes(t *testing.T) {
	type action = api.Action[ec2types.StopInstancesInput, ec2types.StopInstancesOutput]
	table := api.NewTable()
	api.Register(table, action{Name: "StopInstances"})
	for name, a := range map[string]action{
		"twice":              {Name: "StopInstances"},
		"no name":            {},
		"unknown member":     {Name: "A", Acts: []string{"InstanceId"}},
		"unknown keep empty": {Name: "B", KeepEmpty: []string{"Tags.Value"}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: registered", name)
				}
			}()
			api.Register(table, a)
		}()
	}
}

func TestStream(t *testing.T) {
	table := api.NewTable()
	api.RegisterStream(table, api.Stream[ec2types.StopInstancesInput, int]{
		Name: "Count",
		Handler: func(_ context.Context, _ *ec2types.StopInstancesInput, send func(int) error) error {
			for i := range 10 {
				if err := send(i); err != nil {
					return err
				}
			}
			return nil
		},
		Acts: []string{"InstanceIds"},
	})
	d, err := api.NewDispatcher(table, api.Options{Authorize: allow})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	in := &ec2types.StopInstancesInput{InstanceIds: []string{"i-1"}}
	err = d.Stream(context.Background(), &api.Call{Action: "Count", Input: in}, func(e any) error {
		got = append(got, e.(int))
		if len(got) == 3 {
			return model.Errorf(model.CodeServiceUnavailable, "gone")
		}
		return nil
	})
	if model.CodeOf(err) != model.CodeServiceUnavailable || len(got) != 3 {
		t.Errorf("got events %v and %v", got, err)
	}
}

// Every EC2 action's types can be registered with everything acted on.
func TestEveryRequestHasAPlan(t *testing.T) {
	table := api.NewTable()
	api.Register(table, api.Action[ec2types.RegisterImageInput, ec2types.RegisterImageOutput]{Name: "RegisterImage"})
	api.Register(table, api.Action[ec2types.DescribeInstanceTypesInput, ec2types.DescribeInstanceTypesOutput]{
		Name: "DescribeInstanceTypes", Acts: []string{"MaxResults"},
		Handler: func(context.Context, *ec2types.DescribeInstanceTypesInput) (*ec2types.DescribeInstanceTypesOutput, error) {
			return nil, nil
		},
	})
	d, err := api.NewDispatcher(table, api.Options{Authorize: allow})
	if err != nil {
		t.Fatal(err)
	}
	for n, code := range map[int32]string{4: model.CodeInvalidParameterValue, 5: "", 100: "", 101: model.CodeInvalidParameterValue} {
		_, err := d.Call(context.Background(), &api.Call{Action: "DescribeInstanceTypes", Input: &ec2types.DescribeInstanceTypesInput{MaxResults: &n}})
		if model.CodeOf(err) != code {
			t.Errorf("MaxResults %d: got %v, want code %q", n, err, code)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	table := api.NewTable()
	api.Register(table, api.Action[ec2types.RunInstancesInput, ec2types.RunInstancesOutput]{
		Name: "RunInstances", Acts: []string{"MinCount", "MaxCount", "ImageId"},
		Handler: func(context.Context, *ec2types.RunInstancesInput) (*ec2types.RunInstancesOutput, error) {
			return nil, nil
		},
	})
	d, err := api.NewDispatcher(table, api.Options{Authorize: allow})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := d.Call(context.Background(), &api.Call{Action: "RunInstances", Input: valid(nil)}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTableOfOtherService(t *testing.T) {
	type input struct {
		Status *string `json:"Status,omitempty" enum:"statusType"`
	}
	type output struct{}
	table := api.NewTable()
	api.Register(table, api.Action[input, output]{
		Name:    "UpdateAccessKey",
		Acts:    []string{"Status"},
		Handler: func(context.Context, *input) (*output, error) { return nil, nil },
	})
	d, err := api.NewDispatcher(table, api.Options{Authorize: allow})
	if err != nil {
		t.Fatal(err)
	}
	for status, valid := range map[string]bool{"Active": true, "active": false} {
		_, err := d.Call(t.Context(), &api.Call{Action: "UpdateAccessKey", Input: &input{Status: &status}})
		if (err == nil) != valid {
			t.Errorf("%s: %v", status, err)
		}
	}
}
