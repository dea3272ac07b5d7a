//go:build vm

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/bundt/bundt/hack/harness"
)

// TestHostAddress reaches an instance by an address of the host that is not of
// its loopback, from where the security group lets clients in and from nowhere else.
func TestHostAddress(t *testing.T) {
	const public, friend, stranger = "192.0.2.10", "192.0.2.11", "192.0.2.12"
	for _, a := range []string{public, friend, stranger} { // in the tests' own namespace
		out, err := exec.Command("ip", "address", "add", a+"/32", "dev", "lo").CombinedOutput()
		if err != nil {
			t.Fatalf("giving the host %s: %v: %s", a, err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "address", "del", a+"/32", "dev", "lo").Run() })
	}
	for _, network := range []string{"user", "kernel"} {
		t.Run(network, func(t *testing.T) { reachedBy(t, network, public, friend, stranger) })
	}
}

// behindACL puts a network ACL around the default subnet: what it lets through goes on,
// and what it denies ends, also on a connection that is open.
func (d daemon) behindACL(t *testing.T, banner func() error, public, friend string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(friend)}, Timeout: 5 * time.Second}
	open, err := dialer.Dial("tcp", net.JoinHostPort(public, "22"))
	must(t, err)
	defer open.Close()
	must(t, open.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = io.ReadFull(open, make([]byte, 4))
	must(t, err)
	d.cli(t, "network-acl", "create", "--name", "edge")
	subnet := d.cli(t, "subnet", "ls", "-o", "name")
	d.cli(t, "network-acl", "associate", "edge", subnet)
	eventually(t, "a network ACL without entries shuts the subnet", func() error {
		if banner() == nil {
			return errors.New("the friend still gets in")
		}
		return nil
	})
	// The greeting's rest may have arrived already; an answer to ours cannot.
	_, _ = open.Write([]byte("SSH-2.0-friend\r\n"))
	must(t, open.SetReadDeadline(time.Now().Add(time.Second)))
	if _, err := io.CopyN(io.Discard, open, 400); err == nil {
		t.Error("an open connection goes on through an ACL without entries")
	}
	d.cli(t, "network-acl", "allow", "edge", "100", "tcp/22", "--from", friend)
	if banner() == nil {
		t.Error("the friend gets in without an entry for the answers")
	}
	d.cli(t, "network-acl", "allow", "edge", "100", "tcp/1024-65535", "--to", friend)
	eventually(t, "the friend gets in again", banner)
	d.cli(t, "network-acl", "associate", "default/default", subnet)
	d.cli(t, "network-acl", "delete", "edge")
}

func reachedBy(t *testing.T, network, public, friend, stranger string) {
	if network == "kernel" && os.Geteuid() != 0 {
		t.Skip("the kernel's networks need root")
	}
	d := newDaemon(t, func(o *harness.Options) { o.Args = append(o.Args, "--host-addresses", public, "--network", network) })
	image := d.build(t, "tiny", "x86_64")
	d.cli(t, "security-group", "create", "door", "--description", "one friend")
	d.cli(t, "security-group", "allow", "door", "tcp/22", "--from", friend+"/32")
	id := d.cli(t, "run", image, "--name", "web", "--type", "b1.nano", "--security-group", "door", "-o", "name")
	d.cli(t, "address", "allocate", "--address", public)
	d.cli(t, "address", "associate", public, "web")

	banner := func(from, port string) error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		c, err := dialer.Dial("tcp", net.JoinHostPort(public, port))
		if err != nil {
			return err
		}
		defer c.Close()
		must(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		if string(got) != "SSH-" {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	}
	eventually(t, "the friend gets in", func() error { return banner(friend, "22") })
	if err := banner(stranger, "22"); err == nil {
		t.Error("a stranger gets in")
	}
	if err := banner(friend, "80"); err == nil {
		t.Error("a port that no rule opens is open")
	}
	d.behindACL(t, func() error { return banner(friend, "22") }, public, friend)
	d.cli(t, "rm", id)
	d.cli(t, "address", "release", public)
	d.nothingLeft(t)
}
