package actions_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// other is an account beside the cloud's own.
const other = "999999999999"

// imageWorld is the API on a store without a node: what is asked for stays intent.
type imageWorld struct {
	t      testing.TB
	store  *store.Store
	layers *layer.Store
	d      *api.Dispatcher
	me     string
	now    time.Time
}

func newImageWorld(t testing.TB) *imageWorld {
	t.Helper()
	w := &imageWorld{t: t, now: time.Date(2026, 5, 1, 12, 0, 20, 0, time.UTC)}
	dir := t.TempDir()
	var err error
	if w.store, err = store.Open(t.Context(), store.Options{Dir: dir + "/etcd", Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	if w.layers, err = layer.Open(dir); err != nil {
		t.Fatal(err)
	}
	c, err := cloud.New(t.Context(), cloud.Options{
		Store: w.store, Blobs: w.layers, Region: "test-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16"),
		Now: func() time.Time { return w.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.me = c.Info().AccountID
	table := api.NewTable()
	actions.Register(table, c, nil)
	if w.d, err = api.NewDispatcher(table, api.Options{Authorize: func(context.Context, *api.Call) error { return nil }}); err != nil {
		t.Fatal(err)
	}
	w.put(func(tx *store.Tx) error {
		return records.Nodes.Put(tx, &model.Node{ID: "here", Archs: model.Archs, VCPUs: 4, MemoryMiB: 8192})
	})
	return w
}

// put writes records past the API: what a node would have made.
func (w *imageWorld) put(write func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(w.t.Context(), write); err != nil {
		w.t.Fatal(err)
	}
}

// snapshot makes a completed snapshot.
func (w *imageWorld) snapshot(owner string, gib int64) string {
	w.t.Helper()
	s := model.Snapshot{ID: model.NewID(model.SnapshotPrefix), OwnerID: owner, LayerID: model.NewID(model.LayerPrefix), SizeGiB: gib, State: model.SnapshotCompleted, Started: w.now}
	w.put(func(tx *store.Tx) error { return records.Snapshots.Put(tx, &s) })
	return s.ID
}

// instance makes a stopped instance with a root volume of 8 GiB and one of 2.
func (w *imageWorld) instance(imageID string) string {
	w.t.Helper()
	i := model.Instance{
		ID: model.NewID(model.InstancePrefix), OwnerID: w.me, ImageID: imageID, Arch: model.X8664, State: model.InstanceStopped, RootDevice: "/dev/sda1",
		Boot: model.Boot{Firmware: model.FirmwareBIOS}, Type: "t2.small",
	}
	w.put(func(tx *store.Tx) error {
		for dev, gib := range map[string]int64{"/dev/sda1": 8, "/dev/sdb": 2} {
			v := model.Volume{ID: model.NewID(model.VolumePrefix), OwnerID: w.me, SizeGiB: gib, State: model.VolumeInUse, Head: model.NewID(model.LayerPrefix)}
			i.Volumes = append(i.Volumes, model.InstanceVolume{Device: dev, VolumeID: v.ID, DeleteOnTermination: dev == "/dev/sda1"})
			if err := records.Volumes.Put(tx, &v); err != nil {
				return err
			}
		}
		return records.Instances.Put(tx, &i)
	})
	return i.ID
}

// as calls an action as an account.
func as[O any](w *imageWorld, account, action string, in any) (*O, error) {
	w.t.Helper()
	out, err := w.d.Call(w.t.Context(), &api.Call{Action: action, Input: in, Principal: api.Principal{AccountID: account, Name: "test"}})
	if err != nil {
		return nil, err
	}
	return out.(*O), nil
}

// must calls an action that must succeed.
func must[O any](w *imageWorld, action string, in any) *O {
	w.t.Helper()
	out, err := as[O](w, w.me, action, in)
	if err != nil {
		w.t.Fatalf("%s: %v", action, err)
	}
	return out
}

// refused calls an action that must fail with a code.
func refused[O any](w *imageWorld, account, code, action string, in any) {
	w.t.Helper()
	if _, err := as[O](w, account, action, in); model.CodeOf(err) != code {
		w.t.Errorf("%s: got %v, want %s", action, err, code)
	}
}

// image registers an image with a root disk of 8 GiB.
func (w *imageWorld) image(name string) string {
	w.t.Helper()
	return *must[ec2types.RegisterImageOutput](w, "RegisterImage", w.registration(name, w.snapshot(w.me, 8))).ImageId
}

func (w *imageWorld) registration(name, snapshot string, more ...ec2types.BlockDeviceMapping) *ec2types.RegisterImageInput {
	return &ec2types.RegisterImageInput{
		Name: &name, Architecture: new("x86_64"), RootDeviceName: new("/dev/sda1"), VirtualizationType: new("hvm"),
		BlockDeviceMappings: append([]ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}}}, more...),
	}
}

// show describes an image as an account.
func (w *imageWorld) show(account, id string) ec2types.Image {
	w.t.Helper()
	out, err := as[ec2types.DescribeImagesOutput](w, account, "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil || len(out.Images) != 1 {
		w.t.Fatalf("describing %s: %v, %v", id, out, err)
	}
	return out.Images[0]
}

// ids describes images and returns their ids.
func (w *imageWorld) ids(account string, in ec2types.DescribeImagesInput) []string {
	w.t.Helper()
	out, err := as[ec2types.DescribeImagesOutput](w, account, "DescribeImages", &in)
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, i := range out.Images {
		ids = append(ids, *i.ImageId)
	}
	slices.Sort(ids)
	return ids
}

func mapping(device string, ebs ec2types.EbsBlockDevice) ec2types.BlockDeviceMapping {
	return ec2types.BlockDeviceMapping{DeviceName: &device, Ebs: &ebs}
}

func TestRegisterImage(t *testing.T) {
	w := newImageWorld(t)
	root, data := w.snapshot(w.me, 8), w.snapshot(w.me, 2)
	in := w.registration("web", root,
		mapping("/dev/sdb", ec2types.EbsBlockDevice{VolumeSize: new(int32(5)), VolumeType: new("io1"), Iops: new(int32(200))}),
		mapping("/dev/sdc", ec2types.EbsBlockDevice{SnapshotId: &data, VolumeSize: new(int32(3)), DeleteOnTermination: new(true), VolumeType: new("standard")}))
	in.BootMode, in.SriovNetSupport, in.ImdsSupport, in.EnaSupport = new("uefi-preferred"), new("simple"), new("v2.0"), new(true)
	in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("image"), Tags: []ec2types.Tag{{Key: new("Name"), Value: new("web")}}}}
	id := *must[ec2types.RegisterImageOutput](w, "RegisterImage", in).ImageId

	got := w.show(w.me, id)
	for what, pair := range map[string][2]string{
		"BootMode": {*got.BootMode, "uefi-preferred"}, "SriovNetSupport": {*got.SriovNetSupport, "simple"}, "ImdsSupport": {*got.ImdsSupport, "v2.0"},
		"State": {*got.State, "available"}, "Architecture": {*got.Architecture, "x86_64"}, "Tag": {*got.Tags[0].Value, "web"},
		"DeregistrationProtection": {*got.DeregistrationProtection, "disabled"}, "CreationDate": {*got.CreationDate, "2026-05-01T12:00:20.000Z"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	if !*got.EnaSupport || *got.Public || got.ImageOwnerAlias != nil || got.KernelId != nil {
		t.Errorf("got %+v", got)
	}
	if n := len(got.BlockDeviceMappings); n != 3 {
		t.Fatalf("%d devices", n)
	}
	a, b, c := got.BlockDeviceMappings[0].Ebs, got.BlockDeviceMappings[1].Ebs, got.BlockDeviceMappings[2].Ebs
	if *a.SnapshotId != root || *a.VolumeSize != 8 || !*a.DeleteOnTermination || *a.VolumeType != "gp3" {
		t.Errorf("root: %+v", a)
	}
	if b.SnapshotId != nil || *b.VolumeSize != 5 || *b.DeleteOnTermination || *b.VolumeType != "io1" || *b.Iops != 200 {
		t.Errorf("blank: %+v", b)
	}
	if *c.SnapshotId != data || *c.VolumeSize != 3 || !*c.DeleteOnTermination || *c.VolumeType != "standard" {
		t.Errorf("data: %+v", c)
	}

	plain := w.registration("plain", root)
	plain.Architecture = nil
	if got := w.show(w.me, *must[ec2types.RegisterImageOutput](w, "RegisterImage", plain).ImageId); *got.Architecture != "i386" || got.BootMode != nil || *got.EnaSupport {
		t.Errorf("EC2's defaults: %+v", got)
	}
}

func TestRegisterImageRefuses(t *testing.T) {
	w := newImageWorld(t)
	mine, theirs := w.snapshot(w.me, 8), w.snapshot(other, 8)
	w.image("taken")
	size := func(n int32) ec2types.EbsBlockDevice { return ec2types.EbsBlockDevice{VolumeSize: &n} }
	for name, test := range map[string]struct {
		code   string
		change func(*ec2types.RegisterImageInput)
		more   []ec2types.BlockDeviceMapping
	}{
		"name taken":        {model.CodeImageNameDuplicate, func(in *ec2types.RegisterImageInput) { in.Name = new("taken") }, nil},
		"bad name":          {model.CodeImageNameMalformed, func(in *ec2types.RegisterImageInput) { in.Name = new("a!") }, nil},
		"no name":           {model.CodeMissingParameter, func(in *ec2types.RegisterImageInput) { in.Name = nil }, nil},
		"no root":           {model.CodeMissingParameter, func(in *ec2types.RegisterImageInput) { in.RootDeviceName = nil }, nil},
		"other root":        {model.CodeInvalidBlockDeviceMapping, func(in *ec2types.RegisterImageInput) { in.RootDeviceName = new("/dev/xvda") }, nil},
		"no mapping":        {model.CodeInvalidBlockDeviceMapping, func(in *ec2types.RegisterImageInput) { in.BlockDeviceMappings = nil }, nil},
		"blank root":        {model.CodeInvalidBlockDeviceMapping, func(in *ec2types.RegisterImageInput) { *in.BlockDeviceMappings[0].Ebs = size(1) }, nil},
		"another's":         {model.CodeSnapshotNotFound, func(in *ec2types.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.SnapshotId = &theirs }, nil},
		"bad snapshot":      {model.CodeSnapshotIDMalformed, func(in *ec2types.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.SnapshotId = new("snap-1") }, nil},
		"too small":         {model.CodeInvalidBlockDeviceMapping, func(in *ec2types.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.VolumeSize = new(int32(7)) }, nil},
		"too large":         {model.CodeInvalidParameterValue, func(in *ec2types.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.VolumeSize = new(int32(1 << 30)) }, nil},
		"twice":             {model.CodeInvalidBlockDeviceMapping, nil, []ec2types.BlockDeviceMapping{mapping("/dev/sdb", size(1)), mapping("/dev/sdb", size(1))}},
		"nothing mapped":    {model.CodeMissingParameter, nil, []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sdb")}}},
		"bad device":        {model.CodeInvalidBlockDeviceMapping, nil, []ec2types.BlockDeviceMapping{mapping("sofa", size(1))}},
		"iops of gp2":       {model.CodeInvalidParameterCombination, nil, []ec2types.BlockDeviceMapping{mapping("/dev/sdb", ec2types.EbsBlockDevice{VolumeSize: new(int32(9)), VolumeType: new("gp2"), Iops: new(int32(300))})}},
		"io1 without iops":  {model.CodeMissingParameter, nil, []ec2types.BlockDeviceMapping{mapping("/dev/sdb", ec2types.EbsBlockDevice{VolumeSize: new(int32(9)), VolumeType: new("io1")})}},
		"encrypted":         {model.CodeUnsupportedOperation, nil, []ec2types.BlockDeviceMapping{mapping("/dev/sdb", ec2types.EbsBlockDevice{VolumeSize: new(int32(9)), Encrypted: new(true)})}},
		"paravirtual":       {model.CodeUnsupportedOperation, func(in *ec2types.RegisterImageInput) { in.VirtualizationType = new("paravirtual") }, nil},
		"a Mac":             {model.CodeUnsupportedOperation, func(in *ec2types.RegisterImageInput) { in.Architecture = new("arm64_mac") }, nil},
		"TPM":               {model.CodeUnsupportedOperation, func(in *ec2types.RegisterImageInput) { in.TpmSupport = new("v2.0") }, nil},
		"manifest in S3":    {model.CodeUnsupportedOperation, func(in *ec2types.RegisterImageInput) { in.ImageLocation = new("b/manifest.xml") }, nil},
		"arm64 by BIOS":     {model.CodeInvalidParameterCombination, func(in *ec2types.RegisterImageInput) { in.Architecture, in.BootMode = new("arm64"), new("legacy-bios") }, nil},
		"unknown boot mode": {model.CodeInvalidParameterValue, func(in *ec2types.RegisterImageInput) { in.BootMode = new("coreboot") }, nil},
		"long description":  {model.CodeInvalidParameterValue, func(in *ec2types.RegisterImageInput) { in.Description = new(strings.Repeat("x", 256)) }, nil},
		"tags of snapshots": {model.CodeInvalidParameterValue, func(in *ec2types.RegisterImageInput) {
			in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("snapshot")}}
		}, nil},
		"dry run": {model.CodeDryRunOperation, func(in *ec2types.RegisterImageInput) { in.DryRun = new(true) }, nil},
	} {
		in := w.registration("new", mine, test.more...)
		if test.change != nil {
			test.change(in)
		}
		t.Run(name, func(t *testing.T) { refused[ec2types.RegisterImageOutput](w, w.me, test.code, "RegisterImage", in) })
	}
	if got := w.ids(w.me, ec2types.DescribeImagesInput{}); len(got) != 1 {
		t.Errorf("refused calls left %v", got)
	}
	refused[ec2types.RegisterImageOutput](w, w.me, "", "RegisterImage", w.registration("new", mine))
	// Names are unique within an account, not beyond.
	refused[ec2types.RegisterImageOutput](w, other, "", "RegisterImage", w.registration("new", theirs))
}

