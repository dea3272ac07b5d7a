package disk

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

// Grow makes a qcow2 file that nobody has open at least sizeBytes large, and
// returns when that is on stable storage. Interrupted at any point the file has
// its old size or its new one. QEMU's own lock refuses a file that a machine uses.
func Grow(ctx context.Context, path string, sizeBytes int64) error {
	if err := checkSize(sizeBytes); err != nil {
		return fmt.Errorf("growing %s: %w", path, err)
	}
	h, err := ReadHeader(path)
	if err != nil {
		return fmt.Errorf("growing: %w", err)
	}
	if h.SizeBytes >= sizeBytes {
		return nil
	}
	args, err := limitedQemuImg(ConvertOptions{})
	if err != nil {
		return fmt.Errorf("growing %s: %w", path, err)
	}
	// The chain below is not opened: its files are read-only, and their formats said.
	args = append(args, "resize", "-q", "-f", "qcow2", "--", path, strconv.FormatInt(sizeBytes, 10))
	if err := runQemuImg(ctx, args, nil); err != nil {
		return fmt.Errorf("growing %s: %w", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("growing: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("growing %s: %w", path, NoSpace(err))
	}
	return nil
}
