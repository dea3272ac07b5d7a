package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/ststypes"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/hypervisor"
	fakehv "github.com/bundt/bundt/pkg/hypervisor/fake"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/rundir"
	"github.com/bundt/bundt/pkg/store"
)

const plain = `apiVersion: bundt/v1
name: plain
version: "1"
architectures: [x86_64]
boot: {firmware: bios}
source: {disk: {file: disk.img}}
blockDevices: [{device: /dev/sda1, size: 64MiB}]
`

func recipeOf(text string) fstest.MapFS {
	return fstest.MapFS{"recipe.yaml": {Data: []byte(text)}, "disk.img": {Data: make([]byte, 512)}}
}

func edited(old, replacement string) fstest.MapFS {
	if !strings.Contains(plain, old) {
		panic(old)
	}
	return recipeOf(strings.Replace(plain, old, replacement, 1))
}

// TestBadRecipes checks what a bad recipe or upload is answered with.
func TestBadRecipes(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	c.bootSector()
	build := func(digest *string) func() error {
		return func() error { _, err := c.build(digest, nil); return err }
	}
	c.refused("no digest", model.CodeInvalidParameterValue, "upload the recipe", build(new("sha256:zz")))
	c.refused("unknown digest", model.CodeInvalidParameterValue, "upload the recipe", build(new("sha256:"+strings.Repeat("0", 64))))
	junk, err := c.Upload(t.Context(), strings.NewReader("not a tar archive"))
	c.must(err)
	c.refused("no archive", model.CodeInvalidRecipe, "archive", build(&junk))
	for name, r := range map[string]struct {
		files fs.FS
		want  string
	}{
		"unknown key":        {edited("name: plain", "nam: plain"), `recipe.yaml:2:1: unknown key "nam"`},
		"duplicate key":      {edited("version:", "name: twice\nversion:"), `recipe.yaml:3:1: duplicate key "name": it is already on line 2`},
		"impossible size":    {edited("64MiB", "17TiB"), "more than the largest disk"},
		"no size":            {edited("64MiB", "0MiB"), "cannot be empty"},
		"no recipe":          {fstest.MapFS{"x": {}}, "recipe.yaml"},
		"wrong lock":         {with(recipeOf(plain), "recipe.lock", "apiVersion: bundt/v1\nnothing: 1\n"), `recipe.lock:2:1: unknown key "nothing"`},
		"digest of the lock": {with(recipeOf(plain), "recipe.lock", lockWith("abc")), "64 hexadecimal digits"},
	} {
		c.refused(name, model.CodeInvalidRecipe, r.want, build(c.upload(r.files)))
	}
	c.refused("architecture", model.CodeInvalidParameterValue, "is for [x86_64]", func() error {
		_, err := c.BuildImage(t.Context(), &bundttypes.BuildImageInput{ContextDigest: c.upload(recipeOf(plain)), Architecture: new("arm64")})
		return err
	})
	c.refused("name taken", model.CodeImageNameDuplicate, "choose another name, or remove the old image: bundt image delete ami-", func() error {
		_, err := c.build(c.upload(recipeOf(plain)), new("boot-sector-1.0.0-x86_64"))
		return err
	})
	c.refused("bad name", model.CodeImageNameMalformed, "3 to 128", func() error {
		_, err := c.build(c.upload(recipeOf(plain)), new("x"))
		return err
	})
}

func with(f fstest.MapFS, name, text string) fstest.MapFS {
	f[name] = &fstest.MapFile{Data: []byte(text)}
	return f
}

func lockWith(digest string) string {
	return "apiVersion: bundt/v1\npackages:\n  x86_64: [{name: a, package: a, version: \"1\", suite: s, path: a.deb, size: 1, sha256: " + digest + "}]\n"
}

