//go:build vm

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/bundt/bundt/pkg/api/bundttypes"
)

// beside makes an Ethernet that the host and another machine are in, 192.0.2.1 and
// 192.0.2.2, and returns what runs a command on that one.
func beside(t *testing.T) func(argv ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	must(t, cmd.Start())
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait(); _ = exec.Command("ip", "link", "del", "lan0").Run() })
	pid := fmt.Sprint(cmd.Process.Pid)
	on := func(argv ...string) (string, error) {
		out, err := exec.Command("nsenter", append([]string{"-t", pid, "-n"}, argv...)...).CombinedOutput()
		return string(out), err
	}
	for _, line := range []string{"link add lan0 type veth peer name lan0 netns " + pid, "address add 192.0.2.1/24 dev lan0", "link set lan0 up"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	for _, line := range []string{"address add 192.0.2.2/24 dev lan0", "link set lan0 up"} {
		if out, err := on(append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	return on
}

// TestLAN has an instance reached from a machine beside the host, by an address that
// was on trial first; a trial that nobody confirms ends, though the daemon was killed.
func TestLAN(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("addresses of the host's interfaces need root")
	}
	on := beside(t)
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	has := func(address string) bool {
		out, err := exec.Command("ip", "address", "show", "dev", "lan0").CombinedOutput()
		must(t, err)
		return strings.Contains(string(out), address+"/32")
	}
	if out := d.cli(t, "lan", "attach", "lan0", "--addresses", "192.0.2.50", "--preview"); !strings.Contains(out, "lan0 keeps 192.0.2.1/24") || !strings.Contains(out, "+ lan0 gets 192.0.2.50/32") || has("192.0.2.50") {
		t.Errorf("the preview is %s", out)
	}
	if out, err := d.Bundt(t.Context(), "lan", "attach", "lan0", "--addresses", "192.0.2.2"); err == nil || !strings.Contains(err.Error(), "which answers to it") {
		t.Errorf("took an address that another machine has: %s, %v", out, err)
	}
	d.cli(t, "lan", "attach", "lan0", "--addresses", "192.0.2.51", "--trial", "10s")
	if !has("192.0.2.51") {
		t.Error("the address on trial is not there")
	}
	if _, err := d.Bundt(t.Context(), "address", "allocate", "--address", "192.0.2.51"); err == nil {
		t.Error("allocated what is on trial")
	}
	d.Kill()
	eventually(t, "the trial ends without a daemon", func() error {
		if has("192.0.2.51") {
			return fmt.Errorf("the address is there")
		}
		return nil
	})
	must(t, d.Start(t.Context()))
	eventually(t, "the daemon knows it", func() error {
		out, err := d.API.DescribeLans(t.Context(), &bundttypes.DescribeLansInput{})
		if err == nil && out.Lans[0].State != "rolled-back" {
			err = fmt.Errorf("it is %s", out.Lans[0].State)
		}
		return err
	})

	d.cli(t, "lan", "attach", "lan0", "--addresses", "192.0.2.50", "--trial", "1m")
	d.cli(t, "lan", "confirm", "lan0")
	d.cli(t, "run", image, "--name", "web", "--type", "b1.nano", "-o", "name")
	d.cli(t, "address", "allocate", "--address", "192.0.2.50")
	d.cli(t, "address", "associate", "192.0.2.50", "web")
	eventually(t, "the other machine reaches it", func() error {
		out, err := on("timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.50/22; head -c 4 <&3")
		if err == nil && out != "SSH-" {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
	if out, err := on("timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.50/81"); err == nil {
		t.Errorf("a port that no rule opens is open: %s", out)
	}
	if _, err := d.Bundt(t.Context(), "lan", "detach", "lan0"); err == nil {
		t.Error("detached an address that is allocated")
	}
	d.cli(t, "rm", "web")
	d.cli(t, "address", "release", "192.0.2.50")
	d.cli(t, "lan", "detach", "lan0")
	eventually(t, "the address is gone", func() error {
		if has("192.0.2.50") {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}
