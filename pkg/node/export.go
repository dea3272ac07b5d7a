package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/disk/ova"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// reconcileExport writes the files of an export task that is not over.
func (n *Node) reconcileExport(ctx context.Context, id string) error {
	var t model.ExportTask
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		t, err = records.Exports.Get(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (t.Node != n.ID || t.State.Over()) {
		return nil
	}
	if err != nil {
		return err
	}
	cause := n.inWorkDir(t.ID, func(work string) error { return n.exportDisks(ctx, &t, work) })
	if ctx.Err() != nil {
		return ctx.Err() // it begins again when the daemon is back
	}
	n.wakeCollector()
	t.State, t.Message, t.Progress, t.Finished = model.TaskCompleted, "", 100, n.Now().UTC()
	if cause != nil {
		n.Logger.Error("exporting failed", "task", id, "error", cause)
		t.State, t.Message = model.TaskDeleted, cause.Error()
	}
	return n.Store.Update(ctx, func(tx *store.Tx) error { return records.Exports.Put(tx, &t) })
}

func (n *Node) exportDisks(ctx context.Context, t *model.ExportTask, work string) error {
	root, err := n.buckets(t.OwnerID)
	if err != nil {
		return err
	}
	defer root.Close()
	if t.Format == model.FormatOVA {
		return n.exportMachine(ctx, root, t, work)
	}
	for i, d := range t.Disks {
		made := filepath.Join(work, "disk")
		if err := n.exportDisk(ctx, t, i, made, qemuFormats[t.Format]); err != nil {
			return err
		}
		if err := placeExport(root, made, filepath.Join(t.Bucket, d.Key)); err != nil {
			return fmt.Errorf("writing %s below the bucket directory: %w", d.Key, err)
		}
		if err := os.Remove(made); err != nil {
			return err
		}
	}
	return nil
}

// exportDisk writes one disk of an export to a file.
func (n *Node) exportDisk(ctx context.Context, t *model.ExportTask, i int, made, format string) error {
	progress := func(percent int) {
		t.Message, t.Progress = "converting", (100*i+percent)/len(t.Disks)
		if err := n.Store.Update(ctx, func(tx *store.Tx) error { return records.Exports.Put(tx, t) }); err != nil && ctx.Err() == nil {
			n.Logger.Warn("recording the progress of an export failed", "task", t.ID, "error", err)
		}
	}
	return disk.Export(ctx, n.Layers.Path(t.Disks[i].LayerID), made, format, disk.ConvertOptions{Progress: progress, Compress: t.Format == model.FormatQcow2})
}

// exportMachine writes an export's disks into one archive.
func (n *Node) exportMachine(ctx context.Context, root *os.Root, t *model.ExportTask, work string) error {
	m := ova.Machine{Name: t.Name, UEFI: t.UEFI, Bits32: t.Arch == model.I386}
	for i, d := range t.Disks {
		info, err := n.Layers.Info(d.LayerID)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("disk%d.vmdk", i+1)
		if err := n.exportDisk(ctx, t, i, filepath.Join(work, name), disk.FormatVMDK); err != nil {
			return err
		}
		m.Disks, m.Sizes = append(m.Disks, name), append(m.Sizes, info.SizeBytes)
	}
	return placeStream(root, filepath.Join(t.Bucket, t.Disks[0].Key), func(w io.Writer) error { return ova.Write(ctx, w, work, &m) })
}

// placeExport puts a finished file where it was asked for, whole or not at all.
func placeExport(root *os.Root, made, name string) error {
	in, err := os.Open(made)
	if err != nil {
		return err
	}
	defer in.Close()
	return placeStream(root, name, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
}

// placeStream is placeExport of what write writes.
func placeStream(root *os.Root, name string, write func(io.Writer) error) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temp := name + ".part"
	out, err := root.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = write(out)
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(disk.NoSpace(err), root.Remove(temp))
	}
	dir, err := root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// markTransfers marks what tasks that are not over read.
func (u *usage) markTransfers(tx *store.Tx, mark func(layer string)) error {
	exports, err := records.Exports.List(tx)
	if err != nil {
		return err
	}
	for _, t := range exports {
		for _, d := range t.Disks {
			if !t.State.Over() {
				mark(d.LayerID)
			}
		}
	}
	tasks, err := records.RegistryTasks.List(tx)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		for _, l := range t.Layers {
			if !t.State.Over() {
				mark(l)
			}
		}
	}
	imports, err := records.Imports.List(tx)
	if err != nil {
		return err
	}
	for _, t := range imports {
		for _, d := range t.Disks {
			if !t.State.Over() {
				u.blobs[d.Blob] = true
			}
		}
	}
	return nil
}

// forgetTransfers removes the records of tasks that have been over for long.
func forgetTransfers(tx *store.Tx, now time.Time) error {
	return errors.Join(
		forget(tx, records.Exports, now, func(t *model.ExportTask) (string, model.TaskState, time.Time) { return t.ID, t.State, t.Finished }),
		forget(tx, records.Imports, now, func(t *model.ImportTask) (string, model.TaskState, time.Time) { return t.ID, t.State, t.Finished }),
		forget(tx, records.RegistryTasks, now, func(t *model.RegistryTask) (string, model.TaskState, time.Time) { return t.ID, t.State, t.Finished }),
	)
}

func forget[T any](tx *store.Tx, col store.Collection[T], now time.Time, of func(*T) (id string, state model.TaskState, finished time.Time)) error {
	all, err := col.List(tx)
	if err != nil {
		return err
	}
	for i := range all {
		if id, state, finished := of(&all[i]); state.Over() && now.Sub(finished) > buildKept {
			if err := col.Delete(tx, id); err != nil {
				return err
			}
		}
	}
	return nil
}