// TestFailedBuilds checks bakes that begin and fail: the reason is told, nothing
// stays, and the image's name is free again.
func TestFailedBuilds(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	large := recipeOf(plain)
	large["disk.img"].Data = make([]byte, 65<<20)
	missing := edited("disk.img", "other.img")
	before := c.everything()
	for name, r := range map[string]struct {
		files fs.FS
		want  string
	}{
		"missing file": {missing, "other.img"},
		"too large":    {large, "more than the root disk's"},
		"not built":    {edited("source: {disk: {file: disk.img}}", "source: {tree: t}\nfiles: [{path: /x, from: build/x}]"), "there is no build/x in the recipe's directory"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := c.build(c.upload(r.files), nil)
			var why string
			switch {
			case model.CodeOf(err) == model.CodeInvalidRecipe: // found before the bake
				why = err.Error()
			case err != nil:
				t.Fatal(err)
			case b.State != "failed" || b.StateReason == nil:
				t.Fatalf("the build is %s", b.State)
			default:
				why = b.StateReason.Message
			}
			if !strings.Contains(why, r.want) {
				t.Errorf("the reason is %q, want %q", why, r.want)
			}
			if after := c.everything(); after != before {
				t.Errorf("something is left:\n%s", after)
			}
		})
	}
	tree := edited("{disk: {file: disk.img}}", "{tree: tree}")
	tree["tree/etc/hostname"] = &fstest.MapFile{Data: []byte("cake\n")}
	b, err := c.build(c.upload(tree), nil)
	c.must(err)
	if b.State != "available" {
		t.Errorf("the name is not free after the failures: %s %+v", b.State, b.StateReason)
	}
}

