//go:build vm

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHungAndFloodingGuests stops one guest's machine and lets another send to it
// as much as it can: a third notices nothing, and the stopped one goes on
// afterwards. Then the switch is killed: guests lose no more than packets.
func TestHungAndFloodingGuests(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	ids := strings.Fields(d.cli(t, "run", image, "--count", "3", "--key", "k", "--type", "b1.nano", "-o", "name"))
	hung, flooding, innocent := ids[0], ids[1], ids[2]
	ssh := func(id, script string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // real guests share this host's processors
		defer cancel()
		out, err := d.Bundt(ctx, "ssh", "-i", key, id, "--", script)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	pids := map[string]int32{}
	for _, id := range ids {
		must(t, d.Reachable(t.Context(), id))
		pids[id] = d.details(t, id).Pid
	}

	must(t, syscall.Kill(int(pids[hung]), syscall.SIGSTOP))
	flood := d.CLI(t.Context(), "ssh", "-i", key, flooding, "--",
		"for i in 1 2 3 4; do ping -q -i 0.0001 -s 1400 -w 30 "+*d.instance(t, hung).PrivateIpAddress+" & done; wait")
	must(t, flood.Start())
	time.Sleep(2 * time.Second)
	for range 3 {
		must(t, ssh(innocent, "true"))
		time.Sleep(time.Second)
	}
	must(t, ssh(flooding, "n=$(cat /sys/class/net/eth0/statistics/tx_packets); echo $n; test $n -gt 2000")) // it did
	must(t, flood.Process.Kill())
	_ = flood.Wait() // it was killed
	must(t, syscall.Kill(int(pids[hung]), syscall.SIGCONT))
	eventually(t, "the guest that hung answers", func() error { return ssh(hung, "true") })

	pid := d.switchPID(t)
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	for _, id := range ids {
		eventually(t, id+" answers through another switch", func() error { return ssh(id, "true") })
		if now := d.details(t, id).Pid; now != pids[id] {
			t.Errorf("the machine %d of %s became %d", pids[id], id, now)
		}
	}
	if now := d.switchPID(t); now == pid {
		t.Errorf("the switch is %d still", pid)
	}
}

// switchPID finds the process of the daemon's network.
func (d daemon) switchPID(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		if argv := string(text); strings.Contains(argv, "\x00switch\x00") && strings.Contains(argv, d.Run()+"/") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			must(t, err)
			return pid
		}
	}
	t.Fatal("there is no switch")
	return 0
}
