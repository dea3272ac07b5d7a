// Package harness runs bundtd as a process of its own for the demo, the benches
// and the tests of the whole. It knows the product by its binaries and its API
// client only.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/recipe/archive"
)

// Options say where a daemon lives.
type Options struct {
	Bin     string   // directory of the binaries bundt and bundtd
	Dir     string   // everything of this daemon
	Cache   string   // of bakes; "" is bundtd's own default
	Program []string // argv before the flags, to run bundtd by something else; Bin/bundtd if empty
	Args    []string // more flags
}

// Daemon is a bundtd that can be stopped, killed and started again.
type Daemon struct {
	Options
	API *client.Client
	run string // short: unix sockets' paths are

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

// New prepares a daemon; Start runs it.
func New(o Options) (*Daemon, error) {
	for _, p := range []*string{&o.Bin, &o.Dir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, fmt.Errorf("resolving %s: %w", *p, err)
		}
		*p = abs
	}
	for _, b := range []string{"bundt", "bundtd"} {
		if _, err := os.Stat(filepath.Join(o.Bin, b)); err != nil {
			return nil, fmt.Errorf("no binary to run: make build makes it (%w)", err)
		}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the daemon's directory: %w", err)
	}
	run, err := os.MkdirTemp("", "bundt-run-")
	if err != nil {
		return nil, fmt.Errorf("making the run directory: %w", err)
	}
	d := &Daemon{Options: o, run: run}
	d.API, err = client.New(client.Options{Endpoint: d.Socket()})
	return d, err
}

// Socket is the API's address.
func (d *Daemon) Socket() string { return "unix://" + filepath.Join(d.run, "bundtd.sock") }

// Data is the daemon's data directory.
func (d *Daemon) Data() string { return filepath.Join(d.Dir, "data") }

// Run is the daemon's run directory.
func (d *Daemon) Run() string { return d.run }

// Command is bundtd with these arguments, on this daemon's directories.
func (d *Daemon) Command(args ...string) *exec.Cmd {
	argv := d.Program
	if len(argv) == 0 {
		argv = []string{filepath.Join(d.Bin, "bundtd")}
	}
	argv = append(append([]string{}, argv...), args...)
	argv = append(argv, "--data-dir", d.Data(), "--run-dir", d.run)
	if d.Cache != "" {
		argv = append(argv, "--cache-dir", d.Cache)
	}
	return exec.Command(argv[0], argv[1:]...)
}

// Start runs the daemon and waits until it answers.
func (d *Daemon) Start(ctx context.Context) error {
	log, err := os.OpenFile(d.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the daemon's log: %w", err)
	}
	defer log.Close()
	cmd := d.Command(d.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting bundtd: %w", err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }() // how it ended is in its log
	d.mu.Lock()
	d.cmd, d.exited = cmd, exited
	d.mu.Unlock()
	for {
		var version any
		err := d.API.Version(ctx, &version)
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("bundtd ended: %s", d.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for bundtd: %w", err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// PID is the running daemon's process.
func (d *Daemon) PID() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cmd.Process.Pid
}

// Kill ends the daemon with no chance to tidy up. Its machines go on.
func (d *Daemon) Kill() { d.signal(syscall.SIGKILL) }

// Stop ends the daemon in order. Its machines go on.
func (d *Daemon) Stop() { d.signal(syscall.SIGTERM) }

func (d *Daemon) signal(sig os.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(sig) // it may have ended by itself
	<-d.exited
	d.cmd = nil
}

// Purge stops the daemon and ends everything it had on this host.
func (d *Daemon) Purge() error {
	d.Stop()
	var err error
	if _, serr := os.Stat(d.Data()); serr == nil {
		var out []byte
		if out, err = d.Command(append([]string{"purge", "--yes"}, d.Args...)...).CombinedOutput(); err != nil {
			err = fmt.Errorf("bundtd purge: %w: %s", err, out)
		}
	}
	return errors.Join(err, d.strays(), os.RemoveAll(d.run))
}

// strays is an error that names the processes that run on for this daemon, if any do.
func (d *Daemon) strays() (err error) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		line, rerr := os.ReadFile(f)
		if rerr == nil && bytes.Contains(line, []byte(d.run+"/")) { // else it has just ended
			err = errors.Join(err, fmt.Errorf("left behind: process %s: %s", filepath.Base(filepath.Dir(f)), bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return err
}

func (d *Daemon) logFile() string { return filepath.Join(d.Dir, "bundtd.log") }

// Log returns the end of the daemon's log.
func (d *Daemon) Log() string {
	const most = 20 << 10
	b, err := os.ReadFile(d.logFile())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}

// CLI is the bundt command on this daemon, with a home of its own.
func (d *Daemon) CLI(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(d.Bin, "bundt"), args...)
	cmd.Env = append(os.Environ(), "BUNDT_SOCKET="+d.Socket(), "XDG_DATA_HOME="+filepath.Join(d.Dir, "home"))
	return cmd
}

// Bundt runs the CLI and returns what it printed, without the last newline.
func (d *Daemon) Bundt(ctx context.Context, args ...string) (string, error) {
	cmd := d.CLI(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("bundt %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Build bakes a recipe's directory for one architecture and returns the image's id.
func (d *Daemon) Build(ctx context.Context, fsys fs.FS, arch string) (string, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive.Pack(w, fsys)) }()
	digest, err := d.API.Upload(ctx, r)
	if err != nil {
		return "", err
	}
	out, err := d.API.BuildImage(ctx, &bundttypes.BuildImageInput{ContextDigest: &digest, Architecture: &arch})
	if err != nil {
		return "", err
	}
	for b, err := range d.API.WatchBuild(ctx, &bundttypes.WatchBuildInput{BuildId: &out.BuildId}) {
		if err != nil {
			return "", err
		}
		if b.StateReason != nil {
			return "", fmt.Errorf("building %s: %s", b.RecipeName, b.StateReason.Message)
		}
	}
	return out.ImageId, nil
}

// Launch runs one instance; tags are keys and values in turn.
func (d *Daemon) Launch(ctx context.Context, image, typ, token string, tags ...string) (string, error) {
	in := &ec2types.RunInstancesInput{ImageId: &image, InstanceType: &typ, MinCount: new(int32(1)), MaxCount: new(int32(1))}
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
	out, err := d.API.RunInstances(ctx, in)
	if err != nil {
		return "", err
	}
	return *out.Instances[0].InstanceId, nil
}

// Instance describes one instance.
func (d *Daemon) Instance(ctx context.Context, id string) (*ec2types.Instance, error) {
	out, err := d.API.DescribeInstances(ctx, &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return nil, err
	}
	return &out.Reservations[0].Instances[0], nil
}

// Details describes one instance beyond EC2's shapes.
func (d *Daemon) Details(ctx context.Context, id string) (*bundttypes.InstanceDetails, error) {
	out, err := d.API.DescribeInstanceDetails(ctx, &bundttypes.DescribeInstanceDetailsInput{InstanceIds: []string{id}})
	if err != nil {
		return nil, err
	}
	return &out.InstanceDetails[0], nil
}
