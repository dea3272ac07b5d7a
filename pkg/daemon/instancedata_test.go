package daemon_test

import (
	"bytes"
	"encoding/base64"
	"image/jpeg"
	"slices"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
)

func TestPasswordData(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	id := c.run(c.bootSector())
	out, err := c.GetPasswordData(t.Context(), &ec2types.GetPasswordDataInput{InstanceId: &id})
	c.must(err)
	if *out.InstanceId != id || *out.PasswordData != "" || out.Timestamp.IsZero() {
		t.Errorf("password data is %+v", out)
	}
	_, err = c.GetPasswordData(t.Context(), &ec2types.GetPasswordDataInput{InstanceId: new("i-0123456789abcdef0")})
	wantCode(t, "unknown instance", err, "InvalidInstanceID.NotFound")
}

func TestModifyGroups(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	group := func(name string, vpc *string) string {
		t.Helper()
		out, err := c.CreateSecurityGroup(t.Context(), &ec2types.CreateSecurityGroupInput{GroupName: &name, Description: new("test"), VpcId: vpc})
		c.must(err)
		return *out.GroupId
	}
	web, db := group("web", nil), group("db", nil)
	vpc, err := c.CreateVpc(t.Context(), &ec2types.CreateVpcInput{CidrBlock: new("10.9.0.0/16")})
	c.must(err)
	far := group("far", vpc.Vpc.VpcId)
	image := c.bootSector()
	id := c.run(image)
	modify := func(id string, groups ...string) error {
		_, err := c.ModifyInstanceAttribute(t.Context(), &ec2types.ModifyInstanceAttributeInput{InstanceId: &id, Groups: groups})
		return err
	}
	groups := func() (ids []string) {
		for _, g := range c.instance(id).SecurityGroups {
			ids = append(ids, *g.GroupId)
		}
		return ids
	}
	c.must(modify(id, web, db)) // while it runs
	if got := groups(); !slices.Equal(got, []string{web, db}) {
		t.Errorf("groups are %q, want %q and %q", got, web, db)
	}
	shown, err := c.DescribeInstanceAttribute(t.Context(), &ec2types.DescribeInstanceAttributeInput{InstanceId: &id, Attribute: new("groupSet")})
	c.must(err)
	if len(shown.Groups) != 2 || *shown.Groups[0].GroupName != "web" {
		t.Errorf("attribute is %+v", shown.Groups)
	}
	nics, err := c.DescribeNetworkInterfaces(t.Context(), &ec2types.DescribeNetworkInterfacesInput{Filters: by("group-id", db)})
	c.must(err)
	if len(nics.NetworkInterfaces) != 1 || *nics.NetworkInterfaces[0].Attachment.InstanceId != id {
		t.Errorf("interfaces in the group are %+v", nics.NetworkInterfaces)
	}
	wantCode(t, "unknown group", modify(id, web, "sg-0123456789abcdef0"), "InvalidGroup.NotFound")
	wantCode(t, "group of another VPC", modify(id, far), "InvalidParameter")
	if got := groups(); !slices.Equal(got, []string{web, db}) {
		t.Errorf("a refused call changed the groups to %q", got)
	}
	_, err = c.DeleteSecurityGroup(t.Context(), &ec2types.DeleteSecurityGroupInput{GroupId: &db})
	wantCode(t, "deleting a group in use", err, "DependencyViolation")
	_, err = c.ModifyInstanceAttribute(t.Context(), &ec2types.ModifyInstanceAttributeInput{InstanceId: &id, Attribute: new("groupSet"), Groups: []string{web}})
	c.must(err)
	_, err = c.DeleteSecurityGroup(t.Context(), &ec2types.DeleteSecurityGroupInput{GroupId: &db})
	c.must(err)

	two := *c.launch(ec2types.RunInstancesInput{ImageId: image, NetworkInterfaces: []ec2types.InstanceNetworkInterfaceSpecification{{DeviceIndex: new(int32(0))}, {DeviceIndex: one()}}}).InstanceId
	wantCode(t, "an instance with two interfaces", modify(two, web), "InvalidInstanceID")
}

