package actions

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// tagsOf returns tags in key order.
func tagsOf(t model.Tags) []ec2types.Tag {
	var out []ec2types.Tag
	for _, k := range slices.Sorted(maps.Keys(t)) {
		out = append(out, ec2types.Tag{Key: ptr(k), Value: ptr(t[k])})
	}
	return out
}

// tagSpecs returns the tags of each resource type; a type not in allowed is refused.
func tagSpecs(specs []ec2types.TagSpecification, allowed ...string) (map[string]model.Tags, error) {
	out := map[string]model.Tags{}
	for _, s := range specs {
		typ := ec2types.Value(s.ResourceType)
		if !slices.Contains(allowed, typ) {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "'%s' is not a valid taggable resource type for this operation; it must be one of %s", typ, strings.Join(allowed, ", "))
		}
		if out[typ] != nil {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "The resource type '%s' is given in two tag specifications", typ)
		}
		tags, err := tagMap(s.Tags)
		if err != nil {
			return nil, err
		}
		out[typ] = tags
	}
	return out, nil
}

func tagMap(tags []ec2types.Tag) (model.Tags, error) {
	out := model.Tags{}
	for _, t := range tags {
		k := ec2types.Value(t.Key)
		if _, dup := out[k]; dup {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "Duplicate tag key '%s' specified", k)
		}
		out[k] = ec2types.Value(t.Value)
	}
	return out, nil
}

func reasonOf(r model.Reason) *ec2types.StateReason {
	if r.Code == "" {
		return nil
	}
	return &ec2types.StateReason{Code: ptr(r.Code), Message: ptr(r.Message)}
}

func stateOf(s model.InstanceState) *ec2types.InstanceState {
	return &ec2types.InstanceState{Code: ptr(s.Code()), Name: ptr(string(s))}
}

// instanceOf is the instance in EC2's shape.
// The shape points into the record, which nobody changes: of a page of a hundred
// instances every allocation counts.
func (a *Actions) instanceOf(i *model.Instance) ec2types.Instance {
	out := ec2types.Instance{
		AmiLaunchIndex: ptr(int32(i.LaunchIndex)), Architecture: (*string)(&i.Arch), ClientToken: &i.ClientToken,
		BootMode: str(string(i.Boot.Mode)), CurrentInstanceBootMode: str(string(model.BootModeOf(i.Boot.Firmware))), EnaSupport: ptr(true), Hypervisor: ptr("xen"), // EC2 says xen for Nitro too
		IamInstanceProfile: profileOf(i.Profile),
		ImageId:            &i.ImageID, InstanceId: &i.ID, InstanceType: &i.Type, KeyName: str(i.KeyName),
		LaunchTime:     &i.LaunchTime,
		Placement:      &ec2types.Placement{AvailabilityZone: ptr(a.cloud.Zone()), GroupName: ptr(""), Tenancy: ptr("default")},
		RootDeviceName: &i.RootDevice, RootDeviceType: ptr("ebs"), PlatformDetails: ptr("Linux/UNIX"),
		State: stateOf(i.State), StateReason: reasonOf(i.StateReason), StateTransitionReason: &i.TransitionReason,
		Tags: tagsOf(i.Tags), VirtualizationType: ptr("hvm"),
		MetadataOptions: metadataOptionsOf(i.Metadata, i.State), ProductCodes: productCodesOf(i.ProductCodes),
	}
	addOptions(&out, i)
	// Shown when empty, too: clients read them of a terminated instance.
	out.BlockDeviceMappings, out.NetworkInterfaces, out.SecurityGroups = []ec2types.InstanceBlockDeviceMapping{}, []ec2types.InstanceNetworkInterface{}, []ec2types.GroupIdentifier{}
	for k := range i.Volumes {
		v := &i.Volumes[k]
		out.BlockDeviceMappings = append(out.BlockDeviceMappings, ec2types.InstanceBlockDeviceMapping{
			DeviceName: &v.Device,
			Ebs: &ec2types.EbsInstanceBlockDevice{
				AttachTime: attachTime(i, v), DeleteOnTermination: &v.DeleteOnTermination, Status: ptr(attachStatus(v)), VolumeId: &v.VolumeID,
			},
		})
	}
	if i.Interface.PrivateIP != "" {
		a.addNetwork(&out, i)
	}
	return out
}

// attachStatus is EC2's word for a volume's attachment in an instance's shape,
// which knows no "busy".
func attachStatus(v *model.InstanceVolume) string {
	switch v.State {
	case "":
		return string(model.Attached)
	case model.Busy:
		return string(model.Detaching)
	}
	return string(v.State)
}

// attachTime is when a volume was attached: with the launch, if it is not noted.
func attachTime(i *model.Instance, v *model.InstanceVolume) *time.Time {
	if v.Attached.IsZero() {
		return &i.LaunchTime
	}
	return &v.Attached
}

func (a *Actions) domain() string { return model.PrivateDomain(a.cloud.Info().Region) }

func enabled(b bool) string {
	if b {
		return "enabled"
	}
	return "disabled"
}

// volumeType is the type of volumes that nobody chose one for.
const volumeType = model.DefaultVolumeType

func timeFilter(t time.Time) []string { return []string{t.UTC().Format("2006-01-02T15:04:05.000Z")} }
