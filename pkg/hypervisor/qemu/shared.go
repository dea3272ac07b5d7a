package qemu

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/model"
)

// This file is what another driver of QEMU, which does not make its command line
// itself, has in common with this one: so a machine is the same to its guest,
// whichever driver runs it.

// The names of accelerators.
const (
	AccelKVM = accelKVM
	AccelTCG = accelTCG
)

// Where a machine's devices are on the root complex, and how many others there can be.
const (
	SlotRNG    = slotRNG
	SlotSerial = slotSerial
	SlotNIC    = slotNIC // of the first interface
	SlotDisk   = slotDisk
	SlotVideo  = slotVideo
	SlotPlaces = slotPlaces // see HotPlaces
	// HotPlaces are the places of devices that come and go: DiskPlace and NICPlace count them.
	HotPlaces = hotPlaces
	// MaxDisks is how many disks a machine can have.
	MaxDisks = maxDisks
	// TranslationCacheMiB is what emulation may take for translated code.
	TranslationCacheMiB = 256
)

// DiskPlace is the place of the i-th disk, of which 0 is the root disk and has none.
func DiskPlace(i int) int { return i - 1 }

// NICPlace is the place of the interface of that index, of which 0 has none.
func NICPlace(index int) int { return maxDisks - 1 + index - 1 }

// Resolve decides what executes a machine on this host, and refuses one that cannot
// be as Argv does.
func Resolve(spec hypervisor.Spec, h hypervisor.Host, p Paths) (model.Accelerator, error) {
	if err := check(spec); err != nil { // before the host is asked about an unknown architecture
		return model.Accelerator{}, err
	}
	accel, err := accelerator(spec, h)
	if err != nil {
		return accel, err
	}
	spec.Accel = accel.Name
	if _, err := Argv(spec, h, p); err != nil {
		return accel, err
	}
	return accel, p.check()
}

// Kernel is the file of a machine's kernel to start, "" to boot its disk.
func Kernel(spec hypervisor.Spec, h hypervisor.Host) string {
	return (&builder{spec: spec, host: h}).kernel()
}

// CPU is the model of a machine's processor, with features on or off after commas;
// "host" is the host's own.
func CPU(spec hypervisor.Spec, h hypervisor.Host) string {
	return (&builder{spec: spec, host: h, accel: spec.Accel}).cpu()
}

// DirectBoot reports whether a kernel is started without UEFI in between.
func DirectBoot(spec hypervisor.Spec) bool { return (&builder{spec: spec}).direct() }

// Firmware returns the host's UEFI firmware of an architecture.
func Firmware(h hypervisor.Host, a model.Arch) (hypervisor.FirmwareFile, error) {
	return firmwareFor(h, a)
}

// ImageFormat is a firmware image's format, which distributions tell by its name.
func ImageFormat(path string) string { return imageFormat(path) }

// MakeVars copies the template of the variable store, if the machine has none yet.
func MakeVars(template, path string) error { return makeVars(template, path) }

// Serial is a disk's serial number, which the guest sees; DiskOf is its inverse.
func Serial(diskID string) string { return serial(diskID) }

// DiskOf is the id of the disk with a serial number.
func DiskOf(serial string) string { return diskOf(serial) }

// CheckDisk refuses disks that no machine can have, CheckNIC interfaces.
func CheckDisk(d hypervisor.Disk) error { return checkDisk(d) }

// CheckNIC refuses interfaces that no machine can have.
func CheckNIC(n hypervisor.NIC) error { return checkNIC(n) }

// ConsoleArgs are the arguments that make the serial port.
func (p Paths) ConsoleArgs() []string { return p.console() }

// NICArgs describe both sides of an interface that has a socket, in the slot of a bus:
// the host's for -netdev and netdev_add, the guest's for -device and device_add.
func (p Paths) NICArgs(nic hypervisor.NIC, bus string, slot int) (netdev, device map[string]any) {
	return p.netdev(nic, ""), nicArgs(nic, place{bus: bus, addr: fmt.Sprintf("%#x", slot), hot: nic.Index > 0})
}

// NICs returns the ids of the interfaces that QEMU shows the guest.
func NICs(ctx context.Context, client qmp.Executor) ([]string, error) {
	devices, err := plugged(ctx, client, nicDriver)
	return slices.Sorted(maps.Keys(devices)), err
}

// Unlinked reports whether the host's side of an interface is gone.
func Unlinked(ctx context.Context, client qmp.Executor, nicID string) (bool, error) {
	return unlinked(ctx, client, nicID)
}

// RemoveNetdev ends the host's side of an interface, if there is one.
func RemoveNetdev(client qmp.Executor, nicID string) error { return removeNetdev(client, nicID) }

// Pull takes a disk away from its device, whatever the guest does: it reads errors and
// what it writes vanishes.
func Pull(ctx context.Context, client qmp.Executor, device string) error {
	return pull(ctx, client, device)
}

// Pulled returns the devices whose disks were taken away.
func Pulled(ctx context.Context, client qmp.Executor) (map[string]bool, error) {
	blocks, err := queryBlocks(ctx, client)
	gone := map[string]bool{}
	for device, b := range blocks {
		gone[device] = b.head == goneNode(device)
	}
	return gone, err
}

// DiskSize is how large the disk of a device is, in bytes.
func DiskSize(ctx context.Context, client qmp.Executor, device string) (int64, error) {
	blocks, err := queryBlocks(ctx, client)
	return blocks[device].size, err
}

// CloseNodes closes nodes that nothing uses, the last first.
func CloseNodes(client qmp.Executor, nodes []string) { closeNodes(client, nodes) }

// UnplugTime is how long a call waits for the guest to let go of a device.
const UnplugTime = unplugTime

// PauseDetail tells people why QEMU stopped the guest, by its RunState.
func PauseDetail(state, accel, ioErr string) string {
	_, detail := translate(state, accel, ioErr)
	return detail
}

// DetailHalted is the detail of a machine whose guest powered off.
const DetailHalted = detailHalted

// Started is when a process was started.
func Started(pid int) (time.Time, error) {
	start, alive, err := procStat(pid)
	if err == nil && !alive {
		err = os.ErrProcessDone
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	return (&process{start: start}).startedAt(), nil
}

// ReadPPM reads a picture as QEMU writes it.
func ReadPPM(r io.Reader) (image.Image, error) { return readPPM(r) }

// ReadConsole returns the last max bytes of a console's log, none if there is no log.
func (p Paths) ReadConsole(max int) ([]byte, error) {
	if max <= 0 {
		return nil, nil
	}
	text, err := tail(p.Console(), max)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// TrimConsoles keeps consoles' logs small until ctx ends; list names their machines.
func TrimConsoles(ctx context.Context, list func() []Paths, failed func(Paths, error)) {
	trimConsoles(ctx, list, failed)
}

// ReadVariables reads the variables in a flash image of raw format.
func ReadVariables(path string) ([]byte, error) { return readVariables(path) }

// Watchers fan events out to whoever subscribed. The zero value is ready.
type Watchers struct{ all watchers }

// Subscribe delivers events until ctx ends; one who does not read loses some.
func (w *Watchers) Subscribe(ctx context.Context) <-chan hypervisor.Event {
	return w.all.subscribe(ctx)
}

// Emit tells everybody.
func (w *Watchers) Emit(id, kind string) { w.all.emit(id, kind) }
