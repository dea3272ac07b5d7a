package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/network"
)

func TestChooseNetwork(t *testing.T) {
	for _, c := range []struct{ wanted, problem, chosen, reason, refused string }{
		{networkUser, "no tun", networkUser, "", ""},
		{networkUser, "", networkUser, "", ""},
		{networkAuto, "", networkKernel, "", ""},
		{networkAuto, "no tun", networkUser, "no tun", ""},
		{networkKernel, "", networkKernel, "", ""},
		{networkKernel, "no tun", "", "no tun", "no tun; --network auto"},
	} {
		chosen, reason, err := chooseNetwork(c.wanted, func() string { return c.problem })
		if chosen != c.chosen || reason != c.reason || (err == nil) != (c.refused == "") || (err != nil && !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s, %q: %s, %q, %v", c.wanted, c.problem, chosen, reason, err)
		}
	}
}

// Machines that are attached to one kind of network would never get to the other.
func TestNetworkOfMachinesStays(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DataDir, cfg.RunDir = t.TempDir(), t.TempDir()
	d := &Daemon{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	if err := d.endNetwork(t.Context(), networkKernel, false); err != nil {
		t.Errorf("without a network of that kind: %v", err)
	}
	state, err := json.Marshal(map[string]any{"config": network.Config{Ports: []network.Port{{ID: "eni-1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cfg.DataDir, "kernel.json")
	if err := os.WriteFile(file, state, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.newDatapath(t.Context()); err == nil || !strings.Contains(err.Error(), "stop the instances") {
		t.Errorf("the network was changed below its instances: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the state of the refused network is gone: %v", err)
	}
}

// A switch that was started and not yet told anything has no state file. It is not
// overlooked for that: the host is not said to be free of it.
func TestEndNetworkWithoutState(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DataDir, cfg.RunDir = t.TempDir(), t.TempDir()
	d := &Daemon{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	lock, err := os.Create(filepath.Join(cfg.RunDir, "switch.sock.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil { // as a switch that does not listen yet
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.endNetwork(ctx, networkUser, true); err == nil {
		t.Error("the switch was overlooked")
	}
	lock.Close()
	if err := d.endNetwork(t.Context(), networkUser, true); err != nil {
		t.Errorf("after its end: %v", err)
	}
}
