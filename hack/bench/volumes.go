package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/layer"
)

const (
	chainBytes  = 128 << 20
	benchBlock  = 4 << 10
	benchStep   = 30011 * benchBlock // visits the blocks of a disk in no order that helps
	benchDepth  = 32                 // requests at a time
	benchBlocks = chainBytes / benchBlock
)

// chains is V1 and V2: random reads and writes through our chains, opened as our
// machines open them, against a flat qcow2 file and a raw one. It is measured in QEMU's
// block layer, without a guest, whose emulated processor would hide the difference.
func (b *bench) chains(ctx context.Context, _ string) error {
	c, err := b.newChain(ctx)
	if err != nil {
		return err
	}
	flat, raw := filepath.Join(b.dir, "flat.qcow2"), filepath.Join(b.dir, "flat.raw")
	if out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", c.layers.Path(c.at[1]), flat).CombinedOutput(); err != nil {
		return fmt.Errorf("running qemu-img: %w: %s", err, out)
	}
	if out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", c.layers.Path(c.at[1]), raw).CombinedOutput(); err != nil {
		return fmt.Errorf("running qemu-img: %w: %s", err, out)
	}
	whole := func(driver, path string) map[string]any {
		return map[string]any{"driver": driver, "file": map[string]any{"driver": "file", "filename": path}}
	}
	type measured struct {
		node map[string]any
		took []float64
	}
	run := func(write bool, requests, depth int, list ...*measured) error {
		for round := range b.rounds + 1 {
			for _, m := range list {
				t, err := throughput(ctx, m.node, write, requests, depth)
				if err != nil {
					return err
				}
				if round > 0 { // the first fills caches, and allocates
					m.took = append(m.took, t)
				}
			}
		}
		return nil
	}
	for _, write := range []bool{false, true} {
		what := map[bool]string{false: "random reads", true: "random writes"}[write]
		ours := &measured{node: c.node(1)}
		qcow2, plain := &measured{node: whole("qcow2", flat)}, &measured{node: whole("raw", raw)}
		if err := run(write, benchBlocks, benchDepth, ours, qcow2, plain); err != nil {
			return err
		}
		b.add("V1", "4 KiB "+what+", a volume on its image / a flat qcow2", 1.05, ours.took, qcow2.took)
		b.add("V1", "4 KiB "+what+", a volume on its image / a raw file", 1.05, ours.took, plain.took)
	}
	for _, depth := range []int{1, 8, 16, 64} {
		ours, qcow2 := &measured{node: c.node(depth)}, &measured{node: whole("qcow2", flat)}
		if err := run(false, benchBlocks/4, 1, ours, qcow2); err != nil {
			return err
		}
		b.add("V2", fmt.Sprintf("a read, one at a time, %d layers above the image / a flat qcow2", depth), 1.05, ours.took, qcow2.took)
	}
	return nil
}

// chain is an image of random data with layers on it, each of which has some of its own.
type chain struct {
	layers *layer.Store
	at     []string // ids by depth; 0 is the image
}

