package daemon_test

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
)

func one() *int32 { return new(int32(1)) }

// launch runs one instance as in says, and waits for it.
func (c *cloud) launch(in ec2types.RunInstancesInput) ec2types.Instance {
	c.t.Helper()
	in.MinCount, in.MaxCount = one(), one()
	out, err := c.RunInstances(c.t.Context(), &in)
	c.must(err)
	c.await(*out.Instances[0].InstanceId, "running")
	return out.Instances[0]
}

func (c *cloud) stop(id string) {
	c.t.Helper()
	_, err := c.StopInstances(c.t.Context(), &ec2types.StopInstancesInput{InstanceIds: []string{id}, Force: new(true)})
	c.must(err)
	c.await(id, "stopped")
}

func (c *cloud) instance(id string) ec2types.Instance {
	c.t.Helper()
	out, err := c.DescribeInstances(c.t.Context(), &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
	c.must(err)
	return out.Reservations[0].Instances[0]
}

// wantCode fails unless err has this code.
func wantCode(t *testing.T, what string, err error, want string) {
	t.Helper()
	if got := model.CodeOf(err); got != want {
		t.Errorf("%s: error is %v, want %s", what, err, want)
	}
}

func TestLaunchOptions(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	image := c.bootSector()
	i := c.launch(ec2types.RunInstancesInput{
		ImageId: image, InstanceType: new("t3.nano"), DisableApiStop: new(true), EbsOptimized: new(true),
		Monitoring:          &ec2types.RunInstancesMonitoringEnabled{Enabled: new(true)},
		CreditSpecification: &ec2types.CreditSpecificationRequest{CpuCredits: new("standard")},
		CpuOptions:          &ec2types.CpuOptionsRequest{CoreCount: one(), ThreadsPerCore: one()},
		MaintenanceOptions:  &ec2types.InstanceMaintenanceOptionsRequest{AutoRecovery: new("disabled")},
		PrivateDnsNameOptions: &ec2types.PrivateDnsNameOptionsRequest{
			HostnameType: new("resource-name"), EnableResourceNameDnsARecord: new(true), EnableResourceNameDnsAAAARecord: new(true),
		},
		MetadataOptions: &ec2types.InstanceMetadataOptionsRequest{HttpTokens: new("required"), HttpPutResponseHopLimit: new(int32(2)), InstanceMetadataTags: new("enabled")},
		Placement:       &ec2types.Placement{Tenancy: new("default")},
	})
	id := *i.InstanceId
	shown := c.instance(id)
	for what, got := range map[string]string{
		"monitoring":    *shown.Monitoring.State + "=enabled",
		"recovery":      *shown.MaintenanceOptions.AutoRecovery + "=disabled",
		"hostname type": *shown.PrivateDnsNameOptions.HostnameType + "=resource-name",
		"tokens":        *shown.MetadataOptions.HttpTokens + "=required",
		"metadata tags": *shown.MetadataOptions.InstanceMetadataTags + "=enabled",
	} {
		if is, want, _ := strings.Cut(got, "="); is != want {
			t.Errorf("%s is %s, want %s", what, is, want)
		}
	}
	if !*shown.PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord {
		t.Error("the launch asked for an AAAA record, which is not shown")
	}
	if !*shown.EbsOptimized || *shown.CpuOptions.CoreCount != 1 || *shown.MetadataOptions.HttpPutResponseHopLimit != 2 || !strings.HasPrefix(*shown.PrivateDnsName, id+".") {
		t.Errorf("instance is %+v", shown)
	}
	credits, err := c.DescribeInstanceCreditSpecifications(t.Context(), &ec2types.DescribeInstanceCreditSpecificationsInput{InstanceIds: []string{id}})
	c.must(err)
	if got := *credits.InstanceCreditSpecifications[0].CpuCredits; got != "standard" {
		t.Errorf("credits are %s", got)
	}

	base := ec2types.RunInstancesInput{ImageId: image, InstanceType: new("m1.small"), MinCount: one(), MaxCount: one()}
	for name, bad := range map[string]struct {
		change func(*ec2types.RunInstancesInput)
		code   string
	}{
		"credits of a type without": {func(in *ec2types.RunInstancesInput) {
			in.CreditSpecification = &ec2types.CreditSpecificationRequest{CpuCredits: new("standard")}
		}, "InvalidParameterCombination"},
		"half of the CPU options": {func(in *ec2types.RunInstancesInput) { in.CpuOptions = &ec2types.CpuOptionsRequest{CoreCount: one()} }, "InvalidParameterCombination"},
		"too many cores": {func(in *ec2types.RunInstancesInput) {
			in.CpuOptions = &ec2types.CpuOptionsRequest{CoreCount: new(int32(2)), ThreadsPerCore: one()}
		}, "InvalidParameterValue"},
		"two threads": {func(in *ec2types.RunInstancesInput) {
			in.CpuOptions = &ec2types.CpuOptionsRequest{CoreCount: one(), ThreadsPerCore: new(int32(2))}
		}, "UnsupportedOperation"},
		"EBS-optimised old type": {func(in *ec2types.RunInstancesInput) { in.EbsOptimized = new(true) }, "InvalidParameterCombination"},
		"spot": {func(in *ec2types.RunInstancesInput) {
			in.InstanceMarketOptions = &ec2types.InstanceMarketOptionsRequest{MarketType: new("spot")}
		}, "UnsupportedOperation"},
		"instance profile": {func(in *ec2types.RunInstancesInput) {
			in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: new("web")}
		}, "InvalidParameterValue"},
		"hibernation": {func(in *ec2types.RunInstancesInput) {
			in.HibernationOptions = &ec2types.HibernationOptionsRequest{Configured: new(true)}
		}, "UnsupportedOperation"},
		"dedicated tenancy":          {func(in *ec2types.RunInstancesInput) { in.Placement = &ec2types.Placement{Tenancy: new("dedicated")} }, "UnsupportedOperation"},
		"unknown shutdown behaviour": {func(in *ec2types.RunInstancesInput) { in.InstanceInitiatedShutdownBehavior = new("reboot") }, "InvalidParameterValue"},
		"hop limit": {func(in *ec2types.RunInstancesInput) {
			in.MetadataOptions = &ec2types.InstanceMetadataOptionsRequest{HttpPutResponseHopLimit: new(int32(65))}
		}, "InvalidParameterValue"},
	} {
		in := base
		bad.change(&in)
		_, err := c.RunInstances(t.Context(), &in)
		wantCode(t, name, err, bad.code)
	}
}

