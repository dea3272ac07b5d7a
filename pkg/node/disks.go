package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"net"
	"strings"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const defaultMTU = 1500

func (n *Node) mtu() int { return cmp.Or(n.MTU, defaultMTU) }

// Spec makes the driver's description of an instance's machine.
func (n *Node) Spec(ctx context.Context, inst *model.Instance) (hypervisor.Spec, error) {
	typ, ok := model.InstanceTypeByName(inst.Type)
	if !ok {
		return hypervisor.Spec{}, fmt.Errorf("instance type %q is unknown to this version", inst.Type)
	}
	s := hypervisor.Spec{
		ID: inst.ID, UUID: uuidFor(inst.ID), Arch: inst.Arch, VCPUs: inst.Options.VCPUs(typ), MemoryMiB: typ.MemoryMiB,
		Accel: inst.RequestedAccel, Display: inst.Display,
		Boot: hypervisor.BootSpec{Firmware: inst.Boot.Firmware, Cmdline: inst.Boot.Cmdline},
	}
	for _, nic := range inst.Interfaces() {
		s.NICs = append(s.NICs, n.nicOf(&nic))
	}
	var err error
	if s.Boot.Kernel, err = n.blob(inst.Boot.KernelDigest); err != nil {
		return s, fmt.Errorf("finding the kernel: %w", err)
	}
	if s.Boot.Initrd, err = n.blob(inst.Boot.InitrdDigest); err != nil {
		return s, fmt.Errorf("finding the initrd: %w", err)
	}
	s.Boot.VMLinux, err = n.blob(inst.Boot.VMLinuxDigest)
	if err != nil && !errors.Is(err, layer.ErrNotFound) { // without it the kernel uncompresses itself
		return s, fmt.Errorf("finding the uncompressed kernel: %w", err)
	}
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		s.Disks = s.Disks[:0]
		for _, v := range inst.Volumes {
			vol, err := records.Volumes.Get(tx, v.VolumeID)
			if err != nil {
				return err
			}
			d, err := n.diskOf(tx, &vol)
			if err != nil {
				return err
			}
			s.Disks = append(s.Disks, d)
		}
		return nil
	})
	return s, err
}

// nicOf describes an interface.
func (n *Node) nicOf(nic *model.NetworkInterface) hypervisor.NIC {
	_, taps := n.Datapath.(network.Attacher)
	out := hypervisor.NIC{ID: nic.ID, MAC: nic.MAC, MTU: n.mtu(), Tap: taps}
	if nic.Attachment != nil {
		out.Index = nic.Attachment.DeviceIndex
	}
	return out
}

// diskOf describes a volume's chain of layers.
func (n *Node) diskOf(tx *store.Tx, vol *model.Volume) (hypervisor.Disk, error) {
	d := hypervisor.Disk{ID: vol.ID, Limits: n.limitsOf(vol.VolumeKind, vol.SizeGiB)}
	for id := vol.Head; id != ""; {
		l, err := records.Layers.Get(tx, id)
		if err != nil {
			return d, err
		}
		key, err := n.keyOf(tx, &l)
		if err != nil {
			return d, err
		}
		d.Layers = append(d.Layers, hypervisor.Layer{ID: id, Path: n.Layers.Path(id), Key: key})
		id = l.Parent
	}
	return d, nil
}

// limitsOf is what a volume of that kind and size may do: anything, if the owner of
// the host does not want limits.
func (n *Node) limitsOf(kind model.VolumeKind, sizeGiB int64) model.IOLimits {
	if n.Unlimited {
		return model.IOLimits{}
	}
	if full, err := kind.Complete(sizeGiB); err == nil {
		kind = full // one of before kinds were complete
	}
	return kind.Limits(sizeGiB)
}

func (n *Node) blob(digest string) (string, error) {
	if digest == "" {
		return "", nil
	}
	return n.Layers.BlobPath(digest)
}

// uuidFor derives an SMBIOS UUID from an instance's id. It begins with "ec2", by
// which guests know that they are on EC2.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/identify_ec2_instances.html
func uuidFor(id string) string {
	h := strings.TrimPrefix(id, string(model.InstancePrefix)+"-") // 17 hexadecimal digits
	h = "ec2" + h + "000000000000"
	return strings.Join([]string{h[:8], h[8:12], "4" + h[13:16], "8" + h[17:20], h[20:32]}, "-")
}

