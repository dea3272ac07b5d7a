package node

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/disk"
)

// spaceReserve is kept free for the store: without space for its log the daemon
// has to end, and takes every running build and request with it.
const spaceReserve = 96 << 20

// CheckSpace refuses to make a disk or a blob when the layer store's file system is nearly full.
func (n *Node) CheckSpace() error {
	dir := n.Layers.Dir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("measuring the free space of %s: %w", dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < spaceReserve {
		return fmt.Errorf("%s has %d MiB free, and %d MiB are kept for bundt itself: free some space: %w", dir, free>>20, spaceReserve>>20, disk.ErrNoSpace)
	}
	return nil
}
