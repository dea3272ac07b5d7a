//go:build vm

package node_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// bootable writes a raw disk with a GPT, one partition, and a mark in it.
func bootable(t *testing.T, path string) {
	t.Helper()
	err := disk.WritePartitionTable(path, disk.RootLayout{
		Size: 32 << 20, DiskGUID: "11111111-1111-1111-1111-111111111111", PartitionGUID: "22222222-2222-2222-2222-222222222222", PartitionType: disk.RootTypeX8664,
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	esp := make([]byte, 128) // a second entry: an EFI system partition
	copy(esp, []byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b})
	binary.LittleEndian.PutUint64(esp[32:], 4096)
	_, err1 := f.WriteAt(esp, 1024+128)
	_, err2 := f.WriteAt([]byte("the mark"), 8<<20)
	if err := errors.Join(err1, err2, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) imported(r cloud.ImageImport) model.ImportTask {
	w.t.Helper()
	task, err := w.cloud.ImportImage(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("import", func() error {
		all, err := w.cloud.ImportTasks(w.t.Context())
		for _, t := range all {
			if t.ID == task.ID {
				task = t
			}
		}
		if err == nil && !task.State.Over() {
			err = fmt.Errorf("it is %s: %s", task.State, task.Message)
		}
		return err
	})
	return task
}

func (w *world) exported(image string, format model.DiskFormat) model.ExportTask {
	w.t.Helper()
	task, err := w.cloud.ExportImage(w.t.Context(), cloud.ImageExport{ImageID: image, Format: format, Bucket: "outgoing", Prefix: "a/"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("export as "+string(format), func() error {
		all, err := w.cloud.ExportTasks(w.t.Context())
		for _, e := range all {
			if e.ID == task.ID && e.State == model.TaskCompleted {
				return err
			}
			if e.ID == task.ID {
				err = fmt.Errorf("it is %s: %s", e.State, e.Message)
			}
		}
		return errors.Join(errors.New("not done"), err)
	})
	return task
}

func TestExportAndImport(t *testing.T) {
	w := newWorld(t)
	w.eventually("accept an import", func() error {
		_, err := w.cloud.ImportImage(t.Context(), cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "nothing", Key: "disk", Format: model.FormatRaw}}})
		return err
	})
	raw := filepath.Join(w.buckets, w.cloud.ID(), "incoming", "disk.raw")
	if err := os.MkdirAll(filepath.Dir(raw), 0o755); err != nil {
		t.Fatal(err)
	}
	bootable(t, raw)
	task := w.imported(cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: "disk.raw", Format: model.FormatRaw}}, Tags: model.Tags{cloud.ImageNameTag: "raw"}})
	if task.State != model.TaskCompleted {
		t.Fatalf("the import is %s: %s", task.State, task.Message)
	}
	img := w.image(task.ImageID)
	if img.Name != "raw" || img.Arch != model.X8664 || img.Boot.Firmware != model.FirmwareUEFI || img.Boot.Mode != model.BootModeUEFI {
		t.Errorf("imported %+v", img)
	}
	for format, name := range map[model.DiskFormat]string{model.FormatRaw: "raw", model.FormatQcow2: "qcow2", model.FormatVMDK: "vmdk", model.FormatVHD: "vhd", model.FormatOVA: "ova"} {
		export := w.exported(img.ID, format)
		again := w.imported(cloud.ImageImport{
			Disks: []model.ImportDisk{{URL: "s3://outgoing/" + export.Disks[0].Key, Format: format}}, Tags: model.Tags{cloud.ImageNameTag: "again-" + name},
		})
		if again.State != model.TaskCompleted {
			t.Fatalf("importing %s is %s: %s", name, again.State, again.Message)
		}
		made := w.image(again.ImageID)
		if got := w.mark(made); got != "the mark" || made.Boot.Firmware != model.FirmwareUEFI {
			t.Errorf("after %s the disk has %q, and boots by %s", name, got, made.Boot.Firmware)
		}
	}
}

