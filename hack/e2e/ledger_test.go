//go:build vm

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// TestNoRowIsLost keeps a database on a volume under load while the machine is worked
// on: every row that was acknowledged is found afterwards, with either driver.
func TestNoRowIsLost(t *testing.T) {
	t.Run("qemu", func(t *testing.T) { noRowIsLost(t, newDaemon(t)) })
	t.Run("libvirt", func(t *testing.T) {
		noRowIsLost(t, newDaemon(t, onLibvirt(newLibvirt(t))))
	})
}

const ledgerPort = 8080 // the default security group lets it in

func noRowIsLost(t *testing.T, d daemon) {
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := d.cli(t, "run", image, "--key", "k", "--type", "b1.nano", "-o", "name")
	zone := *d.instance(t, id).Placement.AvailabilityZone
	ssh := func(script string) string { t.Helper(); return d.cli(t, "ssh", "-i", key, id, "--", script) }

	// The image's own snapshot is a file system with a journal, which busybox cannot make.
	found, err := d.API.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{image}})
	must(t, err)
	data := d.cli(t, "volume", "create", "--snapshot", *found.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId, "--zone", zone)
	d.cli(t, "volume", "attach", data, id)
	serial := strings.ReplaceAll(data, "-", "")
	device := d.guestDisk(t, key, id, serial)
	d.bringLedger(t, key, id)
	ssh(fmt.Sprintf(`cat > /etc/rc.d/ledger <<'END'
#!/bin/sh
disk=$(basename $(dirname $(grep -l %s /sys/block/vd*/serial)))
mount -t ext4 /dev/${disk}1 /mnt && setsid /root/ledger serve /mnt/ledger.db %d &
END
chmod 755 /etc/rc.d/ledger && sync && /etc/rc.d/ledger >/dev/null 2>&1 </dev/null`, serial, ledgerPort))
	l := startLoad(t, d, id)
	l.goesOn(t, "at the beginning")

	d.plugAndUnplug(t, id)
	l.goesOn(t, "after another volume came and went")

	d.cli(t, "volume", "resize", data, "2")
	eventually(t, "the guest sees 2 GiB", func() error {
		out, err := d.Bundt(t.Context(), "ssh", "-i", key, id, "--", "cat /sys/block/"+filepath.Base(device)+"/size")
		if err == nil && strings.TrimSpace(out) != fmt.Sprint(2<<30/512) {
			err = fmt.Errorf("it has %q sectors", out)
		}
		return err
	})
	l.goesOn(t, "after its volume grew")

	had := l.acked.Load()
	snaps := strings.Fields(d.cli(t, "snapshot", "create", "--instance", id))
	l.goesOn(t, "after the snapshots")

	d.Kill()
	must(t, d.Start(t.Context()))
	l.goesOn(t, "after the daemon was killed")

	d.cli(t, "stop", id)
	d.cli(t, "start", id)
	l.goesOn(t, "after stop and start")

	_, err = d.API.StopInstances(t.Context(), &ec2types.StopInstancesInput{InstanceIds: []string{id}, Force: new(true)})
	must(t, err)
	must(t, d.State(t.Context(), id, "stopped"))
	_, err = d.API.ModifyInstanceAttribute(t.Context(), &ec2types.ModifyInstanceAttributeInput{
		InstanceId: &id, InstanceType: &ec2types.AttributeValue{Value: new("b1.micro")},
	})
	must(t, err)
	d.cli(t, "start", id)
	l.goesOn(t, "after its power was cut and its type changed")

	restored := d.restore(t, snaps, data, zone)
	d.cli(t, "volume", "attach", restored, id)
	device = d.guestDisk(t, key, id, strings.ReplaceAll(restored, "-", ""))
	if n := lastRow(t, ssh("mkdir -p /tmp/restored && mount -t ext4 "+device+"1 /tmp/restored && /root/ledger check /tmp/restored/ledger.db")); n < had {
		t.Errorf("the snapshot has rows up to %d; %d were acknowledged before it was asked for", n, had)
	}
	l.goesOn(t, "after the snapshot was restored beside it")

	acked := l.end(t)
	if n := lastRow(t, ssh("killall ledger; while pidof ledger >/dev/null; do sleep 1; done; /root/ledger check /mnt/ledger.db")); n < acked {
		t.Errorf("there are rows up to %d; %d were acknowledged", n, acked)
	}
	t.Logf("%d rows were acknowledged, and none was lost", acked)
	d.cli(t, "rm", id)
	d.cli(t, "volume", "delete", data)
	d.cli(t, "volume", "delete", restored)
	d.nothingLeft(t)
}

