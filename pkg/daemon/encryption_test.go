package daemon_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/disk"
)

// layerKinds counts the layers of the data directory that are encrypted, and those that
// are not.
func (c *cloud) layerKinds() (encrypted, plain int) {
	c.t.Helper()
	paths, err := filepath.Glob(filepath.Join(c.cfg.DataDir, "layers", "*.qcow2"))
	c.must(err)
	for _, p := range paths {
		h, err := disk.ReadLayerHeader(p)
		c.must(err)
		if h.Encrypted {
			encrypted++
		} else {
			plain++
		}
	}
	return encrypted, plain
}

func TestEncryption(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	image := c.bootSector()
	_, before := c.layerKinds()
	arn, err := c.GetEbsDefaultKmsKeyId(ctx, &ec2types.GetEbsDefaultKmsKeyIdInput{})
	c.must(err)
	if !strings.HasPrefix(*arn.KmsKeyId, "arn:aws:kms:local-1:") {
		t.Errorf("the key is %s", *arn.KmsKeyId)
	}
	_, uuid, _ := strings.Cut(*arn.KmsKeyId, "key/")
	for _, key := range []string{uuid, *arn.KmsKeyId, "alias/aws/ebs", strings.Replace(*arn.KmsKeyId, "key/"+uuid, "alias/aws/ebs", 1)} {
		got, err := c.ModifyEbsDefaultKmsKeyId(ctx, &ec2types.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &key})
		c.must(err)
		if *got.KmsKeyId != *arn.KmsKeyId {
			t.Errorf("%s is %s", key, *got.KmsKeyId)
		}
	}
	_, err = c.ModifyEbsDefaultKmsKeyId(ctx, &ec2types.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: new("alias/mine")})
	fails(t, "InvalidParameterValue", err)

	// A blank volume, and what is made of it.
	made, err := c.CreateVolume(ctx, &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), Size: new(int32(1)), Encrypted: new(true), KmsKeyId: new("alias/aws/ebs")})
	c.must(err)
	vol := made.VolumeId
	if v := c.volumeIs(vol, "available"); !*v.Encrypted || *v.KmsKeyId != *arn.KmsKeyId {
		t.Errorf("got %+v", v)
	}
	if encrypted, plain := c.layerKinds(); encrypted != 1 || plain != before {
		t.Errorf("%d layers are encrypted and %d are not", encrypted, plain)
	}
	c.must(only(c.ModifyVolume(ctx, &ec2types.ModifyVolumeInput{VolumeId: vol, Size: new(int32(2))})))
	c.until("it has grown", func() error {
		if v := c.volume(vol); *v.Size != 2 {
			return fmt.Errorf("it has %d GiB", *v.Size)
		}
		return nil
	})
	snap, err := c.CreateSnapshot(ctx, &ec2types.CreateSnapshotInput{VolumeId: vol})
	c.must(err)
	if s := c.snapshotDone(snap.SnapshotId); !*s.Encrypted || *s.KmsKeyId != *arn.KmsKeyId {
		t.Errorf("got %+v", s)
	}
	_, err = c.ModifySnapshotAttribute(ctx, &ec2types.ModifySnapshotAttributeInput{SnapshotId: snap.SnapshotId, Attribute: new("createVolumePermission"), OperationType: new("add"), GroupNames: []string{"all"}})
	fails(t, "InvalidParameterValue", err)
	_, err = c.CreateVolume(ctx, &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), SnapshotId: snap.SnapshotId, Encrypted: new(false)})
	fails(t, "InvalidParameterCombination", err)
	restored, err := c.CreateVolume(ctx, &ec2types.CreateVolumeInput{AvailabilityZone: new(zone), SnapshotId: snap.SnapshotId})
	c.must(err)
	if v := c.volumeIs(restored.VolumeId, "available"); !*v.Encrypted {
		t.Error("what is restored is not encrypted")
	}
	found, err := c.DescribeVolumes(ctx, &ec2types.DescribeVolumesInput{Filters: []ec2types.Filter{{Name: new("encrypted"), Values: []string{"true"}}}})
	if err != nil || len(found.Volumes) != 2 {
		t.Errorf("%d volumes are found, %v", len(found.Volumes), err)
	}

	// An encrypted root on an image that is not, and the image of that.
	out, err := c.RunInstances(ctx, &ec2types.RunInstancesInput{
		ImageId: image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1)),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{Encrypted: new(true)}}},
	})
	c.must(err)
	inst := *out.Instances[0].InstanceId
	c.await(inst, "running")
	root := c.mapping(inst)["/dev/sda1"]
	if v := c.volume(&root); !*v.Encrypted {
		t.Error("the root volume is not encrypted")
	}
	img, err := c.CreateImage(ctx, &ec2types.CreateImageInput{InstanceId: &inst, Name: new("secret"), NoReboot: new(true)})
	c.must(err)
	c.imageDone(img.ImageId)
	for name, refused := range map[string]func() error{
		"sharing": func() error {
			return only(c.ModifyImageAttribute(ctx, &ec2types.ModifyImageAttributeInput{ImageId: img.ImageId, OperationType: new("add"), UserGroups: []string{"all"}}))
		},
		"exporting": func() error {
			return only(c.ExportImage(ctx, &ec2types.ExportImageInput{ImageId: img.ImageId, DiskImageFormat: new("RAW"), S3ExportLocation: &ec2types.ExportTaskS3LocationRequest{S3Bucket: new("bucket")}}))
		},
	} {
		t.Run(name, func(t *testing.T) { fails(t, "UnsupportedOperation", refused()) })
	}
	twin := c.run(img.ImageId)
	root = c.mapping(twin)["/dev/sda1"]
	if v := c.volume(&root); !*v.Encrypted {
		t.Error("the twin's root volume is not encrypted")
	}
}

