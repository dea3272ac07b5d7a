//go:build vm

package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// TestInterfaces plugs a network interface into a running guest and takes it away,
// with a daemon that is killed in between, and finds it again after a stop.
func TestInterfaces(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := d.cli(t, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	neighbour := d.cli(t, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	g := pluggedGuest{daemon: d, id: id, key: key}

	nic := g.create(t)
	attachment := g.attach(t, nic)
	// Reached by its own address, it answers by the interface that has it; nobody
	// else's packets would be let through.
	ping := "ping -c 1 -W 5 " + *nic.PrivateIpAddress + " | grep -c 'bytes from'"
	if out, err := d.Bundt(t.Context(), "ssh", "-i", key, neighbour, "--", ping); out != "1" {
		t.Errorf("the neighbour says %q: %v", out, err)
	}
	if macs := g.ssh(t, "wget -q -O - http://169.254.169.254/latest/meta-data/network/interfaces/macs/"); len(strings.Fields(macs)) != 2 {
		t.Errorf("the metadata tell of %q", macs)
	}
	d.cli(t, "rm", neighbour)

	d.Kill()
	must(t, d.Start(t.Context()))
	g.detach(t, attachment)

	attachment = g.attach(t, nic)
	d.cli(t, "stop", id)
	d.cli(t, "start", id)
	g.has(t, nic)
	g.detach(t, attachment)
	d.cli(t, "rm", id)
	_, err := d.API.DeleteNetworkInterface(t.Context(), &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: nic.NetworkInterfaceId})
	must(t, err)
	d.nothingLeft(t)
}

// pluggedGuest is a running guest whose second interface comes and goes.
type pluggedGuest struct {
	daemon
	id, key string
}

func (g pluggedGuest) ssh(t *testing.T, script string) string {
	t.Helper()
	return g.cli(t, "ssh", "-i", g.key, g.id, "--", script)
}

// create makes an interface in the guest's subnet.
func (g pluggedGuest) create(t *testing.T) *ec2types.NetworkInterface {
	t.Helper()
	out, err := g.API.CreateNetworkInterface(t.Context(), &ec2types.CreateNetworkInterfaceInput{SubnetId: g.instance(t, g.id).SubnetId})
	must(t, err)
	return out.NetworkInterface
}

func (g pluggedGuest) attach(t *testing.T, nic *ec2types.NetworkInterface) (attachment string) {
	t.Helper()
	out, err := g.API.AttachNetworkInterface(t.Context(), &ec2types.AttachNetworkInterfaceInput{
		NetworkInterfaceId: nic.NetworkInterfaceId, InstanceId: &g.id, DeviceIndex: new(int32(1)),
	})
	must(t, err)
	eventually(t, "the interface is attached", func() error {
		if shown := g.instance(t, g.id).NetworkInterfaces; len(shown) != 2 || *shown[1].Attachment.Status != "attached" || *shown[1].Attachment.DeviceIndex != 1 {
			return fmt.Errorf("%+v", shown)
		}
		return nil
	})
	g.has(t, nic)
	return *out.AttachmentId
}

// has waits until the guest has the interface's address, and its first interface
// leads out still.
func (g pluggedGuest) has(t *testing.T, nic *ec2types.NetworkInterface) {
	t.Helper()
	eventually(t, "the guest has the second address", func() error {
		out, err := g.Bundt(t.Context(), "ssh", "-i", g.key, g.id, "--", "ip -4 addr show dev eth1; cat /sys/class/net/eth1/address; ip route show default")
		if err != nil {
			return err
		}
		if !strings.Contains(out, "inet "+*nic.PrivateIpAddress+"/") || !strings.Contains(out, *nic.MacAddress) {
			return errors.New(out)
		}
		if _, routes, _ := strings.Cut(out, "default"); !strings.Contains(routes, "eth0") || strings.Contains(strings.Split(routes, "\n")[0], "eth1") {
			return fmt.Errorf("the second interface leads out first: %s", out)
		}
		return nil
	})
}

func (g pluggedGuest) detach(t *testing.T, attachment string) {
	t.Helper()
	_, err := g.API.DetachNetworkInterface(t.Context(), &ec2types.DetachNetworkInterfaceInput{AttachmentId: &attachment})
	must(t, err)
	eventually(t, "the interface is gone", func() error {
		if shown := g.instance(t, g.id).NetworkInterfaces; len(shown) != 1 {
			return fmt.Errorf("%+v", shown)
		}
		return nil
	})
	if out := g.ssh(t, "ls /sys/class/net"); strings.Contains(out, "eth1") {
		t.Errorf("the guest still has %q", out)
	}
}