// bringLedger copies the program into the guest.
func (d daemon) bringLedger(t *testing.T, key, id string) {
	t.Helper()
	program, err := os.Open(tool("ledger"))
	must(t, err)
	defer program.Close()
	cmd := d.CLI(t.Context(), "ssh", "-i", key, id, "--", "cat > /root/ledger && chmod 755 /root/ledger")
	cmd.Stdin = program
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copying the ledger: %v: %s", err, out)
	}
}

// restore makes a volume of that one of the snapshots that is of a volume.
func (d daemon) restore(t *testing.T, snaps []string, of, zone string) string {
	t.Helper()
	out, err := d.API.DescribeSnapshots(t.Context(), &ec2types.DescribeSnapshotsInput{SnapshotIds: snaps})
	must(t, err)
	for _, s := range out.Snapshots {
		if *s.VolumeId == of {
			return d.cli(t, "volume", "create", "--snapshot", *s.SnapshotId, "--zone", zone)
		}
	}
	t.Fatalf("none of the snapshots %v is of %s", snaps, of)
	return ""
}

func lastRow(t *testing.T, out string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimSpace(out), 10, 64)
	must(t, err)
	return n
}

// load asks a guest's ledger for one row after the other, whatever happens to the
// machine, and notices when one is given a second time: then the first was lost.
type load struct {
	acked atomic.Uint64 // the last row that is known to be committed
	stop  context.CancelFunc
	done  chan error
}

func startLoad(t *testing.T, d daemon, id string) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, done: make(chan error, 1)}
	go func() { l.done <- l.run(ctx, d, id) }()
	t.Cleanup(stop)
	return l
}

func (l *load) run(ctx context.Context, d daemon, id string) error {
	for ctx.Err() == nil {
		if err := l.talk(ctx, d, id); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// talk asks for rows until the connection ends, as it does when the machine stops.
func (l *load) talk(ctx context.Context, d daemon, id string) error {
	opening, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := d.API.Connect(opening, id, ledgerPort)
	if err != nil {
		return nil // the guest is not there now
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for in := bufio.NewReader(conn); ; {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a machine that was cut off does not say goodbye
		if _, err := fmt.Fprintln(conn, "commit"); err != nil {
			return nil
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // committed or not: nobody was told
		}
		n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return fmt.Errorf("the ledger answers %q", line)
		}
		if last := l.acked.Load(); n <= last {
			return fmt.Errorf("row %d was committed after %d: what was acknowledged is lost", n, last)
		}
		l.acked.Store(n)
	}
}

// goesOn waits until more rows are committed.
func (l *load) goesOn(t *testing.T, when string) {
	t.Helper()
	want := l.acked.Load() + 20
	eventually(t, "rows are committed "+when, func() error {
		select {
		case err := <-l.done:
			t.Fatalf("%s: %v", when, err)
		default:
		}
		if n := l.acked.Load(); n < want {
			return fmt.Errorf("the last one is %d", n)
		}
		return nil
	})
}

// end stops asking, and returns the last row that was acknowledged.
func (l *load) end(t *testing.T) uint64 {
	t.Helper()
	l.stop()
	must(t, <-l.done)
	return l.acked.Load()
}