func (b *bench) newChain(ctx context.Context) (*chain, error) {
	layers, err := layer.Open(filepath.Join(b.dir, "v1"))
	if err != nil {
		return nil, err
	}
	c := &chain{layers: layers, at: []string{"layer-00000000000000000"}}
	data := make([]byte, chainBytes)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data) // never fails
	raw, base := filepath.Join(b.dir, "v1.raw"), filepath.Join(b.dir, "v1.qcow2")
	if err := os.WriteFile(raw, data, 0o600); err != nil {
		return nil, err
	}
	if err := disk.Convert(ctx, raw, disk.FormatRaw, base, disk.ConvertOptions{}); err != nil {
		return nil, err
	}
	if _, err := layers.Import(ctx, c.at[0], base); err != nil {
		return nil, err
	}
	for depth := 1; depth <= 64; depth++ {
		id := fmt.Sprintf("layer-%017d", depth)
		if err := layers.CreateOverlay(ctx, id, c.at[depth-1], chainBytes, ""); err != nil {
			return nil, err
		}
		// Each has a 64th of the disk, spread.
		args := []string{"-f", "qcow2"}
		for i := range chainBytes >> 20 / 64 * 16 {
			at := (i*64 + depth*37) % (chainBytes >> 16)
			args = append(args, "-c", fmt.Sprintf("write -q -P %d %d 64k", depth, at<<16))
		}
		if out, err := exec.CommandContext(ctx, "qemu-io", append(args, layers.Path(id))...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("running qemu-io: %w: %s", err, out)
		}
		if err := layers.Freeze(ctx, id); err != nil {
			return nil, err
		}
		c.at = append(c.at, id)
	}
	// A head of its own for each depth that is measured.
	for _, depth := range []int{1, 8, 16, 64} {
		if err := layers.CreateOverlay(ctx, headOf(depth), c.at[depth-1], chainBytes, ""); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func headOf(depth int) string { return fmt.Sprintf("layer-f%016d", depth) }

// node is the chain of a head, opened as pkg/hypervisor/qemu does.
func (c *chain) node(depth int) map[string]any {
	var below any
	for i := range depth {
		below = map[string]any{
			"driver": "qcow2", "read-only": true, "backing": below,
			"file": map[string]any{"driver": "file", "filename": c.layers.Path(c.at[i]), "read-only": true},
		}
	}
	return map[string]any{
		"driver": "qcow2", "backing": below, "discard": "unmap", "detect-zeroes": "unmap",
		"file": map[string]any{"driver": "file", "filename": c.layers.Path(headOf(depth)), "discard": "unmap"},
	}
}

var completed = regexp.MustCompile(`Run completed in ([0-9.]+) seconds`)

// throughput is the time that a number of requests take, in seconds for each.
func throughput(ctx context.Context, node map[string]any, write bool, requests, depth int) (float64, error) {
	text, err := json.Marshal(node)
	if err != nil {
		return 0, err
	}
	args := []string{"bench", "-c", strconv.Itoa(requests), "-d", strconv.Itoa(depth), "-s", strconv.Itoa(benchBlock), "-S", strconv.Itoa(benchStep), "-t", "writeback"}
	if write {
		args = append(args, "-w", "--pattern=7")
	}
	out, err := exec.CommandContext(ctx, "qemu-img", append(args, "json:"+string(text))...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("running qemu-img bench: %w: %s", err, out)
	}
	m := completed.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("qemu-img bench says %q", out)
	}
	t, err := strconv.ParseFloat(string(m[1]), 64)
	return t / float64(requests), err
}

// plugs is V3: attaching a volume to a running guest and detaching it, against a bare
// QEMU that is told to do so; and V4: the guest's stall when eight volumes are imaged.
func (b *bench) plugs(ctx context.Context, image string) error {
	l, err := b.launch(ctx, image)
	if err != nil {
		return err
	}
	bzImage, err := b.bzImage()
	if err != nil {
		return err
	}
	id, err := b.daemon.Bundt(ctx, "run", image, "--type", benchType, "-o", "name")
	if err != nil {
		return err
	}
	vol, err := b.daemon.Bundt(ctx, "volume", "create", "--size", "1")
	if err != nil {
		return err
	}
	bare, err := b.barePlug(ctx, bzImage, l)
	if err != nil {
		return err
	}
	defer bare.kill()
	var attach, detach, add, del []float64
	for i := range 3 * b.rounds {
		t, err := timed(func() error { return b.attach(ctx, vol, id) })
		if err != nil {
			return err
		}
		attach = append(attach, t)
		if t, err = timed(func() error { return b.detach(ctx, vol) }); err != nil {
			return err
		}
		detach = append(detach, t)
		if t, err = timed(func() error { return bare.plug(ctx, i) }); err != nil {
			return err
		}
		add = append(add, t)
		if t, err = timed(func() error { return bare.unplug(ctx, i) }); err != nil {
			return err
		}
		del = append(del, t)
	}
	b.add("V3", "AttachVolume to attached / qemu-img create, device_add", 2, attach, add)
	b.add("V3", "DetachVolume to available / device_del to DEVICE_DELETED", 1.2, detach, del)
	with, without, err := b.gaps(ctx, image, 7)
	if err != nil {
		return err
	}
	b.add("V4", "longest guest write while 8 volumes are imaged / left alone", 1.1, with, without)
	return nil
}

