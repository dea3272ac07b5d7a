package disk

import (
	"fmt"
	"os"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

const (
	sectorSize = 512
	// Partitions begin and end at a MiB, as all tools do; the last MiB holds the
	// backup of the partition table.
	alignment = 1 << 20
)

// RootLayout is the layout of a disk with one partition, the root file system,
// numbered 1 as on Debian's cloud images, so that it can be grown.
type RootLayout struct {
	Size          int64 // of the disk, bytes, a multiple of 1 MiB
	DiskGUID      string
	PartitionGUID string
	PartitionType string // GUID; see RootTypeX8664 and its like
}

// RootOffset and RootSize say where the root partition lies.
func (l RootLayout) RootOffset() int64 { return alignment }

// RootSize is the root partition's size in bytes.
func (l RootLayout) RootSize() int64 { return l.Size - 2*alignment }

// The types of root partitions, of the Discoverable Partitions Specification.
const (
	RootTypeX8664 = string(gpt.LinuxRootX86_64)
	RootTypeARM64 = string(gpt.LinuxRootArm64)
	RootTypeI386  = string(gpt.LinuxRootX86)
)

// WritePartitionTable makes a sparse raw disk with the layout's GPT.
func WritePartitionTable(path string, l RootLayout) (err error) {
	if l.Size%alignment != 0 || l.RootSize() < 16*alignment {
		return fmt.Errorf("a root disk of %d bytes: the size must be a multiple of 1 MiB and at least 18 MiB", l.Size)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("making the disk: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := f.Truncate(l.Size); err != nil {
		return fmt.Errorf("making the disk: %w", err)
	}
	w, err := file.New(f, false).Writable()
	if err != nil {
		return fmt.Errorf("writing the partition table: %w", err)
	}
	table := &gpt.Table{
		LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true, GUID: l.DiskGUID,
		Partitions: []*gpt.Partition{{
			Index: 1, Name: "root", Type: gpt.Type(l.PartitionType), GUID: l.PartitionGUID,
			Start: uint64(l.RootOffset() / sectorSize), End: uint64((l.RootOffset()+l.RootSize())/sectorSize - 1),
			Size: uint64(l.RootSize()),
		}},
	}
	if err := table.Write(w, l.Size); err != nil {
		return fmt.Errorf("writing the partition table: %w", err)
	}
	return nil
}