// TestSystemTags: EC2's own tags are shown, but nobody sets, changes or deletes them.
func TestSystemTags(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	image := c.bootSector()
	lt, err := c.CreateLaunchTemplate(t.Context(), &ec2types.CreateLaunchTemplateInput{
		LaunchTemplateName: new("web"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: image, InstanceType: new("b1.pico")},
	})
	c.must(err)
	id := *c.launch(ec2types.RunInstancesInput{LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("web")}}).InstanceId
	const key = "aws:ec2launchtemplate:id"
	tags := func() map[string]string {
		got := map[string]string{}
		for _, tag := range c.instance(id).Tags {
			got[*tag.Key] = *tag.Value
		}
		return got
	}
	for _, k := range []string{key, "AWS:own"} {
		tag := []ec2types.Tag{{Key: &k, Value: new("x")}}
		_, err = c.CreateTags(t.Context(), &ec2types.CreateTagsInput{Resources: []string{id}, Tags: tag})
		wantCode(t, "setting "+k, err, "InvalidParameterValue")
		_, err = c.DeleteTags(t.Context(), &ec2types.DeleteTagsInput{Resources: []string{id}, Tags: tag})
		wantCode(t, "deleting "+k, err, "InvalidParameterValue")
		_, err = c.RunInstances(t.Context(), &ec2types.RunInstancesInput{
			ImageId: image, MinCount: one(), MaxCount: one(), TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: tag}},
		})
		wantCode(t, "launching with "+k, err, "InvalidParameterValue")
	}
	_, err = c.CreateTags(t.Context(), &ec2types.CreateTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: new("Name"), Value: new("web")}}})
	c.must(err)
	_, err = c.DeleteTags(t.Context(), &ec2types.DeleteTagsInput{Resources: []string{id}}) // all of one's own
	c.must(err)
	if got := tags(); len(got) != 2 || got[key] != *lt.LaunchTemplate.LaunchTemplateId || got["aws:ec2launchtemplate:version"] != "1" {
		t.Errorf("tags are %v", got)
	}
	found, err := c.DescribeInstances(t.Context(), &ec2types.DescribeInstancesInput{Filters: by("tag:"+key, *lt.LaunchTemplate.LaunchTemplateId)})
	c.must(err)
	if len(found.Reservations) != 1 {
		t.Errorf("by the tag there are %d reservations", len(found.Reservations))
	}
}

// TestKeyPairs: what is imported is shown, and found.
func TestKeyPairs(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	const line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q"
	made, err := c.CreateKeyPair(t.Context(), &ec2types.CreateKeyPairInput{KeyName: new("made"), KeyType: new("rsa")})
	c.must(err)
	imported, err := c.ImportKeyPair(t.Context(), &ec2types.ImportKeyPairInput{
		KeyName: new("mine"), PublicKeyMaterial: []byte(line + " me"),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("key-pair"), Tags: []ec2types.Tag{{Key: new("env"), Value: new("dev")}}}},
	})
	c.must(err)
	show := func(in ec2types.DescribeKeyPairsInput) (names []string) {
		t.Helper()
		out, err := c.DescribeKeyPairs(t.Context(), &in)
		c.must(err)
		for _, k := range out.KeyPairs {
			names = append(names, *k.KeyName)
		}
		slices.Sort(names)
		return names
	}
	for name, in := range map[string]ec2types.DescribeKeyPairsInput{
		"id": {KeyPairIds: []string{*imported.KeyPairId}}, "key-pair-id": {Filters: by("key-pair-id", *imported.KeyPairId)},
		"fingerprint": {Filters: by("fingerprint", *imported.KeyFingerprint)}, "key-name": {Filters: by("key-name", "mi*")},
		"tag": {Filters: by("tag:env", "dev")}, "tag-key": {Filters: by("tag-key", "env")}, "name and filter": {KeyNames: []string{"mine", "made"}, Filters: by("tag-key", "env")},
	} {
		if got := show(in); !slices.Equal(got, []string{"mine"}) {
			t.Errorf("by %s: %q", name, got)
		}
	}
	if got := show(ec2types.DescribeKeyPairsInput{KeyNames: []string{"made"}, KeyPairIds: []string{*imported.KeyPairId}}); !slices.Equal(got, []string{"made", "mine"}) {
		t.Errorf("by name and by id: %q", got)
	}
	out, err := c.DescribeKeyPairs(t.Context(), &ec2types.DescribeKeyPairsInput{KeyNames: []string{"mine"}, IncludePublicKey: new(true)})
	c.must(err)
	if k := out.KeyPairs[0]; *k.PublicKey != line+" mine" || *k.KeyType != "ed25519" || k.CreateTime.IsZero() {
		t.Errorf("imported key is %+v", k)
	}
	for name, in := range map[string]ec2types.DescribeKeyPairsInput{
		"unknown name": {KeyNames: []string{"made", "none"}}, "unknown id": {KeyPairIds: []string{"key-0123456789abcdef0"}},
		"known name, unknown id": {KeyNames: []string{"made"}, KeyPairIds: []string{"key-0123456789abcdef0"}},
	} {
		_, err := c.DescribeKeyPairs(t.Context(), &in)
		wantCode(t, name, err, "InvalidKeyPair.NotFound")
	}
	_, err = c.CreateKeyPair(t.Context(), &ec2types.CreateKeyPairInput{KeyName: new("putty"), KeyFormat: new("ppk")})
	wantCode(t, "PuTTY's format", err, "UnsupportedOperation")
	_, err = c.CreateKeyPair(t.Context(), &ec2types.CreateKeyPairInput{KeyName: made.KeyName})
	wantCode(t, "taken name", err, "InvalidKeyPair.Duplicate")
	_, err = c.ImportKeyPair(t.Context(), &ec2types.ImportKeyPairInput{KeyName: new("bad"), PublicKeyMaterial: []byte("no key")})
	wantCode(t, "no key", err, "InvalidKey.Format")
}