func TestCreateImageMapping(t *testing.T) {
	w := newImageWorld(t)
	parent := w.image("parent")
	inst, extra := w.instance(parent), w.snapshot(w.me, 4)
	request := func(name string, m ...ec2types.BlockDeviceMapping) *ec2types.CreateImageInput {
		return &ec2types.CreateImageInput{InstanceId: &inst, Name: &name, BlockDeviceMappings: m}
	}
	in := request("mapped",
		mapping("/dev/sda1", ec2types.EbsBlockDevice{VolumeSize: new(int32(20)), DeleteOnTermination: new(false), VolumeType: new("gp2")}),
		ec2types.BlockDeviceMapping{DeviceName: new("/dev/sdb"), NoDevice: new("")},
		mapping("/dev/sdc", ec2types.EbsBlockDevice{VolumeSize: new(int32(1))}),
		mapping("/dev/sdd", ec2types.EbsBlockDevice{SnapshotId: &extra}))
	in.TagSpecifications = []ec2types.TagSpecification{
		{ResourceType: new("image"), Tags: []ec2types.Tag{{Key: new("k"), Value: new("i")}}},
		{ResourceType: new("snapshot"), Tags: []ec2types.Tag{{Key: new("k"), Value: new("s")}}},
	}
	got := w.show(w.me, *must[ec2types.CreateImageOutput](w, "CreateImage", in).ImageId)
	if *got.State != "pending" || *got.SourceInstanceId != inst || *got.SourceImageId != parent || *got.SourceImageRegion != "test-1" || *got.Tags[0].Value != "i" {
		t.Errorf("got %+v", got)
	}
	if n := len(got.BlockDeviceMappings); n != 3 {
		t.Fatalf("%d devices, want 3", n)
	}
	root, blank, added := got.BlockDeviceMappings[0].Ebs, got.BlockDeviceMappings[1].Ebs, got.BlockDeviceMappings[2].Ebs
	if *root.VolumeSize != 20 || *root.DeleteOnTermination || *root.VolumeType != "gp2" || root.SnapshotId == nil {
		t.Errorf("root: %+v", root)
	}
	if blank.SnapshotId != nil || *blank.VolumeSize != 1 || *added.SnapshotId != extra || *added.VolumeSize != 4 {
		t.Errorf("added: %+v, %+v", blank, added)
	}
	snaps := must[ec2types.DescribeSnapshotsOutput](w, "DescribeSnapshots", &ec2types.DescribeSnapshotsInput{SnapshotIds: []string{*root.SnapshotId}}).Snapshots
	if *snaps[0].Tags[0].Value != "s" || *snaps[0].State != "pending" || *snaps[0].VolumeSize != 8 {
		t.Errorf("snapshot: %+v", snaps[0])
	}

	for code, in := range map[string]*ec2types.CreateImageInput{
		model.CodeInvalidBlockDeviceMapping: request("xxx", ec2types.BlockDeviceMapping{DeviceName: new("/dev/sda1"), NoDevice: new("")}),
		model.CodeImageNameDuplicate:        request("mapped"),
		model.CodeInstanceIDNotFound:        {InstanceId: new(model.NewID(model.InstancePrefix)), Name: new("xxx")},
		model.CodeInstanceIDMalformed:       {InstanceId: new("i-1"), Name: new("xxx")},
		model.CodeInvalidParameterValue:     request("xxx", mapping("/dev/sdc", ec2types.EbsBlockDevice{VolumeSize: new(int32(1 << 20))})),
		model.CodeMissingParameter:          request("xxx", ec2types.BlockDeviceMapping{DeviceName: new("/dev/sdx")}),
		model.CodeUnsupportedOperation:      request("xxx", ec2types.BlockDeviceMapping{DeviceName: new("/dev/sdx"), VirtualName: new("ephemeral0")}),
	} {
		refused[ec2types.CreateImageOutput](w, w.me, code, "CreateImage", in)
	}
	refused[ec2types.CreateImageOutput](w, other, model.CodeInstanceIDNotFound, "CreateImage", request("xxx"))
	refused[ec2types.DeregisterImageOutput](w, w.me, model.CodeImageIDUnavailable, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: got.ImageId})
}