// TestRefusedCalls checks wrong ids, sizes, names and states.
func TestRefusedCalls(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	ctx := t.Context()
	image := c.bootSector()
	stopped, running, ended := c.run(image), c.run(image), c.run(image)
	_, err := c.StopInstances(ctx, &ec2types.StopInstancesInput{InstanceIds: []string{stopped}, Force: new(true)})
	c.must(err)
	_, err = c.TerminateInstances(ctx, &ec2types.TerminateInstancesInput{InstanceIds: []string{ended}})
	c.must(err)
	c.await(stopped, "stopped")
	c.await(ended, "terminated")
	_, err = c.CreateKeyPair(ctx, &ec2types.CreateKeyPairInput{KeyName: new("taken"), KeyType: new("ed25519")})
	c.must(err)

	launch := func(edit func(*ec2types.RunInstancesInput)) func() error {
		return func() error {
			in := &ec2types.RunInstancesInput{ImageId: image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1))}
			edit(in)
			_, err := c.RunInstances(ctx, in)
			return err
		}
	}
	size := func(gib int32) func() error {
		return launch(func(in *ec2types.RunInstancesInput) {
			in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: &gib}}}
		})
	}
	c.refused("no such image", model.CodeImageIDNotFound, "bundt image ls", launch(func(in *ec2types.RunInstancesInput) { in.ImageId = new("ami-00000000000000000") }))
	c.refused("malformed image", model.CodeImageIDMalformed, "", launch(func(in *ec2types.RunInstancesInput) { in.ImageId = new("tiny") }))
	c.refused("no such type", model.CodeInvalidParameterValue, "InstanceType", launch(func(in *ec2types.RunInstancesInput) { in.InstanceType = new("x9.huge") }))
	c.refused("no such key", model.CodeKeyPairNotFound, "bundt key create ", launch(func(in *ec2types.RunInstancesInput) { in.KeyName = new("nokey") }))
	c.refused("none", model.CodeInvalidParameterValue, "at least 1", launch(func(in *ec2types.RunInstancesInput) { in.MinCount = new(int32(0)) }))
	c.refused("more than fit", model.CodeInsufficientCapacity, "bundt type ls", launch(func(in *ec2types.RunInstancesInput) {
		in.InstanceType, in.MinCount, in.MaxCount = new("m5.large"), new(int32(1000)), new(int32(1000))
	}))
	c.refused("disk too large", model.CodeInvalidParameterValue, "maximum is 65536GiB", size(65537))
	c.refused("disk of nothing", model.CodeInvalidBlockDeviceMapping, "", size(-1))

	states := func(id string) map[string]func() error {
		ids := []string{running, id} // the good one must not change either
		return map[string]func() error{
			"start": func() error {
				_, err := c.StartInstances(ctx, &ec2types.StartInstancesInput{InstanceIds: ids})
				return err
			},
			"stop": func() error {
				_, err := c.StopInstances(ctx, &ec2types.StopInstancesInput{InstanceIds: ids})
				return err
			},
			"reboot": func() error {
				_, err := c.RebootInstances(ctx, &ec2types.RebootInstancesInput{InstanceIds: ids})
				return err
			},
			"image": func() error {
				_, err := c.CreateImage(ctx, &ec2types.CreateImageInput{InstanceId: &id, Name: new("of " + id)})
				return err
			},
		}
	}
	for _, verb := range []string{"start", "stop", "reboot", "image"} {
		c.refused(verb+" a terminated instance", model.CodeIncorrectInstanceState, "it is terminated", states(ended)[verb])
		c.refused(verb+" no instance", model.CodeInstanceIDNotFound, "bundt ls", states("i-00000000000000000")[verb])
	}
	c.refused("reboot a stopped instance", model.CodeIncorrectInstanceState, "start it first: bundt start "+stopped, states(stopped)["reboot"])

	c.refused("key name taken", model.CodeKeyPairDuplicate, "bundt key rm taken", func() error {
		_, err := c.CreateKeyPair(ctx, &ec2types.CreateKeyPairInput{KeyName: new("taken"), KeyType: new("ed25519")})
		return err
	})
	c.refused("no key", model.CodeKeyFormat, ".pub", func() error {
		_, err := c.ImportKeyPair(ctx, &ec2types.ImportKeyPairInput{KeyName: new("other"), PublicKeyMaterial: []byte("-----BEGIN")})
		return err
	})
	c.refused("image name taken", model.CodeImageNameDuplicate, "bundt image delete "+*image, func() error {
		_, err := c.CreateImage(ctx, &ec2types.CreateImageInput{InstanceId: &running, Name: new("boot-sector-1.0.0-x86_64")})
		return err
	})
	c.refused("snapshot in use", model.CodeSnapshotInUse, "bundt image delete "+*image, func() error {
		out, err := c.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{})
		c.must(err)
		_, err = c.DeleteSnapshot(ctx, &ec2types.DeleteSnapshotInput{SnapshotId: out.Snapshots[0].SnapshotId})
		return err
	})
}

// TestDirectories checks that a daemon ends at once, and says what to do, when it
// may not have its directories.
func TestDirectories(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	start := func(edit func(*daemon.Config)) error {
		cfg := config(t)
		edit(&cfg)
		d, err := daemon.New(t.Context(), cfg, slog.New(slog.DiscardHandler), daemon.Parts{})
		if err == nil {
			err = errors.Join(errors.New("it started"), d.Close())
		}
		return err
	}
	if err := start(func(cfg *daemon.Config) { cfg.DataDir = c.cfg.DataDir }); !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("a data directory in use: %v", err)
	}
	err := start(func(cfg *daemon.Config) {
		link := filepath.Join(t.TempDir(), "l")
		c.must(os.Symlink(cfg.RunDir, link))
		cfg.RunDir = link
	})
	if !errors.Is(err, rundir.ErrUntrusted) {
		t.Errorf("a run directory that is a link: %v", err)
	}
	err = start(func(cfg *daemon.Config) { c.must(os.Chmod(cfg.RunDir, 0o777)) })
	if !errors.Is(err, rundir.ErrUntrusted) || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("a run directory of everybody: %v", err)
	}
	if _, err := c.DescribeInstances(t.Context(), &ec2types.DescribeInstancesInput{}); err != nil {
		t.Errorf("the first daemon does not serve any more: %v", err)
	}
}

