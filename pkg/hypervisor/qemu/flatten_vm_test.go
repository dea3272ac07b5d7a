//go:build vm

package qemu

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/hypervisor"
)

// A long chain, some of whose layers are encrypted, becomes a short one under its
// guest: with the same content, without a change in any layer but the head, and
// whatever comes in between.
func TestFlattening(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	defer func() { _ = d.Close() }()
	ctx := t.Context()
	key := hypervisor.Key{ID: "datakey-1", Secret: string(disk.NewPassphrase())}
	content := make([]byte, 1<<20)
	extra := hypervisor.Disk{ID: "vol-00000000000000002", Layers: []hypervisor.Layer{w.Base}}
	for i := range 8 {
		var l hypervisor.Layer
		if i < 4 {
			l = w.Overlay(t, extra.Layers[0])
		} else {
			l = w.encrypted(t, extra.Layers[0], key)
		}
		extra.Layers = append([]hypervisor.Layer{l}, extra.Layers...)
	}
	spec := w.Spec(t, "i-flatten")
	if _, err := d.Start(ctx, spec); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Remove(ctx, spec.ID) }()
	if err := d.AttachDisk(ctx, spec.ID, extra); err != nil {
		t.Fatal(err)
	}
	io1 := func(line string) {
		t.Helper()
		_, client, err := d.machine(spec.ID).monitor(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Execute(ctx, "human-monitor-command", map[string]any{"command-line": "qemu-io -d " + backend(extra.ID) + " \"" + line + "\""}, nil); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = rand.Read(content)
	pattern := filepath.Join(w.Dir, "pattern")
	if err := os.WriteFile(pattern, content, 0o600); err != nil {
		t.Fatal(err)
	}
	io1("write -s " + pattern + " 0 1M")
	next := w.encrypted(t, extra.Layers[0], key)
	if _, err := d.Snapshot(ctx, spec.ID, []hypervisor.SnapshotDisk{{DiskID: extra.ID, LayerID: next.ID, Path: next.Path, Key: key}}); err != nil {
		t.Fatal(err)
	}
	extra.Layers = append([]hypervisor.Layer{next}, extra.Layers...)
	frozen := sums(t, extra.Layers[1:])

	// A snapshot ends it; what was asked for can be asked for again.
	ended := make(chan error, 1)
	go func() { ended <- d.FlattenDisk(ctx, spec.ID, extra.ID, w.Base.ID, 64<<10) }()
	time.Sleep(300 * time.Millisecond)
	next = w.encrypted(t, extra.Layers[0], key)
	if _, err := d.Snapshot(ctx, spec.ID, []hypervisor.SnapshotDisk{{DiskID: extra.ID, LayerID: next.ID, Path: next.Path, Key: key}}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, hypervisor.ErrBusy) {
		t.Errorf("a snapshot in between: %v", err)
	}
	extra.Layers = append([]hypervisor.Layer{next}, extra.Layers...)
	frozen[extra.Layers[1].ID] = sums(t, extra.Layers[1:2])[extra.Layers[1].ID]
	io1("write -P 9 4096 512")
	copy(content[4096:], bytes.Repeat([]byte{9}, 512))

	if err := d.FlattenDisk(ctx, spec.ID, extra.ID, w.Base.ID, 0); err != nil {
		t.Fatal(err)
	}
	for id, sum := range sums(t, extra.Layers[1:]) {
		if frozen[id] != sum {
			t.Errorf("the frozen layer %s was written to", id)
		}
	}
	h, err := disk.ReadLayerHeader(next.Path)
	if err != nil || h.Backing != filepath.Base(w.Base.Path) || !h.Encrypted {
		t.Errorf("the head reads from %q (%v)", h.Backing, err)
	}
	d.machine(spec.ID).mu.Lock()
	layers := d.machine(spec.ID).rec.Spec.Disks[1].Layers
	d.machine(spec.ID).mu.Unlock()
	if len(layers) != 2 {
		t.Errorf("the record has %d layers", len(layers))
	}
	if err := d.DetachDisk(ctx, spec.ID, extra.ID, true); err != nil {
		t.Fatal(err)
	}
	c, err := disk.OpenChain([]disk.ChainFile{{Path: next.Path, Key: disk.Passphrase(key.Secret)}, {Path: w.Base.Path}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the content has changed: %v", err)
	}
}

func sums(t *testing.T, layers []hypervisor.Layer) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	for _, l := range layers {
		content, err := os.ReadFile(l.Path)
		if err != nil {
			t.Fatal(err)
		}
		out[l.ID] = sha256.Sum256(content)
	}
	return out
}
