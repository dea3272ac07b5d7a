package actions

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerInstances(t *api.Table) {
	api.Register(t, api.Action[ec2types.RunInstancesInput, ec2types.RunInstancesOutput]{
		Name: "RunInstances", Handler: a.runInstances, KeepEmpty: emptyNoDevice(),
		Acts: append([]string{
			"ImageId", "InstanceType", "KeyName", "UserData", "MinCount", "MaxCount", "ClientToken", "TagSpecifications",
			"InstanceInitiatedShutdownBehavior", "Placement.AvailabilityZone",
			"MetadataOptions.HttpTokens", "MetadataOptions.HttpEndpoint", "MetadataOptions.HttpPutResponseHopLimit", "MetadataOptions.InstanceMetadataTags",
		}, slices.Concat(blockDeviceActs(), launchNetworkActs)...),
	})
	api.Register(t, api.Action[ec2types.DescribeInstancesInput, ec2types.DescribeInstancesOutput]{
		Name: "DescribeInstances", Handler: a.describeInstances, Acts: []string{"InstanceIds", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeInstanceStatusInput, ec2types.DescribeInstanceStatusOutput]{
		Name: "DescribeInstanceStatus", Handler: a.describeInstanceStatus, Acts: []string{"InstanceIds", "Filters", "IncludeAllInstances", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeInstanceTypesInput, ec2types.DescribeInstanceTypesOutput]{
		Name: "DescribeInstanceTypes", Handler: a.describeInstanceTypes, Acts: []string{"InstanceTypes", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.StartInstancesInput, ec2types.StartInstancesOutput]{
		Name: "StartInstances", Acts: []string{"InstanceIds"},
		Handler: func(ctx context.Context, in *ec2types.StartInstancesInput) (*ec2types.StartInstancesOutput, error) {
			ch, err := a.account(ctx).Start(ctx, in.InstanceIds)
			return &ec2types.StartInstancesOutput{StartingInstances: changesOf(ch)}, err
		},
	})
	api.Register(t, api.Action[ec2types.StopInstancesInput, ec2types.StopInstancesOutput]{
		Name: "StopInstances", Acts: []string{"InstanceIds", "Force"},
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

// AccelTag is the instance tag by which a launch asks for an accelerator, which
// RunInstances has no parameter for: "kvm" or "tcg".
const AccelTag = "bundt:accel"

func (a *Actions) runInstances(ctx context.Context, in *ec2types.RunInstancesInput) (*ec2types.RunInstancesOutput, error) {
	if err := a.imageMetadata(ctx, in); err != nil {
		return nil, err
	}
	tags, err := tagSpecs(in.TagSpecifications, "instance", "volume", "network-interface")
	if err != nil {
		return nil, err
	}
	l := cloud.Launch{
		ImageID: ec2types.Value(in.ImageId), Type: ec2types.Value(in.InstanceType), KeyName: ec2types.Value(in.KeyName), ClientToken: ec2types.Value(in.ClientToken),
		MinCount: int(ec2types.Value(in.MinCount)), MaxCount: int(ec2types.Value(in.MaxCount)), Tags: tags["instance"], VolumeTags: tags["volume"],
		Accel: tags["instance"][AccelTag], InterfaceTags: tags["network-interface"],
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
	switch b := ec2types.Value(in.InstanceInitiatedShutdownBehavior); b {
	case "", "stop":
	case "terminate":
		l.TerminateOnHalt = true
	default:
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter InstanceInitiatedShutdownBehavior is invalid: must be stop or terminate", b)
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
	insts, err := a.account(ctx).Run(ctx, l)
	if err != nil {
		return nil, err
	}
	r := a.reservationsOf(insts)[0]
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

// metadataOptions applies EC2's defaults: IMDSv1 allowed, one hop.
func metadataOptions(in *ec2types.InstanceMetadataOptionsRequest) (model.MetadataOptions, error) {
	out := model.MetadataOptions{HTTPTokens: "optional", HopLimit: 1}
	if in == nil {
		return out, nil
	}
	if t := ec2types.Value(in.HttpTokens); t != "" {
		if t != "optional" && t != "required" {
			return out, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter HttpTokens is invalid: must be optional or required", t)
		}
		out.HTTPTokens = t
	}
	if h := in.HttpPutResponseHopLimit; h != nil {
		if *h < 1 || *h > 64 {
			return out, model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter HttpPutResponseHopLimit is invalid: must be 1 to 64", *h)
		}
		out.HopLimit = int(*h)
	}
	for _, o := range []struct {
		name, value string
		set         *bool
		on          bool
	}{{"HttpEndpoint", ec2types.Value(in.HttpEndpoint), &out.Disabled, false}, {"InstanceMetadataTags", ec2types.Value(in.InstanceMetadataTags), &out.InstanceTags, true}} {
		switch o.value {
		case "":
		case "enabled", "disabled":
			*o.set = (o.value == "enabled") == o.on
		default:
			return out, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter %s is invalid: must be enabled or disabled", o.value, o.name)
		}
	}
	return out, nil
}

// reservationsOf groups instances by reservation, in the order they come.
func (a *Actions) reservationsOf(insts []model.Instance) []ec2types.Reservation {
	var out []ec2types.Reservation
	index := map[string]int{}
	for i := range insts {
		inst := &insts[i]
		k, ok := index[inst.ReservationID]
		if !ok {
			k = len(out)
			index[inst.ReservationID] = k
			out = append(out, ec2types.Reservation{OwnerId: ptr(inst.OwnerID), ReservationId: ptr(inst.ReservationID)})
		}
		out[k].Instances = append(out[k].Instances, a.instanceOf(inst))
	}
	return out
}

func (a *Actions) instanceFields() map[string]func(*model.Instance) []string {
	one := func(get func(*model.Instance) string) func(*model.Instance) []string {
		return func(i *model.Instance) []string { return []string{get(i)} }
	}
	return map[string]func(*model.Instance) []string{
		"architecture":                           one(func(i *model.Instance) string { return string(i.Arch) }),
		"availability-zone":                      one(func(*model.Instance) string { return a.cloud.Zone() }),
		"client-token":                           one(func(i *model.Instance) string { return i.ClientToken }),
		"dns-name":                               one(func(i *model.Instance) string { return a.publicName(&i.Interface, i.Interface.PublicIP) }),
		"hypervisor":                             one(func(*model.Instance) string { return "xen" }),
		"image-id":                               one(func(i *model.Instance) string { return i.ImageID }),
		"instance-id":                            one(func(i *model.Instance) string { return i.ID }),
		"instance-state-code":                    one(func(i *model.Instance) string { return strconv.Itoa(int(i.State.Code())) }),
		"instance-state-name":                    one(func(i *model.Instance) string { return string(i.State) }),
		"instance-type":                          one(func(i *model.Instance) string { return i.Type }),
		"instance.group-id":                      func(i *model.Instance) []string { return i.Interface.Groups },
		"instance.group-name":                    func(i *model.Instance) []string { return i.Interface.Names.Groups },
		"ip-address":                             one(func(i *model.Instance) string { return i.Interface.PublicIP }),
		"key-name":                               one(func(i *model.Instance) string { return i.KeyName }),
		"launch-index":                           one(func(i *model.Instance) string { return strconv.Itoa(i.LaunchIndex) }),
		"launch-time":                            func(i *model.Instance) []string { return timeFilter(i.LaunchTime) },
		"owner-id":                               one(func(i *model.Instance) string { return i.OwnerID }),
		"private-dns-name":                       one(func(i *model.Instance) string { return i.Hostname() + "." + a.domain() }),
		"private-ip-address":                     one(func(i *model.Instance) string { return i.Interface.PrivateIP }),
		"reservation-id":                         one(func(i *model.Instance) string { return i.ReservationID }),
		"root-device-name":                       one(func(i *model.Instance) string { return i.RootDevice }),
		"root-device-type":                       one(func(*model.Instance) string { return "ebs" }),
		"state-reason-code":                      one(func(i *model.Instance) string { return i.StateReason.Code }),
		"subnet-id":                              one(func(i *model.Instance) string { return i.Interface.SubnetID }),
		"tenancy":                                one(func(*model.Instance) string { return "default" }),
		"virtualization-type":                    one(func(*model.Instance) string { return "hvm" }),
		"vpc-id":                                 one(func(i *model.Instance) string { return i.Interface.VPCID }),
		"network-interface.network-interface-id": one(func(i *model.Instance) string { return i.Interface.ID }),
		"block-device-mapping.volume-id": func(i *model.Instance) []string {
			var out []string
			for _, v := range i.Volumes {
				out = append(out, v.VolumeID)
			}
			return out
		},
		"block-device-mapping.device-name": func(i *model.Instance) []string {
			var out []string
			for _, v := range i.Volumes {
				out = append(out, v.Device)
			}
			return out
		},
	}
}

func (a *Actions) describeInstances(ctx context.Context, in *ec2types.DescribeInstancesInput) (*ec2types.DescribeInstancesOutput, error) {
	all, err := a.account(ctx).Instances(ctx)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.Instance]{
		action: "DescribeInstances", all: all, ids: in.InstanceIds, kind: instanceKind, filters: in.Filters,
		fields: a.instanceFields(), tags: func(i *model.Instance) model.Tags { return i.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	return &ec2types.DescribeInstancesOutput{Reservations: a.reservationsOf(page), NextToken: next}, nil
}

func (a *Actions) describeInstanceStatus(ctx context.Context, in *ec2types.DescribeInstanceStatusInput) (*ec2types.DescribeInstanceStatusOutput, error) {
	all, err := a.account(ctx).Instances(ctx)
	if err != nil {
		return nil, err
	}
	if !ec2types.Value(in.IncludeAllInstances) {
		if err := instanceKind.check(in.InstanceIds, func(id string) bool {
			return slices.ContainsFunc(all, func(i model.Instance) bool { return i.ID == id })
		}); err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(i model.Instance) bool { return i.State != model.InstanceRunning })
		// An id of an instance that does not run is no error here: it is just not shown.
		in.InstanceIds = slices.DeleteFunc(slices.Clone(in.InstanceIds), func(id string) bool {
			return !slices.ContainsFunc(all, func(i model.Instance) bool { return i.ID == id })
		})
		if len(in.InstanceIds) == 0 && len(all) > 0 && in.InstanceIds != nil {
			return &ec2types.DescribeInstanceStatusOutput{}, nil
		}
	}
	page, next, err := describe(a, query[model.Instance]{
		action: "DescribeInstanceStatus", all: all, ids: in.InstanceIds, kind: instanceKind, filters: in.Filters,
		fields: statusFields(a.instanceFields()), tags: func(i *model.Instance) model.Tags { return i.Tags }, max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeInstanceStatusOutput{NextToken: next}
	for i := range page {
		out.InstanceStatuses = append(out.InstanceStatuses, a.statusOf(&page[i]))
	}
	return out, nil
}

func statusFields(f map[string]func(*model.Instance) []string) map[string]func(*model.Instance) []string {
	f["instance-status.reachability"] = func(i *model.Instance) []string { return []string{string(i.Reachability)} }
	f["instance-status.status"] = func(i *model.Instance) []string { return []string{summary(i.Reachability)} }
	return f
}

// summary is EC2's word for the outcome of the reachability check.
func summary(r model.Reachability) string {
	switch r {
	case model.ReachabilityPassed:
		return "ok"
	case model.ReachabilityInitializing:
		return "initializing"
	case model.ReachabilityFailed:
		return "impaired"
	}
	return "not-applicable"
}

func (a *Actions) statusOf(i *model.Instance) ec2types.InstanceStatus {
	status := func(r model.Reachability) *ec2types.InstanceStatusSummary {
		s := &ec2types.InstanceStatusSummary{Status: ptr(summary(r))}
		if r != "" {
			s.Details = []ec2types.InstanceStatusDetails{{Name: ptr("reachability"), Status: ptr(string(r))}}
		}
		return s
	}
	var system model.Reachability
	if i.State == model.InstanceRunning {
		system = model.ReachabilityPassed // this node answers, so its system does
	}
	return ec2types.InstanceStatus{
		AvailabilityZone: ptr(a.cloud.Zone()), InstanceId: ptr(i.ID), InstanceState: stateOf(i.State),
		InstanceStatus: status(i.Reachability), SystemStatus: status(system),
	}
}

func (a *Actions) describeInstanceTypes(_ context.Context, in *ec2types.DescribeInstanceTypesInput) (*ec2types.DescribeInstanceTypesOutput, error) {
	for _, name := range in.InstanceTypes {
		if _, ok := model.InstanceTypeByName(name); !ok {
			return nil, model.Errorf(model.CodeInvalidInstanceType, "The following supplied instance types do not exist: [%s]", name)
		}
	}
	all := model.InstanceTypes()
	slices.SortFunc(all, func(x, y model.InstanceType) int { return strings.Compare(x.Name, y.Name) })
	page, next, err := describe(a, query[model.InstanceType]{
		action: "DescribeInstanceTypes", all: all, ids: in.InstanceTypes, kind: typeKind, filters: in.Filters,
		fields: map[string]func(*model.InstanceType) []string{
			"instance-type":                         func(t *model.InstanceType) []string { return []string{t.Name} },
			"burstable-performance-supported":       func(t *model.InstanceType) []string { return []string{strconv.FormatBool(t.Burstable)} },
			"memory-info.size-in-mib":               func(t *model.InstanceType) []string { return []string{strconv.FormatInt(t.MemoryMiB, 10)} },
			"vcpu-info.default-vcpus":               func(t *model.InstanceType) []string { return []string{strconv.Itoa(t.VCPUs)} },
			"current-generation":                    func(t *model.InstanceType) []string { return []string{strconv.FormatBool(currentGeneration(t.Name))} },
			"processor-info.supported-architecture": func(t *model.InstanceType) []string { return archNames(t.Archs) },
		},
		max: in.MaxResults, token: in.NextToken, least: 5, most: 100,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeInstanceTypesOutput{NextToken: next}
	for i := range page {
		out.InstanceTypes = append(out.InstanceTypes, typeOf(&page[i]))
	}
	return out, nil
}

func currentGeneration(name string) bool {
	return !strings.HasPrefix(name, "t1.") && !strings.HasPrefix(name, "m1.")
}

func archNames(in []model.Arch) []string {
	var out []string
	for _, a := range in {
		out = append(out, string(a))
	}
	return out
}

func typeOf(t *model.InstanceType) ec2types.InstanceTypeInfo {
	return ec2types.InstanceTypeInfo{
		InstanceType: ptr(t.Name), BareMetal: ptr(false), BurstablePerformanceSupported: ptr(t.Burstable), CurrentGeneration: ptr(currentGeneration(t.Name)),
		Hypervisor: ptr("nitro"), InstanceStorageSupported: ptr(false), HibernationSupported: ptr(false), AutoRecoverySupported: ptr(true), DedicatedHostsSupported: ptr(false),
		MemoryInfo: &ec2types.MemoryInfo{SizeInMiB: ptr(t.MemoryMiB)}, ProcessorInfo: &ec2types.ProcessorInfo{SupportedArchitectures: archNames(t.Archs)},
		VCpuInfo:                 &ec2types.VCpuInfo{DefaultVCpus: ptr(int32(t.VCPUs)), DefaultCores: ptr(int32(t.VCPUs)), DefaultThreadsPerCore: ptr(int32(1))},
		SupportedRootDeviceTypes: []string{"ebs"}, SupportedUsageClasses: []string{"on-demand"}, SupportedVirtualizationTypes: []string{"hvm"},
		SupportedBootModes: []string{"legacy-bios", "uefi"},
		NetworkInfo:        &ec2types.NetworkInfo{EnaSupport: ptr("unsupported"), MaximumNetworkInterfaces: ptr(int32(1)), Ipv4AddressesPerInterface: ptr(int32(1)), Ipv6Supported: ptr(false)},
	}
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