func (b *bench) attach(ctx context.Context, vol, id string) error {
	if _, err := b.daemon.API.AttachVolume(ctx, &ec2types.AttachVolumeInput{VolumeId: &vol, InstanceId: &id, Device: new("/dev/sdf")}); err != nil {
		return err
	}
	return b.volumeIs(ctx, vol, func(v ec2types.Volume) bool { return len(v.Attachments) == 1 && *v.Attachments[0].State == "attached" })
}

func (b *bench) detach(ctx context.Context, vol string) error {
	if _, err := b.daemon.API.DetachVolume(ctx, &ec2types.DetachVolumeInput{VolumeId: &vol}); err != nil {
		return err
	}
	return b.volumeIs(ctx, vol, func(v ec2types.Volume) bool { return *v.State == "available" })
}

func (b *bench) volumeIs(ctx context.Context, vol string, is func(ec2types.Volume) bool) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		out, err := b.daemon.API.DescribeVolumes(ctx, &ec2types.DescribeVolumesInput{VolumeIds: []string{vol}})
		if err != nil {
			return err
		}
		if is(out.Volumes[0]) {
			return nil
		}
	}
	return fmt.Errorf("waiting for volume %s: %w", vol, os.ErrDeadlineExceeded)
}

// barePlug is a bare QEMU whose guest is up, with a bus for what comes and goes.
type barePlug struct {
	dir    string
	cmd    *exec.Cmd
	client *qmp.Client
}

func (b *bench) barePlug(ctx context.Context, kernel string, l launched) (p *barePlug, err error) {
	overlay := filepath.Join(b.dir, "plug.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", l.base, overlay, "1G").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("running qemu-img: %w: %s", err, out)
	}
	socket, console := filepath.Join(b.daemon.Run(), "plug.qmp"), filepath.Join(b.dir, "plug.log")
	p = &barePlug{dir: b.dir}
	p.cmd = exec.Command("qemu-system-x86_64", "-nodefaults", "-M", "q35", "-accel", "tcg", "-m", benchMemory, "-display", "none",
		"-kernel", kernel, "-initrd", l.initrd, "-append", l.cmdline, "-drive", "if=virtio,format=qcow2,file="+overlay, "-device", "pcie-pci-bridge,id=places",
		"-device", "virtio-rng-pci", "-serial", "file:"+console, "-qmp", "unix:"+socket+",server=on,wait=off")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting bare QEMU: %w", err)
	}
	if err := awaitText(ctx, console, userspace); err != nil {
		p.kill()
		return nil, err
	}
	if p.client, err = qmp.Dial(ctx, socket); err != nil {
		p.kill()
		return nil, err
	}
	time.Sleep(3 * time.Second) // until its guest idles, as ours
	return p, nil
}

func (p *barePlug) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
}

func (p *barePlug) plug(ctx context.Context, i int) error {
	path, node := filepath.Join(p.dir, fmt.Sprintf("plugged%d.qcow2", i)), fmt.Sprintf("node%d", i)
	if out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", path, "1G").CombinedOutput(); err != nil {
		return fmt.Errorf("running qemu-img: %w: %s", err, out)
	}
	return errors.Join(
		p.client.Execute(ctx, "blockdev-add", map[string]any{"driver": "qcow2", "node-name": node, "file": map[string]any{"driver": "file", "filename": path}}, nil),
		p.client.Execute(ctx, "device_add", map[string]any{"driver": "virtio-blk-pci", "id": "disk", "bus": "places", "addr": "1", "disable-legacy": "on", "drive": node}, nil))
}

func (p *barePlug) unplug(ctx context.Context, i int) error {
	events := p.client.Subscribe()
	defer events.Close()
	if err := p.client.Execute(ctx, "device_del", map[string]any{"id": "disk"}, nil); err != nil {
		return err
	}
	late := time.After(30 * time.Second)
	for {
		select {
		case e := <-events.C():
			var d struct{ Device string }
			if e.Name == "DEVICE_DELETED" && json.Unmarshal(e.Data, &d) == nil && d.Device == "disk" {
				return p.close(ctx, fmt.Sprintf("node%d", i))
			}
		case <-late:
			return errors.New("the bare guest does not let go of its disk")
		}
	}
}

// close closes a node as soon as the device that is gone has let go of it.
func (p *barePlug) close(ctx context.Context, node string) (err error) {
	for range 200 {
		if err = p.client.Execute(ctx, "blockdev-del", map[string]any{"node-name": node}, nil); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return err
}