func TestProtectionFromStopAndTermination(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	i := c.launch(ec2types.RunInstancesInput{ImageId: c.bootSector(), InstanceType: new("b1.pico"), DisableApiTermination: new(true)})
	id := []string{*i.InstanceId}
	other := c.launch(ec2types.RunInstancesInput{ImageId: i.ImageId, InstanceType: new("b1.pico")})
	both := []string{*other.InstanceId, id[0]}
	_, err := c.TerminateInstances(t.Context(), &ec2types.TerminateInstancesInput{InstanceIds: both})
	wantCode(t, "terminating a protected instance", err, "OperationNotPermitted")
	if s := *c.instance(*other.InstanceId).State.Name; s != "running" {
		t.Errorf("the refused call made the other instance %s", s)
	}
	protect := func(stop bool) {
		_, err := c.ModifyInstanceAttribute(t.Context(), &ec2types.ModifyInstanceAttributeInput{InstanceId: &id[0], DisableApiStop: &ec2types.AttributeBooleanValue{Value: &stop}})
		c.must(err)
	}
	protect(true)
	_, err = c.StopInstances(t.Context(), &ec2types.StopInstancesInput{InstanceIds: id})
	wantCode(t, "stopping a protected instance", err, "OperationNotPermitted")
	_, err = c.StopInstances(t.Context(), &ec2types.StopInstancesInput{InstanceIds: id, Hibernate: new(true)})
	wantCode(t, "hibernating", err, "UnsupportedOperation")
	_, err = c.ModifyInstanceAttribute(t.Context(), &ec2types.ModifyInstanceAttributeInput{InstanceId: &id[0], DisableApiTermination: &ec2types.AttributeBooleanValue{Value: new(false)}})
	c.must(err)
	_, err = c.TerminateInstances(t.Context(), &ec2types.TerminateInstancesInput{InstanceIds: id})
	wantCode(t, "terminating an instance that may not be stopped", err, "OperationNotPermitted")
	protect(false)
	_, err = c.TerminateInstances(t.Context(), &ec2types.TerminateInstancesInput{InstanceIds: id})
	c.must(err)
	c.await(id[0], "terminated")
}

