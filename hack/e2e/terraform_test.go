//go:build vm

package e2e

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bundt/bundt/hack/harness"
)

func newFakeDaemon(t *testing.T) daemon {
	t.Helper()
	return newDaemon(t, func(o *harness.Options) { o.Args = append(o.Args, "--hypervisor", "fake") })
}

// TestTerraform applies, plans, changes, imports and destroys with the real
// Terraform where a mirror of its AWS provider is: TF_PLUGIN_MIRROR names one, or
// ~/.terraform.d/plugins is, or `make terraform-mirror` made one.
// TestTerraformCalls covers the calls everywhere.
func TestTerraform(t *testing.T) {
	mirror, old := providerMirror()
	terraform, err := exec.LookPath("terraform")
	if mirror == "" || err != nil {
		t.Logf("the real Terraform is not tried here: terraform: %v, provider mirror: %q", err, mirror)
		return
	}
	d := newFakeDaemon(t)
	image := d.build(t, "boot-sector", "x86_64")
	// The old provider's importer of security groups does not know this Terraform.
	config, imported := "main.tf", "aws_security_group.story"
	if old {
		config, imported = "v1.tf", "aws_instance.story"
	}
	c := d.tools(t, config)
	c.run(t, "/usr/bin/ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", "key")
	env, err := d.Env(t.Context())
	must(t, err)
	c.env = append(c.env, "TF_VAR_image="+image, "TF_VAR_endpoint="+env["AWS_ENDPOINT_URL"])
	tf := func(args ...string) string { t.Helper(); return c.run(t, append([]string{terraform}, args...)...) }
	tf("init", "-input=false", "-no-color", "-plugin-dir="+mirror)
	apply := func(vars ...string) {
		t.Helper()
		tf(append([]string{"apply", "-input=false", "-no-color", "-auto-approve"}, vars...)...)
		// Exit code 2 would say that there is something to change.
		tf(append([]string{"plan", "-input=false", "-no-color", "-detailed-exitcode"}, vars...)...)
	}
	apply()
	changed := []string{"-var=story=changed", "-var=size=2"}
	apply(changed...)
	id := strings.TrimSpace(tf("output", "-no-color", "-raw", "imported"))
	tf("state", "rm", imported)
	tf(append([]string{"import", "-input=false", "-no-color"}, append(changed, imported, id)...)...)
	tf("destroy", "-input=false", "-no-color", "-auto-approve")
	c.cleanedUp(t, image)
}

// providerMirror is a directory with Terraform's AWS provider, "" if there is
// none, and whether that is the old one that hack/terraform-provider builds.
func providerMirror() (dir string, old bool) {
	home, _ := os.UserHomeDir()
	for _, dir := range []string{os.Getenv("TF_PLUGIN_MIRROR"), filepath.Join(home, ".terraform.d", "plugins"), filepath.Join("..", "..", "bin", "terraform-mirror")} {
		aws := filepath.Join(dir, "registry.terraform.io", "hashicorp", "aws")
		versions, err := os.ReadDir(aws)
		if dir == "" || err != nil {
			continue
		}
		if dir, err = filepath.Abs(dir); err == nil {
			return dir, len(versions) == 1 && strings.HasPrefix(versions[0].Name(), "1.")
		}
	}
	return "", false
}

// provider makes the calls that Terraform's AWS provider (version 5) makes for
// its resources: what each create sends, what each read asks for and looks at. A
// plan is empty if what is read equals what was asked for.
type provider struct {
	*ec2.Client
	t *testing.T
}

func (p provider) equal(what string, asked, read any) {
	p.t.Helper()
	unexported := cmpopts.IgnoreUnexported(types.IpPermission{}, types.IpRange{}, types.Ipv6Range{}, types.UserIdGroupPair{})
	if d := cmp.Diff(asked, read, unexported); d != "" {
		p.t.Errorf("a plan after apply would change %s (-asked +read):\n%s", what, d)
	}
}

func (p provider) must(err error) {
	p.t.Helper()
	must(p.t, err)
}

// gone checks the code by which the provider knows that an object is deleted.
func (p provider) gone(err error, code string) {
	p.t.Helper()
	if got := errorCode(err); got != code {
		p.t.Errorf("an object that is gone answers %v, want %s", err, code)
	}
}

