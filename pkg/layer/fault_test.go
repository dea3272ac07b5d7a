package layer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/disk"
)

const envDir = "BUNDT_LAYER_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		if err := fillUp(dir); err != nil {
			_, _ = io.WriteString(os.Stdout, err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var errCrash = errors.New("crash")

// TestCrash interrupts every operation at every step, opens the directory anew
// as after a crash, and does the operation again: it must succeed, and leave what
// an undisturbed one leaves.
func TestCrash(t *testing.T) {
	operations := map[string]func(context.Context, *Store, string) error{
		"overlay": func(ctx context.Context, s *Store, _ string) error {
			return s.CreateOverlay(ctx, "new", "base", 2*gib, "")
		},
		"empty": func(ctx context.Context, s *Store, _ string) error { return s.CreateEmpty(ctx, "new", gib, "") },
		"import": func(ctx context.Context, s *Store, path string) error {
			_, err := s.Import(ctx, "new", path)
			return err
		},
		"freeze": func(ctx context.Context, s *Store, _ string) error { return s.Freeze(ctx, "base") },
		"blob": func(ctx context.Context, s *Store, _ string) error {
			_, _, err := s.PutBlob(ctx, strings.NewReader("kernel"))
			return err
		},
	}
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			for k := range 10 {
				if crashAt(t, op, k) {
					if k == 0 {
						t.Fatal("no step was interrupted")
					}
					return
				}
			}
			t.Fatal("the operation never ends")
		})
	}
}

// crashAt interrupts op at its k-th step; done says that it has fewer.
func crashAt(t *testing.T, op func(context.Context, *Store, string) error, k int) (done bool) {
	t.Helper()
	s := open(t)
	importFlat(t, s, "base", gib)
	path := filepath.Join(t.TempDir(), "flat.qcow2")
	if err := disk.WriteOverlay(path, disk.Overlay{SizeBytes: gib}); err != nil {
		t.Fatal(err)
	}
	n := 0
	s.failpoint = func(string) error {
		if n++; n == k+1 {
			return errCrash
		}
		return nil
	}
	switch err := op(t.Context(), s, path); {
	case err == nil:
		return true
	case !errors.Is(err, errCrash):
		t.Fatalf("step %d: %v", k, err)
	}
	s, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := op(t.Context(), s, path); err != nil {
			t.Fatalf("again after a crash at step %d: %v", k, err)
		}
	}
	ids, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := s.Chain(id); err != nil {
			t.Errorf("crash at step %d: %v", k, err)
		}
	}
	if _, err := s.SweepTemp(0); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(s.temp()); err != nil || len(left) > 0 {
		t.Errorf("crash at step %d left %v, %v", k, left, err)
	}
	return false
}

