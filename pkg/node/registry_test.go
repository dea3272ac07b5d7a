package node_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
)

// shelf is a registry on this host, and what it was asked for.
type shelf struct {
	host    string
	uploads atomic.Int64 // of blobs
	blobs   atomic.Int64 // that were fetched
	// spoil changes the answers to requests for blobs.
	spoil atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{}
	inner := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blob := strings.Contains(r.URL.Path, "/blobs/sha256:")
		switch {
		case r.Method == http.MethodPost:
			s.uploads.Add(1)
		case r.Method == http.MethodGet && blob:
			s.blobs.Add(1)
			if spoil := s.spoil.Load(); spoil != nil {
				(*spoil)(w, r, inner)
				return
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	return s
}

// withRegistry is a world that may speak to registries on this host.
func withRegistry(t *testing.T) (*world, *shelf) {
	t.Helper()
	w := newWorld(t)
	w.stop()
	w.fetch = fetch.New(fetch.Options{Host: true})
	w.start()
	return w, newShelf(t)
}

func (w *world) over(account *cloud.Account, task model.RegistryTask, err error) model.RegistryTask {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	id := task.ID
	w.eventually("the task is over", func() error {
		all, err := account.RegistryTasks(w.t.Context())
		if err != nil {
			return err
		}
		task = all[slices.IndexFunc(all, func(t model.RegistryTask) bool { return t.ID == id })]
		if !task.State.Over() {
			return fmt.Errorf("it is %s: %s", task.State, task.Message)
		}
		return nil
	})
	if task.Login != (model.RegistryLogin{}) {
		w.t.Error("the task is over and still has the password")
	}
	return task
}

func (w *world) push(ref string, img model.Image, sign bool) model.RegistryTask {
	w.t.Helper()
	task, err := w.cloud.PushImage(w.t.Context(), cloud.ImagePush{RegistryRequest: plain(ref), ImageID: img.ID, Sign: sign})
	task = w.over(w.cloud, task, err)
	if task.State != model.TaskCompleted {
		w.t.Fatalf("pushing to %s: %s", ref, task.Message)
	}
	return task
}

func (w *world) pull(account *cloud.Account, r cloud.ImagePull) model.RegistryTask {
	w.t.Helper()
	r.PlainHTTP, r.Login = true, model.RegistryLogin{Username: "baker", Password: "secret"}
	task, err := account.PullImage(w.t.Context(), r)
	return w.over(account, task, err)
}

func plain(ref string) cloud.RegistryRequest {
	return cloud.RegistryRequest{Reference: ref, PlainHTTP: true}
}

func from(ref string) cloud.ImagePull {
	return cloud.ImagePull{RegistryRequest: cloud.RegistryRequest{Reference: ref}}
}

func (w *world) imageOf(account *cloud.Account, id string) model.Image {
	w.t.Helper()
	all, err := account.FindImages(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(i *model.Image) bool { return i.ID == id })
	if i < 0 {
		w.t.Fatalf("image %s is not there", id)
	}
	return *all[i]
}

// alike compares two images in what travels.
func alike(t *testing.T, sent, got model.Image) {
	t.Helper()
	sent.SourceInstance, sent.ParentImage, sent.NoReboot = "", "", false // of its own cloud
	for _, i := range []*model.Image{&sent, &got} {
		i.ID, i.OwnerID, i.Name, i.Tags, i.Origin, i.Made, i.Recipe = "", "", "", nil, nil, nil, nil
		i.Created, i.BlockDevices = sent.Created, slices.Clone(i.BlockDevices)
		for n := range i.BlockDevices {
			i.BlockDevices[n].SnapshotID = ""
		}
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("the image that came differs: %s", diff)
	}
}

// TestImageThroughRegistry sends a baked image and the one of an instance of it, and
// gets them in the same account, where nothing travels, and in another one.
func TestImageThroughRegistry(t *testing.T) {
	w, shelf := withRegistry(t)
	baked := w.build()
	inst := w.run(baked.ID)
	w.wait(inst.ID, model.InstanceRunning)
	twin, err := w.cloud.CreateImage(t.Context(), cloud.ImageRequest{InstanceID: inst.ID, Name: "twin", NoReboot: true})
	if err != nil {
		t.Fatal(err)
	}
	twin = w.image(twin.ID)

	first := w.push("oci://"+shelf.host+"/images/plain:1", baked, false)
	if first.Moved == 0 || first.Digest == "" {
		t.Errorf("the first push: %+v", first)
	}
	second := w.push(shelf.host+"/images/plain:2", twin, true)
	if second.Reused == 0 {
		t.Errorf("the twin's push did not reuse the layer that the registry has: %+v", second)
	}
	uploads := shelf.uploads.Load()
	if again := w.push(shelf.host+"/images/plain:1", baked, false); again.Digest != first.Digest || again.Moved != 0 || shelf.uploads.Load() != uploads {
		t.Errorf("the same image again: %+v", again)
	}

	same := w.pull(w.cloud, cloud.ImagePull{RegistryRequest: cloud.RegistryRequest{Reference: shelf.host + "/images/plain:2"}, Name: "same"})
	if same.State != model.TaskCompleted || same.Reused == 0 || same.Moved != 0 {
		t.Fatalf("pulling into the same account: %+v", same)
	}
	got := w.imageOf(w.cloud, same.ImageID)
	alike(t, twin, got)
	if got.Origin == nil || got.Origin.Digest != second.Digest || got.Recipe != nil {
		t.Errorf("the image says it is from %+v and by the recipe %+v", got.Origin, got.Recipe)
	}
	w.wait(w.run(got.ID).ID, model.InstanceRunning)

	// Another account has none of the layers, though they are here.
	other := w.region.Account("999988887777")
	far := w.pull(other, from(shelf.host+"/images/plain@"+first.Digest))
	if far.State != model.TaskCompleted || far.Reused != 0 || far.Moved == 0 || far.ImageName != baked.Name {
		t.Fatalf("pulling into another account: %+v", far)
	}
	there := w.imageOf(other, far.ImageID)
	alike(t, baked, there)
	mine, theirs := w.layerOf(baked.BlockDevices[0].SnapshotID), w.layerOf(there.BlockDevices[0].SnapshotID)
	if mine == theirs || w.portable(mine) != w.portable(theirs) {
		t.Errorf("layers %s and %s must be two with the same content", mine, theirs)
	}
	blobs := shelf.blobs.Load()
	more := w.pull(other, from(shelf.host+"/images/plain:2"))
	if more.State != model.TaskCompleted || more.Reused == 0 {
		t.Fatalf("pulling the twin: %+v", more)
	}
	if n := shelf.blobs.Load() - blobs; n > 2 { // config and overlay: neither the lower layer nor the boot files
		t.Errorf("%d blobs were fetched", n)
	}
}

func (w *world) layerOf(snapshot string) string {
	w.t.Helper()
	for _, account := range []*cloud.Account{w.cloud, w.region.Account("999988887777")} {
		all, err := account.FindSnapshots(w.t.Context(), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, s := range all {
			if s.ID == snapshot {
				return s.LayerID
			}
		}
	}
	w.t.Fatalf("snapshot %s is not there", snapshot)
	return ""
}

// portable is the content of a layer as it travels.
func (w *world) portable(id string) string {
	w.t.Helper()
	r, err := disk.Portable(w.layers.Path(id))
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func TestSignedPull(t *testing.T) {
	w, shelf := withRegistry(t)
	img := w.build()
	w.push(shelf.host+"/signed:1", img, true)
	w.push(shelf.host+"/bare:1", img, false)
	other := w.region.Account("999988887777")
	strict := func(name string) cloud.ImagePull {
		r := from(shelf.host + "/" + name + ":1")
		r.Name, r.RequireSignature = name, true
		return r
	}
	if got := w.pull(other, strict("signed")); got.State != model.TaskDeleted || !strings.Contains(got.Message, "not signed by a trusted key") {
		t.Errorf("before the key is trusted: %s %s", got.State, got.Message)
	}
	key, err := w.cloud.ImageKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := w.region.Account("111122223333").ImageKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.TrustKey(t.Context(), "stranger", stranger.PublicKey); err != nil {
		t.Fatal(err)
	}
	if got := w.pull(other, strict("signed")); got.State != model.TaskDeleted {
		t.Errorf("signed by somebody else: %s", got.State)
	}
	if _, err := other.TrustKey(t.Context(), "baker", key.PublicKey); err != nil {
		t.Fatal(err)
	}
	if got := w.pull(other, strict("bare")); got.State != model.TaskDeleted {
		t.Errorf("not signed: %s", got.State)
	}
	got := w.pull(other, strict("signed"))
	if got.State != model.TaskCompleted || got.SignedBy != "baker" {
		t.Fatalf("signed: %+v", got)
	}
	pulled := w.imageOf(other, got.ImageID)
	if pulled.Origin.SignedBy != "baker" || pulled.Recipe == nil || pulled.Recipe.Digest != img.Recipe.Digest {
		t.Errorf("what a trusted key signed is believed: %+v %+v", pulled.Origin, pulled.Recipe)
	}
	said, err := w.node.Provenance(t.Context(), "999988887777", &pulled)
	if err != nil || said.SignedBy != "baker" || !strings.HasPrefix(said.Summary, "built from the recipe plain 1.0 ("+img.Recipe.Digest+")") {
		t.Errorf("how it was made: %+v, %v", said, err)
	}
	mine, err := w.node.Provenance(t.Context(), img.OwnerID, &img)
	if err != nil || mine.Summary != said.Summary || mine.SignedBy != "" {
		t.Errorf("how it was made, where it was made: %+v, %v", mine, err)
	}
	// What came with it is of no other image, and of no key that is trusted no more.
	swapped := pulled
	swapped.Boot.Cmdline = "init=/bin/sh"
	if said, err := w.node.Provenance(t.Context(), "999988887777", &swapped); err == nil {
		t.Errorf("another image was made like this one: %s", said.Statement)
	}
	if err := other.DistrustKey(t.Context(), "baker"); err != nil {
		t.Fatal(err)
	}
	if said, err := w.node.Provenance(t.Context(), "999988887777", &pulled); err == nil {
		t.Errorf("nobody is trusted, and says: %s", said.Statement)
	}
	if bare := w.pull(other, from(shelf.host+"/bare:1")); bare.State != model.TaskCompleted {
		t.Errorf("%+v", bare)
	} else if img := w.imageOf(other, bare.ImageID); img.Recipe != nil || len(img.Materials()) != 0 {
		t.Errorf("what nobody vouches for is believed: %+v", img)
	}
	// Names that failed pulls wanted are free.
	if got := w.pull(other, strict("bare")); got.State != model.TaskDeleted || strings.Contains(got.Message, "in use") {
		t.Errorf("again: %s", got.Message)
	}
}

// TestBadRegistry meets registries that lie, end early and know nothing.
func TestBadRegistry(t *testing.T) {
	w, shelf := withRegistry(t)
	img := w.build()
	w.push(shelf.host+"/images/plain:1", img, false)
	other := w.region.Account("999988887777")
	images := func() int {
		all, err := other.FindImages(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if got := w.pull(other, from(shelf.host+"/images/none:1")); got.State != model.TaskDeleted || !strings.Contains(got.Message, "not found in the registry") {
		t.Errorf("nothing of that name: %s %s", got.State, got.Message)
	}
	lies := func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		b := rec.Body.Bytes()
		b[len(b)/2] ^= 1
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		_, _ = w.Write(b)
	}
	shelf.spoil.Store(&lies)
	if got := w.pull(other, from(shelf.host+"/images/plain:1")); got.State != model.TaskDeleted || !strings.Contains(got.Message, "sent something else") {
		t.Errorf("a registry that lies: %s %s", got.State, got.Message)
	}
	if n := images(); n != 0 {
		t.Fatalf("failed pulls left %d images", n)
	}
	// One that ends in the middle is asked for the rest.
	var cut, ranges atomic.Int64
	ends := func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.Header().Set("Accept-Ranges", "bytes")
		w.WriteHeader(rec.Code)
		if b := rec.Body.Bytes(); cut.Add(1) == 2 { // after the config
			_, _ = w.Write(b[:len(b)/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		} else {
			_, _ = w.Write(b)
		}
	}
	shelf.spoil.Store(&ends)
	if got := w.pull(other, from(shelf.host+"/images/plain:1")); got.State != model.TaskCompleted || ranges.Load() != 1 {
		t.Errorf("a line that broke: %s %s, %d requests for the rest", got.State, got.Message, ranges.Load())
	}
	if left, err := os.ReadDir(w.node.ArrivingDir + "/" + other.ID()); err != nil || len(left) != 0 {
		t.Errorf("blobs that arrived are kept: %v %v", left, err)
	}
}

// TestRegistryTaskEnds cancels a pull, and stops the daemon in one, which goes on.
func TestRegistryTaskEnds(t *testing.T) {
	w, shelf := withRegistry(t)
	img := w.build()
	w.push(shelf.host+"/images/plain:1", img, false)
	other := w.region.Account("999988887777")
	reached, hold := make(chan struct{}, 100), make(chan struct{})
	waits := func(w http.ResponseWriter, r *http.Request, inner http.Handler) {
		reached <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		inner.ServeHTTP(w, r)
	}
	shelf.spoil.Store(&waits)
	r := from(shelf.host + "/images/plain:1")
	r.PlainHTTP, r.Name = true, "pulled"
	task, err := other.PullImage(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	w.stop()
	close(hold)
	w.start()
	if got := w.over(other, task, nil); got.State != model.TaskCompleted {
		t.Errorf("after the daemon came back: %s %s", got.State, got.Message)
	}

	hold = make(chan struct{})
	r.Name = "another"
	if task, err = other.PullImage(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := other.CancelRegistryTask(t.Context(), task.ID, ""); err != nil {
		t.Fatal(err)
	}
	close(hold)
	if got := w.over(other, task, nil); got.State != model.TaskDeleted || got.Message != "Cancelled by user" {
		t.Errorf("cancelled: %s %s", got.State, got.Message)
	}
	var e *model.Error
	if _, err := other.CancelRegistryTask(t.Context(), task.ID, ""); !errors.As(err, &e) || e.Code != model.CodeIncorrectState {
		t.Errorf("cancelling it again: %v", err)
	}
	if all, err := other.FindImages(t.Context(), nil); err != nil || len(all) != 1 {
		t.Errorf("images %v, %v", all, err)
	}
}