// The provider waits by itself, and so sooner than the SDK's waiters.
func (p provider) awaitInstance(id, state string) {
	p.t.Helper()
	eventually(p.t, id+" is "+state, func() error {
		out, err := p.DescribeInstances(p.t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err == nil && string(out.Reservations[0].Instances[0].State.Name) != state {
			err = errNotYet
		}
		return err
	})
}

func (p provider) awaitVolume(id string) {
	p.t.Helper()
	eventually(p.t, id+" is available", func() error {
		out, err := p.DescribeVolumes(p.t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
		if err == nil && out.Volumes[0].State != types.VolumeStateAvailable {
			err = errNotYet
		}
		return err
	})
}

func tagsFor(kind types.ResourceType, tags map[string]string) []types.TagSpecification {
	s := types.TagSpecification{ResourceType: kind}
	for k, v := range tags {
		s.Tags = append(s.Tags, types.Tag{Key: &k, Value: &v})
	}
	return []types.TagSpecification{s}
}

func tagMap(tags []types.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[*t.Key] = *t.Value
	}
	return m
}

// retag makes the two calls that a change of tags is, and returns the new tags.
func (p provider) retag(id string) map[string]string {
	p.t.Helper()
	_, err := p.DeleteTags(p.t.Context(), &ec2.DeleteTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("old")}}})
	p.must(err)
	_, err = p.CreateTags(p.t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("new"), Value: aws.String("")}}})
	p.must(err)
	return map[string]string{"Name": "story", "new": ""}
}

var errNotYet = errors.New("not yet")

var firstTags = map[string]string{"Name": "story", "old": "yes"}

// TestTerraformCalls replays them all, each resource through its life.
func TestTerraformCalls(t *testing.T) {
	d := newFakeDaemon(t)
	image := d.build(t, "boot-sector", "x86_64")
	cfg := d.sdkConfig(t)
	p := provider{ec2.NewFromConfig(cfg), t}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	p.must(err)
	zones, err := p.DescribeAvailabilityZones(t.Context(), &ec2.DescribeAvailabilityZonesInput{})
	p.must(err)
	zone := *zones.AvailabilityZones[0].ZoneName

	key := p.keyPair()
	group := p.securityGroup(*who.Account)
	instance := p.instance(image, key, group, *who.Account)
	p.volume(zone, instance)
	p.address(instance)
	p.imageFromInstance(instance, *who.Account)
	p.destroyInstance(instance)
	p.destroySecurityGroup(group)
	p.destroyKeyPair(key)
	d.tools(t).cleanedUp(t, image)
}

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKFyvQ6sEpH4qDGBqZ7Jx4wWQkVS8Tt1rT2s0xvYbq3Z story"

func (p provider) keyPair() string {
	ctx, name := p.t.Context(), "story"
	made, err := p.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
		KeyName: &name, PublicKeyMaterial: []byte(publicKey), TagSpecifications: tagsFor(types.ResourceTypeKeyPair, firstTags),
	})
	p.must(err)
	type state struct {
		ID, Name, Fingerprint string
		Type                  types.KeyType
		Tags                  map[string]string
	}
	read := func() state {
		out, err := p.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{name}})
		p.must(err)
		k := out.KeyPairs[0]
		return state{*k.KeyPairId, *k.KeyName, *k.KeyFingerprint, k.KeyType, tagMap(k.Tags)}
	}
	want := state{*made.KeyPairId, name, *made.KeyFingerprint, types.KeyTypeEd25519, firstTags}
	p.equal("aws_key_pair", want, read())
	want.Tags = p.retag(want.ID)
	p.equal("aws_key_pair", want, read())
	return name
}

func (p provider) destroyKeyPair(name string) {
	_, err := p.DeleteKeyPair(p.t.Context(), &ec2.DeleteKeyPairInput{KeyName: &name})
	p.must(err)
	_, err = p.DescribeKeyPairs(p.t.Context(), &ec2.DescribeKeyPairsInput{KeyNames: []string{name}})
	p.gone(err, "InvalidKeyPair.NotFound")
}

// groupState is what the provider keeps of a security group.
type groupState struct {
	Name, Description, Owner, VPC string
	Ingress, Egress               []types.IpPermission
	Tags                          map[string]string
}

