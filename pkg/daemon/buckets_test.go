package daemon

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSettleBuckets(t *testing.T) {
	const admin, other = "111122223333", "444455556666"
	dir := filepath.Join(t.TempDir(), "buckets")
	for _, path := range []string{"old/disk.raw", other + "/theirs/disk.raw"} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second changes nothing
		if err := settleBuckets(dir, admin); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{admin + "/old/disk.raw", other + "/theirs/disk.raw"} {
			if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "old")); err == nil {
			t.Error("the bucket is still where it was")
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := settleBuckets(dir, admin); err == nil {
		t.Error("a bucket took the place of another")
	}
}

func TestUploadStops(t *testing.T) {
	full := errors.New("full")
	asked := 0
	r := &spaced{blob: io.LimitReader(zeros{}, 3*spacedBytes), check: func() error {
		if asked++; asked > 1 {
			return full
		}
		return nil
	}}
	n, err := io.Copy(io.Discard, r)
	if !errors.Is(err, full) || n < spacedBytes || n >= 3*spacedBytes {
		t.Errorf("%d bytes were read: %v", n, err)
	}
	text, err := io.ReadAll(&spaced{blob: strings.NewReader("short"), check: func() error { return full }})
	if string(text) != "short" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
