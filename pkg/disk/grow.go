package disk

import (
	"context"
	"fmt"
	"strconv"
)

// Grow makes a qcow2 file that nobody has open at least sizeBytes large, and
// returns when that is on stable storage. Interrupted at any point the file has
// its old size or its new one. QEMU's own lock refuses a file that a machine uses.
func Grow(ctx context.Context, file ChainFile, sizeBytes int64) error {
	path := file.Path
	if err := checkSize(sizeBytes); err != nil {
		return fmt.Errorf("growing %s: %w", path, err)
	}
	h, err := ReadLayerHeader(path)
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
	var s secrets
	// The chain below is not opened.
	err = s.run(ctx, args, []string{"resize", "-q"}, []string{strconv.FormatInt(sizeBytes, 10)}, nil, s.node(file, nil))
	if err == nil {
		err = syncPath(path)
	}
	if err != nil {
		return fmt.Errorf("growing %s: %w", path, NoSpace(err))
	}
	return nil
}