func (p provider) readGroup(id string) groupState {
	p.t.Helper()
	out, err := p.DescribeSecurityGroups(p.t.Context(), &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
	p.must(err)
	g := out.SecurityGroups[0]
	return groupState{*g.GroupName, *g.Description, *g.OwnerId, *g.VpcId, plainRules(g.IpPermissions), plainRules(g.IpPermissionsEgress), tagMap(g.Tags)}
}

// plainRules are rules without what only shows that a list is empty.
func plainRules(rules []types.IpPermission) []types.IpPermission {
	var plain []types.IpPermission
	for _, r := range rules {
		p := types.IpPermission{IpProtocol: r.IpProtocol, FromPort: r.FromPort, ToPort: r.ToPort}
		p.IpRanges = append(p.IpRanges, r.IpRanges...)
		p.Ipv6Ranges = append(p.Ipv6Ranges, r.Ipv6Ranges...)
		for _, pair := range r.UserIdGroupPairs {
			p.UserIdGroupPairs = append(p.UserIdGroupPairs, types.UserIdGroupPair{GroupId: pair.GroupId, Description: pair.Description})
		}
		plain = append(plain, p)
	}
	return plain
}

func (p provider) securityGroup(account string) string {
	ctx := p.t.Context()
	vpcs, err := p.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{{Name: aws.String("isDefault"), Values: []string{"true"}}}})
	p.must(err)
	want := groupState{Name: "story", Description: "Managed by Terraform", Owner: account, VPC: *vpcs.Vpcs[0].VpcId, Tags: firstTags}
	made, err := p.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
		GroupName: &want.Name, Description: &want.Description, VpcId: &want.VPC, TagSpecifications: tagsFor(types.ResourceTypeSecurityGroup, want.Tags),
	})
	p.must(err)
	id := *made.GroupId
	// EC2 opens all egress; the provider closes it, and takes the IPv6 rule's absence.
	everything := func(r types.IpPermission) []types.IpPermission {
		r.IpProtocol, r.FromPort, r.ToPort = aws.String("-1"), aws.Int32(0), aws.Int32(0)
		return []types.IpPermission{r}
	}
	_, err = p.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &id, IpPermissions: everything(types.IpPermission{IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}})})
	p.must(err)
	_, err = p.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &id, IpPermissions: everything(types.IpPermission{Ipv6Ranges: []types.Ipv6Range{{CidrIpv6: aws.String("::/0")}}})})
	if errorCode(err) != "InvalidPermission.NotFound" { // of a group outside of the default VPC
		p.must(err)
	}
	p.equal("a security group without rules", want, p.readGroup(id))

	ssh := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0"), Description: aws.String("SSH")}}}
	self := types.IpPermission{IpProtocol: aws.String("udp"), FromPort: aws.Int32(1000), ToPort: aws.Int32(2000), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &id}}}
	all := types.IpPermission{IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}
	for _, r := range []types.IpPermission{ssh, self} {
		_, err = p.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []types.IpPermission{r}})
		p.must(err)
	}
	_, err = p.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &id, IpPermissions: everything(all)})
	p.must(err)
	want.Ingress, want.Egress = []types.IpPermission{ssh, self}, []types.IpPermission{all}
	p.equal("aws_security_group", want, p.readGroup(id))

	// A change of rules revokes the old and authorises the new.
	_, err = p.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []types.IpPermission{self}})
	p.must(err)
	want.Ingress, want.Tags = want.Ingress[:1], p.retag(id)
	p.equal("aws_security_group", want, p.readGroup(id))
	return id
}

func (p provider) destroySecurityGroup(id string) {
	ctx := p.t.Context()
	left, err := p.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{id}}}})
	p.must(err)
	if len(left.NetworkInterfaces) != 0 {
		p.t.Errorf("network interfaces are left: %+v", left.NetworkInterfaces)
	}
	_, err = p.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
	p.must(err)
	_, err = p.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
	p.gone(err, "InvalidGroup.NotFound")
}

// instanceState is what the provider keeps of an instance.
type instanceState struct {
	Image, Type, Key, Zone, Subnet, Shutdown, UserData, Tenancy string
	Monitoring, SourceDestCheck, Optimized                      bool
	DisableTermination, DisableStop                             bool
	Groups                                                      []string
	RootSize                                                    int32
	RootType                                                    types.VolumeType
	Tags, VolumeTags                                            map[string]string
}

