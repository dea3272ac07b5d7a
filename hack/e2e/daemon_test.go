//go:build vm

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/recipe/archive"
)

// daemon is a bundtd process with a data directory, which can be killed and
// started again.
type daemon struct {
	dir, cache string
	program    []string // argv before the flags; bin/bundtd if empty
	args       []string // more flags
	api        *client.Client

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

// newDaemon starts a daemon that ends, with all it holds, when the test does.
func newDaemon(t *testing.T, args ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "bundt-e2e-") // short: unix sockets' paths are
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{dir: dir, cache: os.Getenv(cacheEnv), args: args}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", d.log())
		}
		d.kill()
		if out, err := d.command("purge", "--yes").CombinedOutput(); err != nil {
			t.Errorf("purging: %v: %s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func binary(name string) string { return filepath.Join("..", "..", "bin", name) }

func (d *daemon) socket() string { return filepath.Join(d.dir, "run", "bundtd.sock") }

func (d *daemon) command(args ...string) *exec.Cmd {
	argv := d.program
	if len(argv) == 0 {
		argv = []string{binary("bundtd")}
	}
	argv = append(append(append([]string{}, argv...), args...), "--data-dir", filepath.Join(d.dir, "data"), "--run-dir", filepath.Join(d.dir, "run"), "--cache-dir", d.cache)
	return exec.Command(argv[0], argv[1:]...)
}

// start runs the daemon and waits until it answers.
func (d *daemon) start(ctx context.Context) error {
	if _, err := os.Stat(binary("bundtd")); err != nil {
		return fmt.Errorf("no binary to test: run make build (%w)", err)
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := d.command(d.args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	d.mu.Lock()
	d.cmd, d.exited = cmd, exited
	d.mu.Unlock()
	if d.api, err = client.New(client.Options{Endpoint: "unix://" + d.socket()}); err != nil {
		return err
	}
	for {
		var v any
		if err = d.api.Version(ctx, &v); err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("bundtd ended: %s", d.log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for bundtd: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// kill ends the daemon with no chance to tidy up.
func (d *daemon) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.exited
	d.cmd = nil
}

func (d *daemon) log() string {
	b, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		return err.Error()
	}
	if len(b) > 20000 {
		b = b[len(b)-20000:]
	}
	return string(b)
}

// bundt runs the CLI against this daemon and returns what it printed.
func (d *daemon) bundt(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, binary("bundt"), args...)
	cmd.Env = append(os.Environ(), "BUNDT_SOCKET=unix://"+d.socket(), "XDG_DATA_HOME="+filepath.Join(d.dir, "home"), "HOME="+d.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("bundt %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// build bakes an embedded recipe and returns the image's id.
func (d *daemon) build(ctx context.Context, recipe, arch string) (string, error) {
	fsys, err := images.FS(recipe)
	if err != nil {
		return "", err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive.Pack(w, fsys)) }()
	digest, err := d.api.Upload(ctx, r)
	if err != nil {
		return "", err
	}
	out, err := d.api.BuildImage(ctx, &bundttypes.BuildImageInput{ContextDigest: &digest, Architecture: &arch})
	if err != nil {
		return "", err
	}
	for b, err := range d.api.WatchBuild(ctx, &bundttypes.WatchBuildInput{BuildId: &out.BuildId}) {
		if err != nil {
			return "", err
		}
		if b.State == "failed" {
			return "", errors.New(b.StateReason.Message)
		}
	}
	return out.ImageId, nil
}

func (d *daemon) mustBuild(t *testing.T, recipe, arch string) string {
	t.Helper()
	id, err := d.build(t.Context(), recipe, arch)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// run launches one instance.
func (d *daemon) run(ctx context.Context, image, token string, tags ...string) (string, error) {
	in := &ec2types.RunInstancesInput{ImageId: &image, InstanceType: new("b1.nano"), MinCount: new(int32(1)), MaxCount: new(int32(1))}
	if token != "" {
		in.ClientToken = &token
	}
	if len(tags) > 0 {
		spec := ec2types.TagSpecification{ResourceType: new("instance")}
		for i := 0; i+1 < len(tags); i += 2 {
			spec.Tags = append(spec.Tags, ec2types.Tag{Key: &tags[i], Value: &tags[i+1]})
		}
		in.TagSpecifications = []ec2types.TagSpecification{spec}
	}
	out, err := d.api.RunInstances(ctx, in)
	if err != nil {
		return "", err
	}
	return *out.Instances[0].InstanceId, nil
}

func (d *daemon) instance(ctx context.Context, id string) (*ec2types.Instance, error) {
	out, err := d.api.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return nil, err
	}
	return &out.Reservations[0].Instances[0], nil
}

func (d *daemon) details(ctx context.Context, id string) (*bundttypes.InstanceDetails, error) {
	out, err := d.api.DescribeInstanceDetails(ctx, &bundttypes.DescribeInstanceDetailsInput{InstanceIds: []string{id}})
	if err != nil {
		return nil, err
	}
	return &out.InstanceDetails[0], nil
}

// state waits until an instance is in that state.
func (d *daemon) state(t *testing.T, id, want string) {
	t.Helper()
	eventually(t, id+" becomes "+want, time.Minute, func() error {
		i, err := d.instance(t.Context(), id)
		if err == nil && *i.State.Name != want {
			err = fmt.Errorf("it is %s: %+v", *i.State.Name, ec2types.Value(i.StateReason))
		}
		return err
	})
}

// reachable waits until the guest answers.
func (d *daemon) reachable(t *testing.T, id string) {
	t.Helper()
	eventually(t, id+" is reachable", 3*time.Minute, func() error {
		det, err := d.details(t.Context(), id)
		if err == nil && det.Reachability != "passed" {
			err = fmt.Errorf("it is %q: %s", det.Reachability, det.ReachabilityReason)
		}
		return err
	})
}

// left lists what is on the host beside blobs and the layers of images.
func (d *daemon) left(ctx context.Context) ([]string, error) {
	out, err := d.api.DescribeInventory(ctx, &bundttypes.DescribeInventoryInput{})
	if err != nil {
		return nil, err
	}
	var left []string
	for _, i := range out.Items {
		if i.Orphan || i.Kind == bundttypes.InventoryProcess || i.Kind == "port" {
			left = append(left, fmt.Sprintf("%+v", i))
		}
	}
	return left, nil
}

func eventually(t *testing.T, what string, limit time.Duration, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("waiting until %s: %v", what, err)
}

// alive reports whether a process exists and is no zombie.
func alive(pid int32) bool {
	if syscall.Kill(int(pid), 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