// Copies are encrypted by writing them anew; and once it is the default, everything
// that is made is encrypted.
func TestEncryptedCopies(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	image := c.bootSector()
	shown, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{*image}})
	c.must(err)
	source := shown.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
	copied, err := c.CopySnapshot(ctx, &ec2types.CopySnapshotInput{SourceSnapshotId: source, SourceRegion: new("local-1"), Encrypted: new(true)})
	c.must(err)
	if s := c.snapshotDone(copied.SnapshotId); !*s.Encrypted {
		t.Errorf("got %+v", s)
	}
	dup, err := c.CopyImage(ctx, &ec2types.CopyImageInput{SourceImageId: image, SourceRegion: new("local-1"), Name: new("dup"), Encrypted: new(true)})
	c.must(err)
	if img := c.imageDone(dup.ImageId); !*img.BlockDeviceMappings[0].Ebs.Encrypted {
		t.Error("the copied image does not say that it is encrypted")
	}
	c.must(only(c.DeregisterImage(ctx, &ec2types.DeregisterImageInput{ImageId: image, DeleteAssociatedSnapshots: new(true)})))
	c.run(dup.ImageId)
	// The encrypted copy of an encrypted one shares its layer.
	again, err := c.CopySnapshot(ctx, &ec2types.CopySnapshotInput{SourceSnapshotId: copied.SnapshotId, SourceRegion: new("local-1")})
	c.must(err)
	c.snapshotDone(again.SnapshotId)
	c.until("of all layers only encrypted ones are left", func() error {
		// The copies of a snapshot and of an image, and a root volume.
		if encrypted, plain := c.layerKinds(); encrypted != 3 || plain != 0 {
			return fmt.Errorf("%d and %d", encrypted, plain)
		}
		return nil
	})

	on, err := c.EnableEbsEncryptionByDefault(ctx, &ec2types.EnableEbsEncryptionByDefaultInput{})
	if err != nil || !*on.EbsEncryptionByDefault {
		t.Fatalf("%+v, %v", on, err)
	}
	if v := c.volume(c.newVolume(1)); !*v.Encrypted {
		t.Error("a volume that was made by default is not encrypted")
	}
	off, err := c.DisableEbsEncryptionByDefault(ctx, &ec2types.DisableEbsEncryptionByDefaultInput{})
	if err != nil || *off.EbsEncryptionByDefault {
		t.Fatalf("%+v, %v", off, err)
	}
	if now, err := c.GetEbsEncryptionByDefault(ctx, &ec2types.GetEbsEncryptionByDefaultInput{}); err != nil || *now.EbsEncryptionByDefault {
		t.Errorf("%+v, %v", now, err)
	}
	if v := c.volume(c.newVolume(1)); *v.Encrypted {
		t.Error("a volume is encrypted that nobody asked to be")
	}
	key, err := os.ReadFile(filepath.Join(c.cfg.DataDir, "volume.key"))
	c.must(err)
	err = filepath.Walk(c.cfg.DataDir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || filepath.Base(path) == "volume.key" {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, key) {
			t.Errorf("%s has the key", path)
		}
		return err
	})
	c.must(err)
}

func (c *cloud) imageDone(id *string) (img ec2types.Image) {
	c.t.Helper()
	c.until(*id+" is available", func() error {
		out, err := c.DescribeImages(c.t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{*id}})
		c.must(err)
		if img = out.Images[0]; *img.State != "available" {
			return fmt.Errorf("it is %s %+v", *img.State, img.StateReason)
		}
		return nil
	})
	return img
}
