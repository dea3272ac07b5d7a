package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// cloud is a daemon of the demo's own, in a directory of its own.
type cloud struct{ *harness.Daemon }

func newCloud(bin, dir, cache, accel string) (*cloud, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("clearing the demo's directory: %w", err)
	}
	o := harness.Options{Bin: bin, Dir: dir, Cache: cache}
	if accel != "" {
		o.Args = []string{"--accel", accel}
	}
	d, err := harness.New(o)
	return &cloud{d}, err
}

func (c *cloud) keyFile() string { return filepath.Join(c.Dir, "demo.key") }

// show runs bundt for the reader to see.
func (c *cloud) show(ctx context.Context, args ...string) error {
	fmt.Printf("$ bundt %s\n", strings.Join(args, " "))
	cmd := c.CLI(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("bundt %s: %w", args[0], err)
	}
	return nil
}

// ask runs bundt, shows its progress, and returns what it printed.
func (c *cloud) ask(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("$ bundt %s\n", strings.Join(args, " "))
	cmd := c.CLI(ctx, args...)
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
	cmd := c.CLI(ctx, "ssh", "-i", c.keyFile(), instance, "--", script)
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
	out, err := c.API.DescribeInstanceDetails(ctx, &bundttypes.DescribeInstanceDetailsInput{InstanceIds: []string{instance}})
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
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.API.Connect(ctx, instance, 80) }
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
	conn, err := c.API.Connect(ctx, instance, 22)
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
	inv, err := c.API.DescribeInventory(ctx, &bundttypes.DescribeInventoryInput{})
	if err != nil {
		return nil, err
	}
	var left []string
	for _, i := range inv.Items {
		if i.Kind != bundttypes.InventoryBlob {
			left = append(left, fmt.Sprintf("%s %s %s", i.Kind, i.Id, i.Path))
		}
	}
	snaps, err := c.API.DescribeSnapshots(ctx, &ec2types.DescribeSnapshotsInput{})
	if err != nil {
		return nil, err
	}
	for _, s := range snaps.Snapshots {
		left = append(left, "snapshot "+ec2types.Value(s.SnapshotId))
	}
	processes, err := machineProcesses(c.Dir)
	if err != nil {
		return nil, err
	}
	left = append(left, processes...)
	for _, pattern := range []string{filepath.Join(c.Data(), "layers", "*"), filepath.Join(c.Run(), "m", "*")} {
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
