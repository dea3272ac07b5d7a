package daemon_test

import (
	"testing"

	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
)

// TestImageAlias: a parameter's name is taken where an image's id can be, and means
// the image that it means at that time.
func TestImageAlias(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	const alias = "resolve:ssm:/aws/service/bundt/boot-sector/latest/image_id"
	first := c.bootSector()
	run := func(token string) string {
		t.Helper()
		out, err := c.RunInstances(ctx, &ec2types.RunInstancesInput{
			ImageId: new(alias), InstanceType: new("b1.pico"), MinCount: one(), MaxCount: one(), ClientToken: &token,
			TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("a"), Value: new("b")}}}},
		})
		c.must(err)
		return *out.Instances[0].InstanceId
	}
	instance := run("token")
	if got := c.instance(instance); *got.ImageId != *first || len(got.Tags) != 1 {
		t.Errorf("the instance is of %s, want %s, with the tags %+v", *got.ImageId, *first, got.Tags)
	}
	_, err := c.CreateLaunchTemplate(ctx, &ec2types.CreateLaunchTemplateInput{
		LaunchTemplateName: new("newest"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: new(alias), InstanceType: new("b1.pico")},
	})
	c.must(err)
	fsys, err := images.FS("boot-sector")
	c.must(err)
	b, err := c.build(c.upload(fsys), new("second"))
	c.must(err)
	second := &b.ImageId
	found, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{alias}})
	c.must(err)
	if len(found.Images) != 1 || *found.Images[0].ImageId != *second {
		t.Errorf("the alias is %+v, want %s", found.Images, *second)
	}
	if again := run("token"); again != instance {
		t.Errorf("the repeated call launched %s, not %s", again, instance)
	}
	version, err := c.CreateLaunchTemplateVersion(ctx, &ec2types.CreateLaunchTemplateVersionInput{
		LaunchTemplateName: new("newest"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: new(alias)}, ResolveAlias: new(true),
	})
	c.must(err)
	if got := *version.LaunchTemplateVersion.LaunchTemplateData.ImageId; got != *second {
		t.Errorf("the new version's image is %s, want %s", got, *second)
	}
	for resolve, want := range map[bool]string{false: alias, true: *second} {
		shown, err := c.DescribeLaunchTemplateVersions(ctx, &ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: new("newest"), ResolveAlias: &resolve})
		c.must(err)
		if got := *shown.LaunchTemplateVersions[0].LaunchTemplateData.ImageId; got != want {
			t.Errorf("the template's image is %s (resolved: %v), want %s", got, resolve, want)
		}
	}
	i := c.launch(ec2types.RunInstancesInput{LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("newest")}})
	if *i.ImageId != *second {
		t.Errorf("the template's instance is of %s, want %s", *i.ImageId, *second)
	}
	for _, unknown := range []string{"resolve:ssm:/aws/none", "resolve:ssm:", alias + ":1"} {
		_, err := c.RunInstances(ctx, &ec2types.RunInstancesInput{ImageId: &unknown, MinCount: one(), MaxCount: one()})
		wantCode(t, unknown, err, "InvalidParameterValue")
		_, err = c.DescribeImages(ctx, &ec2types.DescribeImagesInput{ImageIds: []string{unknown}})
		wantCode(t, unknown, err, "InvalidParameterValue")
	}
}
