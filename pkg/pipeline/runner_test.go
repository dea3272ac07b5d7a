package pipeline_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/pipeline"
	"github.com/bundt/bundt/pkg/recipe/archive"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const account = "111111111111"

// world is a cloud without a node, whose clock and builds are the test's.
type world struct {
	*cloud.Account
	t        *testing.T
	store    *store.Store
	runner   *pipeline.Runner
	now      time.Time
	blobs    map[string][]byte
	packages string
	broken   error // of telling the packages
	far      far
}

// far is another region, far-1, which has at most one image.
type far struct {
	err   error  // of every call, if it is away
	state string // of its image; "" if there is none
	calls []string
}

func (f *far) Peers() []model.Region { return []model.Region{{Name: "far-1"}} }

func (f *far) Known(region, _ string) error {
	if region != "far-1" {
		return model.Errorf(model.CodeInvalidParameterValue, "no region %s", region)
	}
	return nil
}

func (f *far) Call(_ context.Context, _, _, action string, in url.Values, out any) error {
	if f.err != nil {
		return f.err
	}
	switch out := out.(type) {
	case *ec2types.DescribeImagesOutput:
		if f.state != "" {
			out.Images = []ec2types.Image{{ImageId: new("ami-far"), State: &f.state, StateReason: &ec2types.StateReason{Message: new("the disk is full")}}}
		}
		return nil
	case *ec2types.CopyImageOutput:
		f.state, out.ImageId = "pending", new("ami-far")
	case *ec2types.DeregisterImageOutput:
		f.state = ""
	}
	f.calls = append(f.calls, action+" "+in.Get("SourceRegion")+in.Get("ImageId"))
	return nil
}

func (w *world) OpenBlob(digest string) (io.ReadCloser, error) {
	b, ok := w.blobs[digest]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, blobs: map[string][]byte{}, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Migrations: cloud.Migrations()})
	w.must(err)
	t.Cleanup(func() { _ = s.Close() })
	w.store = s
	w.open()
	w.update(func(tx *store.Tx) error { return records.Nodes.Put(tx, &model.Node{ID: "node"}) })
	return w
}

// open begins anew, as a daemon that was ended does.
func (w *world) open() {
	c, err := cloud.New(w.t.Context(), cloud.Options{Store: w.store, Blobs: w, Region: "local-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16"), Regions: &w.far, Now: func() time.Time { return w.now }})
	w.must(err)
	w.Account = c.Account(account)
	w.runner = pipeline.New(pipeline.Options{Cloud: c, Store: w.store, Logger: slog.New(slog.DiscardHandler), Packages: func(context.Context, string, model.Arch) (string, error) { return w.packages, w.broken }})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) update(do func(*store.Tx) error) {
	w.t.Helper()
	w.must(w.store.Update(w.t.Context(), do))
}

