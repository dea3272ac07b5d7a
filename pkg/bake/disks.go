package bake

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// buildTime is every time stamp of a baked disk, so that equal inputs give equal
// bytes.
var buildTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// makeDisk makes the i-th disk of the image. The first is the root disk; others
// are blank.
func (b *baker) makeDisk(ctx context.Context, i int, d recipe.BlockDevice, tree *disk.Tree) (DiskFile, error) {
	out := DiskFile{
		Device: d.Device, SizeBytes: int64(d.Size),
		Path:                filepath.Join(b.WorkDir, fmt.Sprintf("disk%d.qcow2", i)),
		DeleteOnTermination: d.DeleteOnTermination == nil || *d.DeleteOnTermination,
	}
	raw := filepath.Join(b.WorkDir, fmt.Sprintf("disk%d.raw", i))
	defer os.Remove(raw)
	fill := func() error { return b.writeRootDisk(ctx, raw, out.SizeBytes, tree) }
	switch {
	case i > 0:
		fill = func() error { return writeRawDisk(raw, out.SizeBytes, nil) }
	case tree == nil:
		fill = func() error { return b.writeReadyDisk(raw, out.SizeBytes) }
	}
	convert := func() error {
		if err := fill(); err != nil {
			return err
		}
		return disk.Convert(ctx, raw, "raw", out.Path, disk.ConvertOptions{})
	}
	if i == 0 && b.image != "" {
		convert = func() (err error) {
			out.SizeBytes, err = b.convertImage(ctx, out.Path, out.SizeBytes)
			return err
		}
	}
	err := b.step(ctx, fmt.Sprintf("make disk %s", d.Device), func() (string, bool, error) {
		if err := convert(); err != nil {
			return "", false, err
		}
		fi, err := os.Stat(out.Path)
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("%.1f MiB", float64(fi.Size())/(1<<20)), false, nil
	})
	return out, err
}

var rootTypes = map[model.Arch]string{
	model.X8664: disk.RootTypeX8664, model.ARM64: disk.RootTypeARM64, model.I386: disk.RootTypeI386,
}

// writeRootDisk makes a partitioned disk whose ext4 root holds the tree. Its
// UUIDs follow from the recipe's name and the architecture.
func (b *baker) writeRootDisk(ctx context.Context, raw string, size int64, tree *disk.Tree) error {
	name := b.Recipe.Name + "/" + string(b.Arch)
	id := func(what string) string {
		return uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/bundt/bundt/"+name+"/"+what)).String()
	}
	layout := disk.RootLayout{Size: size, DiskGUID: id("disk"), PartitionGUID: id("partition"), PartitionType: rootTypes[b.Arch]}
	if err := disk.WritePartitionTable(raw, layout); err != nil {
		return err
	}
	return disk.WriteExt4(ctx, raw, layout.RootOffset(), layout.RootSize(), tree, disk.Ext4Options{
		Label: "root", UUID: id("filesystem"), HashSeed: id("hash-seed"), Time: buildTime,
	})
}

// writeReadyDisk makes the root disk from the bytes that the recipe gives.
func (b *baker) writeReadyDisk(raw string, size int64) error {
	src := b.Recipe.Source.Disk
	if src.File == "" {
		content, err := src.Bytes()
		if err != nil {
			return err
		}
		return writeRawDisk(raw, size, content)
	}
	f, err := b.Context.Open(src.File)
	if err != nil {
		return fmt.Errorf("reading the recipe's directory: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() > size {
		return fmt.Errorf("%s holds %d bytes, more than the root disk's %d", src.File, fi.Size(), size)
	}
	content, err := fs.ReadFile(b.Context, src.File)
	if err != nil {
		return err
	}
	return writeRawDisk(raw, size, content)
}

func writeRawDisk(raw string, size int64, head []byte) error {
	f, err := os.OpenFile(raw, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(head); err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Close()
}
