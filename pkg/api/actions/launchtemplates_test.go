package actions_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

type templateData = ec2types.RequestLaunchTemplateData

// template makes a launch template and returns its id.
func (w *imageWorld) template(name string, data templateData) *string {
	w.t.Helper()
	return must[ec2types.CreateLaunchTemplateOutput](w, "CreateLaunchTemplate", &ec2types.CreateLaunchTemplateInput{
		LaunchTemplateName: &name, LaunchTemplateData: &data,
	}).LaunchTemplate.LaunchTemplateId
}

// version adds a version to a template.
func (w *imageWorld) version(id *string, source string, data templateData) ec2types.LaunchTemplateVersion {
	w.t.Helper()
	in := &ec2types.CreateLaunchTemplateVersionInput{LaunchTemplateId: id, LaunchTemplateData: &data}
	if source != "" {
		in.SourceVersion = &source
	}
	return *must[ec2types.CreateLaunchTemplateVersionOutput](w, "CreateLaunchTemplateVersion", in).LaunchTemplateVersion
}

// versions are the numbers of the versions that a request describes.
func (w *imageWorld) versions(in ec2types.DescribeLaunchTemplateVersionsInput) (numbers []int64) {
	w.t.Helper()
	for _, v := range must[ec2types.DescribeLaunchTemplateVersionsOutput](w, "DescribeLaunchTemplateVersions", &in).LaunchTemplateVersions {
		numbers = append(numbers, *v.VersionNumber)
	}
	return numbers
}

