package actions_test

import (
	"slices"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func TestCopyImage(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	must[ec2types.CreateTagsOutput](w, "CreateTags", &ec2types.CreateTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: new("a"), Value: new("1")}, {Key: new("b"), Value: new("1")}}})
	request := func(name string) *ec2types.CopyImageInput {
		return &ec2types.CopyImageInput{SourceImageId: &id, SourceRegion: new("test-1"), Name: &name}
	}
	in := request("twin")
	in.CopyImageTags, in.Description, in.ClientToken, in.Encrypted = new(true), new("a copy"), new("once"), new(false)
	in.TagSpecifications = []ec2types.TagSpecification{
		{ResourceType: new("image"), Tags: []ec2types.Tag{{Key: new("b"), Value: new("2")}}},
		{ResourceType: new("snapshot"), Tags: []ec2types.Tag{{Key: new("s"), Value: new("3")}}},
	}
	copied := *must[ec2types.CopyImageOutput](w, "CopyImage", in).ImageId
	again := *in
	if got := *must[ec2types.CopyImageOutput](w, "CopyImage", &again).ImageId; got != copied {
		t.Errorf("the same token made %s and %s", copied, got)
	}
	mismatch := request("third")
	mismatch.ClientToken = new("once")
	refused[ec2types.CopyImageOutput](w, w.me, model.CodeIdempotentParameterMismatch, "CopyImage", mismatch)

	src, got := w.show(w.me, id), w.show(w.me, copied)
	if *got.State != "available" || *got.SourceImageId != id || *got.SourceImageRegion != "test-1" || *got.Description != "a copy" {
		t.Errorf("got %+v", got)
	}
	if len(got.Tags) != 2 || *got.Tags[0].Value != "1" || *got.Tags[1].Value != "2" {
		t.Errorf("tags are %+v", got.Tags)
	}
	srcSnap, snap := *src.BlockDeviceMappings[0].Ebs.SnapshotId, *got.BlockDeviceMappings[0].Ebs.SnapshotId
	if snap == srcSnap {
		t.Error("the copy has the source's snapshot")
	}
	shown := must[ec2types.DescribeSnapshotsOutput](w, "DescribeSnapshots", &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{snap}}).Snapshots[0]
	if *shown.State != "completed" || *shown.VolumeSize != 8 || *shown.Tags[0].Value != "3" {
		t.Errorf("snapshot is %+v", shown)
	}
	// The copy does not need its source.
	must[ec2types.DeregisterImageOutput](w, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: &id, DeleteAssociatedSnapshots: new(true)})
	w.show(w.me, copied)

	id = copied
	elsewhere := request("x")
	elsewhere.SourceRegion = new("us-east-1")
	encrypted := request("secret") // by a cloud without keys
	encrypted.Encrypted = new(true)
	missing := request("x")
	missing.SourceImageId = new(model.NewID(model.ImagePrefix))
	malformed := request("x")
	malformed.SourceImageId = new("ami")
	for code, in := range map[string]*ec2types.CopyImageInput{
		model.CodeInvalidParameterValue: elsewhere, model.CodeUnsupportedOperation: encrypted, model.CodeImageIDNotFound: missing,
		model.CodeImageIDMalformed: malformed, model.CodeImageNameDuplicate: request("twin"), model.CodeImageNameMalformed: request("?"),
	} {
		refused[ec2types.CopyImageOutput](w, w.me, code, "CopyImage", in)
	}
	must[ec2types.DisableImageOutput](w, "DisableImage", &ec2types.DisableImageInput{ImageId: &id})
	refused[ec2types.CopyImageOutput](w, w.me, model.CodeImageIDUnavailable, "CopyImage", request("x"))
}

