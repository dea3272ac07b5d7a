package daemon

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