// upload keeps a recipe on the newest image of "base".
func (w *world) upload(text string) string {
	var b bytes.Buffer
	w.must(archive.Pack(&b, fstest.MapFS{"recipe.yaml": {Mode: 0o644, Data: []byte(`apiVersion: bundt/v1
name: web
version: "2.1.0"
architectures: [x86_64]
source: {image: "recipe:base"}
metadata: {loginUser: root}
components:
  - name: web
    phases: [{name: build, steps: [{name: a, run: "` + text + `"}]}]
`)}}))
	sum := sha256.Sum256(b.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	w.blobs[digest] = b.Bytes()
	return digest
}

// parent makes an image of "base" that is newer than those before.
func (w *world) parent() string {
	img := model.Image{ID: model.NewID(model.ImagePrefix), OwnerID: account, State: model.ImageAvailable, Arch: model.X8664, Created: w.now, Tags: model.Tags{cloud.RecipeTag: "base"}}
	w.update(func(tx *store.Tx) error { return records.Images.Put(tx, &img) })
	return img.ID
}

// settle has the runner do all that there is to do now.
func (w *world) settle() (next time.Time) {
	w.t.Helper()
	for range 8 {
		at, err := w.runner.Step(w.t.Context())
		w.must(err)
		next = at
	}
	return next
}

// build ends the build that is under way.
func (w *world) build(state model.BuildState) {
	w.t.Helper()
	done := 0
	w.update(func(tx *store.Tx) error {
		done = 0
		all, err := records.Builds.List(tx)
		for i := range all {
			b := &all[i]
			if b.State.Over() {
				continue
			}
			done++
			b.State, b.Finished, b.StateReason = state, w.now, model.Reason{Code: "Client.BuildFailed", Message: "as the test wants"}
			if state == model.BuildAvailable {
				b.StateReason = model.Reason{}
				img := model.Image{ID: b.ImageID, OwnerID: account, Name: b.ImageName, State: model.ImageAvailable, Arch: b.Arch, Created: w.now, Tags: b.Tags}
				err = errors.Join(err, records.Images.Put(tx, &img))
			} else {
				err = errors.Join(err, records.Names.Delete(tx, records.NameKey(model.ImagePrefix, account, b.ImageName)))
			}
			err = errors.Join(err, records.Builds.Put(tx, b))
		}
		return err
	})
	if done != 1 {
		w.t.Fatalf("%d builds were under way", done)
	}
	w.settle()
}

// at sets the clock and has done what is due.
func (w *world) at(clock string) time.Time {
	w.t.Helper()
	var err error
	w.now, err = time.Parse("2006-01-02 15:04", "2026-"+clock)
	w.must(err)
	return w.settle()
}

func (w *world) create(change func(*cloud.PipelineRequest)) model.Pipeline {
	w.t.Helper()
	r := cloud.PipelineRequest{Name: "web", ContextDigest: w.upload("true"), Schedule: model.PipelineSchedule{Expression: "cron(0 3 * * ? *)", Condition: model.StartAlways}}
	if change != nil {
		change(&r)
	}
	p, err := w.CreatePipeline(w.t.Context(), r)
	w.must(err)
	return p
}

// runs tells of all runs: their versions and states, the oldest first.
func (w *world) runs() string {
	w.t.Helper()
	all, err := w.PipelineRuns(w.t.Context(), "web")
	w.must(err)
	var out []string
	for _, r := range all {
		out = append([]string{r.Version + " " + string(r.State)}, out...)
	}
	return strings.Join(out, ", ")
}

func (w *world) check(what, want string) {
	w.t.Helper()
	if got := w.runs(); got != want {
		p, _ := w.Pipeline(w.t.Context(), "web")
		w.t.Errorf("%s there are: %s\nwant: %s\nnote: %s", what, got, want, p.Note)
	}
}

func TestSchedule(t *testing.T) {
	w := newWorld(t)
	w.parent()
	w.create(nil)
	if next := w.settle(); !next.Equal(time.Date(2026, 5, 2, 3, 0, 0, 0, time.UTC)) {
		t.Errorf("it is due at %s", next)
	}
	w.at("05-02 02:59")
	w.check("before its time", "")
	w.at("05-02 03:00")
	w.check("at its time", "2.1.1 building")
	w.build(model.BuildAvailable)
	w.check("when it is built", "2.1.1 available")
	w.at("05-02 23:00")
	w.check("later that day", "2.1.1 available")
	w.open() // a daemon that was away for days catches up by one run
	w.at("05-06 10:00")
	w.check("after a pause", "2.1.1 available, 2.1.2 building")
	all, err := w.PipelineRuns(t.Context(), "web")
	w.must(err)
	if due := all[0].Due; !due.Equal(time.Date(2026, 5, 3, 3, 0, 0, 0, time.UTC)) || all[0].ImageName != "web-2.1.2-x86_64" {
		t.Errorf("it was due at %s: %+v", due, all[0])
	}
	w.at("05-07 03:00") // and is still under way
	w.check("while it goes on", "2.1.1 available, 2.1.2 building")
	w.build(model.BuildAvailable)
	w.at("05-07 12:00")
	w.check("after being passed over", "2.1.1 available, 2.1.2 available")
	p, err := w.Pipeline(t.Context(), "web")
	w.must(err)
	if !strings.Contains(p.Note, "still under way") {
		t.Errorf("the note is %q", p.Note)
	}
	w.at("05-08 03:01")
	w.check("the next day", "2.1.1 available, 2.1.2 available, 2.1.3 building")
}

func TestDisabled(t *testing.T) {
	w := newWorld(t)
	w.parent()
	w.create(func(r *cloud.PipelineRequest) { r.Disabled = true })
	w.at("05-09 03:00")
	w.check("disabled", "")
	_, err := w.StartPipeline(t.Context(), "web", "token")
	w.must(err)
	again, err := w.StartPipeline(t.Context(), "web", "token")
	w.must(err)
	w.settle()
	w.check("on demand", "2.1.1 building")
	if _, err := w.StartPipeline(t.Context(), "web", ""); model.CodeOf(err) != model.CodeIncorrectState {
		t.Errorf("a second run at a time: %v", err)
	}
	if err := w.DeletePipeline(t.Context(), "web"); model.CodeOf(err) != model.CodeIncorrectState {
		t.Errorf("deleted with a run under way: %v", err)
	}
	w.build(model.BuildCancelled)
	w.check("cancelled", "2.1.1 cancelled")
	_, err = w.UpdatePipeline(t.Context(), again.PipelineID, cloud.PipelineChange{Enabled: new(true)})
	w.must(err)
	w.settle()
	w.check("enabled: nothing was missed", "2.1.1 cancelled")
	w.at("05-10 03:00")
	w.check("enabled", "2.1.1 cancelled, 2.1.2 building")
	w.build(model.BuildAvailable)
	w.must(w.DeletePipeline(t.Context(), "web"))
	w.at("05-11 03:00")
	w.update(func(tx *store.Tx) error {
		runs, err := records.PipelineRuns.List(tx)
		if len(runs) != 0 {
			t.Errorf("%d runs are left", len(runs))
		}
		return err
	})
}

// A build comes only when something that goes into it has changed since the last one.
func TestDependencies(t *testing.T) {
	w := newWorld(t)
	w.create(func(r *cloud.PipelineRequest) { r.Schedule.Condition = "" }) // the default
	w.at("05-02 03:00")
	w.check("without a parent", "")
	first := w.parent()
	w.at("05-02 03:05")
	w.check("with one, after the pause", "2.1.1 building")
	w.build(model.BuildAvailable)
	w.at("05-03 03:00")
	w.check("when nothing has changed", "2.1.1 available")
	p, err := w.Pipeline(t.Context(), "web")
	w.must(err)
	if !strings.Contains(p.Note, "nothing that goes into") || p.Built.Parent != first {
		t.Errorf("%+v", p)
	}
	second := w.parent()
	w.at("05-04 03:00")
	w.check("with a new parent", "2.1.1 available, 2.1.2 building")
	w.build(model.BuildFailed)
	w.at("05-05 03:00")
	w.check("after a failure", "2.1.1 available, 2.1.2 failed, 2.1.3 building")
	w.build(model.BuildAvailable)
	w.packages = "sha256:new"
	w.at("05-06 03:00")
	w.check("with new packages", "2.1.1 available, 2.1.2 failed, 2.1.3 available, 2.1.4 building")
	w.build(model.BuildAvailable)
	digest := w.upload("echo other")
	_, err = w.UpdatePipeline(t.Context(), "web", cloud.PipelineChange{ContextDigest: &digest})
	w.must(err)
	w.at("05-07 03:00")
	w.build(model.BuildAvailable)
	w.check("with another recipe", "2.1.1 available, 2.1.2 failed, 2.1.3 available, 2.1.4 available, 2.1.5 available")
	w.at("05-08 03:00")
	runs, err := w.PipelineRuns(t.Context(), "web")
	w.must(err)
	if r := runs[0]; r.Built.Parent != second || r.Built.Packages != "sha256:new" || r.Built.Recipe != digest {
		t.Errorf("it was built of %+v", r.Built)
	}
	_, err = w.DeregisterImage(t.Context(), runs[0].ImageID, true)
	w.must(err)
	w.at("05-09 03:00")
	w.check("when the last image is gone", "2.1.1 available, 2.1.2 failed, 2.1.3 available, 2.1.4 available, 2.1.5 available, 2.1.6 building")
	w.build(model.BuildAvailable)
	w.broken = errors.New("the mirror is away")
	w.at("05-10 03:00")
	p, err = w.Pipeline(t.Context(), "web")
	w.must(err)
	if !strings.Contains(p.Note, "the mirror is away") || !p.NotBefore.Equal(w.now.Add(5*time.Minute)) {
		t.Errorf("%+v", p)
	}
	w.broken = nil
	w.at("05-10 03:05")
	if p, _ = w.Pipeline(t.Context(), "web"); !strings.Contains(p.Note, "nothing that goes into") {
		t.Errorf("when it is back: %q", p.Note)
	}
}

// A pipeline that fails again and again pauses longer and longer.
func TestBackOff(t *testing.T) {
	w := newWorld(t)
	w.parent()
	w.create(func(r *cloud.PipelineRequest) { r.Schedule.Expression = "cron(* * * * ? *)" })
	var at []string
	start := w.now
	for w.now.Before(start.Add(2 * time.Hour)) {
		w.now = w.now.Add(time.Minute)
		w.settle()
		if strings.HasSuffix(w.runs(), "building") {
			at = append(at, w.now.Format("15:04"))
			w.build(model.BuildFailed)
		}
	}
	if got := strings.Join(at, " "); got != "12:01 12:06 12:16 12:36 13:16" {
		t.Errorf("it ran at %s", got)
	}
	digest := w.upload("fixed")
	_, err := w.UpdatePipeline(t.Context(), "web", cloud.PipelineChange{ContextDigest: &digest})
	w.must(err)
	w.now = w.now.Add(time.Minute)
	w.settle()
	if got := w.runs(); !strings.HasSuffix(got, "building") {
		t.Errorf("after a change it does not run: %s", got)
	}
	w.build(model.BuildAvailable)
	w.now = w.now.Add(time.Minute)
	w.settle()
	if got := w.runs(); !strings.HasSuffix(got, "building") {
		t.Errorf("after a success it pauses: %s", got)
	}
}

// images are the names of the account's images of the pipeline.
func (w *world) images() string {
	all, err := w.FindImages(w.t.Context(), nil)
	w.must(err)
	var out []string
	for _, i := range all {
		if i.Name != "" {
			out = append(out, strings.TrimSuffix(strings.TrimPrefix(i.Name, "web-2.1."), "-x86_64"))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.parent()
	w.create(func(r *cloud.PipelineRequest) { r.Keep = 2 })
	for day := 2; day <= 4; day++ {
		w.at(fmt.Sprintf("05-%02d 03:00", day))
		w.build(model.BuildAvailable)
	}
	if got := w.images(); got != "2 3" {
		t.Fatalf("it keeps %s", got)
	}
	runs, err := w.PipelineRuns(t.Context(), "web")
	w.must(err)
	launched := model.Instance{ID: model.NewID(model.InstancePrefix), OwnerID: "222222222222", ImageID: runs[1].ImageID, State: model.InstanceStopped}
	w.update(func(tx *store.Tx) error { return records.Instances.Put(tx, &launched) })
	for day := 5; day <= 6; day++ {
		w.at(fmt.Sprintf("05-%02d 03:00", day))
		w.build(model.BuildAvailable)
	}
	if got := w.images(); got != "2 4 5" {
		t.Errorf("with an instance of 2 it keeps %s", got)
	}
	_, err = w.ProtectImage(t.Context(), mustID(w, "4"), false)
	w.must(err)
	launched.State = model.InstanceTerminated
	w.update(func(tx *store.Tx) error { return records.Instances.Put(tx, &launched) })
	for day := 7; day <= 8; day++ {
		w.at(fmt.Sprintf("05-%02d 03:00", day))
		w.build(model.BuildAvailable)
	}
	if got := w.images(); got != "4 6 7" {
		t.Errorf("with 4 protected and 2 free it keeps %s", got)
	}
}

func mustID(w *world, number string) string {
	all, err := w.FindImages(w.t.Context(), nil)
	w.must(err)
	for _, i := range all {
		if i.Name == "web-2.1."+number+"-x86_64" {
			return i.ID
		}
	}
	w.t.Fatalf("no image %s", number)
	return ""
}

// Another region is told to copy an image, once, and asked whether it has. One that is
// away is asked again, and a copy that failed makes way for another.
func TestDistributionToRegions(t *testing.T) {
	w := newWorld(t)
	w.parent()
	w.create(func(r *cloud.PipelineRequest) { r.Distribution = model.Distribution{Regions: []string{"far-1"}} })
	w.far.err = errors.New("nobody answers")
	w.at("05-02 03:00")
	w.build(model.BuildAvailable)
	delivery := func() model.Delivery {
		runs, err := w.PipelineRuns(t.Context(), "web")
		w.must(err)
		return runs[0].Deliveries[0]
	}
	after := func(d time.Duration, state model.DeliveryState, attempts int, message string) {
		t.Helper()
		w.now = w.now.Add(d)
		w.settle()
		if d := delivery(); d.State != state || d.Attempts != attempts || d.Message != message {
			t.Errorf("after %q it is %+v", w.far.calls, d)
		}
	}
	after(0, model.DeliveryPending, 1, "nobody answers")
	w.far.err = nil
	after(time.Minute, model.DeliveryActive, 1, "nobody answers")
	w.open() // as a daemon that comes back
	after(2*time.Second, model.DeliveryActive, 1, "nobody answers")
	w.far.state = "failed"
	after(2*time.Second, model.DeliveryPending, 2, "the disk is full")
	after(2*time.Minute, model.DeliveryActive, 2, "the disk is full")
	w.far.state = "available"
	after(2*time.Second, model.DeliveryDone, 2, "")
	if got, want := strings.Join(w.far.calls, ", "), "CopyImage local-1, DeregisterImage ami-far, CopyImage local-1"; got != want {
		t.Errorf("the region was called: %s, want %s", got, want)
	}
	if d := delivery(); d.ImageID != "ami-far" {
		t.Errorf("the copy is %q", d.ImageID)
	}
}

// What is to become of an image is done part by part; what fails is tried again, and
// does not undo the image.
func TestDistribution(t *testing.T) {
	w := newWorld(t)
	w.parent()
	w.create(func(r *cloud.PipelineRequest) {
		r.Distribution = model.Distribution{
			Name: "n-{{ imagebuilder:buildVersion }}", Tags: model.Tags{"team": "a"}, Launch: model.Sharing{Accounts: []string{"333333333333"}},
			Registries: []model.RegistryTarget{{Reference: "registry.test/web:{{ imagebuilder:buildVersion }}", Login: model.RegistryLogin{Username: "u", Password: "p"}}},
		}
	})
	w.at("05-02 03:00")
	w.build(model.BuildAvailable)
	w.check("while it is sent", "2.1.1 distributing")
	run := func() model.PipelineRun {
		runs, err := w.PipelineRuns(t.Context(), "web")
		w.must(err)
		return runs[0]
	}
	img, err := w.Image(t.Context(), run().ImageID)
	w.must(err)
	if img.Name != "n-2.1.1" || img.Tags["team"] != "a" || !img.UsableBy("333333333333") {
		t.Errorf("%+v", img)
	}
	task := func(state model.TaskState, message string) {
		t.Helper()
		id := run().Deliveries[1].TaskID
		w.update(func(tx *store.Tx) error {
			task, err := records.RegistryTasks.Get(tx, id)
			if err != nil {
				return err
			}
			if task.State.Over() || task.Reference != "registry.test/web:2.1.1" || task.Login.Password != "p" {
				t.Errorf("%+v", task)
			}
			task.State, task.Message = state, message
			return records.RegistryTasks.Put(tx, &task)
		})
		w.settle()
	}
	// Five attempts, with longer and longer pauses, then it is given up.
	for attempt, pause := range []time.Duration{1, 2, 4, 8, 0} {
		task(model.TaskDeleted, "the registry is away")
		if d := run().Deliveries[1]; d.Attempts != attempt+1 || d.Message != "the registry is away" {
			t.Fatalf("%+v", d)
		}
		w.now = w.now.Add(pause*time.Minute - time.Second)
		w.settle()
		if d := run().Deliveries[1]; d.State == model.DeliveryActive {
			t.Fatalf("it is tried again too early: %+v", d)
		}
		w.now = w.now.Add(time.Second)
		w.settle()
	}
	r := run()
	if r.State != model.RunAvailable || !strings.Contains(r.StateReason.Message, "1 of 2 parts") || r.Deliveries[0].State != model.DeliveryDone {
		t.Fatalf("%+v", r)
	}
	if p, _ := w.Pipeline(t.Context(), "web"); p.Failures != 0 {
		t.Error("a distribution's failure counts as the build's")
	}
	_, err = w.RetryDeliveries(t.Context(), r.ID)
	w.must(err)
	w.settle()
	task(model.TaskCompleted, "")
	if r = run(); r.State != model.RunAvailable || r.StateReason.Message != "" || r.Deliveries[1].State != model.DeliveryDone {
		t.Errorf("%+v", r)
	}
	if _, err = w.RetryDeliveries(t.Context(), r.ID); model.CodeOf(err) != model.CodeIncorrectState {
		t.Errorf("nothing to try again: %v", err)
	}
}

// A run goes on wherever the daemon was ended: each step again from the same state.
func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	w.parent()
	w.create(func(r *cloud.PipelineRequest) {
		r.Distribution.Registries = []model.RegistryTarget{{Reference: "registry.test/web"}}
	})
	w.now = time.Date(2026, 5, 2, 3, 0, 0, 0, time.UTC)
	for range 6 { // one step, and then another daemon
		_, err := w.runner.Step(t.Context())
		w.must(err)
		w.open()
	}
	w.check("after many daemons", "2.1.1 building")
	w.build(model.BuildAvailable)
	for range 4 {
		_, err := w.runner.Step(t.Context())
		w.must(err)
		w.open()
	}
	w.update(func(tx *store.Tx) error {
		tasks, err := records.RegistryTasks.List(tx)
		if len(tasks) != 1 {
			t.Errorf("%d registry tasks", len(tasks))
		}
		builds, berr := records.Builds.List(tx)
		if len(builds) != 1 {
			t.Errorf("%d builds", len(builds))
		}
		return errors.Join(err, berr)
	})
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.parent()
	for name, tc := range map[string]struct {
		change func(*cloud.PipelineRequest)
		want   string
	}{
		"name":             {func(r *cloud.PipelineRequest) { r.Name = "a/b" }, "name"},
		"no recipe":        {func(r *cloud.PipelineRequest) { r.ContextDigest = "sha256:00" }, "no such upload"},
		"architecture":     {func(r *cloud.PipelineRequest) { r.Arch = model.ARM64 }, "is for"},
		"schedule":         {func(r *cloud.PipelineRequest) { r.Schedule.Expression = "cron(0 3 * * * *)" }, "must be"},
		"zone":             {func(r *cloud.PipelineRequest) { r.Schedule.Zone = "Nowhere" }, "time zone"},
		"never":            {func(r *cloud.PipelineRequest) { r.Schedule.Expression = "cron(0 3 30 2 ? *)" }, "no time after now"},
		"condition":        {func(r *cloud.PipelineRequest) { r.Schedule.Condition = "SOMETIMES" }, "start condition"},
		"zone alone":       {func(r *cloud.PipelineRequest) { r.Schedule = model.PipelineSchedule{Zone: "UTC"} }, "without a schedule"},
		"keep":             {func(r *cloud.PipelineRequest) { r.Keep = -1 }, "Keep"},
		"one name for all": {func(r *cloud.PipelineRequest) { r.Distribution.Name = "web" }, "the same for each image"},
		"unknown in name":  {func(r *cloud.PipelineRequest) { r.Distribution.Name = "web-{{ buildVersion }}" }, "stands for nothing"},
		"no image's name":  {func(r *cloud.PipelineRequest) { r.Distribution.Name = "web!{{ imagebuilder:buildDate }}" }, "AMI name"},
		"account":          {func(r *cloud.PipelineRequest) { r.Distribution.Launch.Accounts = []string{"me"} }, "twelve digits"},
		"registry":         {func(r *cloud.PipelineRequest) { r.Distribution.Registries = []model.RegistryTarget{{Reference: "web"}} }, "Reference"},
		"tag":              {func(r *cloud.PipelineRequest) { r.Distribution.Tags = model.Tags{"aws:x": "y"} }, "aws:"},
	} {
		r := cloud.PipelineRequest{Name: "web", ContextDigest: w.upload("true"), Schedule: model.PipelineSchedule{Expression: "cron(0 3 * * ? *)"}}
		tc.change(&r)
		if p, err := w.CreatePipeline(t.Context(), r); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, %+v", name, err, p)
		}
	}
	w.create(nil)
	if _, err := w.CreatePipeline(t.Context(), cloud.PipelineRequest{Name: "web", ContextDigest: w.upload("true")}); model.CodeOf(err) != "ResourceAlreadyExists" {
		t.Errorf("a second one of that name: %v", err)
	}
	before, err := w.Pipeline(t.Context(), "web")
	w.must(err)
	if _, err := w.UpdatePipeline(t.Context(), "web", cloud.PipelineChange{Keep: new(-1), Description: new("x")}); err == nil {
		t.Error("a bad change is taken")
	}
	after, err := w.Pipeline(t.Context(), "web")
	w.must(err)
	if before.Description != after.Description || !before.Updated.Equal(after.Updated) {
		t.Errorf("a refused change changed %+v to %+v", before, after)
	}
	other := w.runner.Cloud.Account("222222222222")
	if _, err := other.Pipeline(t.Context(), before.ID); model.CodeOf(err) != "InvalidImagePipelineID.NotFound" {
		t.Errorf("another account sees it: %v", err)
	}
	if _, err := other.StartPipeline(t.Context(), before.ID, ""); model.CodeOf(err) != "InvalidImagePipelineID.NotFound" {
		t.Errorf("another account starts it: %v", err)
	}
}

// TestSlowArchive: a pipeline whose archive does not answer holds up no other.
func TestSlowArchive(t *testing.T) {
	w := newWorld(t)
	w.parent()
	slow := w.upload("sleep 1")
	w.create(func(r *cloud.PipelineRequest) {
		r.Name, r.ContextDigest, r.Schedule.Condition = "slow", slow, model.StartOnChanges
	})
	w.create(func(r *cloud.PipelineRequest) { r.Schedule.Condition = model.StartOnChanges })
	asked := make(chan struct{})
	w.runner.Packages = func(ctx context.Context, digest string, _ model.Arch) (string, error) {
		if digest != slow {
			close(asked)
			return "sha256:other", nil
		}
		select {
		case <-asked:
			return "sha256:slow", nil
		case <-time.After(20 * time.Second):
			return "", errors.New("the other one was held up")
		}
	}
	var err error
	w.now, err = time.Parse("2006-01-02 15:04", "2026-05-02 03:00")
	w.must(err)
	_, err = w.runner.Step(t.Context())
	w.must(err)
	if p, err := w.Pipeline(t.Context(), "slow"); err != nil || p.Note != "" {
		t.Errorf("the slow one's note is %q: %v", p.Note, err)
	}
	w.check("beside a slow one", "2.1.1 pending")
}
