package actions

import (
	"context"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerInstanceTypes(t *api.Table) {
	api.Register(t, api.Action[ec2types.DescribeInstanceTypesInput, ec2types.DescribeInstanceTypesOutput]{
		Name: "DescribeInstanceTypes", Handler: a.describeInstanceTypes, Acts: []string{"InstanceTypes", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeInstanceTypeOfferingsInput, ec2types.DescribeInstanceTypeOfferingsOutput]{
		Name: "DescribeInstanceTypeOfferings", Handler: a.describeInstanceTypeOfferings, Acts: []string{"LocationType", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeInstanceCreditSpecificationsInput, ec2types.DescribeInstanceCreditSpecificationsOutput]{
		Name: "DescribeInstanceCreditSpecifications", Handler: a.describeCredits, Acts: []string{"InstanceIds", "Filters", "MaxResults", "NextToken"},
	})
}

func (a *Actions) describeInstanceTypes(_ context.Context, in *ec2types.DescribeInstanceTypesInput) (*ec2types.DescribeInstanceTypesOutput, error) {
	var unknown []string
	for _, name := range in.InstanceTypes {
		if _, ok := model.InstanceTypeByName(name); !ok {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, model.Errorf(model.CodeInvalidInstanceType, "The following supplied instance types do not exist: [%s]", strings.Join(unknown, ", "))
	}
	var all []ec2types.InstanceTypeInfo
	for _, t := range model.InstanceTypes() {
		all = append(all, typeOf(&t))
	}
	page, next, err := describe(a, query[ec2types.InstanceTypeInfo]{
		action: "DescribeInstanceTypes", all: all, ids: in.InstanceTypes, filters: in.Filters, fields: typeFilters(),
		kind: objectKind[ec2types.InstanceTypeInfo]{id: func(t *ec2types.InstanceTypeInfo) string { return *t.InstanceType }, valid: func(string) bool { return true }},
		max:  in.MaxResults, token: in.NextToken, least: 5, most: 100,
	})
	return &ec2types.DescribeInstanceTypesOutput{InstanceTypes: page, NextToken: next}, err
}

// typeFilters are the filters of DescribeInstanceTypes; they look at what is shown.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html
func typeFilters() map[string]func(*ec2types.InstanceTypeInfo) []string {
	type info = ec2types.InstanceTypeInfo
	return map[string]func(*info) []string{
		"auto-recovery-supported":                      func(t *info) []string { return value(t.AutoRecoverySupported) },
		"bare-metal":                                   func(t *info) []string { return value(t.BareMetal) },
		"burstable-performance-supported":              func(t *info) []string { return value(t.BurstablePerformanceSupported) },
		"current-generation":                           func(t *info) []string { return value(t.CurrentGeneration) },
		"dedicated-hosts-supported":                    func(t *info) []string { return value(t.DedicatedHostsSupported) },
		"ebs-info.ebs-optimized-support":               func(t *info) []string { return value(t.EbsInfo.EbsOptimizedSupport) },
		"ebs-info.encryption-support":                  func(t *info) []string { return value(t.EbsInfo.EncryptionSupport) },
		"ebs-info.nvme-support":                        func(t *info) []string { return value(t.EbsInfo.NvmeSupport) },
		"free-tier-eligible":                           func(t *info) []string { return value(t.FreeTierEligible) },
		"hibernation-supported":                        func(t *info) []string { return value(t.HibernationSupported) },
		"hypervisor":                                   func(t *info) []string { return value(t.Hypervisor) },
		"instance-storage-supported":                   func(t *info) []string { return value(t.InstanceStorageSupported) },
		"instance-type":                                func(t *info) []string { return value(t.InstanceType) },
		"memory-info.size-in-mib":                      func(t *info) []string { return value(t.MemoryInfo.SizeInMiB) },
		"network-info.efa-supported":                   func(t *info) []string { return value(t.NetworkInfo.EfaSupported) },
		"network-info.ena-support":                     func(t *info) []string { return value(t.NetworkInfo.EnaSupport) },
		"network-info.encryption-in-transit-supported": func(t *info) []string { return value(t.NetworkInfo.EncryptionInTransitSupported) },
		"network-info.ipv4-addresses-per-interface":    func(t *info) []string { return value(t.NetworkInfo.Ipv4AddressesPerInterface) },
		"network-info.ipv6-addresses-per-interface":    func(t *info) []string { return value(t.NetworkInfo.Ipv6AddressesPerInterface) },
		"network-info.ipv6-supported":                  func(t *info) []string { return value(t.NetworkInfo.Ipv6Supported) },
		"network-info.maximum-network-cards":           func(t *info) []string { return value(t.NetworkInfo.MaximumNetworkCards) },
		"network-info.maximum-network-interfaces":      func(t *info) []string { return value(t.NetworkInfo.MaximumNetworkInterfaces) },
		"network-info.network-performance":             func(t *info) []string { return value(t.NetworkInfo.NetworkPerformance) },
		"nitro-enclaves-support":                       func(t *info) []string { return value(t.NitroEnclavesSupport) },
		"nitro-tpm-support":                            func(t *info) []string { return value(t.NitroTpmSupport) },
		"processor-info.supported-architecture":        func(t *info) []string { return t.ProcessorInfo.SupportedArchitectures },
		"supported-boot-mode":                          func(t *info) []string { return t.SupportedBootModes },
		"supported-root-device-type":                   func(t *info) []string { return t.SupportedRootDeviceTypes },
		"supported-usage-class":                        func(t *info) []string { return t.SupportedUsageClasses },
		"supported-virtualization-type":                func(t *info) []string { return t.SupportedVirtualizationTypes },
		"vcpu-info.default-cores":                      func(t *info) []string { return value(t.VCpuInfo.DefaultCores) },
		"vcpu-info.default-threads-per-core":           func(t *info) []string { return value(t.VCpuInfo.DefaultThreadsPerCore) },
		"vcpu-info.default-vcpus":                      func(t *info) []string { return value(t.VCpuInfo.DefaultVCpus) },
		"vcpu-info.valid-cores":                        func(t *info) []string { return over(t.VCpuInfo.ValidCores, value[int32]) },
		"vcpu-info.valid-threads-per-core":             func(t *info) []string { return over(t.VCpuInfo.ValidThreadsPerCore, value[int32]) },
	}
}

// typeOf is the type in EC2's shape. Sizes are EC2's; the rest is what a machine of
// this type has here, where disks and interfaces are virtio.
func typeOf(t *model.InstanceType) ec2types.InstanceTypeInfo {
	current := !strings.HasPrefix(t.Name, "t1.") && !strings.HasPrefix(t.Name, "m1.")
	var cores []int32
	for n := range t.VCPUs {
		cores = append(cores, int32(n+1))
	}
	optimized, boot := ec2types.EbsOptimizedSupportUnsupported, []string{"legacy-bios", "uefi"}
	if t.EbsOptimizable() {
		optimized = ec2types.EbsOptimizedSupportDefault
	}
	if !t.Supports(model.X8664) {
		boot = []string{"uefi"}
	}
	return ec2types.InstanceTypeInfo{
		InstanceType: ptr(t.Name), BareMetal: ptr(false), BurstablePerformanceSupported: ptr(t.Burstable), CurrentGeneration: ptr(current),
		FreeTierEligible: ptr(false), Hypervisor: ptr("nitro"), InstanceStorageSupported: ptr(false), HibernationSupported: ptr(false),
		AutoRecoverySupported: ptr(true), DedicatedHostsSupported: ptr(false),
		EbsInfo: &ec2types.EbsInfo{
			EbsOptimizedSupport: ptr(optimized), EncryptionSupport: ptr(ec2types.EbsEncryptionSupportSupported), NvmeSupport: ptr(ec2types.EbsNvmeSupportUnsupported),
		},
		MemoryInfo:    &ec2types.MemoryInfo{SizeInMiB: ptr(t.MemoryMiB)},
		ProcessorInfo: &ec2types.ProcessorInfo{SupportedArchitectures: archNames(t.Archs)},
		VCpuInfo: &ec2types.VCpuInfo{
			DefaultVCpus: ptr(int32(t.VCPUs)), DefaultCores: ptr(int32(t.VCPUs)), DefaultThreadsPerCore: ptr(int32(1)),
			ValidCores: cores, ValidThreadsPerCore: []int32{1},
		},
		NetworkInfo: &ec2types.NetworkInfo{
			EnaSupport: ptr("unsupported"), EfaSupported: ptr(false), EncryptionInTransitSupported: ptr(false), DefaultNetworkCardIndex: ptr(int32(0)),
			MaximumNetworkCards: ptr(int32(1)), MaximumNetworkInterfaces: ptr(int32(cloud.MaxInterfaces)), Ipv4AddressesPerInterface: ptr(int32(cloud.MaxPrivateAddresses)),
			Ipv6Supported: ptr(true), Ipv6AddressesPerInterface: ptr(int32(cloud.MaxPrivateAddresses)), NetworkPerformance: ptr("Up to the host's"),
			NetworkCards: []ec2types.NetworkCardInfo{{NetworkCardIndex: ptr(int32(0)), MaximumNetworkInterfaces: ptr(int32(cloud.MaxInterfaces)), NetworkPerformance: ptr("Up to the host's")}},
		},
		NitroEnclavesSupport: ptr("unsupported"), NitroTpmSupport: ptr("unsupported"),
		PlacementGroupInfo:       &ec2types.PlacementGroupInfo{SupportedStrategies: []string{}},
		SupportedRootDeviceTypes: []string{"ebs"}, SupportedUsageClasses: []string{"on-demand"}, SupportedVirtualizationTypes: []string{"hvm"},
		SupportedBootModes: boot,
	}
}

func archNames(in []model.Arch) []string {
	var out []string
	for _, a := range in {
		out = append(out, string(a))
	}
	return out
}

// describeInstanceTypeOfferings shows the types that a node of this cloud has the
// emulator and the memory for.
func (a *Actions) describeInstanceTypeOfferings(ctx context.Context, in *ec2types.DescribeInstanceTypeOfferingsInput) (*ec2types.DescribeInstanceTypeOfferingsOutput, error) {
	types, err := a.account(ctx).OfferedTypes(ctx)
	if err != nil {
		return nil, err
	}
	kind, location := ec2types.LocationTypeRegion, a.cloud.Info().Region
	if in.LocationType != nil {
		kind = *in.LocationType
	}
	switch kind {
	case ec2types.LocationTypeAvailabilityZone:
		location = a.cloud.Zone()
	case ec2types.LocationTypeAvailabilityZoneId:
		location = a.zoneID()
	case ec2types.LocationTypeOutpost:
		types = nil // there is none
	}
	type offering = ec2types.InstanceTypeOffering
	var all []offering
	for _, t := range types {
		all = append(all, offering{InstanceType: ptr(t.Name), Location: ptr(location), LocationType: ptr(kind)})
	}
	page, next, err := describe(a, query[offering]{
		action: "DescribeInstanceTypeOfferings/" + kind, all: all, filters: in.Filters,
		kind: objectKind[offering]{id: func(o *offering) string { return *o.InstanceType }},
		fields: map[string]func(*offering) []string{
			"instance-type": func(o *offering) []string { return value(o.InstanceType) },
			"location":      func(o *offering) []string { return value(o.Location) },
		},
		max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	return &ec2types.DescribeInstanceTypeOfferingsOutput{InstanceTypeOfferings: page, NextToken: next}, err
}

// describeCredits shows the named instances' credit options or, as EC2 does when
// none is named, those that are unlimited.
func (a *Actions) describeCredits(ctx context.Context, in *ec2types.DescribeInstanceCreditSpecificationsInput) (*ec2types.DescribeInstanceCreditSpecificationsOutput, error) {
	page, next, err := a.findInstances(ctx, instanceQuery{
		action: "DescribeInstanceCreditSpecifications", ids: in.InstanceIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken,
		fields: func() map[string]instanceFilter {
			return map[string]instanceFilter{"instance-id": func(s *shownInstance) []string { return []string{s.record.ID} }}
		},
		keep: func(i *model.Instance) bool {
			return len(in.InstanceIds) > 0 || (i.Options.CPUCredits == model.CreditsUnlimited && i.State != model.InstanceTerminated)
		},
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeInstanceCreditSpecificationsOutput{NextToken: next}
	for i := range page {
		r := page[i].record
		if r.Options.CPUCredits == "" {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "The instance '%s' is of type %s, which has no CPU credits", r.ID, r.Type)
		}
		out.InstanceCreditSpecifications = append(out.InstanceCreditSpecifications, ec2types.InstanceCreditSpecification{InstanceId: ptr(r.ID), CpuCredits: ptr(r.Options.CPUCredits)})
	}
	return out, nil
}
