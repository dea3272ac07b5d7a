package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/client"
)

// cloud is a daemon of the demo's own, in a directory of its own.
type cloud struct {
	bin, dir, socket, cache, accel string
	daemon                         *exec.Cmd
	exited                         chan error
	api                            *client.Client
}

func newCloud(bin, dir, cache, accel string) (*cloud, error) {
	abs := func(p string) string {
		if a, err := filepath.Abs(p); err == nil {
			return a
		}
		return p
	}
	c := &cloud{bin: abs(bin), dir: abs(dir), cache: cache, accel: accel}
	if err := c.remove(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the demo's directory: %w", err)
	}
	// Sockets' paths are short by law; the demo's directory may be deep.
	run, err := os.MkdirTemp("", "bundt-demo-")
	if err != nil {
		return nil, fmt.Errorf("making the run directory: %w", err)
	}
	c.socket = filepath.Join(run, "bundtd.sock")
	c.api, err = client.New(client.Options{Endpoint: "unix://" + c.socket})
	return c, err
}

func (c *cloud) keyFile() string { return filepath.Join(c.dir, "demo.key") }

// start runs the daemon and waits until it answers.
func (c *cloud) start(ctx context.Context) error {
	log, err := os.Create(filepath.Join(c.dir, "bundtd.log"))
	if err != nil {
		return fmt.Errorf("making the daemon's log: %w", err)
	}
	defer log.Close()
	args := []string{"--data-dir", filepath.Join(c.dir, "data"), "--run-dir", filepath.Dir(c.socket)}
	if c.cache != "" {
		args = append(args, "--cache-dir", c.cache)
	}
	if c.accel != "" {
		args = append(args, "--accel", c.accel)
	}
	c.daemon = exec.Command(filepath.Join(c.bin, "bundtd"), args...)
	c.daemon.Stdout, c.daemon.Stderr = log, log
	if err := c.daemon.Start(); err != nil {
		return fmt.Errorf("starting bundtd: %w", err)
	}
	c.exited = make(chan error, 1)
	go func() { c.exited <- c.daemon.Wait() }()
	return c.until(ctx, 30*time.Second, "the daemon answers", func() error {
		select {
		case <-c.exited:
			c.daemon = nil
			text, _ := os.ReadFile(log.Name())
			return fatal{fmt.Errorf("bundtd ended: %s", text)}
		default:
		}
		var version any
		return c.api.Version(ctx, &version)
	})
}

// stop ends the daemon, and the network's process, which outlives it by design.
func (c *cloud) stop() error {
	if c.daemon == nil {
		return nil
	}
	if err := c.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping bundtd: %w", err)
	}
	select {
	case <-c.exited:
	case <-time.After(20 * time.Second):
		return errors.Join(errors.New("bundtd did not stop when told to"), c.daemon.Process.Kill())
	}
	c.daemon = nil
	return c.bundtd("purge", "--yes")
}

// bundtd runs one of the daemon's own commands on the demo's directories.
func (c *cloud) bundtd(args ...string) error {
	cmd := exec.Command(filepath.Join(c.bin, "bundtd"), append(args, "--data-dir", filepath.Join(c.dir, "data"), "--run-dir", filepath.Dir(c.socket))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bundtd %s: %w: %s", args[0], err, out)
	}
	return nil
}

func (c *cloud) remove() error {
	if c.socket != "" {
		if err := os.RemoveAll(filepath.Dir(c.socket)); err != nil {
			return fmt.Errorf("removing the run directory: %w", err)
		}
	}

	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clearing the demo's directory: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(c.dir, e.Name())); err != nil {
			return fmt.Errorf("clearing the demo's directory: %w", err)
		}
	}
	return nil
}

func (c *cloud) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "bundt"), args...)
	cmd.Env = append(os.Environ(), "BUNDT_SOCKET=unix://"+c.socket, "XDG_DATA_HOME="+filepath.Join(c.dir, "home"))
	return cmd
}

