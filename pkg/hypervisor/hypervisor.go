// Package hypervisor owns the contract between the node and whatever runs its
// virtual machines. Drivers are in qemu/ and fake/, and pass the one conformance
// suite in hvtest/. It may import pkg/model only: a driver knows nothing of the
// store, the API or the network's model.
package hypervisor

import (
	"context"
	"errors"
	"image"
	"net"
	"os"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

// Errors that every driver returns for these conditions (test with errors.Is).
var (
	// ErrNotFound: no machine of that id exists on this host.
	ErrNotFound = errors.New("machine not found")
	// ErrNotRunning: the machine exists but its process does not run.
	ErrNotRunning = errors.New("machine is not running")
	// ErrUnavailable: the hypervisor itself is missing or unusable on this host.
	ErrUnavailable = errors.New("hypervisor unavailable")
	// ErrBusy: the guest has not let go of the disk yet.
	ErrBusy = errors.New("the guest still holds the disk")
	// ErrUnsupported: the driver cannot do this for this machine.
	ErrUnsupported = errors.New("not supported by this driver")
)

// Driver starts and stops machines on this host. Every method is idempotent, so
// that a reconciler that was killed at any point can call it again: starting a
// running machine, killing an absent one, is success. Methods are safe for
// concurrent use. Machines outlive the driver; a new Driver on the same state
// directory finds them again.
type Driver interface {
	// Name is the driver's name, "qemu" or "fake".
	Name() string
	// Host reports what this host can run. It is measured once and cached.
	Host(ctx context.Context) (Host, error)
	// Start makes the machine exist and run. A machine of this id that already
	// runs is left as it is. On error nothing of the machine is left running.
	Start(ctx context.Context, spec Spec) (Status, error)
	// Status returns the machine's present status, ErrNotFound if it has none.
	Status(ctx context.Context, id string) (Status, error)
	// PowerButton asks the guest to shut down (ACPI); it returns at once.
	PowerButton(ctx context.Context, id string) error
	// Reset restarts the guest as a reset button does, keeping the process.
	Reset(ctx context.Context, id string) error
	// Kill ends the machine's process at once, waits for its end and removes
	// its sockets. The console's log stays until Remove.
	Kill(ctx context.Context, id string) error
	// Remove kills the machine and removes everything that it had on this host
	// except disks, which belong to the layer store.
	Remove(ctx context.Context, id string) error
	// List returns all machines found on this host, orphans included.
	List(ctx context.Context) ([]Status, error)
	// Events delivers machines' changes of status until ctx ends. Events may be
	// lost or repeated (the receiver asks Status): they say when to look.
	Events(ctx context.Context) <-chan Event
}

// Snapshotter is the capability to freeze the disks of a running machine.
type Snapshotter interface {
	// Snapshot puts a new writable overlay on each given disk in one
	// transaction: all or none. The overlays exist already (as qcow2 files whose
	// backing file is the disk's present head). When the guest agent answers,
	// filesystems are frozen meanwhile, and always thawed.
	Snapshot(ctx context.Context, id string, disks []SnapshotDisk) (SnapshotResult, error)
}

// DiskPlugger is the capability to change the disks of a running machine. Like
// Driver's, its methods are idempotent. They return ErrNotFound or ErrNotRunning
// for a machine that has no process.
type DiskPlugger interface {
	// Disks returns the ids of the disks that the guest has right now.
	Disks(ctx context.Context, id string) ([]string, error)
	// AttachDisk gives the guest another disk.
	AttachDisk(ctx context.Context, id string, disk Disk) error
	// DetachDisk asks the guest to let go of a disk, and takes it away when it
	// has. It waits for a moment only: ErrBusy says to call again, soon or at an
	// Event "unplugged". With force the disk is taken away then, whatever the guest
	// does: it reads errors from what it still sees, and what it writes is lost.
	// The root disk cannot be taken away.
	DetachDisk(ctx context.Context, id, diskID string, force bool) error
	// ResizeDisk lets a disk's head and its guest have at least that many bytes.
	ResizeDisk(ctx context.Context, id, diskID string, bytes int64) error
	// LimitDisk changes what a disk may do from now on, whatever its head becomes.
	LimitDisk(ctx context.Context, id, diskID string, limits model.IOLimits) error
}

// Flattener is the capability to shorten the chain of a running machine's disk.
type Flattener interface {
	// FlattenDisk copies into a disk's head what it reads from the layers between the
	// head and base, which is one of its layers, or "" for none at all: afterwards the
	// head reads from base alone, and its file says so. No other layer is written to.
	// Copying takes bytesPerSecond at most, 0 for no bound. Snapshots, and whatever
	// else changes the disk, end it before it is done: then it returns ErrBusy, and
	// may be called again. So does a context that ends.
	FlattenDisk(ctx context.Context, id, diskID, base string, bytesPerSecond int64) error
}

// NICPlugger is the capability to change the network interfaces of a running
// machine. Its methods are like DiskPlugger's.
type NICPlugger interface {
	// NICs returns the ids of the interfaces that the guest has right now.
	NICs(ctx context.Context, id string) ([]string, error)
	// AttachNIC gives the guest another interface, whose socket Status tells then.
	// tap is its open tap device if it has Tap set; the caller closes its own.
	AttachNIC(ctx context.Context, id string, nic NIC, tap *os.File) error
	// DetachNIC asks the guest to let go of an interface, and takes it away when it
	// has: see DetachDisk. By force the network's end of it goes at once, and the
	// guest is left with an interface without a link, in whose place nothing can be
	// plugged in. The interface of index 0 cannot be taken away.
	DetachNIC(ctx context.Context, id, nicID string, force bool) error
}

// Console is the capability to read what a machine wrote on its serial port.
type Console interface {
	// ConsoleOutput returns the last max bytes (64 KiB is kept at least), also
	// of a machine that was killed but not removed.
	ConsoleOutput(ctx context.Context, id string, max int) ([]byte, error)
}

// SerialPort is the capability to use a machine's serial port.
type SerialPort interface {
	// SerialPort joins the machine's serial port, which several people may at once:
	// each reads what the guest writes, from lately on, and what any of them writes the
	// guest reads. The connection ends with the machine's process. It has no deadlines.
	SerialPort(ctx context.Context, id string) (net.Conn, error)
}

// Screenshotter is the capability to look at a machine's display.
type Screenshotter interface {
	// Screenshot returns what the display shows now: ErrUnsupported for a machine
	// that was started without one (Spec.Display).
	Screenshot(ctx context.Context, id string) (image.Image, error)
}

// Meter is the capability to tell what machines use.
type Meter interface {
	// Usage returns what a machine has used since its process began. ErrNotFound and
	// ErrNotRunning are for a machine that has none.
	Usage(ctx context.Context, id string) (Usage, error)
}

// Usage counts what a machine has used. Counters begin anew with each process, and a
// disk's with its attachment.
type Usage struct {
	CPU    time.Duration        // that its virtual processors have run, all together
	Memory int64                // bytes of the host's memory that its process occupies now
	Disks  map[string]DiskUsage // by Disk.ID
}

// DiskUsage counts a disk's requests, as the guest sees them.
type DiskUsage struct {
	ReadBytes, WrittenBytes int64
	Reads, Writes           int64         // completed requests
	ReadTime, WriteTime     time.Duration // that requests took, all together
}

// Variables is the capability to read the variables of a machine's UEFI firmware.
type Variables interface {
	// Variables returns the beginning of the flash image that has them, as EDK II
	// lays it out, whether the machine runs or not: ErrUnsupported for a machine
	// of another firmware, or whose image is not in the raw format.
	Variables(ctx context.Context, id string) ([]byte, error)
}

// Adopter is the capability to see machines that somebody else made.
type Adopter interface {
	// Foreign returns the machine of that name or UUID: ErrNotFound if there is none,
	// ErrUnsupported if it is the driver's own or something of it cannot be read.
	Foreign(ctx context.Context, name string) (model.ForeignMachine, error)
}

// Refresher is the capability to measure the host again.
type Refresher interface {
	// Refresh forgets what Host has measured: the next call of Host measures anew.
	Refresh()
}

// SnapshotDisk names a disk and the layer that becomes its head.
type SnapshotDisk struct {
	DiskID  string // Disk.ID
	LayerID string // id of the new head
	Path    string // the new head's file
	Key     Key    // that it is encrypted with, if it is
}

// SnapshotResult says what the snapshot guarantees and what it cost.
type SnapshotResult struct {
	Consistency model.Consistency // filesystem or crash
	Stall       time.Duration     // time QEMU took for the transaction
}

// Spec is everything that determines a machine.
type Spec struct {
	ID        string // the instance's id; names the process and its files
	UUID      string // SMBIOS system UUID, "ec2…" so that guests know where they are
	Arch      model.Arch
	VCPUs     int
	MemoryMiB int64
	Accel     string // "kvm", "tcg", or "" for the driver's choice
	Boot      BootSpec
	Disks     []Disk // in order; the first is the root disk
	NICs      []NIC
	// Taps are the open tap devices of the NICs that have Tap set, in their order.
	// The machine gets them; the caller closes its own.
	Taps    []*os.File `json:"-"`
	Display bool       // a graphics card, whose picture only Screenshot sees
}

// BootSpec is how the machine starts.
type BootSpec struct {
	Firmware model.Firmware
	Kernel   string // file; "" boots the first disk by firmware
	Initrd   string // file, optional
	Cmdline  string
	// VMLinux is Kernel as an ELF file with a PVH entry point, optional: a host
	// that can start it does so, and saves the guest the decompression.
	VMLinux string
}

// Disk is a chain of qcow2 layers, of which only the head is written.
type Disk struct {
	ID     string  // volume id; the guest sees it as the disk's serial number, without the dash as on EC2
	Layers []Layer // head first, then its backing chain to the base
	// Limits hold as long as the guest has the disk.
	Limits model.IOLimits `json:",omitzero"`
}

// Layer is one qcow2 file of a disk's chain.
type Layer struct {
	ID   string
	Path string
	Key  Key `json:",omitzero"` // that it is encrypted with, if it is (LUKS in qcow2)
}

// Key opens encrypted layers. Drivers keep no secrets: they hand them to the
// hypervisor in a way that no other user of the host can see.
type Key struct {
	ID     string
	Secret string `json:"-"` // text
}

// NIC is a network interface. Without Tap the driver makes QEMU listen on a unix
// stream socket (-netdev stream,server=on) that the network's switch connects to.
type NIC struct {
	ID    string // interface id
	MAC   string
	MTU   int
	Index int  // the guest finds interfaces in this order; 0 is the first, which stays
	Tap   bool `json:",omitempty"` // attached to a tap
}

// State is what a machine's process does.
type State string

// The states of a machine.
const (
	StateRunning State = "running"
	StatePaused  State = "paused"  // stopped CPUs: an I/O error, or KVM's internal error
	StateStopped State = "stopped" // no process; the machine's files are still there
)

// Status is what the driver knows of a machine.
type Status struct {
	ID      string
	State   State
	Detail  string // for people: why paused, or how the process ended
	PID     int
	Started time.Time
	Accel   model.Accelerator
	// NICSockets are the paths of the unix stream sockets by NIC id, "" of a tap.
	NICSockets map[string]string
	// GuestHalted is set on a stopped machine that ended because its guest powered off.
	GuestHalted bool
}

// Event says that a machine's status changed.
type Event struct {
	ID   string
	Kind string // "started", "stopped", "paused", "reset", "unplugged"
}

// Host is what the host can run and why not more.
type Host struct {
	Driver   string
	Version  string // of the hypervisor, for instance "7.2.22"
	Archs    map[model.Arch]ArchSupport
	KVM      KVM
	Firmware []FirmwareFile
}

// ArchSupport says how guests of one architecture run.
type ArchSupport struct {
	Emulator string            // path; "" if not installed
	Accel    model.Accelerator // the driver's choice and its reason
	Problem  string            // why guests of this architecture cannot run, "" if they can
	Fix      string            // what to do about it
	PVH      bool              // BootSpec.VMLinux can be started
}

// KVM is the outcome of the probe guest (a loop run on a virtual CPU).
type KVM struct {
	Present  bool          // the device opens
	Usable   bool          // and executes guests at hardware speed
	LoopTime time.Duration // best time of the probe loop
	Reason   string
	Fix      string
}

// FirmwareFile is a firmware image found on this host.
type FirmwareFile struct {
	Arch    model.Arch
	Kind    model.Firmware
	Code    string // path of the code image
	Vars    string // path of the variable store's template
	Problem string // why it cannot be used, "" if it can
}