func tagSpec(resource string, pairs ...string) ec2types.TagSpecification {
	s := ec2types.TagSpecification{ResourceType: &resource}
	for i := 0; i < len(pairs); i += 2 {
		s.Tags = append(s.Tags, ec2types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return s
}

func tagsIn(tags []ec2types.Tag) model.Tags {
	out := model.Tags{}
	for _, t := range tags {
		out[*t.Key] = *t.Value
	}
	return out
}

func TestLaunchTemplates(t *testing.T) {
	w := newImageWorld(t)
	create := func(name, token string) (*ec2types.CreateLaunchTemplateOutput, error) {
		return as[ec2types.CreateLaunchTemplateOutput](w, w.me, "CreateLaunchTemplate", &ec2types.CreateLaunchTemplateInput{
			LaunchTemplateName: &name, LaunchTemplateData: &templateData{InstanceType: new("t3.nano")}, ClientToken: &token,
			TagSpecifications: []ec2types.TagSpecification{tagSpec("launch-template", "env", "dev")},
		})
	}
	first, err := create("web", "one")
	if err != nil {
		t.Fatal(err)
	}
	lt := first.LaunchTemplate
	if *lt.DefaultVersionNumber != 1 || *lt.LatestVersionNumber != 1 || *lt.LaunchTemplateName != "web" || tagsIn(lt.Tags)["env"] != "dev" || !lt.CreateTime.Equal(w.now) {
		t.Errorf("new template is %+v", lt)
	}
	again, err := create("web", "one")
	if err != nil || *again.LaunchTemplate.LaunchTemplateId != *lt.LaunchTemplateId {
		t.Errorf("the same token again: %+v, %v", again, err)
	}
	for _, bad := range []struct{ name, token, code string }{
		{"web2", "one", "IdempotentParameterMismatch"},
		{"web", "two", "InvalidLaunchTemplateName.AlreadyExistsException"},
		{"we", "", "InvalidLaunchTemplateName.MalformedException"},
		{"web*", "", "InvalidLaunchTemplateName.MalformedException"},
	} {
		if _, err := create(bad.name, bad.token); model.CodeOf(err) != bad.code {
			t.Errorf("creating %q with token %q: %v, want %s", bad.name, bad.token, err, bad.code)
		}
	}
	for code, data := range map[string]templateData{
		"UnsupportedOperation":  {KernelId: new("aki-1")},
		"InvalidParameterValue": {TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{{ResourceType: new("image"), Tags: []ec2types.Tag{{Key: new("a")}}}}},
		"MissingParameter":      {},
	} {
		refused[ec2types.CreateLaunchTemplateOutput](w, w.me, code, "CreateLaunchTemplate", &ec2types.CreateLaunchTemplateInput{LaunchTemplateName: new("bad"), LaunchTemplateData: &data})
	}

	for i := range 4 {
		w.template(fmt.Sprintf("more-%d", i), templateData{ImageId: new("ami-0123456789abcdef0")})
	}
	list := func(in ec2types.DescribeLaunchTemplatesInput) (names []string, next *string) {
		t.Helper()
		out := must[ec2types.DescribeLaunchTemplatesOutput](w, "DescribeLaunchTemplates", &in)
		for _, l := range out.LaunchTemplates {
			names = append(names, *l.LaunchTemplateName)
		}
		return names, out.NextToken
	}
	for name, in := range map[string]ec2types.DescribeLaunchTemplatesInput{
		"id and name":  {LaunchTemplateIds: []string{*lt.LaunchTemplateId}, LaunchTemplateNames: []string{"web"}},
		"tag":          {Filters: filter("tag:env", "dev")},
		"tag key":      {Filters: filter("tag-key", "env")},
		"name":         {Filters: filter("launch-template-name", "w*")},
		"name and tag": {LaunchTemplateNames: []string{"web", "more-1"}, Filters: filter("tag:env", "*")},
	} {
		if got, _ := list(in); !slices.Equal(got, []string{"web"}) {
			t.Errorf("by %s: %q", name, got)
		}
	}
	one, next := list(ec2types.DescribeLaunchTemplatesInput{MaxResults: new(int32(3))})
	rest, end := list(ec2types.DescribeLaunchTemplatesInput{MaxResults: new(int32(3)), NextToken: next})
	all := append(one, rest...)
	if slices.Sort(all); len(one) != 3 || end != nil || !slices.Equal(all, []string{"more-0", "more-1", "more-2", "more-3", "web"}) {
		t.Errorf("pages %q and %q", one, rest)
	}
	for code, in := range map[string]ec2types.DescribeLaunchTemplatesInput{
		"InvalidLaunchTemplateId.Malformed":           {LaunchTemplateIds: []string{*lt.LaunchTemplateId, "lt-1"}},
		"InvalidLaunchTemplateId.NotFound":            {LaunchTemplateIds: []string{*lt.LaunchTemplateId, "lt-0123456789abcdef0"}},
		"InvalidLaunchTemplateName.NotFoundException": {LaunchTemplateNames: []string{"web", "none"}},
	} {
		refused[ec2types.DescribeLaunchTemplatesOutput](w, w.me, code, "DescribeLaunchTemplates", &in)
	}
	refused[ec2types.DescribeLaunchTemplatesOutput](w, other, "InvalidLaunchTemplateId.NotFound", "DescribeLaunchTemplates", &ec2types.DescribeLaunchTemplatesInput{LaunchTemplateIds: []string{*lt.LaunchTemplateId}})
	must[ec2types.CreateTagsOutput](w, "CreateTags", &ec2types.CreateTagsInput{Resources: []string{*lt.LaunchTemplateId}, Tags: []ec2types.Tag{{Key: new("env"), Value: new("prod")}}})
	if got := must[ec2types.DescribeTagsOutput](w, "DescribeTags", &ec2types.DescribeTagsInput{Filters: filter("resource-type", "launch-template")}).Tags; len(got) != 1 || *got[0].Value != "prod" {
		t.Errorf("tags are %+v", got)
	}

	gone := must[ec2types.DeleteLaunchTemplateOutput](w, "DeleteLaunchTemplate", &ec2types.DeleteLaunchTemplateInput{LaunchTemplateName: new("web")}).LaunchTemplate
	if *gone.LaunchTemplateId != *lt.LaunchTemplateId {
		t.Errorf("deleted %+v", gone)
	}
	refused[ec2types.DeleteLaunchTemplateOutput](w, w.me, "InvalidLaunchTemplateId.NotFound", "DeleteLaunchTemplate", &ec2types.DeleteLaunchTemplateInput{LaunchTemplateId: lt.LaunchTemplateId})
	refused[ec2types.DeleteLaunchTemplateOutput](w, w.me, "InvalidLaunchTemplateName.NotFoundException", "DeleteLaunchTemplate", &ec2types.DeleteLaunchTemplateInput{LaunchTemplateName: new("web")})
	refused[ec2types.DeleteLaunchTemplateOutput](w, w.me, "MissingParameter", "DeleteLaunchTemplate", &ec2types.DeleteLaunchTemplateInput{})
	refused[ec2types.DeleteLaunchTemplateOutput](w, w.me, "InvalidParameterCombination", "DeleteLaunchTemplate", &ec2types.DeleteLaunchTemplateInput{LaunchTemplateId: lt.LaunchTemplateId, LaunchTemplateName: new("web")})
	if id := w.template("web", templateData{InstanceType: new("t3.nano")}); *id == *lt.LaunchTemplateId {
		t.Error("a name that is free again gives the deleted template")
	}
}

func TestLaunchTemplateVersions(t *testing.T) {
	w := newImageWorld(t)
	id := w.template("web", templateData{InstanceType: new("t3.nano"), KeyName: new("k"), Monitoring: &ec2types.LaunchTemplatesMonitoringRequest{Enabled: new(true)}})
	w.template("db-template", templateData{InstanceType: new("t3.micro")})
	two := w.version(id, "1", templateData{InstanceType: new("t3.small"), BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: new("/dev/sdb"), NoDevice: new("")}}})
	d := two.LaunchTemplateData
	if *two.VersionNumber != 2 || *two.DefaultVersion || *d.InstanceType != "t3.small" || *d.KeyName != "k" || !*d.Monitoring.Enabled || d.BlockDeviceMappings[0].NoDevice == nil {
		t.Errorf("version over another is %+v of %+v", two, d)
	}
	if three := w.version(id, "", templateData{EbsOptimized: new(true)}); *three.VersionNumber != 3 || three.LaunchTemplateData.InstanceType != nil {
		t.Errorf("version of its own is %+v", three.LaunchTemplateData)
	}
	token := &ec2types.CreateLaunchTemplateVersionInput{
		LaunchTemplateName: new("web"), SourceVersion: new("$Latest"), LaunchTemplateData: &templateData{KeyName: new("other")}, ClientToken: new("t"), VersionDescription: new("fourth"),
	}
	for range 2 {
		in := *token
		v := must[ec2types.CreateLaunchTemplateVersionOutput](w, "CreateLaunchTemplateVersion", &in).LaunchTemplateVersion
		if *v.VersionNumber != 4 || !*v.LaunchTemplateData.EbsOptimized || *v.VersionDescription != "fourth" {
			t.Errorf("version by a token is %+v", v)
		}
	}
	for name, c := range map[string]struct {
		in   ec2types.DescribeLaunchTemplateVersionsInput
		want []int64
	}{
		"all":            {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id}, []int64{1, 2, 3, 4}},
		"named":          {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: new("web"), Versions: []string{"$Latest", "$Default", "1"}}, []int64{1, 4}},
		"from 3":         {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, MinVersion: new("3")}, []int64{3, 4}},
		"2 to 3":         {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, MinVersion: new("2"), MaxVersion: new("3")}, []int64{2, 3}},
		"by type":        {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Filters: filter("instance-type", "t3.*")}, []int64{1, 2}},
		"by default":     {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Filters: filter("is-default-version", "true")}, []int64{1}},
		"EBS-optimized":  {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Filters: filter("ebs-optimized", "true")}, []int64{3, 4}},
		"no such image":  {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Filters: filter("image-id", "*")}, nil},
		"of every one's": {ec2types.DescribeLaunchTemplateVersionsInput{Versions: []string{"$Latest"}}, nil},
	} {
		got := w.versions(c.in)
		if name == "of every one's" {
			slices.Sort(got)
			c.want = []int64{1, 4}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	page := must[ec2types.DescribeLaunchTemplateVersionsOutput](w, "DescribeLaunchTemplateVersions", &ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, MaxResults: new(int32(3))})
	if rest := w.versions(ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, MaxResults: new(int32(3)), NextToken: page.NextToken}); len(page.LaunchTemplateVersions) != 3 || !slices.Equal(rest, []int64{4}) {
		t.Errorf("the second page is %d", rest)
	}
	for name, bad := range map[string]struct {
		in   ec2types.DescribeLaunchTemplateVersionsInput
		code string
	}{
		"nothing":         {ec2types.DescribeLaunchTemplateVersionsInput{}, "MissingParameter"},
		"number of all":   {ec2types.DescribeLaunchTemplateVersionsInput{Versions: []string{"1"}}, "InvalidParameterCombination"},
		"unknown":         {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Versions: []string{"1", "9"}}, "InvalidLaunchTemplateId.VersionNotFound"},
		"no number":       {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Versions: []string{"new"}}, "InvalidParameterValue"},
		"names and range": {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Versions: []string{"1"}, MinVersion: new("1")}, "InvalidParameterCombination"},
		"no range":        {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, MaxVersion: new("$Latest")}, "InvalidParameterValue"},
		"large page":      {ec2types.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, MaxResults: new(int32(201))}, "InvalidParameterValue"},
	} {
		if _, err := as[ec2types.DescribeLaunchTemplateVersionsOutput](w, w.me, "DescribeLaunchTemplateVersions", &bad.in); model.CodeOf(err) != bad.code {
			t.Errorf("%s: %v, want %s", name, err, bad.code)
		}
	}
	refused[ec2types.CreateLaunchTemplateVersionOutput](w, w.me, "InvalidLaunchTemplateId.VersionNotFound", "CreateLaunchTemplateVersion",
		&ec2types.CreateLaunchTemplateVersionInput{LaunchTemplateId: id, SourceVersion: new("17"), LaunchTemplateData: &templateData{KeyName: new("k")}})

	refused[ec2types.ModifyLaunchTemplateOutput](w, w.me, "MissingParameter", "ModifyLaunchTemplate", &ec2types.ModifyLaunchTemplateInput{LaunchTemplateId: id})
	refused[ec2types.ModifyLaunchTemplateOutput](w, w.me, "InvalidLaunchTemplateId.VersionNotFound", "ModifyLaunchTemplate", &ec2types.ModifyLaunchTemplateInput{LaunchTemplateId: id, DefaultVersion: new("5")})
	if got := must[ec2types.ModifyLaunchTemplateOutput](w, "ModifyLaunchTemplate", &ec2types.ModifyLaunchTemplateInput{LaunchTemplateName: new("web"), DefaultVersion: new("2")}).LaunchTemplate; *got.DefaultVersionNumber != 2 {
		t.Errorf("default version is %d", *got.DefaultVersionNumber)
	}
	out := must[ec2types.DeleteLaunchTemplateVersionsOutput](w, "DeleteLaunchTemplateVersions", &ec2types.DeleteLaunchTemplateVersionsInput{LaunchTemplateId: id, Versions: []string{"4", "2", "9", "1", "4"}})
	var deleted []int64
	for _, v := range out.SuccessfullyDeletedLaunchTemplateVersions {
		deleted = append(deleted, *v.VersionNumber)
	}
	why := map[int64]string{}
	for _, v := range out.UnsuccessfullyDeletedLaunchTemplateVersions {
		why[*v.VersionNumber] = *v.ResponseError.Code
	}
	if !slices.Equal(deleted, []int64{4, 1}) || !reflect.DeepEqual(why, map[int64]string{2: "unexpectedError", 9: "launchTemplateVersionDoesNotExist"}) {
		t.Errorf("deleted %d, refused %v", deleted, why)
	}
	if got := must[ec2types.DescribeLaunchTemplatesOutput](w, "DescribeLaunchTemplates", &ec2types.DescribeLaunchTemplatesInput{LaunchTemplateIds: []string{*id}}).LaunchTemplates[0]; *got.LatestVersionNumber != 3 {
		t.Errorf("the latest version is %d", *got.LatestVersionNumber)
	}
	if v := w.version(id, "", templateData{KeyName: new("k")}); *v.VersionNumber != 5 {
		t.Errorf("a number was used twice: %d", *v.VersionNumber)
	}
}

