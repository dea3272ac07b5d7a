package qemu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func diskUse(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// QEMU appends while the log is trimmed; the end stays whole, the size bounded.
func TestTrimKeepsTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []byte
	for round := range 4 {
		var chunk []byte
		for i := range 40_000 {
			chunk = fmt.Appendf(chunk, "round %d line %d of the console\n", round, i)
		}
		if _, err := f.Write(chunk); err != nil {
			t.Fatal(err)
		}
		all = append(all, chunk...)
		if err := trim(path); err != nil {
			t.Fatal(err)
		}
		if used := diskUse(t, path); used > consoleLimit {
			t.Errorf("round %d: %d bytes on disk", round, used)
		}
		for _, n := range []int{10, 64 << 10, consoleKept} {
			got, err := tail(path, n)
			if err != nil || !bytes.Equal(got, all[len(all)-n:]) {
				t.Errorf("round %d: the last %d bytes are %d others, %v", round, n, len(got), err)
			}
		}
	}
	got, err := tail(path, 100<<20)
	if err != nil || len(got) < consoleKept || !bytes.HasSuffix(all, got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