// TestImportAgain: what was imported is not read again, unless it has been changed.
func TestImportAgain(t *testing.T) {
	w := newWorld(t)
	raw := filepath.Join(w.buckets, w.cloud.ID(), "incoming", "disk.raw")
	if err := os.MkdirAll(filepath.Dir(raw), 0o755); err != nil {
		t.Fatal(err)
	}
	bootable(t, raw)
	time.Sleep(1100 * time.Millisecond) // until then its state is not believed
	w.eventually("accept an import", func() error {
		_, err := w.cloud.ImportImage(t.Context(), cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: "none", Format: model.FormatRaw}}})
		return err
	})
	layer := func() (string, *model.Image) {
		t.Helper()
		task := w.imported(cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: "disk.raw", Format: model.FormatRaw}}})
		if task.State != model.TaskCompleted {
			t.Fatalf("the import is %s: %s", task.State, task.Message)
		}
		img := w.image(task.ImageID)
		var snap model.Snapshot
		err := w.store.View(t.Context(), func(tx *store.Tx) (err error) {
			snap, err = records.Snapshots.Get(tx, img.BlockDevices[0].SnapshotID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return snap.LayerID, &img
	}
	first, img := layer()
	second, twin := layer()
	if first != second || img.BlockDevices[0].SnapshotID == twin.BlockDevices[0].SnapshotID || w.mark(*twin) != "the mark" {
		t.Errorf("imported again: layers %s and %s, snapshots %v and %v", first, second, img.BlockDevices, twin.BlockDevices)
	}
	f, err := os.OpenFile(raw, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("the Mark"), 8<<20)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 1100 * time.Millisecond} {
		time.Sleep(after)
		if third, changed := layer(); third == first || w.mark(*changed) != "the Mark" {
			t.Errorf("imported %s after a change: layer %s has %q", after, third, w.mark(*changed))
		}
	}
}

// TestImportPacked imports a compressed disk, a VHDX, and a compressed OVA of two disks.
func TestImportPacked(t *testing.T) {
	w := newWorld(t)
	in := filepath.Join(w.buckets, w.cloud.ID(), "incoming")
	if err := os.MkdirAll(in, 0o755); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(in, "disk.raw")
	bootable(t, raw)
	run := func(argv ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir = in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
	}
	run("gzip", "-k", "disk.raw")
	run("qemu-img", "convert", "-f", "raw", "-O", "vhdx", "disk.raw", "disk.vhdx")
	for _, name := range []string{"root.vmdk", "data.vmdk"} {
		run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "disk.raw", name)
	}
	const ovf = `<Envelope><References><File href="root.vmdk" id="r"/><File href="data.vmdk" id="d"/></References>
<DiskSection><Disk diskId="data" fileRef="d" format="vmdk"/><Disk diskId="root" fileRef="r" format="vmdk"/></DiskSection>
<VirtualSystem id="vm"><VirtualHardwareSection><Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/root</HostResource></Item>
<Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/data</HostResource></Item></VirtualHardwareSection></VirtualSystem></Envelope>`
	if err := os.WriteFile(filepath.Join(in, "vm.ovf"), []byte(ovf), 0o600); err != nil {
		t.Fatal(err)
	}
	run("tar", "-c", "--format=ustar", "-f", "vm.ova", "vm.ovf", "root.vmdk", "data.vmdk")
	run("gzip", "-k", "vm.ova")
	w.eventually("accept an import", func() error {
		_, err := w.cloud.ImportImage(t.Context(), cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: "none", Format: model.FormatRaw}}})
		return err
	})
	for key, c := range map[string]struct {
		format model.DiskFormat
		disks  int
	}{"disk.raw.gz": {model.FormatRaw, 1}, "disk.vhdx": {model.FormatVHDX, 1}, "vm.ova": {model.FormatOVA, 2}, "vm.ova.gz": {model.FormatOVA, 2}} {
		task := w.imported(cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: key, Format: c.format}}, Tags: model.Tags{cloud.ImageNameTag: key}})
		if task.State != model.TaskCompleted {
			t.Fatalf("%s: %s: %s", key, task.State, task.Message)
		}
		img := w.image(task.ImageID)
		if len(img.BlockDevices) != c.disks || img.BlockDevices[0].Device != "/dev/sda1" || (c.disks == 2 && img.BlockDevices[1].Device != "/dev/sdb") {
			t.Errorf("%s: the disks are %+v", key, img.BlockDevices)
		}
		if got := w.mark(img); got != "the mark" {
			t.Errorf("%s: the disk has %q", key, got)
		}
		if key == "vm.ova" {
			w.twinOf(img)
		}
	}
	if err := os.WriteFile(filepath.Join(in, "bad.ova"), []byte("no tar at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	task := w.imported(cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: "bad.ova", Format: model.FormatOVA}}, Tags: model.Tags{cloud.ImageNameTag: "bad"}})
	if task.State != model.TaskDeleted || !strings.Contains(task.Message, "OVA refused") {
		t.Errorf("no OVA: %s: %s", task.State, task.Message)
	}
}

// twinOf exports a machine of two disks as one file, and imports it again.
func (w *world) twinOf(img model.Image) {
	w.t.Helper()
	export := w.exported(img.ID, model.FormatOVA)
	if len(export.Disks) != 2 || export.Disks[0].Key != export.Disks[1].Key {
		w.t.Errorf("the disks are to go into %+v", export.Disks)
	}
	again := w.imported(cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "outgoing", Key: export.Disks[0].Key, Format: model.FormatOVA}}, Tags: model.Tags{cloud.ImageNameTag: "twin"}})
	twin := w.image(again.ImageID)
	if again.State != model.TaskCompleted || len(twin.BlockDevices) != 2 || twin.BlockDevices[1].Device != "/dev/sdb" || w.mark(twin) != "the mark" {
		w.t.Errorf("the twin is %s %s: %+v", again.State, again.Message, twin.BlockDevices)
	}
}

