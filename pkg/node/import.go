package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bundt/bundt/pkg/checksum"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/disk/ova"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// errCancelled ends a task that its owner has cancelled.
var errCancelled = errors.New("the task was cancelled")

// maxImportBytes is the largest disk that a volume can hold: 64 TiB.
const maxImportBytes = 64 << 40

// qemuFormats are QEMU's names of the formats of disk images.
var qemuFormats = map[model.DiskFormat]string{
	model.FormatRaw: disk.FormatRaw, model.FormatVMDK: disk.FormatVMDK, model.FormatVHD: disk.FormatVPC, model.FormatVHDX: disk.FormatVHDX, model.FormatQcow2: disk.FormatQcow2,
}

// reconcileTransfer works on a publisher's index, an attachment to a LAN, or an import, export or registry task that is not over. A task that
// was interrupted begins again: until its last transaction it has changed
// nothing that anything refers to.
func (n *Node) reconcileTransfer(ctx context.Context, id string) (time.Duration, error) {
	if model.CheckID(model.SnapshotPrefix, id) == nil {
		return 0, n.reconcileCopy(ctx, id)
	}
	if model.CheckID(model.ExportPrefix, id) == nil {
		return 0, n.reconcileExport(ctx, id)
	}
	if model.CheckID(model.RegistryTaskPrefix, id) == nil {
		return 0, n.reconcileRegistry(ctx, id)
	}
	if model.CheckID(model.LANPrefix, id) == nil {
		return n.reconcileLAN(ctx, id)
	}
	if model.CheckID(model.PublisherPrefix, id) == nil {
		return n.reconcilePublisher(ctx, id)
	}
	var t model.ImportTask
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		t, err = records.Imports.Get(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (t.Node != n.ID || t.State.Over()) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	cause := errCancelled
	if t.State == model.TaskActive {
		cause = n.importImage(ctx, &t)
	}
	if cause == nil || ctx.Err() != nil {
		return 0, cause
	}
	n.wakeCollector()
	return 0, n.importFailed(ctx, id, cause)
}

func (n *Node) importImage(ctx context.Context, t *model.ImportTask) error {
	return n.inWorkDir(t.ID, func(work string) error {
		if err := n.openArchive(ctx, t, work); err != nil {
			return err
		}
		var made []importedDisk
		defer func() { n.unpin(known(made), model.Boot{}) }()
		for i := range t.Disks {
			d, err := n.importDisk(ctx, t, i, work)
			if err != nil {
				return fmt.Errorf("disk %s: %w", t.Disks[i].Device, err)
			}
			made = append(made, d)
		}
		if err := n.importStep(ctx, t, "booting", 95); err != nil {
			return err
		}
		if err := n.findBoot(ctx, t, made[0], work); err != nil {
			return err
		}
		return n.publishImport(ctx, t, made)
	})
}

// importedDisk is what a disk of a task became: a flat qcow2 file, or a layer that is
// in the store already, pinned if it is not that of the task's own snapshot.
type importedDisk struct {
	path  string
	layer model.Layer
	pin   bool
}

// known are the layers that are pinned because a task found them in the store.
func known(made []importedDisk) (layers []model.Layer) {
	for _, d := range made {
		if d.pin {
			layers = append(layers, d.layer)
		}
	}
	return layers
}

// importDisk makes a disk of the task, or finds what an earlier one made of the same file.
func (n *Node) importDisk(ctx context.Context, t *model.ImportTask, i int, work string) (importedDisk, error) {
	d := &t.Disks[i]
	if d.SnapshotID != "" {
		l, err := n.layerOf(ctx, d.SnapshotID)
		return importedDisk{layer: l}, err
	}
	var err error
	if d.Source, err = n.identity(t.OwnerID, d); err != nil {
		return importedDisk{}, err
	}
	if l, err := n.importedBefore(ctx, t.OwnerID, d.Source); err != nil || l.ID != "" {
		return importedDisk{layer: l, pin: err == nil}, err
	}
	unchanged, err := n.foreignState(ctx, t, i)
	if err != nil {
		return importedDisk{}, err
	}
	path, err := n.convertDisk(ctx, t, i, work)
	if err == nil {
		err = unchanged()
	}
	if err != nil {
		return importedDisk{}, err
	}
	// Who writes to the file meanwhile gets what was read, which is not this file.
	if now, err := n.identity(t.OwnerID, d); err != nil || now != d.Source {
		d.Source = ""
	}
	return importedDisk{path: path}, nil
}

// identity names the content of a disk's source and how it is read: by its digest, or
// as the one state of a file that it is. It is "" where nothing does.
func (n *Node) identity(account string, d *model.ImportDisk) (string, error) {
	content := cmp.Or(d.Blob, d.Digest)
	if d.Bucket != "" || d.File != "" {
		info, err := n.fileInfo(account, d)
		if err != nil {
			return "", err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return "", nil
		}
		content = fileState(st)
		// A clock's tick may hide a write that comes right after: a file that was
		// just changed is known by what it will be.
		if time.Since(time.Unix(st.Ctim.Unix())) < time.Second {
			return "", nil
		}
	}
	if content == "" || d.Member != "" {
		return "", nil
	}
	return string(d.Format) + " " + content, nil
}

// fileInfo is about a disk's file on this host.
func (n *Node) fileInfo(account string, d *model.ImportDisk) (fs.FileInfo, error) {
	if d.File != "" {
		return foreignFile(d.File)
	}
	_, info, err := n.bucketFile(account, d)
	return info, err
}

// fileState names the one state of a file that it is in.
func fileState(st *syscall.Stat_t) string {
	return fmt.Sprintf("file:%d:%d:%d:%d.%09d", st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
}

// importedBefore finds the layer that an earlier task of the account made of a source,
// and pins it; none has no id.
func (n *Node) importedBefore(ctx context.Context, account, source string) (found model.Layer, err error) {
	if source == "" {
		return found, nil
	}
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		tasks, err := records.Imports.List(tx)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if t.OwnerID != account || t.State != model.TaskCompleted || t.Node != n.ID {
				continue
			}
			for _, d := range t.Disks {
				if d.Source != source {
					continue
				}
				s, err := records.Snapshots.Get(tx, d.SnapshotID)
				if errors.Is(err, store.ErrNotFound) {
					continue // deleted since
				}
				if err == nil {
					found, err = records.Layers.Get(tx, s.LayerID)
				}
				if err == nil {
					n.pin(found.ID)
				}
				return err
			}
		}
		return nil
	})
	return found, err
}

