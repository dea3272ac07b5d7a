package authz_test

import (
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// TestLaunchTemplates: policies see what a launch template says as if the request
// said it, and the template by its id however it is named.
func TestLaunchTemplates(t *testing.T) {
	w := newWorld(t)
	account := w.admin().AccountID
	id := w.user(t, account, "alice", "")
	template := func(name string, data ec2types.RequestLaunchTemplateData) string {
		out := must[any](t)(w.call(t, w.admin(), "CreateLaunchTemplate", &ec2types.CreateLaunchTemplateInput{LaunchTemplateName: &name, LaunchTemplateData: &data}))
		return *out.(*ec2types.CreateLaunchTemplateOutput).LaunchTemplate.LaunchTemplateId
	}
	small := template("small", ec2types.RequestLaunchTemplateData{ImageId: &w.image, InstanceType: new("t3.nano")})
	template("large", ec2types.RequestLaunchTemplateData{
		ImageId: &w.image, InstanceType: new("m5.large"), MetadataOptions: &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: new("required")},
		TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("env"), Value: new("prod")}}}},
	})
	run := func(name string, change func(*ec2types.RunInstancesInput)) any {
		in := &ec2types.RunInstancesInput{
			LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateName: &name}, MinCount: new(int32(1)), MaxCount: new(int32(1)), DryRun: new(true),
		}
		if change != nil {
			change(in)
		}
		return in
	}
	larger := func(in *ec2types.RunInstancesInput) { in.InstanceType = new("m5.large") }
	named := func(in *ec2types.RunInstancesInput) { in.KeyName = new("k") }
	const smallOnly = launchAll + `, {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringNotLike": {"ec2:InstanceType": "t3.*"}}}`
	const tokens = launchAll + `,` + tagAll + `, {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}}}`
	asIs := `{"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*", "Condition": {"ArnLike": {"ec2:LaunchTemplate": "arn:aws:ec2:*:*:launch-template/` + small + `"}, "Bool": {"ec2:IsLaunchTemplateResource": "true"}}},
		{"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:launch-template/*"}`
	only := `{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:launch-template/` + small + `"}`
	for _, c := range []struct {
		name, statements, action string
		input                    any
		allowed                  bool
	}{
		{"type of the template", smallOnly, "RunInstances", run("small", nil), true},
		{"large type of the template", smallOnly + `,` + tagAll, "RunInstances", run("large", nil), false},
		{"type of the request", smallOnly, "RunInstances", run("small", larger), false},
		{"tokens of the template", tokens, "RunInstances", run("large", nil), true},
		{"no tokens in the template", tokens, "RunInstances", run("small", nil), false},
		{"tags of the template", launchAll, "RunInstances", run("large", nil), false},
		{"image of the template", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*::image/*"}`, "RunInstances", run("small", nil), false},
		{"another template", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:launch-template/` + small + `"}`, "RunInstances", run("small", nil), false},
		{"as the template is", asIs, "RunInstances", run("small", nil), true},
		{"as another template is", asIs + `,` + tagAll, "RunInstances", run("large", nil), false},
		{"with another type", asIs, "RunInstances", run("small", larger), false},
		{"with a key pair", asIs, "RunInstances", run("small", named), false},
		{"nothing allowed, no such template", `{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}`, "RunInstances", run("none", nil), false},
		{"version by id", only, "CreateLaunchTemplateVersion", &ec2types.CreateLaunchTemplateVersionInput{LaunchTemplateId: &small, LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &w.image}, DryRun: new(true)}, true},
		{"version by name", only, "CreateLaunchTemplateVersion", &ec2types.CreateLaunchTemplateVersionInput{LaunchTemplateName: new("small"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &w.image}, DryRun: new(true)}, true},
		{"deletion by name", only, "DeleteLaunchTemplate", &ec2types.DeleteLaunchTemplateInput{LaunchTemplateName: new("small"), DryRun: new(true)}, true},
		{"deletion of another", only, "DeleteLaunchTemplate", &ec2types.DeleteLaunchTemplateInput{LaunchTemplateName: new("large"), DryRun: new(true)}, false},
		{"default version by name", only, "ModifyLaunchTemplate", &ec2types.ModifyLaunchTemplateInput{LaunchTemplateName: new("large"), DefaultVersion: new("1"), DryRun: new(true)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.allow(t, account, "alice", c.statements)
			_, err := w.call(t, id, c.action, c.input)
			if code := model.CodeOf(err); (c.allowed && code != model.CodeDryRunOperation) || (!c.allowed && code != api.CodeUnauthorizedOperation) {
				t.Fatalf("allowed should be %v, got %v", c.allowed, err)
			}
		})
	}
	w.allow(t, account, "alice", launchAll)
	if _, err := w.call(t, id, "RunInstances", run("none", nil)); !strings.HasPrefix(model.CodeOf(err), "InvalidLaunchTemplateName.") {
		t.Errorf("who may launch learns that there is no such template: %v", err)
	}
}
