package actions

import (
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// launchOptions are the settings that a launch gives its instances.
func launchOptions(in *ec2types.RunInstancesInput) (model.InstanceOptions, error) {
	o := model.InstanceOptions{
		DisableAPIStop:        ec2types.Value(in.DisableApiStop),
		DisableAPITermination: ec2types.Value(in.DisableApiTermination),
		EbsOptimized:          ec2types.Value(in.EbsOptimized),
	}
	if in.Monitoring != nil {
		o.DetailedMonitoring = ec2types.Value(in.Monitoring.Enabled)
	}
	if in.CreditSpecification != nil {
		o.CPUCredits = ec2types.Value(in.CreditSpecification.CpuCredits)
	}
	if in.MaintenanceOptions != nil {
		o.NoAutoRecovery = ec2types.Value(in.MaintenanceOptions.AutoRecovery) == "disabled"
	}
	if n := in.PrivateDnsNameOptions; n != nil {
		o.ResourceHostname = ec2types.Value(n.HostnameType) == ec2types.HostnameTypeResourceName
		o.ResourceARecord = ec2types.Value(n.EnableResourceNameDnsARecord)
		o.ResourceAAAARecord = ec2types.Value(n.EnableResourceNameDnsAAAARecord)
	}
	if c := in.CpuOptions; c != nil {
		if c.CoreCount == nil || c.ThreadsPerCore == nil {
			return o, model.Errorf(model.CodeInvalidParameterCombination, "CpuOptions needs both CoreCount and ThreadsPerCore")
		}
		if *c.CoreCount < 1 {
			return o, model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter CoreCount is invalid: must be at least 1", *c.CoreCount)
		}
		o.CoreCount = int(*c.CoreCount)
	}
	return o, nil
}

// metadataOptions applies EC2's defaults: IMDSv1 allowed, one hop.
func metadataOptions(in *ec2types.InstanceMetadataOptionsRequest) (model.MetadataOptions, error) {
	out := model.MetadataOptions{HTTPTokens: "optional", HopLimit: 1}
	if in == nil {
		return out, nil
	}
	if in.HttpTokens != nil {
		out.HTTPTokens = *in.HttpTokens
	}
	if h := in.HttpPutResponseHopLimit; h != nil {
		if err := checkHopLimit(*h); err != nil {
			return out, err
		}
		out.HopLimit = int(*h)
	}
	out.Disabled = ec2types.Value(in.HttpEndpoint) == "disabled"
	out.IPv6 = ec2types.Value(in.HttpProtocolIpv6) == ec2types.InstanceMetadataProtocolStateEnabled
	out.InstanceTags = ec2types.Value(in.InstanceMetadataTags) == "enabled"
	return out, nil
}

func checkHopLimit(h int32) error {
	if h < 1 || h > 64 {
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter HttpPutResponseHopLimit is invalid: must be 1 to 64", h)
	}
	return nil
}

// metadataOptionsOf is the options of an instance in this state in EC2's shape.
func metadataOptionsOf(m model.MetadataOptions, s model.InstanceState) *ec2types.InstanceMetadataOptionsResponse {
	state := "applied"
	if m.Pending && s == model.InstanceRunning {
		state = "pending"
	}
	return &ec2types.InstanceMetadataOptionsResponse{
		HttpEndpoint: ptr(enabled(!m.Disabled)), HttpTokens: ptr(m.HTTPTokens), HttpPutResponseHopLimit: ptr(int32(m.HopLimit)),
		InstanceMetadataTags: ptr(enabled(m.InstanceTags)), HttpProtocolIpv6: ptr(enabled(m.IPv6)), State: ptr(state),
	}
}

// addOptions shows an instance's options in EC2's shape.
func addOptions(out *ec2types.Instance, i *model.Instance) {
	o := &i.Options
	out.EbsOptimized, out.Monitoring = ptr(o.EbsOptimized), monitoringOf(o)
	out.MaintenanceOptions = &ec2types.InstanceMaintenanceOptions{AutoRecovery: ptr(autoRecovery(o))}
	out.EnclaveOptions, out.HibernationOptions = &ec2types.EnclaveOptions{Enabled: ptr(false)}, &ec2types.HibernationOptions{Configured: ptr(false)}
	out.CapacityReservationSpecification = &ec2types.CapacityReservationSpecificationResponse{CapacityReservationPreference: ptr("open")}
	out.PrivateDnsNameOptions = &ec2types.PrivateDnsNameOptionsResponse{
		HostnameType: ptr(hostnameType(o)), EnableResourceNameDnsARecord: ptr(o.ResourceARecord), EnableResourceNameDnsAAAARecord: ptr(o.ResourceAAAARecord),
	}
	out.UsageOperation, out.UsageOperationUpdateTime = ptr("RunInstances"), ptr(i.LaunchTime)
	if typ, ok := model.InstanceTypeByName(i.Type); ok {
		out.CpuOptions = &ec2types.CpuOptions{CoreCount: ptr(int32(o.VCPUs(typ))), ThreadsPerCore: ptr(int32(1))}
	}
}

func monitoringOf(o *model.InstanceOptions) *ec2types.Monitoring {
	return &ec2types.Monitoring{State: ptr(enabled(o.DetailedMonitoring))}
}

func autoRecovery(o *model.InstanceOptions) string {
	if o.NoAutoRecovery {
		return ec2types.InstanceAutoRecoveryStateDisabled
	}
	return ec2types.InstanceAutoRecoveryStateDefault
}

func hostnameType(o *model.InstanceOptions) string {
	if o.ResourceHostname {
		return ec2types.HostnameTypeResourceName
	}
	return ec2types.HostnameTypeIpName
}

func shutdownBehavior(i *model.Instance) string {
	if i.TerminateOnHalt {
		return ec2types.ShutdownBehaviorTerminate
	}
	return ec2types.ShutdownBehaviorStop
}