func (p provider) instance(image, key, group, account string) string {
	ctx := p.t.Context()
	_, err := p.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceTypeT3Nano}})
	p.must(err)
	images, err := p.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{image}})
	p.must(err)
	subnets, err := p.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("default-for-az"), Values: []string{"true"}}}})
	p.must(err)
	want := instanceState{
		Image: image, Type: "t3.nano", Key: key, Zone: *subnets.Subnets[0].AvailabilityZone, Subnet: *subnets.Subnets[0].SubnetId,
		Shutdown: "stop", Tenancy: "default", SourceDestCheck: true, Groups: []string{group},
		UserData: base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n")), RootSize: 2, RootType: types.VolumeTypeGp3, Tags: firstTags, VolumeTags: map[string]string{},
	}
	// The empty values are what the provider sends for arguments that are not set.
	out, err := p.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: &image, InstanceType: types.InstanceTypeT3Nano, KeyName: &key, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		SubnetId: &want.Subnet, SecurityGroupIds: want.Groups, UserData: &want.UserData,
		DisableApiTermination: aws.Bool(false), EbsOptimized: aws.Bool(false),
		Monitoring: &types.RunInstancesMonitoringEnabled{Enabled: aws.Bool(false)}, Placement: &types.Placement{AvailabilityZone: aws.String(""), GroupName: aws.String("")},
		IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String("")},
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: images.Images[0].RootDeviceName, Ebs: &types.EbsBlockDevice{
			VolumeSize: &want.RootSize, VolumeType: want.RootType, DeleteOnTermination: aws.Bool(true),
		}}},
		TagSpecifications: tagsFor(types.ResourceTypeInstance, want.Tags),
	})
	p.must(err)
	id := *out.Instances[0].InstanceId
	p.awaitInstance(id, "running")
	p.equal("aws_instance", want, p.readInstance(id, account))

	// Updates in place, and those that stop the instance first.
	modify := func(in ec2.ModifyInstanceAttributeInput) {
		p.t.Helper()
		in.InstanceId = &id
		_, err := p.ModifyInstanceAttribute(ctx, &in)
		p.must(err)
	}
	modify(ec2.ModifyInstanceAttributeInput{DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}})
	modify(ec2.ModifyInstanceAttributeInput{DisableApiStop: &types.AttributeBooleanValue{Value: aws.Bool(false)}})
	modify(ec2.ModifyInstanceAttributeInput{InstanceInitiatedShutdownBehavior: &types.AttributeValue{Value: aws.String("terminate")}})
	_, err = p.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}})
	p.must(err)
	p.awaitInstance(id, "stopped")
	modify(ec2.ModifyInstanceAttributeInput{InstanceType: &types.AttributeValue{Value: aws.String("t3.micro")}})
	modify(ec2.ModifyInstanceAttributeInput{UserData: &types.SecureBlobAttributeValue{Value: []byte("#!/bin/sh\necho\n")}})
	_, err = p.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{id}})
	p.must(err)
	p.awaitInstance(id, "running")
	want.DisableTermination, want.Shutdown, want.Type = true, "terminate", "t3.micro"
	want.UserData, want.Tags = base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho\n")), p.retag(id)
	p.equal("aws_instance", want, p.readInstance(id, account))
	return id
}

func (p provider) readInstance(id, account string) instanceState {
	p.t.Helper()
	ctx := p.t.Context()
	out, err := p.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	p.must(err)
	r, i := out.Reservations[0], out.Reservations[0].Instances[0]
	if *r.OwnerId != account {
		p.t.Errorf("the reservation's owner is %s", *r.OwnerId)
	}
	s := instanceState{
		Image: *i.ImageId, Type: string(i.InstanceType), Key: aws.ToString(i.KeyName), Zone: *i.Placement.AvailabilityZone, Subnet: *i.SubnetId,
		Tenancy: string(i.Placement.Tenancy), Monitoring: i.Monitoring.State == types.MonitoringStateEnabled, SourceDestCheck: *i.SourceDestCheck,
		Optimized: *i.EbsOptimized, Tags: tagMap(i.Tags), VolumeTags: map[string]string{},
	}
	for _, g := range i.SecurityGroups {
		s.Groups = append(s.Groups, *g.GroupId)
	}
	attribute := func(name types.InstanceAttributeName) *ec2.DescribeInstanceAttributeOutput {
		p.t.Helper()
		out, err := p.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: &id, Attribute: name})
		p.must(err)
		return out
	}
	s.DisableTermination = *attribute(types.InstanceAttributeNameDisableApiTermination).DisableApiTermination.Value
	s.DisableStop = *attribute(types.InstanceAttributeNameDisableApiStop).DisableApiStop.Value
	s.Shutdown = *attribute(types.InstanceAttributeNameInstanceInitiatedShutdownBehavior).InstanceInitiatedShutdownBehavior.Value
	s.UserData = aws.ToString(attribute(types.InstanceAttributeNameUserData).UserData.Value)
	if _, err := p.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{i.InstanceType}}); err != nil {
		p.t.Error(err)
	}
	credits, err := p.DescribeInstanceCreditSpecifications(ctx, &ec2.DescribeInstanceCreditSpecificationsInput{InstanceIds: []string{id}})
	p.must(err)
	if len(credits.InstanceCreditSpecifications) != 1 {
		p.t.Errorf("credit specifications: %+v", credits.InstanceCreditSpecifications)
	}
	volumes, err := p.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{id}}}})
	p.must(err)
	for _, v := range volumes.Volumes {
		if *v.Attachments[0].Device == *i.RootDeviceName {
			s.RootSize, s.RootType, s.VolumeTags = *v.Size, v.VolumeType, tagMap(v.Tags)
		}
	}
	return s
}