func TestLaunchFromTemplate(t *testing.T) {
	w := newImageWorld(t)
	image := w.image("tiny")
	script := base64.StdEncoding.EncodeToString([]byte("#!/bin/sh"))
	id := w.template("web", templateData{
		ImageId: &image, InstanceType: new("t3.nano"), UserData: &script, DisableApiTermination: new(true),
		MetadataOptions: &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: new("required")},
		BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{
			{DeviceName: new("/dev/sda1"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: new(int32(10))}},
			{DeviceName: new("/dev/sdf"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: new(int32(3))}},
		},
		TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{
			ec2types.LaunchTemplateTagSpecificationRequest(tagSpec("instance", "Name", "web", "env", "dev")),
			ec2types.LaunchTemplateTagSpecificationRequest(tagSpec("volume", "for", "web")),
		},
	})
	w.version(id, "1", templateData{InstanceType: new("t3.micro")})
	run := func(in ec2types.RunInstancesInput) (*ec2types.RunInstancesOutput, error) {
		in.MinCount, in.MaxCount = new(int32(1)), new(int32(1))
		return as[ec2types.RunInstancesOutput](w, w.me, "RunInstances", &in)
	}
	launch := func(in ec2types.RunInstancesInput) ec2types.Instance {
		t.Helper()
		out, err := run(in)
		if err != nil {
			t.Fatal(err)
		}
		return out.Instances[0]
	}
	sizes := func(i ec2types.Instance) map[string]int32 {
		got := map[string]int32{}
		for _, b := range i.BlockDeviceMappings {
			v := must[ec2types.DescribeVolumesOutput](w, "DescribeVolumes", &ec2types.DescribeVolumesInput{VolumeIds: []string{*b.Ebs.VolumeId}}).Volumes[0]
			got[*b.DeviceName] = *v.Size
			if tagsIn(v.Tags)["for"] != "web" {
				t.Errorf("volume %s has tags %v", *b.DeviceName, v.Tags)
			}
		}
		return got
	}
	by := func(version string) *ec2types.LaunchTemplateSpecification {
		return &ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("web"), Version: &version}
	}

	plain := launch(ec2types.RunInstancesInput{LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateId: id}})
	if got := tagsIn(plain.Tags); !reflect.DeepEqual(got, model.Tags{"Name": "web", "env": "dev", "aws:ec2launchtemplate:id": *id, "aws:ec2launchtemplate:version": "1"}) {
		t.Errorf("tags are %v", got)
	}
	if *plain.ImageId != image || *plain.InstanceType != "t3.nano" || *plain.MetadataOptions.HttpTokens != "required" {
		t.Errorf("instance is %s of %s", *plain.InstanceType, *plain.ImageId)
	}
	if got := sizes(plain); !reflect.DeepEqual(got, map[string]int32{"/dev/sda1": 10, "/dev/sdf": 3}) {
		t.Errorf("volumes are %v", got)
	}
	data := must[ec2types.DescribeInstanceAttributeOutput](w, "DescribeInstanceAttribute", &ec2types.DescribeInstanceAttributeInput{InstanceId: plain.InstanceId, Attribute: new("userData")})
	if *data.UserData.Value != script {
		t.Errorf("user data is %q", *data.UserData.Value)
	}

	other := launch(ec2types.RunInstancesInput{
		LaunchTemplate: by("$Latest"), InstanceType: new("t3.small"), TagSpecifications: []ec2types.TagSpecification{tagSpec("instance", "env", "prod", "x", "y")},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sdf"), NoDevice: new("")}, mapping("/dev/sdg", ec2types.EbsBlockDevice{VolumeSize: new(int32(1))})},
	})
	if got := tagsIn(other.Tags); !reflect.DeepEqual(got, model.Tags{"Name": "web", "env": "prod", "x": "y", "aws:ec2launchtemplate:id": *id, "aws:ec2launchtemplate:version": "2"}) {
		t.Errorf("tags of an overriding launch are %v", got)
	}
	if got := sizes(other); *other.InstanceType != "t3.small" || !reflect.DeepEqual(got, map[string]int32{"/dev/sda1": 10, "/dev/sdg": 1}) {
		t.Errorf("overriding launch has %v", got)
	}

	token := ec2types.RunInstancesInput{LaunchTemplate: by("$Default"), ClientToken: new("t")}
	first := launch(token)
	must[ec2types.ModifyLaunchTemplateOutput](w, "ModifyLaunchTemplate", &ec2types.ModifyLaunchTemplateInput{LaunchTemplateId: id, DefaultVersion: new("2")})
	if again := launch(token); *again.InstanceId != *first.InstanceId {
		t.Error("a repeated call launched a second instance after the default version changed")
	}
	token.InstanceType = new("t3.small")
	if _, err := run(token); model.CodeOf(err) != "IdempotentParameterMismatch" {
		t.Errorf("the token with other parameters: %v", err)
	}

	w.template("empty", templateData{InstanceType: new("t3.nano")})
	w.template("broken", templateData{InstanceType: new("t3.nano"), ImageId: new("ami-0123456789abcdef0")})
	for name, bad := range map[string]struct {
		lt   ec2types.LaunchTemplateSpecification
		code string
	}{
		"unknown id":      {ec2types.LaunchTemplateSpecification{LaunchTemplateId: new("lt-0123456789abcdef0")}, "InvalidLaunchTemplateId.NotFound"},
		"malformed id":    {ec2types.LaunchTemplateSpecification{LaunchTemplateId: new("lt-1")}, "InvalidLaunchTemplateId.Malformed"},
		"unknown name":    {ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("none")}, "InvalidLaunchTemplateName.NotFoundException"},
		"unknown version": {ec2types.LaunchTemplateSpecification{LaunchTemplateId: id, Version: new("7")}, "InvalidLaunchTemplateId.VersionNotFound"},
		"version only":    {ec2types.LaunchTemplateSpecification{Version: new("1")}, "MissingParameter"},
		"id and name":     {ec2types.LaunchTemplateSpecification{LaunchTemplateId: id, LaunchTemplateName: new("web")}, "InvalidParameterCombination"},
		"no image":        {ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("empty")}, "MissingParameter"},
		"no such image":   {ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("broken")}, "InvalidAMIID.NotFound"},
	} {
		if _, err := run(ec2types.RunInstancesInput{LaunchTemplate: &bad.lt}); model.CodeOf(err) != bad.code {
			t.Errorf("%s: %v, want %s", name, err, bad.code)
		}
	}
	if _, err := run(ec2types.RunInstancesInput{LaunchTemplate: by("1"), DryRun: new(true)}); model.CodeOf(err) != "DryRunOperation" {
		t.Errorf("dry run: %v", err)
	}
}