func TestShareImage(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	must[ec2types.CreateTagsOutput](w, "CreateTags", &ec2types.CreateTagsInput{Resources: []string{id}, Tags: []ec2types.Tag{{Key: new("secret"), Value: new("x")}}})
	describe := &ec2types.DescribeImagesInput{ImageIds: []string{id}}
	refused[ec2types.DescribeImagesOutput](w, other, model.CodeImageIDNotFound, "DescribeImages", describe)
	modify := func(in ec2types.ModifyImageAttributeInput) {
		t.Helper()
		in.ImageId = &id
		must[ec2types.ModifyImageAttributeOutput](w, "ModifyImageAttribute", &in)
	}
	permissions := func() (out []string) {
		t.Helper()
		got := must[ec2types.DescribeImageAttributeOutput](w, "DescribeImageAttribute", &ec2types.DescribeImageAttributeInput{ImageId: &id, Attribute: new("launchPermission")})
		for _, p := range got.LaunchPermissions {
			out = append(out, ec2types.Value(p.Group)+ec2types.Value(p.UserId))
		}
		return out
	}
	add := func(p ...ec2types.LaunchPermission) ec2types.ModifyImageAttributeInput {
		return ec2types.ModifyImageAttributeInput{LaunchPermission: &ec2types.LaunchPermissionModifications{Add: p}}
	}
	modify(add(ec2types.LaunchPermission{UserId: new(other)}, ec2types.LaunchPermission{UserId: new("111111111111")}))
	if got := permissions(); !slices.Equal(got, []string{"111111111111", other}) {
		t.Errorf("permissions are %v", got)
	}
	seen := w.show(other, id)
	if seen.Tags != nil || seen.DeregistrationProtection != nil || *seen.OwnerId != w.me || *seen.Public {
		t.Errorf("the other account sees %+v", seen)
	}
	// Sharing is no permission to change anything.
	refused[ec2types.DeregisterImageOutput](w, other, model.CodeAuthFailure, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: &id})
	refused[ec2types.DescribeImageAttributeOutput](w, other, model.CodeAuthFailure, "DescribeImageAttribute", &ec2types.DescribeImageAttributeInput{ImageId: &id, Attribute: new("description")})

	for name, test := range map[string]struct {
		account string
		in      ec2types.DescribeImagesInput
		found   bool
	}{
		"owner self":          {w.me, ec2types.DescribeImagesInput{Owners: []string{"self"}}, true},
		"not the owner":       {other, ec2types.DescribeImagesInput{Owners: []string{"self"}}, false},
		"owner by id":         {other, ec2types.DescribeImagesInput{Owners: []string{w.me}}, true},
		"amazon":              {w.me, ec2types.DescribeImagesInput{Owners: []string{"amazon"}}, false},
		"for self":            {other, ec2types.DescribeImagesInput{ExecutableUsers: []string{"self"}}, true},
		"the owner's own":     {w.me, ec2types.DescribeImagesInput{ExecutableUsers: []string{"self"}}, false},
		"for the other":       {w.me, ec2types.DescribeImagesInput{ExecutableUsers: []string{other}}, true},
		"for all":             {other, ec2types.DescribeImagesInput{ExecutableUsers: []string{"all"}}, false},
		"tag is the owner's":  {w.me, ec2types.DescribeImagesInput{Filters: []ec2types.Filter{{Name: new("tag:secret"), Values: []string{"*"}}}}, true},
		"and of nobody else":  {other, ec2types.DescribeImagesInput{Filters: []ec2types.Filter{{Name: new("tag:secret"), Values: []string{"*"}}}}, false},
		"a stranger has none": {"222222222222", ec2types.DescribeImagesInput{}, false},
	} {
		if got := w.ids(test.account, test.in); slices.Contains(got, id) != test.found {
			t.Errorf("%s: got %v", name, got)
		}
	}
	refused[ec2types.DescribeImagesOutput](w, w.me, "InvalidUserID.Malformed", "DescribeImages", &ec2types.DescribeImagesInput{Owners: []string{"me"}})
	refused[ec2types.DescribeImagesOutput](w, w.me, "InvalidUserID.Malformed", "DescribeImages", &ec2types.DescribeImagesInput{ExecutableUsers: []string{"1"}})

	// The older form, and everybody.
	modify(ec2types.ModifyImageAttributeInput{Attribute: new("launchPermission"), OperationType: new("remove"), UserIds: []string{other, "111111111111"}})
	modify(ec2types.ModifyImageAttributeInput{OperationType: new("add"), UserGroups: []string{"all"}})
	if got := w.show("222222222222", id); !*got.Public {
		t.Error("a public image is not public")
	}
	if got := w.ids("222222222222", ec2types.DescribeImagesInput{Filters: []ec2types.Filter{{Name: new("is-public"), Values: []string{"true"}}}}); !slices.Contains(got, id) {
		t.Errorf("public images: %v", got)
	}
	must[ec2types.ResetImageAttributeOutput](w, "ResetImageAttribute", &ec2types.ResetImageAttributeInput{ImageId: &id, Attribute: new("launchPermission")})
	if got := permissions(); got != nil {
		t.Errorf("reset left %v", got)
	}
}