func TestTornOverlayIsReplaced(t *testing.T) {
	s := open(t)
	importFlat(t, s, "base", gib)
	for _, content := range [][]byte{nil, make([]byte, 1<<18), []byte("QFI\xfb\x00\x00\x00\x03")} {
		if err := os.WriteFile(s.Path("torn"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Info("torn"); err == nil {
			t.Error("a torn layer has an Info")
		}
		if ids, err := s.List(); err != nil || len(ids) != 2 {
			t.Errorf("torn layers are not listed: %v, %v", ids, err)
		}
		if err := s.CreateOverlay(t.Context(), "torn", "base", gib, ""); err != nil {
			t.Fatal(err)
		}
		if info, err := s.Info("torn"); err != nil || info.Parent != "base" {
			t.Errorf("got %+v, %v", info, err)
		}
		if err := s.Delete(t.Context(), "torn"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOtherLayersAreNotReplaced(t *testing.T) {
	s := open(t)
	importFlat(t, s, "base", gib)
	if err := s.CreateOverlay(t.Context(), "head", "base", gib, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateOverlay(t.Context(), "head", "base", 2*gib, ""); !errors.Is(err, ErrExists) {
		t.Errorf("another size: got %v", err)
	}
	if err := s.CreateEmpty(t.Context(), "head", gib, ""); !errors.Is(err, ErrExists) {
		t.Errorf("another parent: got %v", err)
	}
	path := filepath.Join(t.TempDir(), "flat.qcow2")
	if err := disk.WriteOverlay(path, disk.Overlay{SizeBytes: 2 * gib}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), "base", path); !errors.Is(err, ErrExists) {
		t.Errorf("another image: got %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a refused import took the file: %v", err)
	}
}

func TestImportRefuses(t *testing.T) {
	s := open(t)
	dir := t.TempDir()
	overlay, raw := filepath.Join(dir, "overlay"), filepath.Join(dir, "raw")
	if err := errors.Join(
		disk.WriteOverlay(overlay, disk.Overlay{Backing: "/etc/passwd", BackingFormat: "raw", SizeBytes: gib}),
		os.WriteFile(raw, make([]byte, 4096), 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{overlay: disk.ErrHostile, raw: disk.ErrNotQcow2, dir: nil, dir + "/none": os.ErrNotExist} {
		if _, err := s.Import(t.Context(), "new", path); err == nil || (want != nil && !errors.Is(err, want)) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
		if _, err := s.Info("new"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestImportAcrossFilesystems(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "bundt-layer")
	if err != nil {
		t.Skip("no second filesystem: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := open(t)
	path := filepath.Join(dir, "flat.qcow2")
	if err := disk.WriteOverlay(path, disk.Overlay{SizeBytes: gib}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), "new", path); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Info("new"); err != nil || !info.Frozen {
		t.Errorf("got %+v, %v", info, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the source is still there: %v", err)
	}
}

func TestBadChains(t *testing.T) {
	s := open(t)
	write := func(id, backing, format string) {
		o := disk.Overlay{Backing: backing, BackingFormat: format, SizeBytes: gib}
		if err := disk.WriteOverlay(s.Path(id), o); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "b.qcow2", "qcow2")
	write("b", "a.qcow2", "qcow2")
	write("self", "self.qcow2", "qcow2")
	write("up", "../x.qcow2", "qcow2")
	write("host", "/etc/passwd", "raw")
	write("raw", "a.qcow2", "raw")
	write("orphan", "gone.qcow2", "qcow2")
	for id, want := range map[string]error{
		"a": ErrBadChain, "self": ErrBadChain, "up": ErrBadChain, "host": ErrBadChain, "raw": ErrBadChain, "orphan": ErrNotFound,
	} {
		if chain, err := s.Chain(id); !errors.Is(err, want) {
			t.Errorf("%s: got %v, %v, want %v", id, chain, err, want)
		}
	}
}

func TestInvalidNames(t *testing.T) {
	s := open(t)
	for _, id := range []string{"", ".", "..", "../x", "a/b", "a.b", "-a", "a\x00", "a b", strings.Repeat("x", 129)} {
		_, errInfo := s.Info(id)
		_, errImport := s.Import(t.Context(), id, "x")
		for what, err := range map[string]error{
			"Info": errInfo, "Import": errImport, "Delete": s.Delete(t.Context(), id), "Freeze": s.Freeze(t.Context(), id),
			"CreateEmpty": s.CreateEmpty(t.Context(), id, gib, ""), "CreateOverlay": s.CreateOverlay(t.Context(), id, "base", gib, ""),
			"parent": s.CreateOverlay(t.Context(), "ok", id, gib, ""),
		} {
			if !errors.Is(err, ErrInvalidID) {
				t.Errorf("%s(%q): got %v", what, id, err)
			}
		}
		if p := s.Path(id); p != "" {
			t.Errorf("Path(%q) is %q", id, p)
		}
	}
	for _, d := range []string{"", "sha256:", "sha256:../../etc/passwd", "md5:" + strings.Repeat("0", 64), "sha256:" + strings.Repeat("G", 64)} {
		if _, err := s.BlobPath(d); !errors.Is(err, ErrDigest) {
			t.Errorf("BlobPath(%q): got %v", d, err)
		}
		if err := s.DeleteBlob(t.Context(), d); !errors.Is(err, ErrDigest) {
			t.Errorf("DeleteBlob(%q): got %v", d, err)
		}
	}
}

func TestConcurrentCreate(t *testing.T) {
	s := open(t)
	importFlat(t, s, "base", gib)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := s.CreateOverlay(t.Context(), "same", "base", gib, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if held := s.locks.Held(); held != 0 {
		t.Errorf("%d locks are kept", held)
	}
}

func TestSweepTempKeepsTheYoung(t *testing.T) {
	s := open(t)
	if err := os.WriteFile(s.tempFile("left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if removed, err := s.SweepTemp(time.Hour); err != nil || len(removed) != 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if removed, err := s.SweepTemp(0); err != nil || len(removed) != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
}

func TestPutBlobEndsWithContext(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.PutBlob(ctx, bytes.NewReader(make([]byte, 10))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(s.temp()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// fillUp checks, in a process that may not write files beyond 100 KiB, that
// operations fail with ErrNoSpace and leave nothing.
func fillUp(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100 << 10, Max: 100 << 10}); err != nil {
		return err
	}
	s, err := Open(dir)
	if err != nil {
		return err
	}
	if err := s.CreateEmpty(context.Background(), "new", gib, ""); !errors.Is(err, ErrNoSpace) {
		return errors.Join(errors.New("CreateEmpty"), err)
	}
	if _, _, err := s.PutBlob(context.Background(), bytes.NewReader(make([]byte, 1<<20))); !errors.Is(err, ErrNoSpace) {
		return errors.Join(errors.New("PutBlob"), err)
	}
	for _, d := range []string{s.layers(), s.blobs(), s.temp()} {
		if left, err := os.ReadDir(d); err != nil || len(left) > 0 {
			return errors.Join(errors.New("something was left in "+d), err)
		}
	}
	return nil
}

func TestNoSpace(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envDir+"="+filepath.Join(t.TempDir(), "store"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
