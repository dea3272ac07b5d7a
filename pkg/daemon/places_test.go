package daemon_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
)

func by(name string, values ...string) []ec2types.Filter {
	return []ec2types.Filter{{Name: &name, Values: values}}
}

func TestPlaces(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	region := c.cfg.Region
	regions := func(in ec2types.DescribeRegionsInput) []ec2types.Region {
		t.Helper()
		out, err := c.DescribeRegions(t.Context(), &in)
		c.must(err)
		return out.Regions
	}
	all := regions(ec2types.DescribeRegionsInput{AllRegions: new(true)})
	if len(all) != 1 || *all[0].RegionName != region || !strings.HasPrefix(*all[0].Endpoint, "127.0.0.1:") || *all[0].OptInStatus != "opt-in-not-required" {
		t.Fatalf("regions are %+v", all)
	}
	for name, value := range map[string]string{"region-name": region, "endpoint": *all[0].Endpoint, "opt-in-status": "opt-in-*"} {
		if n := len(regions(ec2types.DescribeRegionsInput{Filters: by(name, value)})); n != 1 {
			t.Errorf("filter %s=%s finds %d regions", name, value, n)
		}
		if n := len(regions(ec2types.DescribeRegionsInput{Filters: by(name, "other")})); n != 0 {
			t.Errorf("filter %s=other finds %d regions", name, n)
		}
	}
	if n := len(regions(ec2types.DescribeRegionsInput{RegionNames: []string{region}})); n != 1 {
		t.Errorf("by name there are %d regions", n)
	}
	_, err := c.DescribeRegions(t.Context(), &ec2types.DescribeRegionsInput{RegionNames: []string{region, "mars-1"}})
	wantCode(t, "unknown region", err, "InvalidParameterValue")

	zones := func(in ec2types.DescribeAvailabilityZonesInput) []ec2types.AvailabilityZone {
		t.Helper()
		out, err := c.DescribeAvailabilityZones(t.Context(), &in)
		c.must(err)
		return out.AvailabilityZones
	}
	z := zones(ec2types.DescribeAvailabilityZonesInput{AllAvailabilityZones: new(true)})[0]
	if *z.ZoneName != region+"a" || *z.RegionName != region || *z.State != "available" || *z.ZoneType != "availability-zone" {
		t.Errorf("zone is %+v", z)
	}
	if n := len(zones(ec2types.DescribeAvailabilityZonesInput{ZoneNames: []string{*z.ZoneName}, ZoneIds: []string{*z.ZoneId}})); n != 1 {
		t.Errorf("by name and id there are %d zones", n)
	}
	for name, value := range map[string]string{"zone-name": *z.ZoneName, "zone-id": *z.ZoneId, "state": "available", "region-name": region, "group-name": region, "zone-type": "avail*"} {
		if n := len(zones(ec2types.DescribeAvailabilityZonesInput{Filters: by(name, value)})); n != 1 {
			t.Errorf("filter %s=%s finds %d zones", name, value, n)
		}
	}
	for _, name := range []string{"message", "parent-zone-id", "state"} {
		if n := len(zones(ec2types.DescribeAvailabilityZonesInput{Filters: by(name, "impaired")})); n != 0 {
			t.Errorf("filter %s=impaired finds %d zones", name, n)
		}
	}
	_, err = c.DescribeAvailabilityZones(t.Context(), &ec2types.DescribeAvailabilityZonesInput{ZoneIds: []string{*z.ZoneId, "mars-az1"}})
	wantCode(t, "unknown zone", err, "InvalidParameterValue")

	account, err := c.DescribeAccountAttributes(t.Context(), &ec2types.DescribeAccountAttributesInput{})
	c.must(err)
	vpcs, err := c.DescribeVpcs(t.Context(), &ec2types.DescribeVpcsInput{Filters: by("is-default", "true")})
	c.must(err)
	got := map[string]string{}
	for _, at := range account.AccountAttributes {
		got[*at.AttributeName] = *at.AttributeValues[0].AttributeValue
	}
	if got["supported-platforms"] != "VPC" || got["default-vpc"] != *vpcs.Vpcs[0].VpcId {
		t.Errorf("the account's attributes are %v", got)
	}
	one, err := c.DescribeAccountAttributes(t.Context(), &ec2types.DescribeAccountAttributesInput{AttributeNames: []string{"default-vpc"}})
	c.must(err)
	if len(one.AccountAttributes) != 1 {
		t.Errorf("one attribute is %d", len(one.AccountAttributes))
	}
}