func TestModifyImageAttribute(t *testing.T) {
	w := newImageWorld(t)
	id := w.image("web")
	value := func(attribute string) ec2types.DescribeImageAttributeOutput {
		t.Helper()
		return *must[ec2types.DescribeImageAttributeOutput](w, "DescribeImageAttribute", &ec2types.DescribeImageAttributeInput{ImageId: &id, Attribute: &attribute})
	}
	for text, in := range map[string]ec2types.ModifyImageAttributeInput{
		"new": {Description: &ec2types.AttributeValue{Value: new("new")}},
		"old": {Attribute: new("description"), Value: new("old")},
		"":    {Description: &ec2types.AttributeValue{Value: new("")}},
	} {
		in.ImageId = &id
		must[ec2types.ModifyImageAttributeOutput](w, "ModifyImageAttribute", &in)
		if got := ec2types.Value(value("description").Description.Value); got != text {
			t.Errorf("description is %q, want %q", got, text)
		}
	}
	must[ec2types.ModifyImageAttributeOutput](w, "ModifyImageAttribute", &ec2types.ModifyImageAttributeInput{ImageId: &id, ImdsSupport: &ec2types.AttributeValue{Value: new("v2.0")}})
	if got := value("imdsSupport").ImdsSupport; *got.Value != "v2.0" {
		t.Errorf("IMDS support is %v", got)
	}
	if got := value("deregistrationProtection").DeregistrationProtection; *got.Value != "disabled" {
		t.Errorf("protection is %v", got)
	}
	if got := value("bootMode"); got.BootMode == nil || got.BootMode.Value != nil || *got.ImageId != id {
		t.Errorf("boot mode is %+v", got)
	}
	for _, a := range []string{"kernel", "ramdisk", "productCodes", "sriovNetSupport", "tpmSupport", "uefiData", "lastLaunchedTime"} {
		value(a)
	}
	refused[ec2types.DescribeImageAttributeOutput](w, w.me, model.CodeAuthFailure, "DescribeImageAttribute", &ec2types.DescribeImageAttributeInput{ImageId: &id, Attribute: new("blockDeviceMapping")})
	refused[ec2types.DescribeImageAttributeOutput](w, w.me, model.CodeInvalidParameterValue, "DescribeImageAttribute", &ec2types.DescribeImageAttributeInput{ImageId: &id, Attribute: new("colour")})
	refused[ec2types.ResetImageAttributeOutput](w, w.me, model.CodeInvalidParameterValue, "ResetImageAttribute", &ec2types.ResetImageAttributeInput{ImageId: &id, Attribute: new("description")})

	permission := func(p ec2types.LaunchPermission) *ec2types.LaunchPermissionModifications {
		return &ec2types.LaunchPermissionModifications{Add: []ec2types.LaunchPermission{p}}
	}
	for name, test := range map[string]struct {
		code string
		in   ec2types.ModifyImageAttributeInput
	}{
		"nothing":          {model.CodeInvalidParameterCombination, ec2types.ModifyImageAttributeInput{}},
		"two":              {model.CodeInvalidParameterCombination, ec2types.ModifyImageAttributeInput{Description: &ec2types.AttributeValue{Value: new("x")}, ImdsSupport: &ec2types.AttributeValue{Value: new("v2.0")}}},
		"no value":         {model.CodeMissingParameter, ec2types.ModifyImageAttributeInput{Attribute: new("description")}},
		"boot mode":        {model.CodeInvalidParameterValue, ec2types.ModifyImageAttributeInput{Attribute: new("bootMode"), Value: new("uefi")}},
		"IMDSv1":           {model.CodeInvalidParameterValue, ec2types.ModifyImageAttributeInput{ImdsSupport: &ec2types.AttributeValue{Value: new("v1.0")}}},
		"no operation":     {model.CodeMissingParameter, ec2types.ModifyImageAttributeInput{UserIds: []string{other}}},
		"no permission":    {model.CodeMissingParameter, ec2types.ModifyImageAttributeInput{Attribute: new("launchPermission"), OperationType: new("add")}},
		"a bad account":    {"InvalidAMIAttributeItemValue", ec2types.ModifyImageAttributeInput{LaunchPermission: permission(ec2types.LaunchPermission{UserId: new("12")})}},
		"a bad group":      {model.CodeInvalidParameterValue, ec2types.ModifyImageAttributeInput{LaunchPermission: permission(ec2types.LaunchPermission{Group: new("some")})}},
		"another group":    {"InvalidAMIAttributeItemValue", ec2types.ModifyImageAttributeInput{OperationType: new("add"), UserGroups: []string{"some"}}},
		"an organization":  {model.CodeUnsupportedOperation, ec2types.ModifyImageAttributeInput{LaunchPermission: permission(ec2types.LaunchPermission{OrganizationArn: new("arn")})}},
		"a product code":   {model.CodeUnsupportedOperation, ec2types.ModifyImageAttributeInput{ProductCodes: []string{"x"}}},
		"a long text":      {model.CodeInvalidParameterValue, ec2types.ModifyImageAttributeInput{Attribute: new("description"), Value: new(strings.Repeat("x", 256))}},
		"a dry run":        {model.CodeDryRunOperation, ec2types.ModifyImageAttributeInput{Attribute: new("description"), Value: new("x"), DryRun: new(true)}},
		"an unknown image": {model.CodeImageIDNotFound, ec2types.ModifyImageAttributeInput{ImageId: new(model.NewID(model.ImagePrefix)), Attribute: new("description"), Value: new("x")}},
		"no image at all":  {model.CodeImageIDMalformed, ec2types.ModifyImageAttributeInput{ImageId: new("ami-x"), Attribute: new("description"), Value: new("x")}},
	} {
		if test.in.ImageId == nil {
			test.in.ImageId = &id
		}
		t.Run(name, func(t *testing.T) {
			refused[ec2types.ModifyImageAttributeOutput](w, w.me, test.code, "ModifyImageAttribute", &test.in)
		})
	}
}