// TestImportFromTheWeb imports what a server on this host has.
func TestImportFromTheWeb(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	bootable(t, filepath.Join(dir, "disk.raw"))
	content, err := os.ReadFile(filepath.Join(dir, "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	disks := func(url string) []model.ImportDisk {
		return []model.ImportDisk{{URL: server.URL + url, Format: model.FormatRaw}}
	}
	w.eventually("accept an import", func() error {
		_, err := w.cloud.ImportImage(t.Context(), cloud.ImageImport{Disks: disks("/none")})
		return err
	})
	if task := w.imported(cloud.ImageImport{Disks: disks("/disk.raw")}); task.State != model.TaskDeleted || !strings.Contains(task.Message, "not for users") {
		t.Errorf("from the host itself: %s: %s", task.State, task.Message)
	}
	w.stop()
	w.fetch = fetch.New(fetch.Options{Host: true})
	w.start()
	for url, want := range map[string]string{
		"/disk.raw": "", "/disk.raw#" + digest: "", "/disk.raw#sha256:" + strings.Repeat("0", 64): "another digest", "/none": "404",
	} {
		task := w.imported(cloud.ImageImport{Disks: disks(url)})
		if want != "" {
			if task.State != model.TaskDeleted || !strings.Contains(task.Message, want) {
				t.Errorf("%s: %s: %s", url, task.State, task.Message)
			}
			continue
		}
		if task.State != model.TaskCompleted || task.Disks[0].SizeBytes != int64(len(content)) {
			t.Fatalf("%s: %s: %s", url, task.State, task.Message)
		}
		if got := w.mark(w.image(task.ImageID)); got != "the mark" {
			t.Errorf("%s: the disk has %q", url, got)
		}
	}
}

// mark reads what bootable wrote from an image's disk.
func (w *world) mark(img model.Image) string {
	w.t.Helper()
	snaps, err := w.cloud.FindSnapshots(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range snaps {
		if s.ID != img.BlockDevices[0].SnapshotID {
			continue
		}
		out := filepath.Join(w.t.TempDir(), "raw")
		if b, err := exec.CommandContext(w.t.Context(), "qemu-img", "convert", "-f", "qcow2", "-O", "raw", w.layers.Path(s.LayerID), out).CombinedOutput(); err != nil {
			w.t.Fatalf("%v: %s", err, b)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			w.t.Fatal(err)
		}
		return string(b[8<<20 : 8<<20+8])
	}
	return ""
}

func TestImportFails(t *testing.T) {
	w := newWorld(t)
	secret := filepath.Join(t.TempDir(), "secret")
	in := filepath.Join(w.buckets, w.cloud.ID(), "incoming")
	overlay := filepath.Join(in, "overlay.qcow2")
	theirs := filepath.Join(w.buckets, "999988887777", "incoming", "disk.raw") // another account's
	if err := errors.Join(os.MkdirAll(filepath.Dir(theirs), 0o755), os.MkdirAll(in, 0o755), os.Symlink("../../999988887777/incoming/disk.raw", filepath.Join(in, "theirs"))); err != nil {
		t.Fatal(err)
	}
	bootable(t, theirs)
	if err := errors.Join(os.MkdirAll(in, 0o755), os.WriteFile(secret, make([]byte, 4096), 0o600), os.Symlink(secret, filepath.Join(in, "link")),
		os.WriteFile(filepath.Join(in, "blank"), make([]byte, 1<<20), 0o600),
		disk.WriteOverlay(overlay, disk.Overlay{Backing: secret, BackingFormat: "raw", SizeBytes: 1 << 20})); err != nil {
		t.Fatal(err)
	}
	w.eventually("accept an import", func() error {
		_, err := w.cloud.ImportImage(t.Context(), cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: "none", Format: model.FormatRaw}}})
		return err
	})
	for key, format := range map[string]model.DiskFormat{
		"none": model.FormatRaw, "link": model.FormatRaw, "theirs": model.FormatRaw, "disk.raw": model.FormatRaw, "overlay.qcow2": model.FormatQcow2, "blank": model.FormatRaw, ".": model.FormatRaw,
	} {
		if key == "." {
			if _, err := w.cloud.ImportImage(t.Context(), cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: key, Format: format}}}); err == nil {
				t.Error("a directory is accepted")
			}
			continue
		}
		for range 2 { // the name is free again
			task := w.imported(cloud.ImageImport{Disks: []model.ImportDisk{{Bucket: "incoming", Key: key, Format: format}}, Tags: model.Tags{cloud.ImageNameTag: "bad"}})
			if task.State != model.TaskDeleted || task.Message == "" {
				t.Errorf("%s: %s: %s", key, task.State, task.Message)
			}
		}
	}
	if imgs, err := w.cloud.FindImages(context.Background(), nil); err != nil || len(imgs) != 0 {
		t.Errorf("failed imports left %v, %v", imgs, err)
	}
}

