package libvirttest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of the QEMUs that libvirtd lets go of, and
// buries them when they end. Libvirt waits until they are buried; in containers and the
// like it may take process 1 a second.
var adoptOrphans = sync.OnceValue(func() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	go func() {
		for ; ; time.Sleep(50 * time.Millisecond) {
			bury()
		}
	}()
	return nil
})

// bury waits for children that are dead QEMUs, and for no others, which are somebody's.
func bury() {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, field := range bytes.Fields(text) {
			pid, err := strconv.Atoi(string(field))
			if err != nil {
				continue
			}
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && bytes.Contains(stat, []byte("(qemu-system")) && bytes.Contains(stat, []byte(") Z ")) {
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
		}
	}
}