func TestInstanceTypes(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	list := func(in ec2types.DescribeInstanceTypesInput) (names []string, next *string) {
		t.Helper()
		out, err := c.DescribeInstanceTypes(t.Context(), &in)
		c.must(err)
		for _, i := range out.InstanceTypes {
			names = append(names, *i.InstanceType)
		}
		return names, out.NextToken
	}
	all, _ := list(ec2types.DescribeInstanceTypesInput{})
	if !slices.IsSorted(all) || !slices.Contains(all, "t3.micro") || !slices.Contains(all, "b1.pico") {
		t.Errorf("types are %q", all)
	}
	var pages []string
	for next := (*string)(nil); ; {
		page, more := list(ec2types.DescribeInstanceTypesInput{MaxResults: new(int32(7)), NextToken: next})
		pages = append(pages, page...)
		if next = more; next == nil {
			break
		}
	}
	if !slices.Equal(pages, all) {
		t.Errorf("pages give %q, want %q", pages, all)
	}
	for _, f := range []struct {
		name, value string
		in, out     string
	}{
		{"instance-type", "t3.*", "t3.nano", "t2.nano"},
		{"vcpu-info.default-vcpus", "4", "m5.xlarge", "m5.large"},
		{"memory-info.size-in-mib", "1024", "t3.micro", "t3.small"},
		{"processor-info.supported-architecture", "arm64", "t4g.nano", "t3.nano"},
		{"burstable-performance-supported", "false", "c5.large", "t3.large"},
		{"supported-boot-mode", "legacy-bios", "t3.nano", "t4g.nano"},
		{"ebs-info.ebs-optimized-support", "unsupported", "t2.nano", "t3.nano"},
		{"current-generation", "false", "m1.small", "m5.large"},
	} {
		got, _ := list(ec2types.DescribeInstanceTypesInput{Filters: by(f.name, f.value)})
		if !slices.Contains(got, f.in) || slices.Contains(got, f.out) {
			t.Errorf("filter %s=%s finds %q", f.name, f.value, got)
		}
	}
	for name, bad := range map[string]struct {
		in   ec2types.DescribeInstanceTypesInput
		code string
	}{
		"unknown":        {ec2types.DescribeInstanceTypesInput{InstanceTypes: []string{"t3.nano", "z9.huge"}}, "InvalidInstanceType"},
		"small page":     {ec2types.DescribeInstanceTypesInput{MaxResults: new(int32(4))}, "InvalidParameterValue"},
		"types and page": {ec2types.DescribeInstanceTypesInput{InstanceTypes: []string{"t3.nano"}, MaxResults: new(int32(5))}, "InvalidParameterCombination"},
	} {
		_, err := c.DescribeInstanceTypes(t.Context(), &bad.in)
		wantCode(t, name, err, bad.code)
	}

	offered := func(in ec2types.DescribeInstanceTypeOfferingsInput) (names []string) {
		t.Helper()
		out, err := c.DescribeInstanceTypeOfferings(t.Context(), &in)
		c.must(err)
		for _, o := range out.InstanceTypeOfferings {
			names = append(names, *o.InstanceType+" "+*o.LocationType+" "+*o.Location)
		}
		return names
	}
	for kind, location := range map[string]string{"region": c.cfg.Region, "availability-zone": c.cfg.Region + "a"} {
		want := []string{"b1.pico " + kind + " " + location}
		got := offered(ec2types.DescribeInstanceTypeOfferingsInput{LocationType: &kind, Filters: append(by("instance-type", "b1.pico"), by("location", location)...)})
		if !slices.Equal(got, want) {
			t.Errorf("in %s: %q, want %q", kind, got, want)
		}
	}
	if got := offered(ec2types.DescribeInstanceTypeOfferingsInput{LocationType: new("outpost")}); len(got) != 0 {
		t.Errorf("on an outpost: %q", got)
	}
}