func (p provider) destroyInstance(id string) {
	ctx := p.t.Context()
	for _, in := range []ec2.ModifyInstanceAttributeInput{
		{DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(false)}}, {DisableApiStop: &types.AttributeBooleanValue{Value: aws.Bool(false)}},
	} {
		in.InstanceId = &id
		_, err := p.ModifyInstanceAttribute(ctx, &in)
		p.must(err)
	}
	_, err := p.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	p.must(err)
	p.awaitInstance(id, "terminated")
}

func (p provider) imageFromInstance(instance, account string) {
	ctx := p.t.Context()
	type state struct {
		Name, Description, Owner, Architecture, Root string
		State                                        types.ImageState
		Snapshots                                    int
		Tags                                         map[string]string
	}
	want := state{"story", "of the story", account, "x86_64", "/dev/sda1", types.ImageStateAvailable, 1, firstTags}
	specs := append(tagsFor(types.ResourceTypeImage, firstTags), tagsFor(types.ResourceTypeSnapshot, firstTags)...)
	made, err := p.CreateImage(ctx, &ec2.CreateImageInput{
		InstanceId: &instance, Name: &want.Name, Description: &want.Description, NoReboot: aws.Bool(true), TagSpecifications: specs,
	})
	p.must(err)
	named := &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}}
	eventually(p.t, want.Name+" is available", func() error {
		out, err := p.DescribeImages(ctx, named)
		if err == nil && out.Images[0].State != types.ImageStateAvailable {
			err = errNotYet
		}
		return err
	})
	var snapshot *string
	read := func() state {
		out, err := p.DescribeImages(ctx, named)
		p.must(err)
		i := out.Images[0]
		s := state{*i.Name, aws.ToString(i.Description), *i.OwnerId, string(i.Architecture), *i.RootDeviceName, i.State, len(i.BlockDeviceMappings), tagMap(i.Tags)}
		snapshot = i.BlockDeviceMappings[0].Ebs.SnapshotId
		return s
	}
	p.equal("aws_ami_from_instance", want, read())
	want.Description, want.Tags = "of another story", p.retag(*made.ImageId)
	_, err = p.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: made.ImageId, Description: &types.AttributeValue{Value: &want.Description}})
	p.must(err)
	p.equal("aws_ami_from_instance", want, read())
	_, err = p.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: made.ImageId})
	p.must(err)
	_, err = p.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: snapshot})
	p.must(err)
	gone, err := p.DescribeImages(ctx, named)
	p.must(err) // EC2 answers with nothing for a while
	if len(gone.Images) != 0 {
		p.t.Errorf("after deregistration there is %+v", gone.Images)
	}
}

