package bake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/model"
)

// exits writes a program of arm64 that ends with a status: the smallest ELF file there is.
func exits(t *testing.T, status uint32) string {
	t.Helper()
	var b bytes.Buffer
	put := func(v ...any) {
		for _, x := range v {
			if err := binary.Write(&b, binary.LittleEndian, x); err != nil {
				t.Fatal(err)
			}
		}
	}
	const base, header, segment = uint64(0x400000), 64, 56
	put([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint16(2), uint16(0xb7), uint32(1), base+header+segment, uint64(header), uint64(0),
		uint32(0), uint16(header), uint16(segment), uint16(1), uint16(0), uint16(0), uint16(0))
	put(uint32(1), uint32(5), uint64(0), base, base, uint64(header+segment+12), uint64(header+segment+12), uint64(0x1000))
	put(0xd2800000|status<<5, uint32(0xd2800ba8), uint32(0xd4000001)) // mov x0, #status; mov x8, #93 (exit); svc #0
	name := filepath.Join(t.TempDir(), "exits")
	if err := os.WriteFile(name, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestForeign runs a program of another architecture in another root, where nothing
// of this host is.
func TestForeign(t *testing.T) {
	arch := model.ARM64
	if runsItself(runtime.GOARCH, arch) {
		return // tested by running at all
	}
	how, err := executionOf(arch)
	if err != nil {
		t.Fatal(err)
	}
	program := exits(t, 42)
	chroot, err := exec.LookPath("chroot")
	if err != nil {
		chroot = "/usr/sbin/chroot"
	}
	out, err := how.command(t.Context(), chroot, filepath.Dir(program), "/exits").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Fatalf("%v: %s", how.explain(err), out)
	}
}

func TestForeignNamespaceThatFails(t *testing.T) {
	how := execution{register: "nonsense"}
	err := how.command(t.Context(), "true").Run()
	if got := how.explain(err); got == nil || !strings.Contains(got.Error(), "qemu-user-static") {
		t.Errorf("got %v", got)
	}
}

func TestRegistration(t *testing.T) {
	const want = `:qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/q:F`
	if got := emulators[model.ARM64].registration("/usr/bin/q"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEmulatorThatIsNotThere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := emulators[model.ARM64].find(); err == nil || !strings.Contains(err.Error(), "install the package qemu-user-static") {
		t.Errorf("got %v", err)
	}
}
