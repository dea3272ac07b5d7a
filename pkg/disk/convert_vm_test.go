//go:build vm

package disk

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func qemuImg(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// randomRaw writes a raw image with data at its beginning and near its end.
func randomRaw(t testing.TB, size, data int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	b := make([]byte, data)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err1 := f.WriteAt(b, 0)
	_, err2 := f.WriteAt(b[:4096], int64(size-8192))
	if err := errors.Join(err1, err2, f.Truncate(int64(size))); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConvert(t *testing.T) {
	raw := randomRaw(t, 64<<20, 3<<20)
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, compress := range []bool{false, true} {
		dst := filepath.Join(t.TempDir(), "disk.qcow2")
		if err := Convert(t.Context(), raw, "raw", dst, ConvertOptions{Compress: compress}); err != nil {
			t.Fatal(err)
		}
		info, err := inspectPath(dst)
		if err != nil || info.SizeBytes != 64<<20 {
			t.Fatalf("compress %v: %+v, %v", compress, info, err)
		}
		if compress != (info.CompressedClusters > 0) {
			t.Errorf("compress %v: %d compressed clusters", compress, info.CompressedClusters)
		}
		back := filepath.Join(t.TempDir(), "back.raw")
		qemuImg(t, "convert", "-f", "qcow2", "-O", "raw", dst, back)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, want) {
			t.Errorf("compress %v: content differs (%v)", compress, err)
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	raw := randomRaw(t, 16<<20, 4<<20)
	dir := t.TempDir()
	overlay := filepath.Join(dir, "overlay.qcow2")
	if err := WriteOverlay(overlay, Overlay{Backing: "/etc/passwd", BackingFormat: "raw", SizeBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name        string
		ctx         context.Context
		src, format string
		o           ConvertOptions
		want        error
	}{
		{"backing file", t.Context(), overlay, "qcow2", ConvertOptions{}, ErrHostile},
		{"raw called qcow2", t.Context(), raw, "qcow2", ConvertOptions{}, ErrNotQcow2},
		{"format that names files", t.Context(), raw, "vmdk", ConvertOptions{}, nil},
		{"too large", t.Context(), raw, "raw", ConvertOptions{MaxBytes: 1 << 20}, ErrNoSpace},
		{"cancelled", cancelled, raw, "raw", ConvertOptions{}, context.Canceled},
		{"missing", t.Context(), raw + "x", "raw", ConvertOptions{}, os.ErrNotExist},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "dst.qcow2")
			err := Convert(tt.ctx, tt.src, tt.format, dst, tt.o)
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something was left behind: %v", err)
			}
		})
	}
	// An existing file is not touched.
	if err := Convert(t.Context(), raw, "raw", overlay, ConvertOptions{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v, want ErrExist", err)
	}
}

func TestConvertWithoutQemuImg(t *testing.T) {
	raw := randomRaw(t, 1<<20, 1<<20)
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := os.Symlink(prlimit, filepath.Join(os.Getenv("PATH"), "prlimit")); err != nil {
		t.Fatal(err)
	}
	if err := Convert(t.Context(), raw, "raw", raw+".qcow2", ConvertOptions{}); !errors.Is(err, ErrNoQemuImg) {
		t.Errorf("got %v, want ErrNoQemuImg", err)
	}
}
