//go:build vm

package e2e

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bundt/bundt/hack/harness"
)

// TestARM64Daemon runs the daemon that is built for arm64, under user-mode
// emulation elsewhere: it probes the host, starts a real machine, finds it again
// after a kill, and ends it.
func TestARM64Daemon(t *testing.T) {
	program, err := filepath.Abs("../../dist/linux-arm64/bundtd")
	must(t, err)
	argv := []string{program}
	if runtime.GOARCH != "arm64" {
		runner := "qemu-aarch64-static"
		if _, err := exec.LookPath(runner); err != nil {
			runner = "qemu-aarch64" // Debian's, since 13
		}
		t.Setenv("BUNDT_RUNNER", runner)
		argv = []string{runner, program}
	}
	d := newDaemon(t, func(o *harness.Options) { o.Program = argv })
	out := d.cli(t, "doctor")
	if !strings.Contains(out, "linux/arm64") {
		t.Errorf("this is not the arm64 daemon:\n%s", out)
	}
	id := d.launch(t, d.build(t, "boot-sector", "x86_64"), "b1.pico")
	must(t, d.State(t.Context(), id, "running"))
	pid := d.details(t, id).Pid
	d.Kill()
	must(t, d.Start(t.Context()))
	if got := d.details(t, id).Pid; got != pid || !alive(pid) {
		t.Errorf("the machine's process was %d and is %d", pid, got)
	}
	d.cli(t, "rm", id)
	d.nothingLeft(t)
}
