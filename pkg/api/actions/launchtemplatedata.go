package actions

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// resolveLaunch fills in what a launch only names: what its launch template says,
// and the image that an alias means.
func (a *Actions) resolveLaunch(ctx context.Context, in *ec2types.RunInstancesInput) (*ec2types.RunInstancesInput, error) {
	out, err := a.fromTemplate(ctx, in)
	if err != nil || out.ImageId == nil {
		return out, err
	}
	id, err := a.resolveAlias(ctx, *out.ImageId)
	if err != nil || id == *out.ImageId {
		return out, err
	}
	resolved := *out
	resolved.ImageId = &id
	return &resolved, nil
}

// fromTemplate fills in what the launch template says that a launch names. The
// result names the template by its id and the version by its number.
func (a *Actions) fromTemplate(ctx context.Context, in *ec2types.RunInstancesInput) (*ec2types.RunInstancesInput, error) {
	ref := in.LaunchTemplate
	if ref == nil {
		return in, nil
	}
	t, v, err := a.account(ctx).LaunchTemplateVersion(ctx, templateRef(ref.LaunchTemplateId, ref.LaunchTemplateName), ec2types.Value(ref.Version))
	if err != nil {
		return in, err
	}
	// Templates name a launch's members as a launch does.
	out := new(ec2types.RunInstancesInput)
	if err := json.Unmarshal(v.Data, out); err != nil {
		return in, fmt.Errorf("decoding version %d of launch template %s: %w", v.Number, t.ID, err)
	}
	override(out, in)
	out.LaunchTemplate = &ec2types.LaunchTemplateSpecification{LaunchTemplateId: ptr(t.ID), Version: ptr(strconv.FormatInt(v.Number, 10))}
	return out, nil
}

// override lays a launch's own parameters over those of a template: each replaces
// the template's whole, but block devices are replaced device by device, and tags
// key by key.
func override(template, in *ec2types.RunInstancesInput) {
	devices, specs := template.BlockDeviceMappings, template.TagSpecifications
	if len(in.SecurityGroupIds)+len(in.SecurityGroups) > 0 {
		template.SecurityGroupIds, template.SecurityGroups = nil, nil
	}
	from, to := reflect.ValueOf(in).Elem(), reflect.ValueOf(template).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
	template.BlockDeviceMappings = slices.Clone(in.BlockDeviceMappings)
	for _, d := range devices {
		if !slices.ContainsFunc(in.BlockDeviceMappings, func(o ec2types.BlockDeviceMapping) bool {
			return ec2types.Value(o.DeviceName) == ec2types.Value(d.DeviceName)
		}) {
			template.BlockDeviceMappings = append(template.BlockDeviceMappings, d)
		}
	}
	template.TagSpecifications = overrideTags(specs, in.TagSpecifications)
}

// overrideTags adds tags to those of other tag specifications, whose values give
// way. Specifications that are wrong in themselves are left for the launch to find.
func overrideTags(specs, over []ec2types.TagSpecification) []ec2types.TagSpecification {
	out := slices.Clone(over)
	for _, s := range specs {
		i := slices.IndexFunc(out, func(o ec2types.TagSpecification) bool {
			return ec2types.Value(o.ResourceType) == ec2types.Value(s.ResourceType)
		})
		if i < 0 {
			out = append(out, s)
			continue
		}
		own := out[i].Tags
		out[i].Tags = slices.Clone(own)
		for _, t := range s.Tags {
			if !slices.ContainsFunc(own, func(o ec2types.Tag) bool { return ec2types.Value(o.Key) == ec2types.Value(t.Key) }) {
				out[i].Tags = append(out[i].Tags, t)
			}
		}
	}
	return out
}

// noteTemplate has a launch's instances tell which template they are of, if any,
// and its client token stand for what the client asked, whatever that means later.
func noteTemplate(ctx context.Context, l *cloud.Launch, in *ec2types.RunInstancesInput) error {
	asked, ok := api.AskedFrom(ctx).(*ec2types.RunInstancesInput)
	if !ok {
		return nil
	}
	if t := in.LaunchTemplate; t != nil {
		l.SystemTags = model.Tags{"aws:ec2launchtemplate:id": *t.LaunchTemplateId, "aws:ec2launchtemplate:version": *t.Version}
	}
	request := *asked
	request.ClientToken, request.DryRun = nil, nil
	b, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	l.Request = string(b)
	return nil
}