// layerOf is the layer of a snapshot.
func (n *Node) layerOf(ctx context.Context, snapshot string) (l model.Layer, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		s, err := records.Snapshots.Get(tx, snapshot)
		if err == nil {
			l, err = records.Layers.Get(tx, s.LayerID)
		}
		return err
	})
	return l, err
}

// inWorkDir gives work a directory of its own that is empty, and removes it.
func (n *Node) inWorkDir(id string, work func(dir string) error) error {
	if err := n.CheckSpace(); err != nil {
		return err
	}
	dir := filepath.Join(n.WorkDir, id)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clearing the work directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the work directory: %w", err)
	}
	defer os.RemoveAll(dir)
	return work(dir)
}

// importStep records what is being done, unless the task was cancelled.
func (n *Node) importStep(ctx context.Context, t *model.ImportTask, message string, percent int) error {
	t.Message, t.Progress = message, percent
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.Imports.Get(tx, t.ID)
		if err != nil {
			return err
		}
		if now.State != model.TaskActive {
			return errCancelled
		}
		return records.Imports.Put(tx, t)
	})
}

// convertDisk makes a flat qcow2 file, in the directory work, of one of the task's disks.
func (n *Node) convertDisk(ctx context.Context, t *model.ImportTask, i int, work string) (string, error) {
	d := &t.Disks[i]
	dst, format := filepath.Join(work, fmt.Sprintf("%d.qcow2", i)), d.Format
	var src string
	var err error
	if d.Member != "" {
		src, format = filepath.Join(work, archiveDir, d.Member), model.FormatVMDK
	} else if src, err = n.fetched(ctx, t, i, dst+".source"); err != nil {
		return "", err
	}
	defer os.Remove(dst + ".source")
	if err := n.importStep(ctx, t, "validating", 90*i/len(t.Disks)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = disk.Convert(ctx, src, qemuFormats[format], dst, disk.ConvertOptions{
		MaxBytes: maxImportBytes, Packed: d.Member == "" && d.File == "", Unpacking: n.unpacking(ctx, t),
		Progress: func(percent int) {
			if err := n.importStep(ctx, t, "converting", 90*(100*i+percent)/(100*len(t.Disks))); err != nil {
				cancel(err)
			}
		},
	})
	if err != nil {
		return "", err
	}
	h, err := disk.ReadHeader(dst)
	if err == nil && h.SizeBytes > maxImportBytes {
		err = fmt.Errorf("the disk has %d bytes; %d are the most", h.SizeBytes, int64(maxImportBytes))
	}
	return dst, err
}

// fetched is the file of a disk, downloaded to a path if it is not on this host.
func (n *Node) fetched(ctx context.Context, t *model.ImportTask, i int, to string) (string, error) {
	src, err := n.source(t.OwnerID, &t.Disks[i])
	if err != nil || src != "" {
		return src, err
	}
	return to, n.downloadDisk(ctx, t, i, to)
}

// archiveDir is where the files of an OVA are, in the task's work directory.
const archiveDir = "ova"

// openArchive takes apart the OVA that a task has instead of disks, and makes its disks
// those of the archive.
func (n *Node) openArchive(ctx context.Context, t *model.ImportTask, work string) error {
	d := t.Disks[0]
	if d.Format != model.FormatOVA {
		return nil
	}
	src, err := n.fetched(ctx, t, 0, filepath.Join(work, "source"))
	if err != nil {
		return err
	}
	d.SizeBytes = t.Disks[0].SizeBytes
	defer os.Remove(filepath.Join(work, "source"))
	plain := filepath.Join(work, "plain")
	defer os.Remove(plain)
	packed, err := disk.Unpack(ctx, src, plain, maxImportBytes, n.unpacking(ctx, t))
	if err != nil {
		return err
	}
	if packed != disk.Uncompressed {
		src = plain
	}
	if err := n.importStep(ctx, t, "reading the OVA", t.Progress); err != nil {
		return err
	}
	dir := filepath.Join(work, archiveDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making a directory for the OVA: %w", err)
	}
	machine, err := ova.Extract(ctx, src, dir, n.CheckSpace)
	if err != nil {
		return err
	}
	root := d.Device
	t.Disks = nil
	for i, member := range machine.Disks {
		d.Device, d.Member = root, member
		if i > 0 {
			d.Device = model.DataDevice(i)
		}
		t.Disks = append(t.Disks, d)
	}
	if t.Mode == "" && machine.UEFI {
		t.Mode = model.BootModeUEFI
	}
	return nil
}

// unpackStep is how much of a compressed file is read between two looks at the task.
const unpackStep = 64 << 20

// unpacking makes a function that tells the task how much of its source has been unpacked.
func (n *Node) unpacking(ctx context.Context, t *model.ImportTask) func(read int64) error {
	next := int64(unpackStep)
	return func(read int64) error {
		if read < next {
			return nil
		}
		next = read + unpackStep
		if err := n.CheckSpace(); err != nil {
			return err
		}
		return n.importStep(ctx, t, fmt.Sprintf("unpacking: %d MiB", read>>20), t.Progress)
	}
}

// downloadDisk gets a disk that an http URL names.
func (n *Node) downloadDisk(ctx context.Context, t *model.ImportTask, i int, path string) error {
	d := &t.Disks[i]
	if err := n.importStep(ctx, t, "downloading", 90*i/len(t.Disks)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("making the file to download to: %w", err)
	}
	defer f.Close()
	url, _, _ := strings.Cut(d.URL, "#")
	got, err := n.Fetch.GetFile(ctx, fetch.Download{URL: url, Digest: checksum.Digest(d.Digest), MaxBytes: maxImportBytes, Progress: func(done, total int64) error {
		if err := n.CheckSpace(); err != nil {
			return err
		}
		message := fmt.Sprintf("downloading: %d MiB", done>>20)
		if total > 0 {
			message += fmt.Sprintf(" of %d", total>>20)
		}
		return n.importStep(ctx, t, message, t.Progress)
	}}, f)
	d.SizeBytes = got.Bytes
	if err != nil {
		return disk.NoSpace(err)
	}
	return f.Close()
}

// source is the file of a disk that is imported, "" of one that must be downloaded
// first. No link leads out of the buckets
// of the account.
func (n *Node) source(account string, d *model.ImportDisk) (string, error) {
	if d.File != "" {
		info, err := foreignFile(d.File)
		if err == nil {
			d.SizeBytes = info.Size()
		}
		return d.File, err
	}
	if d.Blob != "" {
		path, err := n.Layers.BlobPath(d.Blob)
		if err != nil {
			return "", fmt.Errorf("finding the upload: %w", err)
		}
		info, err := os.Stat(path)
		if err == nil {
			d.SizeBytes = info.Size()
		}
		return path, err
	}
	if d.Bucket == "" {
		return "", nil
	}
	path, info, err := n.bucketFile(account, d)
	if err != nil {
		return "", err
	}
	d.SizeBytes = info.Size()
	return path, nil
}

// bucketFile is a disk's file in the account's buckets.
func (n *Node) bucketFile(account string, d *model.ImportDisk) (string, fs.FileInfo, error) {
	root, err := n.buckets(account)
	if err != nil {
		return "", nil, err
	}
	defer root.Close()
	name := filepath.Join(d.Bucket, d.Key)
	info, err := root.Stat(name)
	if err != nil {
		return "", nil, fmt.Errorf("opening %s in the account's bucket directory: %w", name, errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return "", nil, fmt.Errorf("%s is not a regular file", name)
	}
	return filepath.Join(root.Name(), name), info, nil
}

// buckets opens the directory of an account's buckets, and makes it if need be.
func (n *Node) buckets(account string) (*os.Root, error) {
	dir := filepath.Join(n.BucketDir, account)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the bucket directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the bucket directory: %w", err)
	}
	return root, nil
}

// findBoot fills in what the request left open: architecture and boot mode, by
// what the root disk's partitions say.
func (n *Node) findBoot(ctx context.Context, t *model.ImportTask, root importedDisk, work string) error {
	if t.Arch != "" && t.Mode != "" {
		return nil
	}
	path := root.path
	if path == "" {
		path = n.Layers.Path(root.layer.ID)
	}
	info, err := disk.ProbeBoot(ctx, path, work)
	if err != nil {
		return fmt.Errorf("looking how the disk boots: %w", err)
	}
	if !info.UEFI && !info.BIOS {
		return errors.New("ClientError: No bootable partition was found on the root disk")
	}
	if t.Arch == "" {
		if t.Arch = model.Arch(info.Arch); t.Arch == "" {
			t.Arch = model.X8664
		}
	}
	if t.Mode == "" {
		switch {
		case t.Arch == model.ARM64 || info.UEFI && !info.BIOS:
			t.Mode = model.BootModeUEFI
		case info.UEFI:
			t.Mode = model.BootModeUEFIPreferred
		default:
			t.Mode = model.BootModeBIOS
		}
	}
	return nil
}

// publishImport moves the converted disks into the layer store and makes the image.
func (n *Node) publishImport(ctx context.Context, t *model.ImportTask, made []importedDisk) error {
	img := model.Image{
		ID: t.ImageID, OwnerID: t.OwnerID, Name: t.ImageName, Description: t.Description, Arch: t.Arch, State: model.ImageAvailable,
		Created: n.Now().UTC(), RootDevice: t.Disks[0].Device, ENA: true, Consistency: model.ConsistencyStopped,
	}
	var err error
	if img.Boot.Firmware, err = model.FirmwareFor(t.Mode, t.Arch); err != nil {
		return err
	}
	img.Boot.Mode = t.Mode
	var layers []model.Layer
	var snaps []model.Snapshot
	defer func() { n.unpin(layers, model.Boot{}) }()
	for i := range t.Disks {
		d := &t.Disks[i]
		if d.SnapshotID != "" {
			continue
		}
		l := made[i].layer
		if l.ID == "" {
			h, err := disk.ReadHeader(made[i].path)
			if err != nil {
				return err
			}
			l = model.Layer{ID: model.NewID(model.LayerPrefix), Frozen: true, SizeBytes: h.SizeBytes, Node: n.ID}
			layers = append(layers, l)
			n.pin(l.ID)
			if _, err := n.Layers.Import(ctx, l.ID, made[i].path); err != nil {
				return fmt.Errorf("storing disk %s: %w", d.Device, err)
			}
		}
		s := model.Snapshot{
			ID: model.NewID(model.SnapshotPrefix), OwnerID: t.OwnerID, LayerID: l.ID, SizeGiB: max(1, (l.SizeBytes+1<<30-1)>>30),
			State: model.SnapshotCompleted, Started: img.Created, Description: "Imported by " + t.ID,
		}
		snaps, d.SnapshotID = append(snaps, s), s.ID
	}
	t.State, t.Message, t.Progress, t.Finished = model.TaskCompleted, "", 100, img.Created
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.Imports.Get(tx, t.ID)
		if err != nil {
			return err
		}
		if now.State != model.TaskActive {
			return errCancelled
		}
		for i := range layers {
			if err := records.Layers.Put(tx, &layers[i]); err != nil {
				return err
			}
		}
		for i := range snaps {
			if err := records.Snapshots.Put(tx, &snaps[i]); err != nil {
				return err
			}
		}
		img.BlockDevices = nil
		for i, d := range t.Disks {
			snap, err := records.Snapshots.Get(tx, d.SnapshotID)
			if err != nil {
				return err
			}
			img.BlockDevices = append(img.BlockDevices, model.BlockDevice{Device: d.Device, SnapshotID: snap.ID, SizeGiB: snap.SizeGiB, DeleteOnTermination: i == 0})
		}
		if err := records.Images.Put(tx, &img); err != nil {
			return err
		}
		err = records.Lineages.Put(tx, &model.Lineage{ID: img.ID, OwnerID: img.OwnerID, Kind: model.LineageImage, Name: img.Name, Created: img.Created, Consistency: img.Consistency})
		if err != nil {
			return err
		}
		return records.Imports.Put(tx, t)
	})
}

// importFailed ends a task that was cancelled or cannot be done.
func (n *Node) importFailed(ctx context.Context, id string, cause error) error {
	if !errors.Is(cause, errCancelled) {
		n.Logger.Error("importing failed", "task", id, "error", cause)
	}
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		t, err := records.Imports.Get(tx, id)
		if err != nil {
			return err
		}
		if !errors.Is(cause, errCancelled) {
			t.Message = cause.Error()
		}
		t.State, t.Finished = model.TaskDeleted, n.Now().UTC()
		if err := records.Imports.Put(tx, &t); err != nil {
			return err
		}
		return records.Names.Delete(tx, records.NameKey(model.ImagePrefix, t.OwnerID, t.ImageName))
	})
}