// host is a simulated host whose emulators can be missing.
type host struct {
	*fakehv.Driver
	installed bool // looked at when the host is measured again
	measured  *hypervisor.Host
}

func (h *host) Refresh() { h.measured = nil }

func (h *host) Host(ctx context.Context) (hypervisor.Host, error) {
	if h.measured != nil {
		return *h.measured, nil
	}
	m, err := h.Driver.Host(ctx)
	for a := range m.Archs {
		if !h.installed {
			m.Archs[a] = hypervisor.ArchSupport{Problem: "qemu is not installed", Fix: "sudo apt install qemu"}
		}
	}
	h.measured = &m
	return m, err
}

// TestMissingEmulator checks that nothing is launched where nothing can run, and
// that a measurement anew is enough once there is an emulator.
func TestMissingEmulator(t *testing.T) {
	h := &host{Driver: fakehv.New(fakehv.NewHost())}
	c := newCloud(t, daemon.Parts{Driver: h})
	image := c.bootSector()
	c.refused("launch", model.CodeUnsupported, "bundt doctor", func() error {
		_, err := c.RunInstances(t.Context(), &ec2types.RunInstancesInput{ImageId: image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1))})
		return err
	})
	h.installed = true
	_, err := c.DescribeHost(t.Context(), &bundttypes.DescribeHostInput{})
	c.must(err)
	if h.measured.Archs[model.X8664].Problem == "" {
		t.Fatal("the host was measured again unasked")
	}
	_, err = c.DescribeHost(t.Context(), &bundttypes.DescribeHostInput{Refresh: new(true)})
	c.must(err)
	c.run(image)
}

// TestMissingQemuImg checks that an import without its tools says what to install.
func TestMissingQemuImg(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	account, err := c.GetCallerIdentity(t.Context(), &ststypes.GetCallerIdentityInput{})
	c.must(err)
	bucket := filepath.Join(c.cfg.DataDir, "buckets", *account.Account, "incoming")
	c.must(os.MkdirAll(bucket, 0o755))
	c.must(disk.WriteOverlay(filepath.Join(bucket, "disk.qcow2"), disk.Overlay{SizeBytes: 1 << 20}))
	t.Setenv("PATH", t.TempDir())
	before := c.everything()
	_, err = c.ImportImage(t.Context(), &ec2types.ImportImageInput{
		Architecture: new("x86_64"), BootMode: new("legacy-bios"), DiskContainers: []ec2types.ImageDiskContainer{{Url: new("s3://incoming/disk.qcow2"), Format: new("QCOW2")}},
	})
	c.must(err)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		out, err := c.DescribeImportImageTasks(t.Context(), &ec2types.DescribeImportImageTasksInput{})
		c.must(err)
		task := out.ImportImageTasks[0]
		if *task.Status == "active" && time.Now().Before(end) {
			continue
		}
		if *task.Status != "deleted" || !strings.Contains(ec2types.Value(task.StatusMessage), "install ") {
			t.Errorf("the import is %s: %s", *task.Status, ec2types.Value(task.StatusMessage))
		}
		break
	}
	if after := c.everything(); after != before {
		t.Errorf("something is left:\n%s", after)
	}
}

// TestUploadBreaksOff checks that what an upload breaks off is not kept.
func TestUploadBreaksOff(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	broken := errors.New("broken")
	_, err := c.Upload(t.Context(), io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), readerFunc(func([]byte) (int, error) { return 0, broken })))
	if err == nil {
		t.Error("an upload that broke off succeeded")
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // the server notices a little later
		var left []string
		for _, dir := range []string{"blobs", "tmp"} {
			found, err := filepath.Glob(filepath.Join(c.cfg.DataDir, dir, "*"))
			c.must(err)
			left = append(left, found...)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left are %v", left)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