func TestModifyInstanceAttribute(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	i := c.launch(ec2types.RunInstancesInput{ImageId: c.bootSector(), InstanceType: new("t3.nano"), UserData: new(base64.StdEncoding.EncodeToString([]byte("old")))})
	id := i.InstanceId
	modify := func(in ec2types.ModifyInstanceAttributeInput) error {
		in.InstanceId = id
		_, err := c.ModifyInstanceAttribute(t.Context(), &in)
		return err
	}
	show := func(attribute string) *ec2types.DescribeInstanceAttributeOutput {
		t.Helper()
		out, err := c.DescribeInstanceAttribute(t.Context(), &ec2types.DescribeInstanceAttributeInput{InstanceId: id, Attribute: &attribute})
		c.must(err)
		return out
	}
	text := func(s string) *ec2types.AttributeValue { return &ec2types.AttributeValue{Value: &s} }
	yes := &ec2types.AttributeBooleanValue{Value: new(true)}
	device := c.instance(*id).BlockDeviceMappings[0]

	for name, bad := range map[string]struct {
		in   ec2types.ModifyInstanceAttributeInput
		code string
	}{
		"nothing":                    {ec2types.ModifyInstanceAttributeInput{}, "InvalidParameterCombination"},
		"two attributes":             {ec2types.ModifyInstanceAttributeInput{DisableApiStop: yes, DisableApiTermination: yes}, "InvalidParameterCombination"},
		"type of a running instance": {ec2types.ModifyInstanceAttributeInput{InstanceType: text("t3.micro")}, "IncorrectInstanceState"},
		"user data of a running one": {ec2types.ModifyInstanceAttributeInput{UserData: &ec2types.BlobAttributeValue{Value: []byte("new")}}, "IncorrectInstanceState"},
		"EBS option of a running":    {ec2types.ModifyInstanceAttributeInput{EbsOptimized: yes}, "IncorrectInstanceState"},
		"no ENA":                     {ec2types.ModifyInstanceAttributeInput{EnaSupport: &ec2types.AttributeBooleanValue{Value: new(false)}}, "UnsupportedOperation"},
		"kernel":                     {ec2types.ModifyInstanceAttributeInput{Kernel: text("aki-1")}, "UnsupportedOperation"},
		"unknown shutdown behaviour": {ec2types.ModifyInstanceAttributeInput{InstanceInitiatedShutdownBehavior: text("reboot")}, "InvalidParameterValue"},
		"attribute without value":    {ec2types.ModifyInstanceAttributeInput{Attribute: new("instanceType")}, "MissingParameter"},
		"value without attribute":    {ec2types.ModifyInstanceAttributeInput{Value: new("t3.micro")}, "MissingParameter"},
		"no boolean":                 {ec2types.ModifyInstanceAttributeInput{Attribute: new("disableApiStop"), Value: new("yes")}, "InvalidParameterValue"},
		"unmodifiable":               {ec2types.ModifyInstanceAttributeInput{Attribute: new("rootDeviceName"), Value: new("/dev/sdb")}, "UnsupportedOperation"},
		"unknown device": {ec2types.ModifyInstanceAttributeInput{BlockDeviceMappings: []ec2types.InstanceBlockDeviceMappingSpecification{{
			DeviceName: new("/dev/xvdz"), Ebs: &ec2types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: new(false)},
		}}}, "InvalidInstanceAttributeValue"},
		"another device's volume": {ec2types.ModifyInstanceAttributeInput{BlockDeviceMappings: []ec2types.InstanceBlockDeviceMappingSpecification{{
			DeviceName: device.DeviceName, Ebs: &ec2types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: new(false), VolumeId: new("vol-0123456789abcdef0")},
		}}}, "InvalidInstanceAttributeValue"},
	} {
		wantCode(t, name, modify(bad.in), bad.code)
	}

	c.must(modify(ec2types.ModifyInstanceAttributeInput{InstanceInitiatedShutdownBehavior: text("terminate")}))
	if got := *show("instanceInitiatedShutdownBehavior").InstanceInitiatedShutdownBehavior.Value; got != "terminate" {
		t.Errorf("shutdown behaviour is %s", got)
	}
	c.must(modify(ec2types.ModifyInstanceAttributeInput{Attribute: new("disableApiTermination"), Value: new("true")}))
	if out := show("disableApiTermination"); !*out.DisableApiTermination.Value || out.InstanceType != nil || out.DisableApiStop != nil {
		t.Errorf("the answer on one attribute is %+v", out)
	}
	c.must(modify(ec2types.ModifyInstanceAttributeInput{BlockDeviceMappings: []ec2types.InstanceBlockDeviceMappingSpecification{{
		DeviceName: device.DeviceName, Ebs: &ec2types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: new(false), VolumeId: device.Ebs.VolumeId},
	}}}))
	if *show("blockDeviceMapping").BlockDeviceMappings[0].Ebs.DeleteOnTermination {
		t.Error("the volume still goes with the instance")
	}
	checked := func(when string, want bool) {
		t.Helper()
		i := c.instance(*id)
		nic := *i.NetworkInterfaces[0].NetworkInterfaceId
		attribute, err := c.DescribeNetworkInterfaceAttribute(t.Context(), &ec2types.DescribeNetworkInterfaceAttributeInput{NetworkInterfaceId: &nic, Attribute: new("sourceDestCheck")})
		c.must(err)
		found, err := c.DescribeNetworkInterfaces(t.Context(), &ec2types.DescribeNetworkInterfacesInput{Filters: by("source-dest-check", strconv.FormatBool(want))})
		c.must(err)
		if *i.SourceDestCheck != want || *i.NetworkInterfaces[0].SourceDestCheck != want || *show("sourceDestCheck").SourceDestCheck.Value != want ||
			*attribute.SourceDestCheck.Value != want || len(found.NetworkInterfaces) != 1 || *found.NetworkInterfaces[0].SourceDestCheck != want {
			t.Errorf("%s the source and destination check is not %v: %v, %v, %d found", when, want, *i.SourceDestCheck, *attribute.SourceDestCheck.Value, len(found.NetworkInterfaces))
		}
	}
	nic, no := c.instance(*id).NetworkInterfaces[0].NetworkInterfaceId, &ec2types.AttributeBooleanValue{Value: new(false)}
	checked("at first", true)
	c.must(modify(ec2types.ModifyInstanceAttributeInput{SourceDestCheck: no}))
	checked("switched off", false)
	c.must(modify(ec2types.ModifyInstanceAttributeInput{SourceDestCheck: yes}))
	checked("switched on", true)
	_, err := c.ModifyNetworkInterfaceAttribute(t.Context(), &ec2types.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: nic, SourceDestCheck: no})
	c.must(err)
	checked("switched off of the interface", false)
	_, err = c.ResetNetworkInterfaceAttribute(t.Context(), &ec2types.ResetNetworkInterfaceAttributeInput{NetworkInterfaceId: nic, SourceDestCheck: new("true")})
	c.must(err)
	checked("reset of the interface", true)
	c.must(modify(ec2types.ModifyInstanceAttributeInput{SourceDestCheck: no}))
	checked("switched off again", false)
	_, err = c.ResetInstanceAttribute(t.Context(), &ec2types.ResetInstanceAttributeInput{InstanceId: id, Attribute: new("sourceDestCheck")})
	c.must(err)
	checked("reset", true)

	c.stop(*id)
	wantCode(t, "unknown type", modify(ec2types.ModifyInstanceAttributeInput{InstanceType: text("z9.huge")}), "InvalidParameterValue")
	wantCode(t, "type of another architecture", modify(ec2types.ModifyInstanceAttributeInput{InstanceType: text("t4g.nano")}), "Unsupported")
	wantCode(t, "long user data", modify(ec2types.ModifyInstanceAttributeInput{UserData: &ec2types.BlobAttributeValue{Value: make([]byte, 16<<10+1)}}), "InvalidParameterValue")
	c.must(modify(ec2types.ModifyInstanceAttributeInput{InstanceType: text("b1.pico")}))
	c.must(modify(ec2types.ModifyInstanceAttributeInput{UserData: &ec2types.BlobAttributeValue{Value: []byte("new")}}))
	c.must(modify(ec2types.ModifyInstanceAttributeInput{EbsOptimized: yes}))
	c.must(modify(ec2types.ModifyInstanceAttributeInput{EnaSupport: yes}))
	if got := *show("userData").UserData.Value; got != base64.StdEncoding.EncodeToString([]byte("new")) {
		t.Errorf("user data is %q", got)
	}
	for _, attribute := range []string{"kernel", "ramdisk", "sourceDestCheck"} {
		_, err := c.ResetInstanceAttribute(t.Context(), &ec2types.ResetInstanceAttributeInput{InstanceId: id, Attribute: &attribute})
		c.must(err)
	}
	_, err = c.ResetInstanceAttribute(t.Context(), &ec2types.ResetInstanceAttributeInput{InstanceId: id, Attribute: new("userData")})
	wantCode(t, "resetting the user data", err, "UnsupportedOperation")
	_, err = c.StartInstances(t.Context(), &ec2types.StartInstancesInput{InstanceIds: []string{*id}})
	c.must(err)
	c.await(*id, "running")
	if got := c.instance(*id); *got.InstanceType != "b1.pico" || !*got.EbsOptimized {
		t.Errorf("instance after its change is %s", *got.InstanceType)
	}
	_, err = c.ResetInstanceAttribute(t.Context(), &ec2types.ResetInstanceAttributeInput{InstanceId: id, Attribute: new("kernel")})
	wantCode(t, "resetting the kernel of a running instance", err, "IncorrectInstanceState")
}

