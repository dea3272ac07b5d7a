//go:build vm

package disk

import (
	"bytes"
	"compress/gzip"
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
	qcow2 := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := WriteOverlay(qcow2, Overlay{SizeBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := os.Symlink(prlimit, filepath.Join(os.Getenv("PATH"), "prlimit")); err != nil {
		t.Fatal(err)
	}
	if err := Convert(t.Context(), qcow2, "qcow2", qcow2+".2", ConvertOptions{}); !errors.Is(err, ErrNoQemuImg) {
		t.Errorf("got %v, want ErrNoQemuImg", err)
	}
}

// TestConvertRaw has QEMU check what was written of raw disks of many shapes.
func TestConvertRaw(t *testing.T) {
	pattern := bytes.Repeat([]byte("bundt"), 100_000)
	const table = 512 << 20 // what one L2 table maps
	for name, tt := range map[string]struct {
		size int64
		at   map[int64]int // bytes of data by offset
	}{
		"one sector":               {512, map[int64]int{0: 512}},
		"not a whole sector":       {700, map[int64]int{0: 700}},
		"nothing":                  {1 << 30, nil},
		"the last byte":            {5<<30 + 512, map[int64]int{5<<30 + 511: 1}},
		"across two tables":        {2 * table, map[int64]int{table - 100_000: 300_000}},
		"tables between are none":  {3 << 40, map[int64]int{1000: 1, 1 << 40: 70_000, 3<<40 - 500_000: 500_000}},
		"zeros within a cluster":   {4 << 20, map[int64]int{65536: 1, 131071: 2, 3<<20 + 4096: 4096}},
		"holes and data in turn":   {1 << 20, map[int64]int{0: 65536, 131072: 65536, 262144: 65536, 983040: 65536}},
		"two tables of its own":    {5 << 40, map[int64]int{5<<40 - 4096: 4096}},
		"its end is within a hole": {100<<20 + 512, map[int64]int{0: 512}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			raw, flat := filepath.Join(dir, "raw"), filepath.Join(dir, "flat")
			f, err := os.Create(raw)
			if err != nil {
				t.Fatal(err)
			}
			for at, n := range tt.at {
				if _, err := f.WriteAt(pattern[:n], at); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(f.Truncate(tt.size), f.Close(), Convert(t.Context(), raw, FormatRaw, flat, ConvertOptions{})); err != nil {
				t.Fatal(err)
			}
			info, err := inspectPath(flat)
			if want := (tt.size + 511) / 512 * 512; err != nil || info.SizeBytes != want {
				t.Fatalf("inspecting: %d bytes, not %d (%v)", info.SizeBytes, want, err)
			}
			qemuImg(t, "check", "-f", "qcow2", flat)
			qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw, flat)
		})
	}
}

// TestConvertPacked unpacks raw disks while it converts them, and others before.
func TestConvertPacked(t *testing.T) {
	raw := randomRaw(t, 8<<20, 3<<20)
	qcow2 := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := Convert(t.Context(), raw, FormatRaw, qcow2, ConvertOptions{}); err != nil {
		t.Fatal(err)
	}
	for format, src := range map[string]string{FormatRaw: raw, FormatQcow2: qcow2} {
		t.Run(format, func(t *testing.T) {
			packed := filepath.Join(t.TempDir(), "disk.gz")
			if err := os.WriteFile(packed, zipped(t, src), 0o600); err != nil {
				t.Fatal(err)
			}
			dst := filepath.Join(t.TempDir(), "flat")
			var told int64
			o := ConvertOptions{Packed: true, MaxBytes: 16 << 20, Unpacking: func(n int64) error { told = max(told, n); return nil }}
			for _, from := range []string{packed, src} { // packed or not
				if err := Convert(t.Context(), from, format, dst, o); err != nil {
					t.Fatal(err)
				}
				qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw, dst)
				if err := os.Remove(dst); err != nil {
					t.Fatal(err)
				}
			}
			if told == 0 {
				t.Error("nothing was told of what was read")
			}
			stop := errors.New("stop")
			for what, o := range map[string]ConvertOptions{
				"more than allowed": {Packed: true, MaxBytes: 1 << 20},
				"stopped":           {Packed: true, Unpacking: func(int64) error { return stop }},
			} {
				err := Convert(t.Context(), packed, format, dst, o)
				if want := map[bool]error{true: stop, false: ErrHostile}[what == "stopped"]; !errors.Is(err, want) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if left, _ := os.ReadDir(filepath.Dir(dst)); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func zipped(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(content)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
