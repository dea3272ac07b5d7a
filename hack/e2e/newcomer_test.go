//go:build vm

package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// newcomerID is the user and group of the newcomer: nobody's on a usual machine.
const newcomerID = 54321

// TestNewcomer is a user without any right, who has the two programs and all the
// defaults: bundt run gives a machine that SSH reaches, a port that a rule opens is
// reached, and one without a rule is not.
func TestNewcomer(t *testing.T) {
	home := newcomer(t)
	argv := []string{"bash", "newcomer.sh"}
	if os.Geteuid() == 0 {
		argv = append([]string{"setpriv", fmt.Sprintf("--reuid=%d", newcomerID), fmt.Sprintf("--regid=%d", newcomerID), "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"}, argv...)
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "USER=newcomer", "PATH=" + filepath.Join(home, "bin") + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(home, "bundtd.log"))
		t.Fatalf("%v\n%s\nthe daemon's log:\n%s", err, out, log)
	}
	t.Logf("%s", out)
	if os.Geteuid() == 0 {
		for _, p := range processesOf(t, newcomerID) {
			t.Errorf("still running: %s", p)
		}
	}
}

// newcomer makes a home with the programs in it, and what bakes have downloaded:
// there is no network here. It gives it to a user who exists in this namespace only.
func newcomer(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "newcomer-")
	must(t, err)
	t.Cleanup(func() {
		must(t, os.RemoveAll(home))
	})
	cache := filepath.Join(home, ".cache", "bundt")
	must(t, os.MkdirAll(filepath.Join(home, "bin"), 0o755))
	must(t, os.MkdirAll(cache, 0o755))
	for from, to := range map[string]string{
		"testdata/newcomer.sh":               home,
		filepath.Join(bin, "bundt"):          filepath.Join(home, "bin"),
		filepath.Join(bin, "bundtd"):         filepath.Join(home, "bin"),
		filepath.Join(cacheDir(), "sha256"):  cache,
		filepath.Join(cacheDir(), "extract"): cache,
	} {
		if out, err := exec.Command("cp", "-r", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if os.Geteuid() != 0 {
		return home
	}
	must(t, os.Chmod(home, 0o755))
	must(t, filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, newcomerID, newcomerID)
	}))
	// ssh asks who it is run by.
	users, err := os.ReadFile("/etc/passwd")
	must(t, err)
	with := filepath.Join(t.TempDir(), "passwd")
	must(t, os.WriteFile(with, fmt.Appendf(users, "newcomer:x:%d:%d::%s:/bin/sh\n", newcomerID, newcomerID, home), 0o644))
	must(t, syscall.Mount(with, "/etc/passwd", "", syscall.MS_BIND, ""))
	t.Cleanup(func() { must(t, syscall.Unmount("/etc/passwd", syscall.MNT_DETACH)) })
	return home
}

// processesOf are the command lines of a user's processes.
func processesOf(t *testing.T, uid uint32) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	var found []string
	for _, d := range dirs {
		var st syscall.Stat_t
		if syscall.Stat(d, &st) != nil || st.Uid != uid {
			continue // it has ended, or is another's
		}
		if argv, err := os.ReadFile(filepath.Join(d, "cmdline")); err == nil && len(argv) > 0 {
			found = append(found, filepath.Base(d)+" "+strings.ReplaceAll(string(argv), "\x00", " "))
		}
	}
	return found
}