// TestLimitsOfTypesHold: what a type says of interfaces is what a launch takes.
func TestLimitsOfTypesHold(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	out, err := c.DescribeInstanceTypes(t.Context(), &ec2types.DescribeInstanceTypesInput{InstanceTypes: []string{"b1.pico"}})
	c.must(err)
	n := out.InstanceTypes[0].NetworkInfo
	if *n.NetworkCards[0].MaximumNetworkInterfaces != *n.MaximumNetworkInterfaces {
		t.Errorf("the one card has %d interfaces, all cards %d", *n.NetworkCards[0].MaximumNetworkInterfaces, *n.MaximumNetworkInterfaces)
	}
	in := ec2types.RunInstancesInput{ImageId: c.bootSector(), InstanceType: new("b1.pico"), MinCount: one(), MaxCount: one()}
	for k := range *n.MaximumNetworkInterfaces {
		in.NetworkInterfaces = append(in.NetworkInterfaces, ec2types.InstanceNetworkInterfaceSpecification{DeviceIndex: new(k)})
	}
	in.NetworkInterfaces[0].SecondaryPrivateIpAddressCount = new(*n.Ipv4AddressesPerInterface - 1)
	full := c.launch(in)
	if len(full.NetworkInterfaces) != int(*n.MaximumNetworkInterfaces) || len(full.NetworkInterfaces[0].PrivateIpAddresses) != int(*n.Ipv4AddressesPerInterface) {
		t.Errorf("the instance has %d interfaces, the first with %d addresses", len(full.NetworkInterfaces), len(full.NetworkInterfaces[0].PrivateIpAddresses))
	}
	in.NetworkInterfaces[0].SecondaryPrivateIpAddressCount = n.Ipv4AddressesPerInterface
	_, err = c.RunInstances(t.Context(), &in)
	wantCode(t, "one address more", err, "PrivateIpAddressLimitExceeded")
	in.NetworkInterfaces = append(in.NetworkInterfaces, ec2types.InstanceNetworkInterfaceSpecification{DeviceIndex: n.MaximumNetworkInterfaces})
	_, err = c.RunInstances(t.Context(), &in)
	wantCode(t, "one interface more", err, "InvalidParameterValue")
}

func TestCredits(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	image := c.bootSector()
	run := func(typ, credits string) string {
		t.Helper()
		in := ec2types.RunInstancesInput{ImageId: image, InstanceType: &typ}
		if credits != "" {
			in.CreditSpecification = &ec2types.CreditSpecificationRequest{CpuCredits: &credits}
		}
		return *c.launch(in).InstanceId
	}
	unlimited, standard, usual, none := run("t3.nano", ""), run("t3.nano", "standard"), run("t2.nano", ""), run("m1.small", "")
	show := func(in ec2types.DescribeInstanceCreditSpecificationsInput) map[string]string {
		t.Helper()
		out, err := c.DescribeInstanceCreditSpecifications(t.Context(), &in)
		c.must(err)
		got := map[string]string{}
		for _, s := range out.InstanceCreditSpecifications {
			got[*s.InstanceId] = *s.CpuCredits
		}
		return got
	}
	if got := show(ec2types.DescribeInstanceCreditSpecificationsInput{}); len(got) != 1 || got[unlimited] != "unlimited" {
		t.Errorf("without ids: %v, want the unlimited one only", got)
	}
	if got := show(ec2types.DescribeInstanceCreditSpecificationsInput{InstanceIds: []string{unlimited, standard, usual}}); got[unlimited] != "unlimited" || got[standard] != "standard" || got[usual] != "standard" {
		t.Errorf("by id: %v", got)
	}
	if got := show(ec2types.DescribeInstanceCreditSpecificationsInput{Filters: by("instance-id", standard)}); len(got) != 0 {
		t.Errorf("a filter shows what is not unlimited: %v", got)
	}
	for id, code := range map[string]string{none: "InvalidParameterValue", "i-1": "InvalidInstanceID.Malformed", "i-0123456789abcdef0": "InvalidInstanceID.NotFound"} {
		_, err := c.DescribeInstanceCreditSpecifications(t.Context(), &ec2types.DescribeInstanceCreditSpecificationsInput{InstanceIds: []string{unlimited, id}})
		wantCode(t, id, err, code)
	}
}
