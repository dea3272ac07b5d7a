package hvtest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Banner is what BootSector prints.
const Banner = "boot sector is up\r\n"

// BootSector is a guest in 16-bit code. It prints the banner on COM1, arms the
// ACPI power button (PM1_EN), and from then on, at every tick of the BIOS timer,
// either powers off if the button was pressed (PM1_STS, PM1_CNT) or writes a
// counter to the second sector of its disk.
func BootSector() []byte {
	code := []byte{
		0xea, 0x05, 0x7c, 0x00, 0x00, //       ljmp 0:0x7c05
		0x31, 0xc0, //                         xor ax, ax
		0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // mov ds, ax; mov es, ax; mov ss, ax
		0xbc, 0x00, 0x7c, //                   mov sp, 0x7c00
		0xbe, 0x59, 0x7c, //                   mov si, banner
		0xac,       //                   next: lodsb
		0x84, 0xc0, //                         test al, al
		0x74, 0x12, //                         jz done
		0x88, 0xc4, //                         mov ah, al
		0xba, 0xfd, 0x03, //                   mov dx, 0x3fd (line status)
		0xec,       //                   wait: in al, dx
		0xa8, 0x20, //                         test al, 0x20
		0x74, 0xfb, //                         jz wait
		0xba, 0xf8, 0x03, //                   mov dx, 0x3f8
		0x88, 0xe0, //                         mov al, ah
		0xee,       //                         out dx, al
		0xeb, 0xe9, //                         jmp next
		0xba, 0x02, 0x06, //             done: mov dx, 0x602 (PM1_EN)
		0xb8, 0x00, 0x01, //                   mov ax, 0x100
		0xef,             //                   out dx, ax
		0xfb,             //                   sti
		0xf4,             //             idle: hlt
		0xba, 0x00, 0x06, //                   mov dx, 0x600 (PM1_STS)
		0xed,             //                   in ax, dx
		0xf6, 0xc4, 0x01, //                   test ah, 1
		0x75, 0x14, //                         jnz off
		0xff, 0x06, 0x00, 0x7e, //             inc word [0x7e00]
		0xb8, 0x01, 0x03, //                   mov ax, 0x0301 (write one sector)
		0xb9, 0x02, 0x00, //                   mov cx, 2
		0xba, 0x80, 0x00, //                   mov dx, 0x80
		0xbb, 0x00, 0x7e, //                   mov bx, 0x7e00
		0xcd, 0x13, //                         int 0x13
		0xeb, 0xe2, //                         jmp idle
		0xba, 0x04, 0x06, //              off: mov dx, 0x604 (PM1_CNT)
		0xb8, 0x00, 0x20, //                   mov ax, 0x2000 (sleep, S5)
		0xef,       //                         out dx, ax
		0xeb, 0xd9, //                         jmp idle
	}
	sector := make([]byte, 512)
	copy(sector[copy(sector, code):], Banner)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// QemuImg runs qemu-img.
func QemuImg(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
}

// World is a directory with a base image, for drivers that run real machines.
type World struct {
	Dir    string
	Base   hypervisor.Layer
	layers atomic.Int64
}

// NewWorld makes one in a directory whose path is short, for the sake of sockets.
func NewWorld(t testing.TB, dir string) *World {
	t.Helper()
	raw := filepath.Join(dir, "base.raw")
	if err := os.WriteFile(raw, BootSector(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, 1<<20); err != nil {
		t.Fatal(err)
	}
	w := &World{Dir: dir, Base: hypervisor.Layer{ID: "layer-base", Path: filepath.Join(dir, "base.qcow2")}}
	QemuImg(t, "convert", "-f", "raw", "-O", "qcow2", raw, w.Base.Path)
	return w
}

// LayerID names a new layer.
func (w *World) LayerID() string { return fmt.Sprintf("layer-%d", w.layers.Add(1)) }

// Overlay makes a new layer whose backing file is below.
func (w *World) Overlay(t testing.TB, below hypervisor.Layer) hypervisor.Layer {
	t.Helper()
	id := w.LayerID()
	l := hypervisor.Layer{ID: id, Path: filepath.Join(w.Dir, id+".qcow2")}
	QemuImg(t, "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below.Path, l.Path, "1M")
	return l
}

// Spec is a machine that boots the base.
func (w *World) Spec(t testing.TB, id string) hypervisor.Spec {
	return hypervisor.Spec{
		ID: id, UUID: uuidOf(id), Arch: model.X8664, VCPUs: 1, MemoryMiB: 64,
		Boot:  hypervisor.BootSpec{Firmware: model.FirmwareBIOS},
		Disks: []hypervisor.Disk{{ID: "vol-00000000000000001", Layers: []hypervisor.Layer{w.Overlay(t, w.Base), w.Base}}},
		NICs:  []hypervisor.NIC{{ID: "eni-00000000000000001", MAC: "02:00:00:00:00:01", MTU: 1500}},
	}
}

// Written waits until the guest's counter is in the layer's own file.
func (w *World) Written(t *testing.T, l hypervisor.Layer) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("qemu-img", "map", "-U", "--output=json", "-f", "qcow2", l.Path).Output()
		if err != nil {
			t.Fatalf("qemu-img map: %v", err)
		}
		var extents []struct {
			Start, Depth int64
			Data         bool
		}
		if err := json.Unmarshal(out, &extents); err != nil {
			t.Fatal(err)
		}
		if len(extents) > 0 && extents[0].Depth == 0 && extents[0].Data {
			return
		}
	}
	t.Errorf("the guest did not write to %s", l.ID)
}

// uuidOf is a UUID of each id's own.
func uuidOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("ec2a1b2c-0000-4000-8000-%x", sum[:6])
}

// Size is how large a disk is, in bytes.
func (w *World) Size(t *testing.T, _, _ string, head hypervisor.Layer) int64 {
	t.Helper()
	out, err := exec.Command("qemu-img", "info", "-U", "--output=json", "-f", "qcow2", head.Path).Output()
	if err != nil {
		t.Fatalf("qemu-img info: %v", err)
	}
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		t.Fatal(err)
	}
	return info.Size
}

// Harness is the suite's for a driver on this world; Limits are the caller's to add.
func (w *World) Harness(patience time.Duration, open func(*testing.T) hypervisor.Driver) Harness {
	return Harness{
		New:     open,
		Spec:    func(t *testing.T, id string) hypervisor.Spec { return w.Spec(t, id) },
		Overlay: func(t *testing.T, below hypervisor.Layer) hypervisor.Layer { return w.Overlay(t, below) },
		Written: w.Written,
		Banner:  Banner,
		Crash:   func(_ *testing.T, s hypervisor.Status) { _ = syscall.Kill(s.PID, syscall.SIGKILL) },
		// At a reset QEMU takes what the guest was asked for.
		Release: func(t *testing.T, d hypervisor.Driver, id string) {
			if err := d.Reset(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		},
		Size:        w.Size,
		RealSockets: true,
		Patience:    patience,
	}
}
