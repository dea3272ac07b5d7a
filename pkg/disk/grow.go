package disk

import (
	"context"
	"fmt"
	"strconv"
)

// Rebase makes a qcow2 file that nobody has open read from another file of its chain,
// by its name relative to the file's directory, or from none (""), and returns when
// that is on stable storage. It shows the same as before, also when it is interrupted.
func Rebase(ctx context.Context, path, backing string) error {
	if err := (Overlay{Backing: backing, BackingFormat: FormatQcow2, SizeBytes: sectorBytes}).check(); err != nil && backing != "" {
		return fmt.Errorf("rebasing %s: %w", path, err)
	}
	args, err := limitedQemuImg(ConvertOptions{})
	if err != nil {
		return fmt.Errorf("rebasing %s: %w", path, err)
	}
	args = append(args, "rebase", "-q", "-f", FormatQcow2, "-b", backing)
	if backing != "" {
		args = append(args, "-F", FormatQcow2)
	}
	if err := runQemuImg(ctx, append(args, "--", path), nil); err != nil {
		return fmt.Errorf("rebasing %s: %w", path, err)
	}
	if err := syncPath(path); err != nil {
		return fmt.Errorf("rebasing %s: %w", path, NoSpace(err))
	}
	return nil
}

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