// A machine that bundt did not make becomes an image, and stays as it is.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "mail.raw")
	bootable(t, path)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	m := model.ForeignMachine{Name: "mail", UUID: "u-1", Arch: model.X8664, UEFI: true, Disks: []model.ForeignDisk{{Name: "vda", Path: path, Format: model.FormatRaw}}}
	w.host.SetForeign(m)
	running := m
	running.Running = true
	if _, err := w.cloud.Adopt(t.Context(), &running, cloud.Adoption{}); model.CodeOf(err) != model.CodeIncorrectState {
		t.Errorf("a running machine: %v", err)
	}
	w.eventually("adopt", func() error {
		_, err := w.cloud.Adopt(t.Context(), &m, cloud.Adoption{ClientToken: "once"})
		return err
	})
	w.eventually("the image", func() error {
		images, err := w.cloud.FindImages(t.Context(), nil)
		if err != nil || len(images) != 1 {
			return errors.Join(err, fmt.Errorf("there are %d", len(images)))
		}
		img := *images[0]
		if img.Name != "mail" || img.Boot.Mode != model.BootModeUEFI || img.Arch != model.X8664 || w.mark(img) != "the mark" {
			t.Errorf("the image is %+v", img)
		}
		return nil
	})
	if after, err := os.Stat(path); err != nil || after.ModTime() != before.ModTime() || after.Mode() != before.Mode() {
		t.Errorf("the disk was changed: %+v, %v", after, err)
	}
}