// show runs bundt for the reader to see.
func (c *cloud) show(ctx context.Context, args ...string) error {
	fmt.Printf("$ bundt %s\n", strings.Join(args, " "))
	cmd := c.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("bundt %s: %w", args[0], err)
	}
	return nil
}

// ask runs bundt, shows its progress, and returns what it printed.
func (c *cloud) ask(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("$ bundt %s\n", strings.Join(args, " "))
	cmd := c.command(ctx, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("bundt %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// ssh runs a command in the guest with the demo's key.
func (c *cloud) ssh(ctx context.Context, instance, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := c.command(ctx, "ssh", "-i", c.keyFile(), instance, "--", script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ssh to %s: %w: %s", instance, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// get fetches the guest's web page as a browser on this host would, by its
// public address; where this user may not open port 80 there, through a forward.
func (c *cloud) get(ctx context.Context, instance string) (body, how string, err error) {
	out, err := c.api.DescribeInstanceDetails(ctx, &bundttypes.DescribeInstanceDetailsInput{InstanceIds: []string{instance}})
	if err != nil {
		return "", "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	url := ""
	for _, l := range out.InstanceDetails[0].Listening {
		if strings.HasSuffix(l, ":80") {
			url = "http://" + l + "/"
		}
	}
	how = url
	if url == "" {
		url, how = "http://guest/", "the daemon (as bundt forward does)"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.api.Connect(ctx, instance, 80) }
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", "", fmt.Errorf("asking for the page: %w", err)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return "", "", fmt.Errorf("fetching the page: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("fetching the page: %s", resp.Status)
	}
	return string(data), how, err
}

// hostKey is the fingerprint of the guest's SSH host key, taken from the wire.
func (c *cloud) hostKey(ctx context.Context, instance string) (string, error) {
	conn, err := c.api.Connect(ctx, instance, 22)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var fingerprint string
	cfg := &ssh.ClientConfig{User: "nobody", Timeout: 20 * time.Second, HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
		fingerprint = ssh.FingerprintSHA256(key)
		return nil
	}}
	if _, _, _, err := ssh.NewClientConn(conn, instance, cfg); err != nil && fingerprint == "" {
		return "", fmt.Errorf("asking %s for its host key: %w", instance, err)
	}
	return fingerprint, nil
}

// leftovers asks the daemon, and then looks for itself.
func (c *cloud) leftovers(ctx context.Context) ([]string, error) {
	inv, err := c.api.DescribeInventory(ctx, &bundttypes.DescribeInventoryInput{})
	if err != nil {
		return nil, err
	}
	var left []string
	for _, i := range inv.Items {
		if i.Kind != bundttypes.InventoryBlob {
			left = append(left, fmt.Sprintf("%s %s %s", i.Kind, i.Id, i.Path))
		}
	}
	snaps, err := c.api.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{})
	if err != nil {
		return nil, err
	}
	for _, s := range snaps.Snapshots {
		left = append(left, "snapshot "+ec2types.Value(s.SnapshotId))
	}
	processes, err := machineProcesses(c.dir)
	if err != nil {
		return nil, err
	}
	left = append(left, processes...)
	for _, pattern := range []string{filepath.Join(c.dir, "data", "layers", "*"), filepath.Join(filepath.Dir(c.socket), "m", "*")} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		left = append(left, files...)
	}
	return left, nil
}

// machineProcesses finds QEMU processes whose arguments name the directory.
func machineProcesses(dir string) ([]string, error) {
	args, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, file := range args {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		argv := strings.Split(string(data), "\x00")
		if strings.HasPrefix(filepath.Base(argv[0]), "qemu-system-") && bytes.Contains(data, []byte(dir)) {
			out = append(out, "process "+filepath.Base(filepath.Dir(file))+" "+argv[0])
		}
	}
	return out, nil
}

// fatal is an error that waiting will not cure.
type fatal struct{ error }

// until repeats check until it succeeds.
func (c *cloud) until(ctx context.Context, limit time.Duration, what string, check func() error) error {
	end := time.Now().Add(limit)
	for {
		err := check()
		var f fatal
		if err == nil || errors.As(err, &f) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %s until %s: %w", limit, what, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
