//go:build vm

package qemu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/hypervisor"
)

// encrypted makes an encrypted layer on another one.
func (w *world) encrypted(t *testing.T, below hypervisor.Layer, key hypervisor.Key) hypervisor.Layer {
	t.Helper()
	id := w.LayerID()
	l := hypervisor.Layer{ID: id, Path: filepath.Join(w.Dir, id+".qcow2"), Key: key}
	o := disk.Overlay{Backing: filepath.Base(below.Path), BackingFormat: "qcow2", SizeBytes: 1 << 20, Key: disk.Passphrase(key.Secret)}
	if err := disk.WriteOverlay(l.Path, o); err != nil {
		t.Fatal(err)
	}
	return l
}

// A guest runs on encrypted layers, cold and hot-plugged, and through snapshots;
// QEMU knows their secrets only while it opens them, and they are nowhere else.
func TestEncryptedLayers(t *testing.T) {
	w := newWorld(t, accelTCG)
	d := w.driver(t)
	defer func() { _ = d.Close() }()
	ctx := t.Context()
	keys := make([]hypervisor.Key, 2)
	for i := range keys {
		keys[i] = hypervisor.Key{ID: fmt.Sprintf("datakey-%d", i), Secret: string(disk.NewPassphrase())}
	}
	spec := w.Spec(t, "i-encrypted")
	root := &spec.Disks[0]
	root.Layers = []hypervisor.Layer{w.encrypted(t, w.Base, keys[0]), w.Base}
	if _, err := d.Start(ctx, spec); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Remove(ctx, spec.ID) }()
	// counter reads what the guest counts on its disk, through the layers' keys.
	counter := func(layers ...hypervisor.Layer) (n int) {
		var files []disk.ChainFile
		for _, l := range layers {
			files = append(files, disk.ChainFile{Path: l.Path, Key: disk.Passphrase(l.Key.Secret)})
		}
		c, err := disk.OpenChain(files)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var b [2]byte
		if _, err := c.ReadAt(b[:], 512); err != nil {
			t.Fatal(err)
		}
		return int(b[0]) | int(b[1])<<8
	}

	extra := hypervisor.Disk{ID: "vol-00000000000000002", Layers: []hypervisor.Layer{w.encrypted(t, w.Base, keys[1]), w.Base}}
	if err := d.AttachDisk(ctx, spec.ID, extra); err != nil {
		t.Fatal(err)
	}
	swap := func() {
		t.Helper()
		var request []hypervisor.SnapshotDisk
		for _, disk := range []*hypervisor.Disk{root, &extra} {
			next := w.encrypted(t, disk.Layers[0], disk.Layers[0].Key)
			disk.Layers = append([]hypervisor.Layer{next}, disk.Layers...)
			request = append(request, hypervisor.SnapshotDisk{DiskID: disk.ID, LayerID: next.ID, Path: next.Path, Key: next.Key})
		}
		if _, err := d.Snapshot(ctx, spec.ID, request); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the guest has written to its disk", func() bool { swap(); return counter(root.Layers[1:]...) > 0 })
	before := counter(root.Layers[1:]...)

	// A driver that comes later goes on; and a start from the record of another one
	// needs the secrets, which the record does not have.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = w.driver(t)
	eventually(t, "the guest goes on", func() bool { swap(); return counter(root.Layers[1:]...) > before })
	if err := d.ResizeDisk(ctx, spec.ID, extra.ID, 8<<20); err != nil {
		t.Error(err)
	}
	if err := d.DetachDisk(ctx, spec.ID, extra.ID, true); err != nil {
		t.Error(err)
	}
	st, err := d.Status(ctx, spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", st.PID))
	if err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(d.Paths(spec.ID).spec())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if bytes.Contains(cmdline, []byte(k.Secret)) || bytes.Contains(record, []byte(k.Secret)) {
			t.Error("a secret is on the command line or in the record")
		}
	}
	_, client, err := d.machine(spec.ID).monitor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var objects []struct{ Name string }
	if err := client.Execute(ctx, "qom-list", map[string]any{"path": "/objects"}, &objects); err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if strings.HasPrefix(o.Name, "datakey") {
			t.Errorf("QEMU still has the secret %s", o.Name)
		}
	}

	if err := d.Kill(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	without := spec
	without.Disks = []hypervisor.Disk{{ID: root.ID}}
	for _, l := range root.Layers {
		l.Key.Secret = ""
		without.Disks[0].Layers = append(without.Disks[0].Layers, l)
	}
	if _, err := d.Start(ctx, without); err == nil {
		t.Error("it started without its secrets")
	}
	if _, err := d.Start(ctx, spec); err != nil {
		t.Errorf("on a chain of encrypted layers: %v", err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waiting until %s", what)
		}
	}
}