// Every attribute that EC2 has can be asked for.
func TestDescribeEveryInstanceAttribute(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	id := c.run(c.bootSector())
	for _, attribute := range ec2types.EnumValues("InstanceAttributeName") {
		out, err := c.DescribeInstanceAttribute(t.Context(), &ec2types.DescribeInstanceAttributeInput{InstanceId: &id, Attribute: &attribute})
		if err != nil || *out.InstanceId != id {
			t.Errorf("%s: %v", attribute, err)
		}
	}
	_, err := c.DescribeInstanceAttribute(t.Context(), &ec2types.DescribeInstanceAttributeInput{InstanceId: &id, Attribute: new("colour")})
	wantCode(t, "unknown attribute", err, "InvalidParameterValue")
	_, err = c.DescribeInstanceAttribute(t.Context(), &ec2types.DescribeInstanceAttributeInput{InstanceId: new("i-1"), Attribute: new("kernel")})
	wantCode(t, "malformed id", err, "InvalidInstanceID.Malformed")
}

func TestMetadataOptionsAndMonitoring(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	id := c.run(c.bootSector())
	out, err := c.ModifyInstanceMetadataOptions(t.Context(), &ec2types.ModifyInstanceMetadataOptionsInput{InstanceId: &id, HttpTokens: new("required"), HttpPutResponseHopLimit: new(int32(3))})
	c.must(err)
	if m := out.InstanceMetadataOptions; *m.State != "pending" || *m.HttpTokens != "required" || *m.HttpEndpoint != "enabled" {
		t.Errorf("answer is %+v", m)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if m := c.instance(id).MetadataOptions; *m.State == "applied" && *m.HttpPutResponseHopLimit == 3 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the options are never applied")
		}
	}
	_, err = c.ModifyInstanceMetadataOptions(t.Context(), &ec2types.ModifyInstanceMetadataOptionsInput{InstanceId: &id})
	wantCode(t, "no option", err, "MissingParameter")
	out, err = c.ModifyInstanceMetadataOptions(t.Context(), &ec2types.ModifyInstanceMetadataOptionsInput{InstanceId: &id, HttpProtocolIpv6: new("enabled")})
	c.must(err)
	if m := out.InstanceMetadataOptions; *m.HttpProtocolIpv6 != "enabled" || *m.HttpTokens != "required" {
		t.Errorf("with IPv6 the options are %+v", m)
	}

	on, err := c.MonitorInstances(t.Context(), &ec2types.MonitorInstancesInput{InstanceIds: []string{id}})
	c.must(err)
	if got := *on.InstanceMonitorings[0].Monitoring.State; got != "enabled" || *c.instance(id).Monitoring.State != got {
		t.Errorf("monitoring is %s", got)
	}
	off, err := c.UnmonitorInstances(t.Context(), &ec2types.UnmonitorInstancesInput{InstanceIds: []string{id}})
	c.must(err)
	if got := *off.InstanceMonitorings[0].Monitoring.State; got != "disabled" || *c.instance(id).Monitoring.State != got {
		t.Errorf("monitoring is %s", got)
	}
	_, err = c.MonitorInstances(t.Context(), &ec2types.MonitorInstancesInput{InstanceIds: []string{id, "i-0123456789abcdef0"}})
	wantCode(t, "unknown id", err, "InvalidInstanceID.NotFound")
	if *c.instance(id).Monitoring.State != "disabled" {
		t.Error("a refused call changed an instance")
	}
}

