package actions

import (
	"context"
	"encoding/base64"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerInstances(t *api.Table) {
	api.Register(t, api.Action[ec2types.RunInstancesInput, ec2types.RunInstancesOutput]{
		Name: "RunInstances", Handler: a.runInstances, KeepEmpty: emptyNoDevice(), Acts: runActs(), Resolve: a.resolveLaunch,
	})
	api.Register(t, api.Action[ec2types.DescribeInstancesInput, ec2types.DescribeInstancesOutput]{
		Name: "DescribeInstances", Handler: a.describeInstances, Acts: []string{"InstanceIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeInstanceStatusInput, ec2types.DescribeInstanceStatusOutput]{
		Name: "DescribeInstanceStatus", Handler: a.describeInstanceStatus, Acts: []string{"InstanceIds", "Filters", "IncludeAllInstances", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.StartInstancesInput, ec2types.StartInstancesOutput]{
		Name: "StartInstances", Acts: []string{"InstanceIds"},
		Handler: func(ctx context.Context, in *ec2types.StartInstancesInput) (*ec2types.StartInstancesOutput, error) {
			ch, err := a.account(ctx).Start(ctx, in.InstanceIds)
			return &ec2types.StartInstancesOutput{StartingInstances: changesOf(ch)}, err
		},
	})
	api.Register(t, api.Action[ec2types.StopInstancesInput, ec2types.StopInstancesOutput]{
		Name: "StopInstances", Acts: []string{"InstanceIds", "Force", "Hibernate=false"},
		Handler: func(ctx context.Context, in *ec2types.StopInstancesInput) (*ec2types.StopInstancesOutput, error) {
			ch, err := a.account(ctx).Stop(ctx, in.InstanceIds, ec2types.Value(in.Force))
			return &ec2types.StopInstancesOutput{StoppingInstances: changesOf(ch)}, err
		},
	})
	api.Register(t, api.Action[ec2types.RebootInstancesInput, ec2types.RebootInstancesOutput]{
		Name: "RebootInstances", Acts: []string{"InstanceIds"},
		Handler: func(ctx context.Context, in *ec2types.RebootInstancesInput) (*ec2types.RebootInstancesOutput, error) {
			return &ec2types.RebootInstancesOutput{}, a.account(ctx).Reboot(ctx, in.InstanceIds)
		},
	})
	api.Register(t, api.Action[ec2types.TerminateInstancesInput, ec2types.TerminateInstancesOutput]{
		Name: "TerminateInstances", Acts: []string{"InstanceIds"},
		Handler: func(ctx context.Context, in *ec2types.TerminateInstancesInput) (*ec2types.TerminateInstancesOutput, error) {
			ch, err := a.account(ctx).Terminate(ctx, in.InstanceIds)
			return &ec2types.TerminateInstancesOutput{TerminatingInstances: changesOf(ch)}, err
		},
	})
	api.Register(t, api.Action[ec2types.GetConsoleOutputInput, ec2types.GetConsoleOutputOutput]{
		Name: "GetConsoleOutput", Handler: a.getConsoleOutput, Acts: []string{"InstanceId", "Latest"},
	})
}

func changesOf(in []cloud.StateChange) []ec2types.InstanceStateChange {
	var out []ec2types.InstanceStateChange
	for _, c := range in {
		out = append(out, ec2types.InstanceStateChange{InstanceId: ptr(c.ID), PreviousState: stateOf(c.Previous), CurrentState: stateOf(c.Current)})
	}
	return out
}

// runActs is what RunInstances acts on.
func runActs() []string {
	return append([]string{
		"ImageId", "InstanceType", "KeyName", "UserData", "MinCount", "MaxCount", "ClientToken", "TagSpecifications",
		"IamInstanceProfile", "InstanceInitiatedShutdownBehavior", "Placement.AvailabilityZone", "Placement.Tenancy=default",
		"MetadataOptions.HttpTokens", "MetadataOptions.HttpEndpoint", "MetadataOptions.HttpPutResponseHopLimit", "MetadataOptions.InstanceMetadataTags",
		"MetadataOptions.HttpProtocolIpv6",
		"DisableApiTermination", "DisableApiStop", "Monitoring", "CreditSpecification", "EbsOptimized", "CpuOptions.CoreCount", "CpuOptions.ThreadsPerCore=1",
		"MaintenanceOptions", "PrivateDnsNameOptions.HostnameType", "PrivateDnsNameOptions.EnableResourceNameDnsARecord",
		"PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord", "HibernationOptions.Configured=false", "EnclaveOptions.Enabled=false", "LaunchTemplate",
		"CapacityReservationSpecification.CapacityReservationPreference=open|none",
	}, slices.Concat(blockDeviceActs(), launchNetworkActs)...)
}

// launchTagged are the types of resources that a launch tags.
var launchTagged = []string{"instance", "volume", "network-interface"}

// AccelTag is the instance tag by which a launch asks for an accelerator, which
// RunInstances has no parameter for: "kvm" or "tcg".
const AccelTag = "bundt:accel"

func (a *Actions) runInstances(ctx context.Context, in *ec2types.RunInstancesInput) (*ec2types.RunInstancesOutput, error) {
	if err := a.imageMetadata(ctx, in); err != nil {
		return nil, err
	}
	tags, err := tagSpecs(in.TagSpecifications, launchTagged...)
	if err != nil {
		return nil, err
	}
	l := cloud.Launch{
		ImageID: ec2types.Value(in.ImageId), Type: ec2types.Value(in.InstanceType), KeyName: ec2types.Value(in.KeyName), ClientToken: ec2types.Value(in.ClientToken),
		MinCount: int(ec2types.Value(in.MinCount)), MaxCount: int(ec2types.Value(in.MaxCount)), Tags: tags["instance"], VolumeTags: tags["volume"],
		Accel: tags["instance"][AccelTag], InterfaceTags: tags["network-interface"],
		Profile: profileRef(in.IamInstanceProfile),
	}
	if l.Interfaces, err = launchInterfaces(in); err != nil {
		return nil, err
	}
	if l.ImageID == "" {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter ImageId")
	}
	if l.UserData, err = base64.StdEncoding.DecodeString(ec2types.Value(in.UserData)); err != nil {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Invalid BASE64 encoding of user data")
	}
	if l.Display, err = wantsDisplay(tags["instance"]); err != nil {
		return nil, err
	}
	l.TerminateOnHalt = ec2types.Value(in.InstanceInitiatedShutdownBehavior) == "terminate"
	if l.Options, err = launchOptions(in); err != nil {
		return nil, err
	}
	if err := a.checkPlacement(in); err != nil {
		return nil, err
	}
	if l.Metadata, err = metadataOptions(in.MetadataOptions); err != nil {
		return nil, err
	}
	if l.BlockDevices, err = blockDevices(in.BlockDeviceMappings); err != nil {
		return nil, err
	}
	if err := noteTemplate(ctx, &l, in); err != nil {
		return nil, err
	}
	insts, err := a.account(ctx).Run(ctx, l)
	if err != nil {
		return nil, err
	}
	r := reservationsOf(a.shown(pointers(insts)))[0]
	return &r, nil
}

// checkPlacement accepts the one zone there is.
func (a *Actions) checkPlacement(in *ec2types.RunInstancesInput) error {
	if in.Placement != nil {
		if z := ec2types.Value(in.Placement.AvailabilityZone); z != "" && z != a.cloud.Zone() {
			return model.Errorf(model.CodeInvalidParameterValue, "Invalid availability zone: [%s]", z).WithHint("this cloud has the zone %s", a.cloud.Zone())
		}
	}
	return nil
}

// reservationsOf groups instances by reservation, in the order they come.
func reservationsOf(insts []shownInstance) []ec2types.Reservation {
	sizes := map[string]int{}
	for i := range insts {
		sizes[insts[i].record.ReservationID]++
	}
	out, index := make([]ec2types.Reservation, 0, len(sizes)), make(map[string]int, len(sizes))
	for i := range insts {
		inst := insts[i].record
		k, ok := index[inst.ReservationID]
		if !ok {
			k = len(out)
			index[inst.ReservationID] = k
			out = append(out, ec2types.Reservation{
				OwnerId: &inst.OwnerID, ReservationId: &inst.ReservationID, Groups: []ec2types.GroupIdentifier{},
				Instances: make([]ec2types.Instance, 0, sizes[inst.ReservationID]),
			})
		}
		if made := insts[i].ec2; made != nil {
			out[k].Instances = append(out[k].Instances, *made)
		} else {
			out[k].Instances = append(out[k].Instances, insts[i].show(inst))
		}
	}
	return out
}

// consoleMax is how much GetConsoleOutput returns.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
const consoleMax = 64 << 10

func (a *Actions) getConsoleOutput(ctx context.Context, in *ec2types.GetConsoleOutputInput) (*ec2types.GetConsoleOutputOutput, error) {
	inst, err := a.account(ctx).Instance(ctx, ec2types.Value(in.InstanceId))
	if err != nil {
		return nil, err
	}
	data := inst.ConsoleAtEnd
	if inst.State != model.InstanceTerminated {
		if data, err = a.node.Console(ctx, inst.ID, consoleMax); err != nil {
			return nil, err
		}
	}
	return &ec2types.GetConsoleOutputOutput{
		InstanceId: ptr(inst.ID), Output: ptr(base64.StdEncoding.EncodeToString(data)), Timestamp: ptr(a.cloud.Now()),
	}, nil
}