func TestCopySharedImage(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	in := &ec2types.CopyImageInput{SourceImageId: &id, SourceRegion: new("test-1"), Name: new("web"), CopyImageTags: new(true)}
	refused[ec2types.CopyImageOutput](w, other, model.CodeImageIDNotFound, "CopyImage", in)
	must[ec2types.ModifyImageAttributeOutput](w, "ModifyImageAttribute", &ec2types.ModifyImageAttributeInput{ImageId: &id, OperationType: new("add"), UserIds: []string{other}})
	refused[ec2types.CopyImageOutput](w, other, "InvalidRequest", "CopyImage", in) // its snapshot is not shared
	w.share(*w.show(w.me, id).BlockDeviceMappings[0].Ebs.SnapshotId)
	out, err := as[ec2types.CopyImageOutput](w, other, "CopyImage", in)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.show(other, *out.ImageId); *got.OwnerId != other || *got.Name != "web" {
		t.Errorf("got %+v", got)
	}
	refused[ec2types.DescribeImagesOutput](w, w.me, model.CodeImageIDNotFound, "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{*out.ImageId}})
}

func TestDisableImage(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	share := &ec2types.ModifyImageAttributeInput{ImageId: &id, OperationType: new("add"), UserIds: []string{other}}
	must[ec2types.ModifyImageAttributeOutput](w, "ModifyImageAttribute", share)
	for range 2 { // the second time changes nothing
		if out := must[ec2types.DisableImageOutput](w, "DisableImage", &ec2types.DisableImageInput{ImageId: &id}); !*out.Return {
			t.Error("it returned false")
		}
	}
	refused[ec2types.DescribeImagesOutput](w, other, model.CodeImageIDNotFound, "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{id}})
	refused[ec2types.RunInstancesOutput](w, w.me, model.CodeImageIDUnavailable, "RunInstances", &ec2types.RunInstancesInput{ImageId: &id, MinCount: new(int32(1)), MaxCount: new(int32(1))})
	refused[ec2types.ModifyImageAttributeOutput](w, w.me, model.CodeImageIDUnavailable, "ModifyImageAttribute", share)
	if got := w.ids(w.me, ec2types.DescribeImagesInput{}); slices.Contains(got, id) {
		t.Error("a disabled image is listed")
	}
	if got := w.ids(w.me, ec2types.DescribeImagesInput{IncludeDisabled: new(true), Filters: []ec2types.Filter{{Name: new("state"), Values: []string{"disabled"}}}}); !slices.Contains(got, id) {
		t.Error("a disabled image is not listed even if asked for")
	}
	for range 2 {
		must[ec2types.EnableImageOutput](w, "EnableImage", &ec2types.EnableImageInput{ImageId: &id})
	}
	if got := w.show(w.me, id); *got.State != "available" {
		t.Errorf("it is %s", *got.State)
	}
	refused[ec2types.DescribeImagesOutput](w, other, model.CodeImageIDNotFound, "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{id}})
	refused[ec2types.DisableImageOutput](w, other, model.CodeImageIDNotFound, "DisableImage", &ec2types.DisableImageInput{ImageId: &id})
	refused[ec2types.EnableImageOutput](w, w.me, model.CodeImageIDMalformed, "EnableImage", &ec2types.EnableImageInput{ImageId: new("ami-zz")})

	pending := must[ec2types.CreateImageOutput](w, "CreateImage", &ec2types.CreateImageInput{InstanceId: new(w.instance(id)), Name: new("pending")}).ImageId
	refused[ec2types.DisableImageOutput](w, w.me, model.CodeImageIDUnavailable, "DisableImage", &ec2types.DisableImageInput{ImageId: pending})
	refused[ec2types.EnableImageOutput](w, w.me, model.CodeImageIDUnavailable, "EnableImage", &ec2types.EnableImageInput{ImageId: pending})
}

func TestDeprecateImage(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	deprecate := func(at time.Time) *ec2types.EnableImageDeprecationInput {
		return &ec2types.EnableImageDeprecationInput{ImageId: &id, DeprecateAt: &at}
	}
	for at, want := range map[time.Time]string{
		w.now.Add(time.Hour + 29*time.Second): "2026-05-01T13:01:00.000Z",
		w.now.Add(time.Hour):                  "2026-05-01T13:00:00.000Z",
	} {
		must[ec2types.EnableImageDeprecationOutput](w, "EnableImageDeprecation", deprecate(at))
		if got := *w.show(w.me, id).DeprecationTime; got != want {
			t.Errorf("%s became %s, want %s", at, got, want)
		}
	}
	for _, at := range []time.Time{w.now.Add(-time.Hour), w.now.AddDate(11, 0, 0)} {
		refused[ec2types.EnableImageDeprecationOutput](w, w.me, model.CodeInvalidParameterValue, "EnableImageDeprecation", deprecate(at))
	}
	refused[ec2types.EnableImageDeprecationOutput](w, w.me, model.CodeMissingParameter, "EnableImageDeprecation", &ec2types.EnableImageDeprecationInput{ImageId: &id})

	must[ec2types.EnableImageDeprecationOutput](w, "EnableImageDeprecation", deprecate(w.now.AddDate(3, 0, 0)))
	must[ec2types.ModifyImageAttributeOutput](w, "ModifyImageAttribute", &ec2types.ModifyImageAttributeInput{ImageId: &id, OperationType: new("add"), UserGroups: []string{"all"}})
	refused[ec2types.EnableImageDeprecationOutput](w, w.me, model.CodeInvalidParameterValue, "EnableImageDeprecation", deprecate(w.now.AddDate(3, 0, 0))) // it is public now
	must[ec2types.EnableImageDeprecationOutput](w, "EnableImageDeprecation", deprecate(w.now.Add(time.Hour)))
	listed := func(account string, include *bool) bool {
		return slices.Contains(w.ids(account, ec2types.DescribeImagesInput{IncludeDeprecated: include}), id)
	}
	if !listed(other, nil) {
		t.Error("it is deprecated before its time")
	}
	w.now = w.now.Add(2 * time.Hour)
	if listed(other, nil) || !listed(other, new(true)) || !listed(w.me, nil) {
		t.Error("a deprecated image is listed for others, or not for its owner, or not if asked for")
	}
	w.show(other, id) // by its id it is found
	must[ec2types.DisableImageDeprecationOutput](w, "DisableImageDeprecation", &ec2types.DisableImageDeprecationInput{ImageId: &id})
	if !listed(other, nil) || w.show(w.me, id).DeprecationTime != nil {
		t.Error("it is still deprecated")
	}
	refused[ec2types.DisableImageDeprecationOutput](w, other, model.CodeAuthFailure, "DisableImageDeprecation", &ec2types.DisableImageDeprecationInput{ImageId: &id})
}

func TestProtectImage(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	deregister := &ec2types.DeregisterImageInput{ImageId: &id}
	protect := func(cooldown bool, want string) {
		t.Helper()
		out := must[ec2types.EnableImageDeregistrationProtectionOutput](w, "EnableImageDeregistrationProtection", &ec2types.EnableImageDeregistrationProtectionInput{ImageId: &id, WithCooldown: &cooldown})
		if got := *w.show(w.me, id).DeregistrationProtection; *out.Return != want || got != want {
			t.Errorf("returned %s, shown as %s, want %s", *out.Return, got, want)
		}
		refused[ec2types.DeregisterImageOutput](w, w.me, "OperationNotPermitted", "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: &id})
	}
	unprotect := func() {
		t.Helper()
		out := must[ec2types.DisableImageDeregistrationProtectionOutput](w, "DisableImageDeregistrationProtection", &ec2types.DisableImageDeregistrationProtectionInput{ImageId: &id})
		if *out.Return != "disabled" {
			t.Errorf("returned %s", *out.Return)
		}
	}
	protect(true, "enabled-with-cooldown")
	unprotect()
	w.now = w.now.Add(23 * time.Hour)
	unprotect() // does not begin the cooldown anew
	refused[ec2types.DeregisterImageOutput](w, w.me, "OperationNotPermitted", "DeregisterImage", deregister)
	w.now = w.now.Add(2 * time.Hour)
	protect(false, "enabled-without-cooldown")
	unprotect()
	must[ec2types.DeregisterImageOutput](w, "DeregisterImage", deregister)
	refused[ec2types.EnableImageDeregistrationProtectionOutput](w, w.me, model.CodeImageIDNotFound, "EnableImageDeregistrationProtection", &ec2types.EnableImageDeregistrationProtectionInput{ImageId: &id})
}

func TestDescribeImages(t *testing.T) {
	w := newImageWorld(t)
	var all []string
	for _, name := range []string{"web-1", "web-2", "db-1"} {
		all = append(all, w.image(name))
		w.now = w.now.Add(time.Hour)
	}
	filter := func(name string, values ...string) ec2types.Filter {
		return ec2types.Filter{Name: &name, Values: values}
	}
	for name, test := range map[string]struct {
		filters []ec2types.Filter
		want    []int
	}{
		"name":          {[]ec2types.Filter{filter("name", "web-*")}, []int{0, 1}},
		"both":          {[]ec2types.Filter{filter("name", "web-*"), filter("creation-date", "2026-05-01T13*")}, []int{1}},
		"architecture":  {[]ec2types.Filter{filter("architecture", "arm64")}, nil},
		"volume type":   {[]ec2types.Filter{filter("block-device-mapping.volume-type", "gp3"), filter("block-device-mapping.encrypted", "false")}, []int{0, 1, 2}},
		"size":          {[]ec2types.Filter{filter("block-device-mapping.volume-size", "9")}, nil},
		"no kernel":     {[]ec2types.Filter{filter("kernel-id", "*")}, nil},
		"no platform":   {[]ec2types.Filter{filter("platform", "windows")}, nil},
		"no alias":      {[]ec2types.Filter{filter("owner-alias", "amazon")}, nil},
		"no source":     {[]ec2types.Filter{filter("source-instance-id", "*")}, nil},
		"location":      {[]ec2types.Filter{filter("manifest-location", w.me+"/db-1")}, []int{2}},
		"what all have": {[]ec2types.Filter{filter("root-device-type", "ebs"), filter("virtualization-type", "hvm"), filter("image-type", "machine"), filter("ena-support", "false"), filter("state", "available"), filter("owner-id", w.me)}, []int{0, 1, 2}},
	} {
		var want []string
		for _, i := range test.want {
			want = append(want, all[i])
		}
		slices.Sort(want)
		if got := w.ids(w.me, ec2types.DescribeImagesInput{Filters: test.filters}); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	var paged []string
	in := ec2types.DescribeImagesInput{MaxResults: new(int32(2)), Owners: []string{"self"}}
	for {
		request := in
		out := must[ec2types.DescribeImagesOutput](w, "DescribeImages", &request)
		for _, i := range out.Images {
			paged = append(paged, *i.ImageId)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
		other := in
		other.Owners = nil
		refused[ec2types.DescribeImagesOutput](w, w.me, model.CodeInvalidNextToken, "DescribeImages", &other)
	}
	slices.Sort(all)
	if !slices.Equal(paged, all) {
		t.Errorf("pages gave %v, want %v", paged, all)
	}
	for code, in := range map[string]ec2types.DescribeImagesInput{
		model.CodeImageIDNotFound:       {ImageIds: []string{all[0], model.NewID(model.ImagePrefix)}},
		model.CodeImageIDMalformed:      {ImageIds: []string{all[0], "ami-1"}},
		model.CodeInvalidParameterValue: {Filters: []ec2types.Filter{filter("colour", "red")}},
		model.CodeInvalidNextToken:      {NextToken: new("x")},
	} {
		refused[ec2types.DescribeImagesOutput](w, w.me, code, "DescribeImages", &in)
	}
}

func TestLastLaunchedTime(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	run := func() {
		t.Helper()
		must[ec2types.RunInstancesOutput](w, "RunInstances", &ec2types.RunInstancesInput{ImageId: &id, InstanceType: new("b1.nano"), MinCount: new(int32(1)), MaxCount: new(int32(1))})
	}
	if w.show(w.me, id).LastLaunchedTime != nil {
		t.Error("it was launched already")
	}
	run()
	if got := *w.show(w.me, id).LastLaunchedTime; got != "2026-05-01T12:00:20.000Z" {
		t.Errorf("launched at %s", got)
	}
	got := must[ec2types.DescribeImageAttributeOutput](w, "DescribeImageAttribute", &ec2types.DescribeImageAttributeInput{ImageId: &id, Attribute: new("lastLaunchedTime")})
	if *got.LastLaunchedTime.Value != "2026-05-01T12:00:20.000Z" {
		t.Errorf("launched at %s", *got.LastLaunchedTime.Value)
	}
}

func TestImageAsksForTokens(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	run := func(o *ec2types.InstanceMetadataOptionsRequest) ec2types.InstanceMetadataOptionsResponse {
		t.Helper()
		out := must[ec2types.RunInstancesOutput](w, "RunInstances", &ec2types.RunInstancesInput{
			ImageId: &id, InstanceType: new("b1.nano"), MinCount: new(int32(1)), MaxCount: new(int32(1)), MetadataOptions: o,
		})
		return *out.Instances[0].MetadataOptions
	}
	if got := run(nil); *got.HttpTokens != "optional" || *got.HttpPutResponseHopLimit != 1 {
		t.Errorf("without it: %+v", got)
	}
	must[ec2types.ModifyImageAttributeOutput](w, "ModifyImageAttribute", &ec2types.ModifyImageAttributeInput{ImageId: &id, ImdsSupport: &ec2types.AttributeValue{Value: new("v2.0")}})
	if got := run(nil); *got.HttpTokens != "required" || *got.HttpPutResponseHopLimit != 2 {
		t.Errorf("with it: %+v", got)
	}
	if got := run(&ec2types.InstanceMetadataOptionsRequest{HttpTokens: new("optional")}); *got.HttpTokens != "optional" {
		t.Errorf("the launch says otherwise: %+v", got)
	}
}
