package authz_test

import (
	"testing"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// TestPassRole: who gives an instance a profile must be allowed to pass its role.
func TestPassRole(t *testing.T) {
	w := newWorld(t)
	account := w.admin().AccountID
	id := w.user(t, account, "alice", "")
	trust := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`
	role := must[model.Role](t)(w.auth.CreateRole(t.Context(), account, model.Role{Name: "app", Trust: trust}))
	must[model.InstanceProfile](t)(w.auth.CreateProfile(t.Context(), account, "web", "", nil))
	must[any](t)(nil, w.auth.AddRole(t.Context(), account, "web", "app"))
	web := &ec2types.IamInstanceProfileSpecification{Name: new("web")}
	instance, other := w.launch(t, w.admin(), "env", "test"), w.launch(t, w.admin())
	out := must[any](t)(w.call(t, w.admin(), "AssociateIamInstanceProfile", &ec2types.AssociateIamInstanceProfileInput{InstanceId: &instance, IamInstanceProfile: web}))
	association := out.(*ec2types.AssociateIamInstanceProfileOutput).IamInstanceProfileAssociation.AssociationId
	must[any](t)(w.call(t, w.admin(), "CreateLaunchTemplate", &ec2types.CreateLaunchTemplateInput{LaunchTemplateName: new("web"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
		ImageId: &w.image, IamInstanceProfile: &ec2types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: new("web")},
	}}))
	run := w.runInput()
	run.IamInstanceProfile, run.DryRun = web, new(true)
	fromTemplate := &ec2types.RunInstancesInput{
		LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("web")}, MinCount: new(int32(1)), MaxCount: new(int32(1)), DryRun: new(true),
	}
	associate := &ec2types.AssociateIamInstanceProfileInput{InstanceId: &other, IamInstanceProfile: web}
	replace := &ec2types.ReplaceIamInstanceProfileAssociationInput{AssociationId: association, IamInstanceProfile: web}
	const ec2 = `{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}`
	pass := `, {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "` + role.ARN() + `", "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}}`
	const passOther = `, {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "arn:aws:iam::*:role/other"}`
	ofTest := `{"Effect": "Allow", "Action": "ec2:DisassociateIamInstanceProfile", "Resource": "arn:aws:ec2:*:*:instance/` + instance + `", "Condition": {"StringEquals": {"aws:ResourceTag/env": "test"}}}`
	ofOther := `{"Effect": "Allow", "Action": "ec2:DisassociateIamInstanceProfile", "Resource": "arn:aws:ec2:*:*:instance/` + other + `"}`
	for _, c := range []struct {
		name, statements, action string
		input                    any
		allowed                  bool
	}{
		{"launch", ec2 + pass, "RunInstances", run, true},
		{"launch without passing", ec2, "RunInstances", run, false},
		{"launch passing another", ec2 + passOther, "RunInstances", run, false},
		{"template", ec2 + pass, "RunInstances", fromTemplate, true},
		{"template without passing", ec2, "RunInstances", fromTemplate, false},
		{"replacing without passing", ec2, "ReplaceIamInstanceProfileAssociation", replace, false},
		{"associating without passing", ec2, "AssociateIamInstanceProfile", associate, false},
		{"associating passing another", ec2 + passOther, "AssociateIamInstanceProfile", associate, false},
		{"ending of another instance", ofOther, "DisassociateIamInstanceProfile", &ec2types.DisassociateIamInstanceProfileInput{AssociationId: association}, false},
		{"ending of the instance", ofTest, "DisassociateIamInstanceProfile", &ec2types.DisassociateIamInstanceProfileInput{AssociationId: association}, true},
		{"associating", ec2 + pass, "AssociateIamInstanceProfile", associate, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.allow(t, account, "alice", c.statements)
			_, err := w.call(t, id, c.action, c.input)
			if code := model.CodeOf(err); c.allowed && err != nil && code != model.CodeDryRunOperation || !c.allowed && code != api.CodeUnauthorizedOperation {
				t.Fatalf("allowed should be %v, got %v", c.allowed, err)
			}
		})
	}
}

// TestImageAlias: who names an image by a parameter must be allowed to read it.
func TestImageAlias(t *testing.T) {
	w := newWorld(t)
	account := w.admin().AccountID
	id := w.user(t, account, "alice", "")
	run := w.runInput()
	run.ImageId, run.DryRun = new("resolve:ssm:/aws/service/bundt/tiny/latest/image_id"), new(true)
	const read = `, {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": "arn:aws:ssm:*::parameter/aws/service/bundt/tiny/*"}`
	const readOther = `, {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": "arn:aws:ssm:*::parameter/aws/service/debian/*"}`
	other := `, {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*::image/` + w.image + `"}`
	for name, c := range map[string]struct{ statements, code string }{
		"both":                {launchAll + read, model.CodeDryRunOperation},
		"only to launch":      {launchAll, api.CodeUnauthorizedOperation},
		"another parameter":   {launchAll + readOther, api.CodeUnauthorizedOperation},
		"not with this image": {launchAll + read + other, api.CodeUnauthorizedOperation},
	} {
		w.allow(t, account, "alice", c.statements)
		if _, err := w.call(t, id, "RunInstances", run); model.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}
