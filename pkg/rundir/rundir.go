// Package rundir owns where the daemon's sockets are when nobody says, and
// whether that directory can be trusted. The daemon and its clients must agree
// on both. It imports nothing of bundt.
package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Socket is the name of the API's socket in the run directory.
const Socket = "bundtd.sock"

// ErrUntrusted: somebody else can put sockets there (test with errors.Is).
var ErrUntrusted = errors.New("not to be trusted")

// Default is this user's run directory: /run/bundt for root, else a directory in
// $XDG_RUNTIME_DIR, else one in the directory of temporary files.
func Default(getenv func(string) string) string {
	if os.Geteuid() == 0 {
		return "/run/bundt"
	}
	if d := getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "bundt")
	}
	return Temporary("")
}

// Temporary is a run directory of this user in the directory of temporary files,
// where anybody can make one of that name first: see Check.
func Temporary(suffix string) string {
	return filepath.Join(os.TempDir(), "bundt-"+strconv.Itoa(os.Geteuid())+suffix)
}

// Check returns nil if dir is a directory that only this user or root can put
// files in, fs.ErrNotExist if there is none, and ErrUntrusted otherwise: whoever
// owns the directory of a socket answers in the daemon's place.
func Check(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("looking at the directory %s: %w", dir, err)
	}
	st := info.Sys().(*syscall.Stat_t) // Lstat's on Linux
	return check(dir, info.Mode(), int(st.Uid), os.Geteuid())
}

func check(dir string, mode fs.FileMode, owner, self int) error {
	switch {
	case mode&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is %w: it is a symbolic link; remove it, or name the directory that is meant with --run-dir (bundtd) and --socket (bundt)", dir, ErrUntrusted)
	case !mode.IsDir():
		return fmt.Errorf("%s is %w: it is no directory; remove it", dir, ErrUntrusted)
	case owner != self && owner != 0:
		return fmt.Errorf("%s is %w: it belongs to user %d, not to you (%d); name another directory with --run-dir (bundtd) and --socket (bundt), and ask who made it", dir, ErrUntrusted, owner, self)
	case mode.Perm()&0o022 != 0:
		return fmt.Errorf("%s is %w: others can write to it (mode %04o); make it yours: chmod go-w %s", dir, ErrUntrusted, mode.Perm(), dir)
	}
	return nil
}