func TestRecycleBin(t *testing.T) {
	w := newImageWorld(t)
	keep := func(days int32) {
		t.Helper()
		must[bundttypes.ImageRetention](w, "ModifyImageRetention", &bundttypes.ModifyImageRetentionInput{RetentionDays: &days})
	}
	refused[bundttypes.ImageRetention](w, w.me, model.CodeInvalidParameterValue, "ModifyImageRetention", &bundttypes.ModifyImageRetentionInput{RetentionDays: new(int32(366))})
	keep(7)
	if got := must[bundttypes.ImageRetention](w, "DescribeImageRetention", &bundttypes.DescribeImageRetentionInput{}); got.RetentionDays != 7 {
		t.Errorf("retention is %d days", got.RetentionDays)
	}
	id := w.image("web")
	snap := *w.show(w.me, id).BlockDeviceMappings[0].Ebs.SnapshotId
	out := must[ec2types.DeregisterImageOutput](w, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: &id, DeleteAssociatedSnapshots: new(true)})
	if !*out.Return || len(out.DeleteSnapshotResults) != 0 {
		t.Errorf("got %+v", out)
	}
	describe := &ec2types.DescribeImagesInput{ImageIds: []string{id}}
	if gone := must[ec2types.DescribeImagesOutput](w, "DescribeImages", describe); len(gone.Images) != 0 {
		t.Errorf("a deregistered image is described: %+v", gone.Images)
	}
	refused[ec2types.DescribeImagesOutput](w, other, model.CodeImageIDNotFound, "DescribeImages", describe)
	refused[ec2types.DeleteSnapshotOutput](w, w.me, model.CodeSnapshotInUse, "DeleteSnapshot", &ec2types.DeleteSnapshotInput{SnapshotId: &snap})
	bin := must[ec2types.ListImagesInRecycleBinOutput](w, "ListImagesInRecycleBin", &ec2types.ListImagesInRecycleBinInput{ImageIds: []string{id}}).Images
	if *bin[0].Name != "web" || bin[0].RecycleBinExitTime.Sub(*bin[0].RecycleBinEnterTime) != 7*24*time.Hour {
		t.Errorf("the bin has %+v", bin)
	}
	restore := &ec2types.RestoreImageFromRecycleBinInput{ImageId: &id}
	refused[ec2types.RestoreImageFromRecycleBinOutput](w, other, model.CodeImageIDNotFound, "RestoreImageFromRecycleBin", restore)
	refused[ec2types.RestoreImageFromRecycleBinOutput](w, w.me, model.CodeImageIDMalformed, "RestoreImageFromRecycleBin", &ec2types.RestoreImageFromRecycleBinInput{ImageId: new("x")})

	// The name is free, and then it is not.
	keep(0)
	second := w.image("web")
	refused[ec2types.RestoreImageFromRecycleBinOutput](w, w.me, model.CodeImageNameDuplicate, "RestoreImageFromRecycleBin", restore)
	out = must[ec2types.DeregisterImageOutput](w, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: &second, DeleteAssociatedSnapshots: new(true)})
	if len(out.DeleteSnapshotResults) != 1 || *out.DeleteSnapshotResults[0].ReturnCode != "success" {
		t.Errorf("got %+v", out)
	}
	must[ec2types.RestoreImageFromRecycleBinOutput](w, "RestoreImageFromRecycleBin", restore)
	if got := w.show(w.me, id); *got.Name != "web" || *got.State != "available" {
		t.Errorf("restored is %+v", got)
	}
	refused[ec2types.RestoreImageFromRecycleBinOutput](w, w.me, model.CodeImageIDNotFound, "RestoreImageFromRecycleBin", restore)

	// What its time is over for is gone, even before anybody has swept.
	keep(1)
	must[ec2types.DeregisterImageOutput](w, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: &id})
	w.now = w.now.Add(25 * time.Hour)
	if got := must[ec2types.ListImagesInRecycleBinOutput](w, "ListImagesInRecycleBin", &ec2types.ListImagesInRecycleBinInput{}); len(got.Images) != 0 {
		t.Errorf("the bin has %+v", got.Images)
	}
	refused[ec2types.RestoreImageFromRecycleBinOutput](w, w.me, model.CodeImageIDNotFound, "RestoreImageFromRecycleBin", restore)
}

func TestDeregisterKeepsSharedSnapshots(t *testing.T) {
	w := newImageWorld(t)
	snap := w.snapshot(w.me, 8)
	first := must[ec2types.RegisterImageOutput](w, "RegisterImage", w.registration("first", snap)).ImageId
	must[ec2types.RegisterImageOutput](w, "RegisterImage", w.registration("second", snap))
	out := must[ec2types.DeregisterImageOutput](w, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: first, DeleteAssociatedSnapshots: new(true)})
	if len(out.DeleteSnapshotResults) != 1 || *out.DeleteSnapshotResults[0].ReturnCode != "skipped" {
		t.Errorf("got %+v", out.DeleteSnapshotResults)
	}
	refused[ec2types.DeregisterImageOutput](w, w.me, model.CodeImageIDNotFound, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: first})
}

// share shares a snapshot with the other account.
func (w *imageWorld) share(id string) {
	w.t.Helper()
	w.put(func(tx *store.Tx) error {
		s, err := records.Snapshots.Get(tx, id)
		if err != nil {
			return err
		}
		s.CreateVolume.Accounts = []string{other}
		return records.Snapshots.Put(tx, &s)
	})
}
