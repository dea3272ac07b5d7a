package daemon_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/metadata"
	fakenet "github.com/bundt/bundt/pkg/network/fake"
)

const (
	trustEC2    = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`
	trustNobody = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`
	readOnly    = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}]}`
)

// guests is a cloud whose guests' metadata can be asked.
type guests struct {
	*cloud
	net *fakenet.Datapath
}

func newGuests(t *testing.T) *guests {
	net := new(fakenet.Datapath)
	return &guests{newCloud(t, daemon.Parts{Datapath: net}), net}
}

// profile makes an instance profile with a role of this trust policy that may read.
func (g *guests) profile(name, trust string) string {
	g.t.Helper()
	ctx := g.t.Context()
	_, err := g.CreateRole(ctx, &iamtypes.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	g.must(err)
	_, err = g.PutRolePolicy(ctx, &iamtypes.PutRolePolicyInput{RoleName: &name, PolicyName: new("read"), PolicyDocument: new(readOnly)})
	g.must(err)
	out, err := g.CreateInstanceProfile(ctx, &iamtypes.CreateInstanceProfileInput{InstanceProfileName: &name, Path: new("/app/")})
	g.must(err)
	_, err = g.AddRoleToInstanceProfile(ctx, &iamtypes.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &name})
	g.must(err)
	return *out.InstanceProfile.Arn
}

// metadata asks an instance's metadata service, by version 2.
func (g *guests) metadata(id, path string) (int, string) {
	g.t.Helper()
	server := metadata.New(metadata.ServerOptions{Lookup: func(*http.Request) (metadata.Document, bool) {
		for _, p := range g.net.Config().Ports {
			if p.InstanceID == id {
				return p.Metadata, true
			}
		}
		return metadata.Document{}, false
	}})
	ask := func(method, path, header, value string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, "http://169.254.169.254"+path, nil)
		r.Header.Set(header, value)
		server.ServeHTTP(w, r)
		return w
	}
	token := ask("PUT", "/latest/api/token", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60").Body.String()
	got := ask("GET", "/latest/meta-data/"+path, "X-Aws-Ec2-Metadata-Token", token)
	return got.Code, got.Body.String()
}

// told waits until a metadata path's JSON has this code.
func (g *guests) told(id, path, code string) (answer map[string]string) {
	g.t.Helper()
	g.until(path+" says "+code, func() error {
		status, body := g.metadata(id, path)
		answer = map[string]string{}
		if err := json.Unmarshal([]byte(body), &answer); status != 200 || err != nil || answer["Code"] != code {
			return errors.New(body)
		}
		return nil
	})
	return answer
}

func TestInstanceProfile(t *testing.T) {
	g := newGuests(t)
	ctx := t.Context()
	arn := g.profile("reader", trustEC2)
	image := g.bootSector()
	i := g.launch(ec2types.RunInstancesInput{ImageId: image, InstanceType: new("b1.pico"), IamInstanceProfile: &ec2types.IamInstanceProfileSpecification{Name: new("reader")}})
	id := *i.InstanceId
	if p := g.instance(id).IamInstanceProfile; p == nil || *p.Arn != arn || !strings.HasPrefix(*p.Id, "AIPA") {
		t.Errorf("the instance's profile is %+v", p)
	}
	for filter, want := range map[string]string{"arn": arn, "name": "reader", "id": *g.instance(id).IamInstanceProfile.Id} {
		for value, count := range map[string]int{want: 1, "none": 0} {
			found, err := g.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{Filters: by("iam-instance-profile."+filter, value)})
			g.must(err)
			if len(found.Reservations) != count {
				t.Errorf("%d reservations are found by the profile's %s %s, want %d", len(found.Reservations), filter, value, count)
			}
		}
	}
	info := g.told(id, "iam/info", "Success")
	if info["InstanceProfileArn"] != arn || info["InstanceProfileId"] != *g.instance(id).IamInstanceProfile.Id {
		t.Errorf("iam/info is %v", info)
	}
	if _, list := g.metadata(id, "iam/security-credentials/"); list != "reader" {
		t.Errorf("the roles are %q", list)
	}
	secret := g.told(id, "iam/security-credentials/reader", "Success")
	if secret["Type"] != "AWS-HMAC" || !strings.HasPrefix(secret["AccessKeyId"], "ASIA") || secret["Expiration"] <= secret["LastUpdated"] {
		t.Errorf("the credentials are %v", secret)
	}

	// The credentials are the role's, everywhere.
	e, err := g.DescribeEndpoint(ctx, &bundttypes.DescribeEndpointInput{})
	g.must(err)
	as := aws.Credentials{AccessKeyID: secret["AccessKeyId"], SecretAccessKey: secret["SecretAccessKey"], SessionToken: secret["Token"]}
	who := "assumed-role/reader/" + id
	if status, body := callAs(t, http.DefaultClient, e, as, "sts", "Action=GetCallerIdentity&Version=2011-06-15"); status != 200 || !strings.Contains(body, who) {
		t.Errorf("the guest is %d %s, want %s", status, body, who)
	}
	if status, body := callAs(t, http.DefaultClient, e, as, "ec2", describe); status != 200 || !strings.Contains(body, id) {
		t.Errorf("what the role allows is answered %d %s", status, body)
	}
	if status, body := callAs(t, http.DefaultClient, e, as, "ec2", "Action=DescribeImages&Version=2016-11-15"); status != 403 {
		t.Errorf("what the role does not allow is answered %d %s", status, body)
	}

	// A role that EC2 is no longer trusted with gives no more of them.
	_, err = g.UpdateAssumeRolePolicy(ctx, &iamtypes.UpdateAssumeRolePolicyInput{RoleName: new("reader"), PolicyDocument: new(trustNobody)})
	g.must(err)
	if refused := g.told(id, "iam/security-credentials/reader", "AssumeRoleUnauthorizedAccess"); refused["AccessKeyId"] != "" || refused["Message"] == "" {
		t.Errorf("the refusal is %v", refused)
	}
	_, err = g.UpdateAssumeRolePolicy(ctx, &iamtypes.UpdateAssumeRolePolicyInput{RoleName: new("reader"), PolicyDocument: new(trustEC2)})
	g.must(err)
	g.told(id, "iam/security-credentials/reader", "Success")
	_, err = g.RemoveRoleFromInstanceProfile(ctx, &iamtypes.RemoveRoleFromInstanceProfileInput{InstanceProfileName: new("reader"), RoleName: new("reader")})
	g.must(err)
	g.told(id, "iam/info", "InstanceProfileNotFound")
	if status, _ := g.metadata(id, "iam/security-credentials/reader"); status != 404 {
		t.Errorf("the role that is gone is answered %d", status)
	}
}

func TestInstanceProfileAssociations(t *testing.T) {
	g := newGuests(t)
	ctx := t.Context()
	first, second := g.profile("first", trustEC2), g.profile("second", trustEC2)
	id := g.run(g.bootSector())
	associations := func(filters []ec2types.Filter, ids ...string) ([]ec2types.IamInstanceProfileAssociation, error) {
		out, err := g.DescribeIamInstanceProfileAssociations(ctx, &ec2types.DescribeIamInstanceProfileAssociationsInput{AssociationIds: ids, Filters: filters})
		if err != nil {
			return nil, err
		}
		return out.IamInstanceProfileAssociations, nil
	}
	if status, body := g.metadata(id, "iam/info"); status != 404 {
		t.Errorf("without a profile iam/info is %d %s", status, body)
	}
	named := func(name string) *ec2types.IamInstanceProfileSpecification {
		return &ec2types.IamInstanceProfileSpecification{Name: &name}
	}
	made, err := g.AssociateIamInstanceProfile(ctx, &ec2types.AssociateIamInstanceProfileInput{InstanceId: &id, IamInstanceProfile: &ec2types.IamInstanceProfileSpecification{Arn: &first}})
	g.must(err)
	a := made.IamInstanceProfileAssociation
	if *a.State != "associating" || *a.InstanceId != id || *a.IamInstanceProfile.Arn != first || a.Timestamp.IsZero() {
		t.Errorf("the association is %+v", a)
	}
	g.told(id, "iam/security-credentials/first", "Success")
	_, err = g.AssociateIamInstanceProfile(ctx, &ec2types.AssociateIamInstanceProfileInput{InstanceId: &id, IamInstanceProfile: named("second")})
	wantCode(t, "a second profile", err, "IncorrectState")

	replaced, err := g.ReplaceIamInstanceProfileAssociation(ctx, &ec2types.ReplaceIamInstanceProfileAssociationInput{AssociationId: a.AssociationId, IamInstanceProfile: named("second")})
	g.must(err)
	b := replaced.IamInstanceProfileAssociation
	if *b.AssociationId == *a.AssociationId || *b.IamInstanceProfile.Arn != second {
		t.Errorf("the association that replaces it is %+v", b)
	}
	g.told(id, "iam/security-credentials/second", "Success")
	for name, filters := range map[string][]ec2types.Filter{"no filter": nil, "instance": by("instance-id", id), "state": by("state", "associated")} {
		if found, err := associations(filters); err != nil || len(found) != 1 || *found[0].AssociationId != *b.AssociationId || *found[0].State != "associated" {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	if found, err := associations(by("instance-id", "i-0123456789abcdef0")); err != nil || len(found) != 0 {
		t.Errorf("of another instance there are %+v, %v", found, err)
	}
	_, err = associations(nil, *a.AssociationId)
	wantCode(t, "an association that is gone", err, "InvalidAssociationID.NotFound")

	ended, err := g.DisassociateIamInstanceProfile(ctx, &ec2types.DisassociateIamInstanceProfileInput{AssociationId: b.AssociationId})
	g.must(err)
	if got := ended.IamInstanceProfileAssociation; *got.State != "disassociating" || *got.AssociationId != *b.AssociationId {
		t.Errorf("the association that ends is %+v", got)
	}
	_, err = g.DisassociateIamInstanceProfile(ctx, &ec2types.DisassociateIamInstanceProfileInput{AssociationId: b.AssociationId})
	wantCode(t, "ending it again", err, "InvalidAssociationID.NotFound")
	if found, err := associations(nil); err != nil || len(found) != 0 || g.instance(id).IamInstanceProfile != nil {
		t.Errorf("after its end: %+v, %v, %+v", found, err, g.instance(id).IamInstanceProfile)
	}
	g.until("the metadata service forgets the profile", func() error {
		if status, body := g.metadata(id, "iam/info"); status != 404 {
			return errors.New(body)
		}
		return nil
	})
}

func TestLaunchWithProfile(t *testing.T) {
	g := newGuests(t)
	ctx := t.Context()
	arn := g.profile("app", trustEC2)
	_, err := g.CreateInstanceProfile(ctx, &iamtypes.CreateInstanceProfileInput{InstanceProfileName: new("empty")})
	g.must(err)
	image := g.bootSector()
	spec := func(name, arn string) *ec2types.IamInstanceProfileSpecification {
		out := &ec2types.IamInstanceProfileSpecification{}
		if name != "" {
			out.Name = &name
		}
		if arn != "" {
			out.Arn = &arn
		}
		return out
	}
	for name, test := range map[string]struct {
		profile *ec2types.IamInstanceProfileSpecification
		code    string
	}{
		"name and ARN":     {spec("app", arn), "InvalidParameterCombination"},
		"unknown name":     {spec("none", ""), "InvalidParameterValue"},
		"bad name":         {spec("a b", ""), "InvalidParameterValue"},
		"unknown ARN":      {spec("", arn+"x"), "InvalidParameterValue"},
		"another path":     {spec("", strings.Replace(arn, "/app/", "/other/", 1)), "InvalidParameterValue"},
		"another's ARN":    {spec("", "arn:aws:iam::999999999999:instance-profile/app/app"), "InvalidParameterValue"},
		"without any role": {spec("empty", ""), "InvalidParameterValue"},
	} {
		_, err := g.RunInstances(ctx, &ec2types.RunInstancesInput{ImageId: image, MinCount: one(), MaxCount: one(), IamInstanceProfile: test.profile})
		wantCode(t, name, err, test.code)
	}
	_, err = g.CreateLaunchTemplate(ctx, &ec2types.CreateLaunchTemplateInput{LaunchTemplateName: new("with-profile"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
		ImageId: image, InstanceType: new("b1.pico"), IamInstanceProfile: &ec2types.LaunchTemplateIamInstanceProfileSpecificationRequest{Arn: &arn},
	}})
	g.must(err)
	shown, err := g.DescribeLaunchTemplateVersions(ctx, &ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: new("with-profile")})
	g.must(err)
	if p := shown.LaunchTemplateVersions[0].LaunchTemplateData.IamInstanceProfile; p == nil || *p.Arn != arn {
		t.Errorf("the template has the profile %+v", p)
	}
	i := g.launch(ec2types.RunInstancesInput{LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("with-profile")}})
	if p := g.instance(*i.InstanceId).IamInstanceProfile; p == nil || *p.Arn != arn {
		t.Errorf("the instance of the template has the profile %+v", p)
	}
	g.told(*i.InstanceId, "iam/security-credentials/app", "Success")
	data, err := g.GetLaunchTemplateData(ctx, &ec2types.GetLaunchTemplateDataInput{InstanceId: i.InstanceId})
	g.must(err)
	if p := data.LaunchTemplateData.IamInstanceProfile; p == nil || *p.Arn != arn {
		t.Errorf("a template of the instance has the profile %+v", p)
	}
}
