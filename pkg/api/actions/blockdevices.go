package actions

import (
	"slices"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// blockDeviceActs are the members of a block device mapping that launches and
// images act on.
func blockDeviceActs() []string {
	return []string{
		"BlockDeviceMappings.DeviceName", "BlockDeviceMappings.NoDevice",
		"BlockDeviceMappings.Ebs.SnapshotId", "BlockDeviceMappings.Ebs.VolumeSize", "BlockDeviceMappings.Ebs.DeleteOnTermination",
		"BlockDeviceMappings.Ebs.VolumeType", "BlockDeviceMappings.Ebs.Iops", "BlockDeviceMappings.Ebs.Throughput",
		"BlockDeviceMappings.Ebs.Encrypted", "BlockDeviceMappings.Ebs.KmsKeyId",
	}
}

// emptyNoDevice keeps NoDevice: EC2 has clients write it as an empty string.
func emptyNoDevice() []string { return []string{"BlockDeviceMappings.NoDevice"} }

// blockDevices are the changes that a request makes to an image's block device mapping.
func blockDevices(mappings []ec2types.BlockDeviceMapping) ([]cloud.BlockDeviceOverride, error) {
	var out []cloud.BlockDeviceOverride
	for _, m := range mappings {
		o := cloud.BlockDeviceOverride{Device: ec2types.Value(m.DeviceName), NoDevice: m.NoDevice != nil}
		if o.Device == "" {
			return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter deviceName")
		}
		if o.NoDevice && m.Ebs != nil {
			return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "The device '%s' has both NoDevice and Ebs", o.Device)
		}
		if e := m.Ebs; e != nil {
			kind, err := kindOf(e.VolumeType, e.Iops, e.Throughput)
			if err != nil {
				return nil, err
			}
			o.SnapshotID, o.SizeGiB, o.DeleteOnTermination, o.Kind = ec2types.Value(e.SnapshotId), int64(ec2types.Value(e.VolumeSize)), e.DeleteOnTermination, kind
			o.Encryption = encryption(e.Encrypted, e.KmsKeyId)
			if e.VolumeSize != nil && o.SizeGiB < 1 {
				return nil, model.Errorf(model.CodeInvalidBlockDeviceMapping, "Volume size must be at least 1 GiB; this is %d", o.SizeGiB)
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// kindOf is the volume type and performance that a request names.
func kindOf(typ *string, iops, throughput *int32) (model.VolumeKind, error) {
	for _, n := range []*int32{iops, throughput} {
		if n != nil && *n < 1 {
			return model.VolumeKind{}, model.Errorf(model.CodeInvalidParameterValue, "Iops and Throughput must be positive; this is %d", *n)
		}
	}
	return model.VolumeKind{Type: ec2types.Value(typ), IOPS: int64(ec2types.Value(iops)), Throughput: int64(ec2types.Value(throughput))}, nil
}

// shownKind is a volume's type and performance as EC2 shows them.
func shownKind(k model.VolumeKind, sizeGiB int64) (typ *string, iops, throughput *int32) {
	if full, err := k.Complete(max(sizeGiB, 1)); err == nil {
		k = full
	}
	return ptr(k.Type), count(k.IOPS), count(k.Throughput)
}

// count is nil for 0, which EC2 leaves out of responses.
func count(n int64) *int32 {
	if n == 0 {
		return nil
	}
	return ptr(int32(n))
}

// volumeAt finds a volume among those of an instance.
func volumeAt(vols []*model.Volume, id string) *model.Volume {
	if i := slices.IndexFunc(vols, func(v *model.Volume) bool { return v.ID == id }); i >= 0 {
		return vols[i]
	}
	return nil
}