// getLaunchTemplateData is what a template needs to launch another instance like
// one. Addresses and ids of interfaces, which only one instance can have, are not
// in it.
func (a *Actions) getLaunchTemplateData(ctx context.Context, in *ec2types.GetLaunchTemplateDataInput) (*ec2types.GetLaunchTemplateDataOutput, error) {
	acct := a.account(ctx)
	i, err := acct.Instance(ctx, *in.InstanceId)
	if err != nil {
		return nil, err
	}
	o := &i.Options
	data := &ec2types.ResponseLaunchTemplateData{
		ImageId: ptr(i.ImageID), InstanceType: ptr(i.Type), KeyName: str(i.KeyName), EbsOptimized: ptr(o.EbsOptimized),
		InstanceInitiatedShutdownBehavior: ptr(shutdownBehavior(&i)), DisableApiStop: ptr(o.DisableAPIStop), DisableApiTermination: ptr(o.DisableAPITermination),
		Monitoring:         &ec2types.LaunchTemplatesMonitoring{Enabled: ptr(o.DetailedMonitoring)},
		MaintenanceOptions: &ec2types.LaunchTemplateInstanceMaintenanceOptions{AutoRecovery: ptr(autoRecovery(o))},
		Placement:          &ec2types.LaunchTemplatePlacement{AvailabilityZone: ptr(a.cloud.Zone()), Tenancy: ptr("default")},
		MetadataOptions: &ec2types.LaunchTemplateInstanceMetadataOptions{
			HttpEndpoint: ptr(enabled(!i.Metadata.Disabled)), HttpTokens: ptr(i.Metadata.HTTPTokens),
			HttpPutResponseHopLimit: ptr(int32(i.Metadata.HopLimit)), InstanceMetadataTags: ptr(enabled(i.Metadata.InstanceTags)), HttpProtocolIpv6: ptr(enabled(i.Metadata.IPv6)),
		},
		PrivateDnsNameOptions: &ec2types.LaunchTemplatePrivateDnsNameOptions{
			HostnameType: ptr(hostnameType(o)), EnableResourceNameDnsARecord: ptr(o.ResourceARecord),
			EnableResourceNameDnsAAAARecord: ptr(o.ResourceAAAARecord),
		},
		HibernationOptions: &ec2types.LaunchTemplateHibernationOptions{Configured: ptr(false)},
		EnclaveOptions:     &ec2types.LaunchTemplateEnclaveOptions{Enabled: ptr(false)},
	}
	if i.Profile != nil {
		data.IamInstanceProfile = &ec2types.LaunchTemplateIamInstanceProfileSpecification{Arn: ptr(i.Profile.ARN)}
	}
	if len(i.UserData) > 0 {
		data.UserData = ptr(base64.StdEncoding.EncodeToString(i.UserData))
	}
	if o.CPUCredits != "" {
		data.CreditSpecification = &ec2types.CreditSpecification{CpuCredits: ptr(o.CPUCredits)}
	}
	if o.CoreCount > 0 {
		data.CpuOptions = &ec2types.LaunchTemplateCpuOptions{CoreCount: ptr(int32(o.CoreCount)), ThreadsPerCore: ptr(int32(1))}
	}
	for _, n := range i.Interfaces() {
		data.NetworkInterfaces = append(data.NetworkInterfaces, templateInterfaceOf(&n))
	}
	if data.BlockDeviceMappings, err = templateDevices(ctx, acct, &i); err != nil {
		return nil, err
	}
	if tags := userTags(i.Tags); len(tags) > 0 {
		data.TagSpecifications = []ec2types.LaunchTemplateTagSpecification{{ResourceType: ptr("instance"), Tags: tagsOf(tags)}}
	}
	return &ec2types.GetLaunchTemplateDataOutput{LaunchTemplateData: data}, nil
}

func templateInterfaceOf(n *model.NetworkInterface) ec2types.LaunchTemplateInstanceNetworkInterfaceSpecification {
	out := ec2types.LaunchTemplateInstanceNetworkInterfaceSpecification{
		Description: str(n.Description), Groups: n.Groups, SubnetId: ptr(n.SubnetID), DeviceIndex: ptr(int32(0)), DeleteOnTermination: ptr(true),
	}
	if len(n.IPv6) > 0 {
		out.Ipv6AddressCount = ptr(int32(len(n.IPv6)))
	}
	if at := n.Attachment; at != nil {
		out.DeviceIndex, out.DeleteOnTermination = ptr(int32(at.DeviceIndex)), ptr(at.DeleteOnTermination)
	}
	return out
}

// templateDevices are the instance's volumes as a launch would ask for them. What
// they hold comes from the image or the snapshot that they were made of.
func templateDevices(ctx context.Context, acct *cloud.Account, i *model.Instance) ([]ec2types.LaunchTemplateBlockDeviceMapping, error) {
	var ids []string
	for _, at := range i.Volumes {
		ids = append(ids, at.VolumeID)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	vols, err := acct.FindVolumes(ctx, ids)
	if err != nil {
		return nil, err
	}
	var out []ec2types.LaunchTemplateBlockDeviceMapping
	for _, at := range i.Volumes {
		ebs := &ec2types.LaunchTemplateEbsBlockDevice{DeleteOnTermination: ptr(at.DeleteOnTermination)}
		if v := volumeAt(vols, at.VolumeID); v != nil {
			ebs.SnapshotId, ebs.VolumeSize, ebs.Encrypted = str(v.SnapshotID), ptr(int32(v.SizeGiB)), ptr(v.Key != "")
			ebs.VolumeType, ebs.Iops, ebs.Throughput = str(v.Type), count(v.IOPS), count(v.Throughput)
		}
		out = append(out, ec2types.LaunchTemplateBlockDeviceMapping{DeviceName: ptr(at.Device), Ebs: ebs})
	}
	return out, nil
}

// userTags are tags without EC2's own.
func userTags(all model.Tags) model.Tags {
	out := model.Tags{}
	for k, v := range all {
		if !strings.HasPrefix(k, "aws:") {
			out[k] = v
		}
	}
	return out
}