func TestDescribeInstancesSelects(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	image := c.bootSector()
	out, err := c.RunInstances(t.Context(), &ec2types.RunInstancesInput{
		ImageId: image, InstanceType: new("b1.pico"), MinCount: new(int32(7)), MaxCount: new(int32(7)), ClientToken: new("seven"),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("Name"), Value: new("web*1")}}}},
	})
	c.must(err)
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
		c.await(*i.InstanceId, "running")
	}
	slices.Sort(ids)
	list := func(in ec2types.DescribeInstancesInput) (got []string, next *string) {
		t.Helper()
		out, err := c.DescribeInstances(t.Context(), &in)
		c.must(err)
		for _, r := range out.Reservations {
			for _, i := range r.Instances {
				got = append(got, *i.InstanceId)
			}
		}
		return got, out.NextToken
	}
	filter := func(name string, values ...string) []ec2types.Filter {
		return []ec2types.Filter{{Name: &name, Values: values}}
	}

	first := c.instance(ids[0])
	nic := first.NetworkInterfaces[0]
	for name, v := range map[string]string{
		"instance-id": ids[0], "private-ip-address": *first.PrivateIpAddress, "network-interface.mac-address": *nic.MacAddress,
		"network-interface.addresses.private-ip-address": *nic.PrivateIpAddress, "network-interface.attachment.attachment-id": *nic.Attachment.AttachmentId,
		"block-device-mapping.volume-id": *first.BlockDeviceMappings[0].Ebs.VolumeId,
	} {
		if got, _ := list(ec2types.DescribeInstancesInput{Filters: filter(name, v)}); !slices.Equal(got, ids[:1]) {
			t.Errorf("filter %s=%s finds %q", name, v, got)
		}
	}
	for name, v := range map[string]string{
		"instance-state-name": "running", "instance-state-code": "16", "client-token": "seven", "tag:Name": `web\**`, "tag-key": "Name", "monitoring-state": "disabled",
		"metadata-options.http-tokens": "optional", "block-device-mapping.delete-on-termination": "true", "source-dest-check": "true", "hypervisor": "xen",
		"availability-zone-id": "*-az1", "network-interface.attachment.device-index": "0", "launch-time": "20*", "maintenance-options.auto-recovery": "default",
	} {
		if got, _ := list(ec2types.DescribeInstancesInput{Filters: filter(name, v)}); !slices.Equal(got, ids) {
			t.Errorf("filter %s=%s finds %d", name, v, len(got))
		}
		if got, _ := list(ec2types.DescribeInstancesInput{Filters: filter(name, "no such value")}); len(got) != 0 {
			t.Errorf("filter %s finds %d for another value", name, len(got))
		}
	}

	page, next := list(ec2types.DescribeInstancesInput{MaxResults: new(int32(5))})
	rest, end := list(ec2types.DescribeInstancesInput{MaxResults: new(int32(5)), NextToken: next})
	if !slices.Equal(append(page, rest...), ids) || end != nil || len(page) != 5 {
		t.Errorf("pages are %q and %q", page, rest)
	}
	page, next = list(ec2types.DescribeInstancesInput{MaxResults: new(int32(5)), Filters: filter("instance-id", ids[1:]...)})
	if rest, _ = list(ec2types.DescribeInstancesInput{NextToken: next, Filters: filter("instance-id", ids[1:]...)}); !slices.Equal(append(page, rest...), ids[1:]) {
		t.Errorf("filtered pages are %q and %q", page, rest)
	}
	if got, _ := list(ec2types.DescribeInstancesInput{InstanceIds: []string{ids[3], ids[1], ids[3]}}); !slices.Equal(got, []string{ids[1], ids[3]}) {
		t.Errorf("by id: %q", got)
	}
	for name, bad := range map[string]struct {
		in   ec2types.DescribeInstancesInput
		code string
	}{
		"malformed id":        {ec2types.DescribeInstancesInput{InstanceIds: []string{ids[0], "i-12"}}, "InvalidInstanceID.Malformed"},
		"unknown id":          {ec2types.DescribeInstancesInput{InstanceIds: []string{ids[0], "i-0123456789abcdef0"}}, "InvalidInstanceID.NotFound"},
		"ids and a page":      {ec2types.DescribeInstancesInput{InstanceIds: ids, MaxResults: new(int32(5))}, "InvalidParameterCombination"},
		"small page":          {ec2types.DescribeInstancesInput{MaxResults: new(int32(4))}, "InvalidParameterValue"},
		"unknown filter":      {ec2types.DescribeInstancesInput{Filters: filter("colour", "red")}, "InvalidParameterValue"},
		"other page's token":  {ec2types.DescribeInstancesInput{NextToken: next}, "InvalidNextToken"},
		"token of one's own":  {ec2types.DescribeInstancesInput{NextToken: new("AAAA")}, "InvalidNextToken"},
		"page and bad filter": {ec2types.DescribeInstancesInput{MaxResults: new(int32(5)), Filters: filter("colour", "red")}, "InvalidParameterValue"},
	} {
		_, err := c.DescribeInstances(t.Context(), &bad.in)
		wantCode(t, name, err, bad.code)
	}

	c.stop(ids[0])
	status := func(in ec2types.DescribeInstanceStatusInput) (got []string) {
		t.Helper()
		out, err := c.DescribeInstanceStatus(t.Context(), &in)
		c.must(err)
		for _, s := range out.InstanceStatuses {
			got = append(got, *s.InstanceId)
		}
		return got
	}
	if got := status(ec2types.DescribeInstanceStatusInput{}); !slices.Equal(got, ids[1:]) {
		t.Errorf("status of running instances: %q", got)
	}
	if got := status(ec2types.DescribeInstanceStatusInput{InstanceIds: ids[:1]}); len(got) != 0 {
		t.Errorf("status of a stopped instance: %q", got)
	}
	if got := status(ec2types.DescribeInstanceStatusInput{IncludeAllInstances: new(true), Filters: filter("instance-state-name", "stopped")}); !slices.Equal(got, ids[:1]) {
		t.Errorf("status of all: %q", got)
	}
	if got := status(ec2types.DescribeInstanceStatusInput{Filters: filter("event.code", "*")}); len(got) != 0 {
		t.Errorf("events of %q", got)
	}
	if got := status(ec2types.DescribeInstanceStatusInput{Filters: filter("system-status.status", "ok")}); !slices.Equal(got, ids[1:]) {
		t.Errorf("status ok: %q", got)
	}
	_, err = c.DescribeInstanceStatus(t.Context(), &ec2types.DescribeInstanceStatusInput{Filters: filter("image-id", *image)})
	wantCode(t, "a filter of another action", err, "InvalidParameterValue")
}