// volume makes a volume, attaches it, makes it larger, detaches and deletes it.
func (p provider) volume(zone, instance string) {
	ctx := p.t.Context()
	type state struct {
		Zone                   string
		Size                   int32
		Type                   types.VolumeType
		Encrypted, MultiAttach bool
		Tags                   map[string]string
	}
	want := state{Zone: zone, Size: 1, Type: types.VolumeTypeGp3, Tags: firstTags}
	made, err := p.CreateVolume(ctx, &ec2.CreateVolumeInput{
		AvailabilityZone: &zone, Size: &want.Size, VolumeType: want.Type, TagSpecifications: tagsFor(types.ResourceTypeVolume, firstTags),
	})
	p.must(err)
	id := *made.VolumeId
	named := &ec2.DescribeVolumesInput{VolumeIds: []string{id}}
	p.awaitVolume(id)
	read := func() state {
		out, err := p.DescribeVolumes(ctx, named)
		p.must(err)
		v := out.Volumes[0]
		return state{*v.AvailabilityZone, *v.Size, v.VolumeType, *v.Encrypted, aws.ToBool(v.MultiAttachEnabled), tagMap(v.Tags)}
	}
	p.equal("aws_ebs_volume", want, read())

	device := "/dev/sdf"
	_, err = p.AttachVolume(ctx, &ec2.AttachVolumeInput{Device: &device, InstanceId: &instance, VolumeId: &id})
	p.must(err)
	attachment := &ec2.DescribeVolumesInput{VolumeIds: []string{id}, Filters: []types.Filter{
		{Name: aws.String("attachment.device"), Values: []string{device}}, {Name: aws.String("attachment.instance-id"), Values: []string{instance}},
	}}
	eventually(p.t, id+" is attached", func() error {
		out, err := p.DescribeVolumes(ctx, attachment)
		if err == nil && (len(out.Volumes) != 1 || out.Volumes[0].Attachments[0].State != types.VolumeAttachmentStateAttached) {
			err = errNotYet
		}
		return err
	})

	want.Size, want.Tags = 2, p.retag(id)
	_, err = p.ModifyVolume(ctx, &ec2.ModifyVolumeInput{VolumeId: &id, Size: &want.Size})
	p.must(err)
	eventually(p.t, id+" is modified", func() error {
		out, err := p.DescribeVolumesModifications(ctx, &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{id}})
		if err == nil && out.VolumesModifications[0].ModificationState != types.VolumeModificationStateCompleted {
			err = errNotYet
		}
		return err
	})
	p.equal("aws_ebs_volume", want, read())

	_, err = p.DetachVolume(ctx, &ec2.DetachVolumeInput{Device: &device, Force: aws.Bool(false), InstanceId: &instance, VolumeId: &id})
	p.must(err)
	p.awaitVolume(id)
	_, err = p.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
	p.must(err)
	eventually(p.t, id+" is deleted", func() error {
		_, err := p.DescribeVolumes(ctx, named)
		if errorCode(err) == "InvalidVolume.NotFound" {
			return nil
		}
		return errors.Join(err, errNotYet)
	})
}

func (p provider) address(instance string) {
	ctx := p.t.Context()
	type state struct {
		Domain             types.DomainType
		Instance, PublicIP string
		Tags               map[string]string
	}
	made, err := p.AllocateAddress(ctx, &ec2.AllocateAddressInput{Domain: types.DomainTypeVpc, TagSpecifications: tagsFor(types.ResourceTypeElasticIp, firstTags)})
	p.must(err)
	id := made.AllocationId
	var association *string
	read := func() state {
		out, err := p.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{AllocationIds: []string{*id}})
		p.must(err)
		_, err = p.DescribeAddressesAttribute(ctx, &ec2.DescribeAddressesAttributeInput{AllocationIds: []string{*id}, Attribute: types.AddressAttributeNameDomainName})
		p.must(err)
		a := out.Addresses[0]
		association = a.AssociationId
		return state{a.Domain, aws.ToString(a.InstanceId), *a.PublicIp, tagMap(a.Tags)}
	}
	want := state{types.DomainTypeVpc, "", *made.PublicIp, firstTags}
	p.equal("aws_eip", want, read())
	_, err = p.AssociateAddress(ctx, &ec2.AssociateAddressInput{AllocationId: id, AllowReassociation: aws.Bool(true), InstanceId: &instance})
	p.must(err)
	want.Instance, want.Tags = instance, p.retag(*id)
	p.equal("aws_eip", want, read())
	_, err = p.DisassociateAddress(ctx, &ec2.DisassociateAddressInput{AssociationId: association})
	p.must(err)
	want.Instance = ""
	p.equal("aws_eip", want, read())
	_, err = p.ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: id})
	p.must(err)
	_, err = p.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{AllocationIds: []string{*id}})
	p.gone(err, "InvalidAllocationID.NotFound")
}