func TestUefiData(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	read := func(id string) (*ec2types.GetInstanceUefiDataOutput, error) {
		return c.GetInstanceUefiData(t.Context(), &ec2types.GetInstanceUefiDataInput{InstanceId: &id})
	}
	image := c.bootSector()
	bios := c.run(image)
	_, err := read(bios)
	wantCode(t, "BIOS", err, "UnsupportedOperation")
	_, err = read("i-0123456789abcdef0")
	wantCode(t, "unknown instance", err, "InvalidInstanceID.NotFound")

	images, err := c.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{*image}})
	c.must(err)
	registered, err := c.RegisterImage(t.Context(), &ec2types.RegisterImageInput{
		Name: new("by-uefi"), Architecture: new("x86_64"), RootDeviceName: images.Images[0].RootDeviceName, BootMode: new("uefi"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{
			DeviceName: images.Images[0].RootDeviceName,
			Ebs:        &ec2types.EbsBlockDevice{SnapshotId: images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId},
		}},
	})
	c.must(err)
	id := *c.launch(ec2types.RunInstancesInput{ImageId: registered.ImageId, InstanceType: new("t3.micro")}).InstanceId
	c.await(id, "running")
	for _, state := range []string{"running", "stopped"} {
		out, err := read(id)
		c.must(err)
		data, err := base64.StdEncoding.DecodeString(*out.UefiData)
		if err != nil || !bytes.HasPrefix(data, []byte("AMZNUEFI")) || *out.InstanceId != id {
			t.Errorf("%s: %q of %s (%v)", state, data, *out.InstanceId, err)
		}
		if state == "running" {
			c.stop(id)
		}
	}
	_, err = c.TerminateInstances(t.Context(), &ec2types.TerminateInstancesInput{InstanceIds: []string{id}})
	c.must(err)
	c.await(id, "terminated")
	_, err = read(id)
	wantCode(t, "terminated", err, "IncorrectInstanceState")
}

func TestScreenshot(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	image := c.bootSector()
	run := func(display string) (string, error) {
		out, err := c.RunInstances(t.Context(), &ec2types.RunInstancesInput{
			ImageId: image, InstanceType: new("b1.pico"), MinCount: one(), MaxCount: one(),
			TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("bundt:display"), Value: &display}}}},
		})
		if err != nil {
			return "", err
		}
		c.await(*out.Instances[0].InstanceId, "running")
		return *out.Instances[0].InstanceId, nil
	}
	look := func(id string) (*ec2types.GetConsoleScreenshotOutput, error) {
		return c.GetConsoleScreenshot(t.Context(), &ec2types.GetConsoleScreenshotInput{InstanceId: &id})
	}
	id, err := run("on")
	c.must(err)
	out, err := look(id)
	c.must(err)
	data, err := base64.StdEncoding.DecodeString(*out.ImageData)
	c.must(err)
	if picture, err := jpeg.Decode(bytes.NewReader(data)); err != nil || *out.InstanceId != id {
		t.Errorf("the picture of %s: %v", *out.InstanceId, err)
	} else if b := picture.Bounds(); b.Dx() != 720 || b.Dy() != 400 {
		t.Errorf("the picture is %v", b)
	}
	_, err = c.GetConsoleScreenshot(t.Context(), &ec2types.GetConsoleScreenshotInput{InstanceId: &id, WakeUp: new(true)})
	wantCode(t, "waking up", err, "UnsupportedOperation")
	c.stop(id)
	_, err = look(id)
	wantCode(t, "a stopped instance", err, "IncorrectInstanceState")

	blind, err := run("off")
	c.must(err)
	_, err = look(blind)
	wantCode(t, "no display", err, "UnsupportedOperation")
	_, err = look("i-0123456789abcdef0")
	wantCode(t, "unknown instance", err, "InvalidInstanceID.NotFound")
	_, err = run("4k")
	wantCode(t, "another display", err, "InvalidParameterValue")
}