// errVanished: the file of a volume is not there any more. Nothing is made in its
// place: a blank disk would look like one that lost its data.
var errVanished = errors.New("its file is missing: put it back from a copy, and run bundt volume check")

// makeDisks creates the files of the writable layers of an instance that starts for
// the first time; those of another one have to be there.
func (n *Node) makeDisks(ctx context.Context, inst *model.Instance) error {
	for _, v := range inst.Volumes {
		if err := n.makeDisk(ctx, v.VolumeID, madeFor(inst)); err != nil {
			return err
		}
	}
	return nil
}

// madeFor reports whether a volume was made with an instance that has not run yet.
func madeFor(inst *model.Instance) func(*model.Volume) bool {
	return func(vol *model.Volume) bool { return !inst.Booted && vol.Created.Equal(inst.LaunchTime) }
}

// makeDisk creates the file of a volume's writable layer if it is not there yet, and
// may be made.
func (n *Node) makeDisk(ctx context.Context, volumeID string, fresh func(*model.Volume) bool) error {
	if err := errors.Join(n.CheckSpace(), n.settleFlattening(ctx, volumeID)); err != nil {
		return err
	}
	vol, head, err := n.volume(ctx, volumeID)
	if err != nil {
		return err
	}
	if !fresh(&vol) {
		_, err := n.Layers.Info(head.ID)
		if errors.Is(err, layer.ErrNotFound) {
			err = errVanished
		}
		if err != nil {
			return fmt.Errorf("volume %s, layer %s: %w", volumeID, head.ID, err)
		}
		return nil
	}
	pool := n.poolOf(vol.VolumeKind)
	if err := n.checkPool(ctx, pool); err != nil {
		return fmt.Errorf("making the disk of volume %s: %w", volumeID, err)
	}
	if err := n.makeHead(ctx, head, pool); err != nil {
		return fmt.Errorf("making the disk of volume %s: %w", volumeID, err)
	}
	return nil
}

// makeHead creates the file of a writable layer; one without a parent is blank.
func (n *Node) makeHead(ctx context.Context, head model.Layer, pool Pool) error {
	layers, err := n.layersIn(pool)
	if err != nil {
		return err
	}
	key, err := n.passphrase(ctx, &head)
	if err != nil {
		return err
	}
	if head.Parent == "" {
		return layers.CreateEmpty(ctx, head.ID, head.SizeBytes, key)
	}
	return layers.CreateOverlay(ctx, head.ID, head.Parent, head.SizeBytes, key)
}

// Screenshot returns what a running instance's display shows.
func (n *Node) Screenshot(ctx context.Context, id string) (image.Image, error) {
	s, ok := n.Driver.(hypervisor.Screenshotter)
	if !ok {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The hypervisor driver %s has no displays", n.Driver.Name())
	}
	shot, err := s.Screenshot(ctx, id)
	switch {
	case errors.Is(err, hypervisor.ErrUnsupported):
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The instance '%s' has no display", id).
			WithHint("GetConsoleOutput has its serial console; an instance that is launched with the tag %s=on has a display", model.DisplayTag)
	case errors.Is(err, hypervisor.ErrNotFound), errors.Is(err, hypervisor.ErrNotRunning):
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is not in a state from which its display can be seen: its machine does not run", id)
	}
	return shot, err
}

// SerialPort joins a running instance's serial port.
func (n *Node) SerialPort(ctx context.Context, id string) (net.Conn, error) {
	p, ok := n.Driver.(hypervisor.SerialPort)
	if !ok {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The hypervisor driver %s connects nobody to serial ports", n.Driver.Name())
	}
	conn, err := p.SerialPort(ctx, id)
	if errors.Is(err, hypervisor.ErrNotFound) || errors.Is(err, hypervisor.ErrNotRunning) {
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is not in a state in which it has a serial port: its machine does not run", id).
			WithHint("bundt logs has what it wrote last")
	}
	return conn, err
}

// Console returns the last max bytes of an instance's serial output.
func (n *Node) Console(ctx context.Context, id string, max int) ([]byte, error) {
	c, ok := n.Driver.(hypervisor.Console)
	if !ok {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "the hypervisor driver %s keeps no console output", n.Driver.Name())
	}
	out, err := c.ConsoleOutput(ctx, id, max)
	if errors.Is(err, hypervisor.ErrNotFound) {
		return nil, nil
	}
	return out, err
}
