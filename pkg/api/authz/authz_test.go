package authz_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/authz"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const region = "test-1"

// world is a cloud with the real actions behind the real dispatcher, without a node.
type world struct {
	store      *store.Store
	cloud      *cloud.Cloud
	auth       *auth.Directory
	dispatcher *api.Dispatcher
	image      string
	origin     api.Origin
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{origin: api.Origin{Address: netip.MustParseAddr("192.0.2.7"), TLS: true, UserAgent: "test"}}
	dir := t.TempDir()
	w.store = must[*store.Store](t)(store.Open(t.Context(), store.Options{Dir: filepath.Join(dir, "etcd"), Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(func() { w.store.Close() })
	w.cloud = must[*cloud.Cloud](t)(cloud.New(t.Context(), cloud.Options{Store: w.store, Region: region, PublicPool: netip.MustParsePrefix("127.77.0.0/16")}))
	w.auth = must[*auth.Directory](t)(auth.Open(t.Context(), auth.Options{Store: w.store, Dir: dir, Cloud: w.cloud.Info()}))
	w.image = w.putImage(t, w.admin().AccountID)
	table := api.NewTable()
	actions.Register(table, w.cloud, nil)
	authorizer := authz.New(w.auth, func(ctx context.Context, account, ref string) (cloud.Attributes, bool, error) {
		return w.cloud.Account(account).Attributes(ctx, ref)
	})
	w.dispatcher = must[*api.Dispatcher](t)(api.NewDispatcher(table, api.Options{Authorize: authorizer.Authorize, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}))
	return w
}

// putImage makes an image of one snapshot, and a node that can run it.
func (w *world) putImage(t *testing.T, owner string) string {
	t.Helper()
	layer := model.Layer{ID: model.NewID(model.LayerPrefix), Frozen: true, SizeBytes: 1 << 30, Node: "n"}
	snap := model.Snapshot{ID: model.NewID(model.SnapshotPrefix), OwnerID: owner, LayerID: layer.ID, SizeGiB: 1, State: model.SnapshotCompleted}
	img := model.Image{
		ID: model.NewID(model.ImagePrefix), OwnerID: owner, Name: "tiny", Arch: model.X8664, State: model.ImageAvailable, RootDevice: "/dev/sda1",
		BlockDevices: []model.BlockDevice{{Device: "/dev/sda1", SnapshotID: snap.ID, SizeGiB: 1, DeleteOnTermination: true}},
		Boot:         model.Boot{Firmware: model.FirmwareBIOS}, Tags: model.Tags{"kind": "base"},
	}
	must[any](t)(nil, w.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, err := range []error{
			records.Nodes.Put(tx, &model.Node{ID: "n", Archs: []model.Arch{model.X8664}, VCPUs: 64, MemoryMiB: 1 << 20}),
			records.Layers.Put(tx, &layer), records.Snapshots.Put(tx, &snap), records.Images.Put(tx, &img),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return img.ID
}

func (w *world) admin() model.Identity { return model.Identity{AccountID: w.cloud.Info().AccountID} }

// user makes a user with an inline policy of these statements.
func (w *world) user(t *testing.T, account, name, statements string) model.Identity {
	t.Helper()
	u := must[model.User](t)(w.auth.CreateUser(t.Context(), account, name, "", nil))
	if statements != "" {
		w.allow(t, account, name, statements)
	}
	return model.Identity{AccountID: account, User: name, Path: "/", ID: u.ID}
}

func (w *world) allow(t *testing.T, account, user, statements string) {
	t.Helper()
	must[any](t)(nil, w.auth.PutUserPolicy(t.Context(), account, user, "test", `{"Version": "2012-10-17", "Statement": [`+statements+`]}`))
}

func (w *world) call(t *testing.T, id model.Identity, action string, input any) (any, error) {
	t.Helper()
	// Inputs are used more than once, and belong to the dispatcher.
	mine := must[any](t)(w.dispatcher.NewInput(action))
	must[any](t)(nil, json.Unmarshal(must[[]byte](t)(json.Marshal(input)), mine))
	return w.dispatcher.Call(t.Context(), &api.Call{
		Action: action, Input: mine, Principal: api.Principal{AccountID: id.AccountID, Name: id.ARN(), Identity: id}, Origin: w.origin,
	})
}

// launch runs an instance as this identity.
func (w *world) launch(t *testing.T, id model.Identity, tags ...string) string {
	t.Helper()
	in := w.runInput(tags...)
	out := must[any](t)(w.call(t, id, "RunInstances", in))
	return *out.(*ec2types.RunInstancesOutput).Instances[0].InstanceId
}

func (w *world) runInput(tags ...string) *ec2types.RunInstancesInput {
	in := &ec2types.RunInstancesInput{ImageId: &w.image, MinCount: new(int32(1)), MaxCount: new(int32(1)), InstanceType: new("t3.micro")}
	if len(tags) > 0 {
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("instance")}}
		for i := 0; i < len(tags); i += 2 {
			in.TagSpecifications[0].Tags = append(in.TagSpecifications[0].Tags, ec2types.Tag{Key: &tags[i], Value: &tags[i+1]})
		}
	}
	return in
}

const (
	launchAll = `{"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*"}`
	tagAll    = `{"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*"}`
)

// TestMatrix asks the dispatcher, as a user with these policies, for these calls.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	account := w.admin().AccountID
	id := w.user(t, account, "alice", "")
	web, db := w.launch(t, w.admin(), "role", "web"), w.launch(t, w.admin(), "role", "db", "owner", "alice")
	stop := func(ids ...string) any { return &ec2types.StopInstancesInput{InstanceIds: ids, DryRun: new(true)} }
	run := func(change func(*ec2types.RunInstancesInput), tags ...string) any {
		in := w.runInput(tags...)
		in.DryRun = new(true)
		if change != nil {
			change(in)
		}
		return in
	}
	describe := &ec2types.DescribeInstancesInput{}
	keyPair := func(name string) any { return &ec2types.CreateKeyPairInput{KeyName: &name, DryRun: new(true)} }
	for _, c := range []struct {
		name, statements, action string
		input                    any
		allowed                  bool
	}{
		{"nothing", `{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}`, "DescribeInstances", describe, false},
		{"describe", `{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}`, "DescribeInstances", describe, true},
		{"describe has no resources", `{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:instance/*"}`, "DescribeInstances", describe, false},
		{"stop", `{"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "arn:aws:ec2:test-1:` + account + `:instance/` + web + `"}`, "StopInstances", stop(web), true},
		{"stop two of which one", `{"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "arn:aws:ec2:*:*:instance/` + web + `"}`, "StopInstances", stop(web, db), false},
		{"stop by tag", `{"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEquals": {"ec2:ResourceTag/role": "web"}}}`, "StopInstances", stop(web), true},
		{"stop by other tag", `{"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/role": "web"}}}`, "StopInstances", stop(db), false},
		{"stop one's own", `{"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/owner": "${aws:username}"}}}`, "StopInstances", stop(db), true},
		{"stop another's", `{"Effect": "Allow", "Action": "ec2:*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/owner": "${aws:username}"}}}`, "StopInstances", stop(web), false},
		{"deny by tag", `{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "ec2:Stop*", "Resource": "*", "Condition": {"StringEquals": {"ec2:ResourceTag/role": "db"}}}`, "StopInstances", stop(web, db), false},
		{"launch", launchAll, "RunInstances", run(nil), true},
		{"launch tagged without CreateTags", launchAll, "RunInstances", run(nil, "a", "b"), false},
		{"launch tagged", launchAll + `,` + tagAll, "RunInstances", run(nil, "a", "b"), true},
		{"tags only as it is made", launchAll + `, {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}}}`, "RunInstances", run(nil, "a", "b"), true},
		{"tags not afterwards", launchAll + `, {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}}}`, "CreateTags", &ec2types.CreateTagsInput{Resources: []string{web}, Tags: []ec2types.Tag{{Key: new("a"), Value: new("b")}}, DryRun: new(true)}, false},
		{"request tag wanted", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:instance/*"}, {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringEquals": {"aws:RequestTag/env": "dev"}}}, ` + tagAll, "RunInstances", run(nil, "env", "dev"), true},
		{"request tag wrong", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:instance/*"}, {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringEquals": {"aws:RequestTag/env": "dev"}}}, ` + tagAll, "RunInstances", run(nil, "env", "prod"), false},
		{"tag keys bounded", launchAll + `, {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["env"]}}}`, "RunInstances", run(nil, "env", "x", "cost", "y"), false},
		{"small only", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:instance/*"}, {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringLike": {"ec2:InstanceType": "t3.*"}}}`, "RunInstances", run(nil), true},
		{"not so small", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:instance/*"}, {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringLike": {"ec2:InstanceType": "t3.*"}}}`, "RunInstances", run(func(in *ec2types.RunInstancesInput) { in.InstanceType = new("m5.large") }), false},
		{"IMDSv2 required", launchAll + `, {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}}}`, "RunInstances", run(nil), false},
		{"IMDSv2 given", launchAll + `, {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*:*:instance/*", "Condition": {"StringNotEquals": {"ec2:MetadataHttpTokens": "required"}}}`, "RunInstances", run(func(in *ec2types.RunInstancesInput) {
			in.MetadataOptions = &ec2types.InstanceMetadataOptionsRequest{HttpTokens: new("required")}
		}), true},
		{"image by tag", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*::image/*"}, {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*::image/*", "Condition": {"StringEquals": {"ec2:ResourceTag/kind": "base", "ec2:Owner": "` + account + `"}}}`, "RunInstances", run(nil), true},
		{"image by other tag", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*::image/*"}, {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "arn:aws:ec2:*::image/*", "Condition": {"StringEquals": {"ec2:ResourceTag/kind": "golden"}}}`, "RunInstances", run(nil), false},
		{"no subnet", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:subnet/*"}`, "RunInstances", run(nil), false},
		{"no volume", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:volume/*"}`, "RunInstances", run(nil), false},
		{"no security group", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:security-group/*"}`, "RunInstances", run(nil), false},
		{"no interface", `{"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": "arn:aws:ec2:*:*:network-interface/*"}`, "RunInstances", run(nil), false},
		{"key pair by name", `{"Effect": "Allow", "Action": "ec2:CreateKeyPair", "Resource": "arn:aws:ec2:*:*:key-pair/dev-*"}`, "CreateKeyPair", keyPair("dev-1"), true},
		{"key pair of another name", `{"Effect": "Allow", "Action": "ec2:CreateKeyPair", "Resource": "arn:aws:ec2:*:*:key-pair/dev-*"}`, "CreateKeyPair", keyPair("prod"), false},
		{"region", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:RequestedRegion": "test-1", "ec2:Region": "test-1"}}}`, "StopInstances", stop(web), true},
		{"address", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "Bool": {"aws:SecureTransport": true}, "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/al*"}, "DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}}`, "StopInstances", stop(web), true},
		{"other address", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}`, "StopInstances", stop(web), false},
		{"bundt's own", `{"Effect": "Allow", "Action": "bundt:DescribeBuilds", "Resource": "*"}`, "DescribeBuilds", &bundttypes.DescribeBuildsInput{}, true},
		{"bundt's own are not EC2's", `{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}`, "DescribeBuilds", &bundttypes.DescribeBuildsInput{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.allow(t, account, "alice", c.statements)
			_, err := w.call(t, id, c.action, c.input)
			code := model.CodeOf(err)
			if !c.allowed && code != api.CodeUnauthorizedOperation {
				t.Fatalf("got %v, want a refusal", err)
			}
			if c.allowed && err != nil && code != model.CodeDryRunOperation {
				t.Fatal(err)
			}
		})
	}
}

// TestRefusalIsDecoded: the message says what was asked and what denied it.
func TestRefusalIsDecoded(t *testing.T) {
	w := newWorld(t)
	account := w.admin().AccountID
	web := w.launch(t, w.admin(), "role", "web")
	id := w.user(t, account, "alice", `{"Sid": "Never", "Effect": "Deny", "Action": "ec2:Stop*", "Resource": "*"}`)
	_, err := w.call(t, id, "StopInstances", &ec2types.StopInstancesInput{InstanceIds: []string{web}})
	if model.CodeOf(err) != api.CodeUnauthorizedOperation {
		t.Fatal(err)
	}
	before, encoded, ok := strings.Cut(err.Error(), "Encoded authorization failure message: ")
	if !ok || !strings.Contains(before, "You are not authorized to perform this operation. User: "+id.ARN()+" is not authorized to perform: ec2:StopInstances on resource: arn:aws:ec2:test-1:"+account+":instance/"+web+" with an explicit deny") {
		t.Fatalf("%v", err)
	}
	text := must[string](t)(w.auth.DecodeMessage(encoded))
	var got struct {
		Allowed, ExplicitDeny bool
		MatchedStatements     struct {
			Items []struct{ StatementID, Effect string }
		}
		Context struct {
			Principal        struct{ ID, Name, ARN string }
			Action, Resource string
			Conditions       struct {
				Items []struct {
					Key    string
					Values struct{ Items []struct{ Value string } }
				}
			}
		}
	}
	must[any](t)(nil, json.Unmarshal([]byte(text), &got))
	if got.Allowed || !got.ExplicitDeny || got.Context.Action != "ec2:StopInstances" || got.Context.Principal.ID != id.ID || got.Context.Principal.Name != "alice" ||
		len(got.MatchedStatements.Items) != 1 || got.MatchedStatements.Items[0].StatementID != "Never" || got.MatchedStatements.Items[0].Effect != "DENY" {
		t.Errorf("%s", text)
	}
	found := map[string]string{}
	for _, k := range got.Context.Conditions.Items {
		found[k.Key] = k.Values.Items[0].Value
	}
	if found["ec2:ResourceTag/role"] != "web" || found["aws:username"] != "alice" || found["ec2:InstanceType"] != "t3.micro" {
		t.Errorf("conditions %v", found)
	}
}

// TestIsolation: for another account, an account's objects do not exist, whoever asks.
func TestIsolation(t *testing.T) {
	w := newWorld(t)
	other, _, _, err := w.auth.CreateAccount(t.Context(), "other", nil)
	if err != nil {
		t.Fatal(err)
	}
	inst := w.launch(t, w.admin(), "secret", "x")
	if _, err := w.call(t, w.admin(), "CreateKeyPair", &ec2types.CreateKeyPairInput{KeyName: new("mine")}); err != nil {
		t.Fatal(err)
	}
	vol := *must[any](t)(w.call(t, w.admin(), "DescribeVolumes", &ec2types.DescribeVolumesInput{})).(*ec2types.DescribeVolumesOutput).Volumes[0].VolumeId
	root := model.Identity{AccountID: other.ID}
	user := w.user(t, other.ID, "bob", `{"Effect": "Allow", "Action": "*", "Resource": "*"}`)
	for _, id := range []model.Identity{root, user} {
		for _, c := range []struct {
			action, code string
			input        any
		}{
			{"StopInstances", model.CodeInstanceIDNotFound, &ec2types.StopInstancesInput{InstanceIds: []string{inst}}},
			{"TerminateInstances", model.CodeInstanceIDNotFound, &ec2types.TerminateInstancesInput{InstanceIds: []string{inst}}},
			{"DescribeInstances", model.CodeInstanceIDNotFound, &ec2types.DescribeInstancesInput{InstanceIds: []string{inst}}},
			{"CreateImage", model.CodeInstanceIDNotFound, &ec2types.CreateImageInput{InstanceId: &inst, Name: new("stolen")}},
			{"DescribeVolumes", model.CodeVolumeNotFound, &ec2types.DescribeVolumesInput{VolumeIds: []string{vol}}},
			{"DescribeImages", model.CodeImageIDNotFound, &ec2types.DescribeImagesInput{ImageIds: []string{w.image}}},
			{"DeregisterImage", model.CodeImageIDNotFound, &ec2types.DeregisterImageInput{ImageId: &w.image}},
			{"RunInstances", model.CodeImageIDNotFound, w.runInput()},
			{"DescribeKeyPairs", model.CodeKeyPairNotFound, &ec2types.DescribeKeyPairsInput{KeyNames: []string{"mine"}}},
			{"CreateTags", model.CodeInstanceIDNotFound, &ec2types.CreateTagsInput{Resources: []string{inst}, Tags: []ec2types.Tag{{Key: new("a"), Value: new("b")}}}},
		} {
			if _, err := w.call(t, id, c.action, c.input); model.CodeOf(err) != c.code {
				t.Errorf("%s as %s: %v, want %s", c.action, id.ARN(), err, c.code)
			}
		}
		out := must[any](t)(w.call(t, id, "DescribeInstances", &ec2types.DescribeInstancesInput{})).(*ec2types.DescribeInstancesOutput)
		if len(out.Reservations) != 0 {
			t.Errorf("%s sees %d reservations", id.ARN(), len(out.Reservations))
		}
		for _, action := range []string{"DescribeInventory", "DescribeHost"} {
			if _, err := w.call(t, id, action, struct{}{}); model.CodeOf(err) != api.CodeUnauthorizedOperation {
				t.Errorf("%s as %s: %v", action, id.ARN(), err)
			}
		}
	}
	// Conditions on tags tell nothing of another account's.
	w.allow(t, other.ID, "bob", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/secret": "x"}}}`)
	if _, err := w.call(t, user, "StopInstances", &ec2types.StopInstancesInput{InstanceIds: []string{inst}}); model.CodeOf(err) != api.CodeUnauthorizedOperation {
		t.Errorf("another account's tag was seen: %v", err)
	}
}

// TestNobody: without an identity nothing is allowed, nor for one that is gone.
func TestNobody(t *testing.T) {
	w := newWorld(t)
	if _, err := w.call(t, model.Identity{}, "DescribeInstances", struct{}{}); model.CodeOf(err) != api.CodeUnauthorizedOperation {
		t.Errorf("nobody: %v", err)
	}
	if _, err := w.call(t, model.Identity{AccountID: "999999999999"}, "DescribeInstances", struct{}{}); model.CodeOf(err) != model.CodeAuthFailure {
		t.Errorf("no such account: %v", err)
	}
	id := w.user(t, w.admin().AccountID, "alice", `{"Effect": "Allow", "Action": "*", "Resource": "*"}`)
	if _, err := w.call(t, id, "DescribeInstances", struct{}{}); err != nil {
		t.Error(err)
	}
	ctx := t.Context()
	if err := w.auth.DeleteUserPolicy(ctx, id.AccountID, "alice", "test"); err != nil {
		t.Fatal(err)
	}
	if err := w.auth.DeleteUser(ctx, id.AccountID, "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.call(t, id, "DescribeInstances", struct{}{}); model.CodeOf(err) != model.CodeAuthFailure {
		t.Errorf("deleted user: %v", err)
	}
}