// TestLaunchTemplateData: what an instance gives for a template launches another
// one that gives the same.
func TestLaunchTemplateData(t *testing.T) {
	w := newImageWorld(t)
	image := w.image("tiny")
	first := must[ec2types.RunInstancesOutput](w, "RunInstances", &ec2types.RunInstancesInput{
		ImageId: &image, MinCount: new(int32(1)), MaxCount: new(int32(1)), InstanceType: new("t3.nano"), DisableApiStop: new(true),
		UserData: new(base64.StdEncoding.EncodeToString([]byte("hello"))), TagSpecifications: []ec2types.TagSpecification{tagSpec("instance", "a", "b")},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{mapping("/dev/sdg", ec2types.EbsBlockDevice{VolumeSize: new(int32(10)), VolumeType: new("gp3"), Iops: new(int32(3500))})},
	}).Instances[0]
	get := func(id *string) *ec2types.ResponseLaunchTemplateData {
		t.Helper()
		return must[ec2types.GetLaunchTemplateDataOutput](w, "GetLaunchTemplateData", &ec2types.GetLaunchTemplateDataInput{InstanceId: id}).LaunchTemplateData
	}
	data := get(first.InstanceId)
	if *data.ImageId != image || *data.NetworkInterfaces[0].SubnetId != *first.SubnetId || data.NetworkInterfaces[0].PrivateIpAddress != nil || tagsIn(data.TagSpecifications[0].Tags)["a"] != "b" {
		t.Errorf("data is %+v", data)
	}
	request := new(templateData)
	convert(t, data, request)
	id := w.template("copy", *request)
	second := must[ec2types.RunInstancesOutput](w, "RunInstances", &ec2types.RunInstancesInput{
		LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateId: id}, MinCount: new(int32(1)), MaxCount: new(int32(1)),
	}).Instances[0]
	if got := get(second.InstanceId); !reflect.DeepEqual(got, data) {
		t.Errorf("the copy gives\n%+v, want\n%+v", got, data)
	}
	refused[ec2types.GetLaunchTemplateDataOutput](w, w.me, "InvalidInstanceID.NotFound", "GetLaunchTemplateData", &ec2types.GetLaunchTemplateDataInput{InstanceId: new("i-0123456789abcdef0")})
	if n := len(second.BlockDeviceMappings); n != 2 {
		t.Errorf("the copy has %d volumes", n)
	}
}

// convert turns a response's shape into the request's that names its members alike.
func convert(t *testing.T, from, to any) {
	t.Helper()
	b, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}
