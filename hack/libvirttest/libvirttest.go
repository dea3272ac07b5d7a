// Package libvirttest owns libvirt daemons for tests: real ones, each with directories
// and a socket of its own, that know nothing of the host's libvirt and change nothing
// of it. It imports no package of ours.
package libvirttest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running libvirtd.
type Server struct {
	// URI connects to it.
	URI string

	t     testing.TB
	dir   string
	conf  string // directory of its machines' definitions
	run   func() *exec.Cmd
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has
}

// Start starts a libvirtd that ends with the test. As root it is a system's one, which
// starts QEMU as any user; as anybody else it is a session's. It has its files below dir,
// whose path is to be short.
func Start(t testing.TB, dir string) *Server {
	t.Helper()
	s := &Server{t: t, dir: dir}
	prepare := s.session
	if os.Geteuid() == 0 {
		prepare = s.system
	}
	if err := errors.Join(adoptOrphans(), prepare()); err != nil {
		t.Fatalf("preparing libvirtd: %v", err)
	}
	t.Cleanup(s.Stop)
	s.Resume()
	return s
}

// Resume starts a libvirtd that was stopped, with all that it had on disk.
func (s *Server) Resume() {
	s.t.Helper()
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = s.run()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("starting libvirtd: %v", err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan<- struct{}) { _ = cmd.Wait(); close(ended) }(s.cmd, s.ended)
	_, socket, _ := strings.Cut(s.URI, "?socket=")
	late := time.After(30 * time.Second)
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-s.ended:
		case <-late:
		}
		s.t.Fatalf("libvirtd does not listen: %v", err)
	}
}

// Stop ends libvirtd; its machines run on.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	s.cmd = nil
	if s.t.Failed() {
		text, _ := os.ReadFile(s.log())
		s.t.Logf("libvirtd said:\n%s", bytes.TrimSpace(text))
	}
}

// Define has it have a domain that somebody made before: as it starts, libvirtd reads
// its definitions.
func (s *Server) Define(name, xml string) {
	s.t.Helper()
	s.Stop()
	if err := write(filepath.Join(s.conf, name+".xml"), xml); err != nil {
		s.t.Fatal(err)
	}
	s.Resume()
}

func (s *Server) log() string { return filepath.Join(s.dir, "libvirtd.log") }

// qemuConf: QEMU's user is the domain's to say, there is no virtlogd, nobody moves QEMU elsewhere, and the host's control
// groups are none of a test's business.
const qemuConf = "stdio_handler = \"file\"\nnamespaces = []\ncgroup_controllers = []\n"

// ownDev mounts a /dev that has what QEMU and libvirtd need.
const ownDev = `mkdir "$dev" 2>/dev/null || :
mount -t tmpfs none "$dev"
for n in null zero full random urandom tty; do
	touch "$dev/$n"
	mount --bind "/dev/$n" "$dev/$n"
done
mkdir "$dev/pts" "$dev/shm"
mount --bind /dev/pts "$dev/pts"
ln -s pts/ptmx "$dev/ptmx"
mount --rbind "$dev" /dev
`

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// system has the directories of the host's libvirt hidden behind private ones, and /dev
// behind one without KVM: libvirt would try that again for each machine, which takes a
// minute where it is itself emulated.
func (s *Server) system() error {
	s.URI = "qemu:///system?socket=" + filepath.Join(s.dir, "run", "libvirt-sock")
	s.conf = filepath.Join(s.dir, "etc", "qemu")
	conf := filepath.Join(s.dir, "etc", "libvirtd.conf")
	var script strings.Builder
	for name, path := range map[string]string{
		"etc": "/etc/libvirt", "lib": "/var/lib/libvirt", "run": "/run/libvirt", "cache": "/var/cache/libvirt", "log": "/var/log/libvirt",
	} {
		private := filepath.Join(s.dir, name)
		for _, dir := range []string{private, path} { // the mount needs a place; packages make most of them
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		fmt.Fprintf(&script, "mount --bind '%s' '%s'\n", private, path)
	}
	// libvirtd does not start without the user of its distribution's, which only the
	// package that also makes it a service of the host's adds.
	for _, name := range []string{"passwd", "group"} {
		text, err := os.ReadFile(filepath.Join("/etc", name))
		if err != nil {
			return err
		}
		private := filepath.Join(s.dir, name)
		line := map[string]string{"passwd": "libvirt-qemu:x:64055:64055::/nonexistent:/bin/false\n", "group": "libvirt-qemu:x:64055:\n"}[name]
		if err := os.WriteFile(private, append(text, line...), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&script, "mount --bind '%s' '/etc/%s'\n", private, name)
	}
	fmt.Fprintf(&script, "dev='%s'\n%s", filepath.Join(s.dir, "dev"), ownDev)
	script.WriteString("exec libvirtd --config \"$1\" --pid \"$2\"\n")
	s.run = func() *exec.Cmd {
		return exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", script.String(),
			"sh", conf, filepath.Join(s.dir, "pid"))
	}
	if err := write(filepath.Join(s.dir, "etc", "qemu.conf"), "user = \"root\"\ngroup = \"root\"\n"+qemuConf); err != nil {
		return err
	}
	return write(conf, fmt.Sprintf("unix_sock_dir = %q\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n", filepath.Join(s.dir, "run")))
}

// session is a user's own, whose directories the environment names.
func (s *Server) session() error {
	s.URI = "qemu:///session?socket=" + filepath.Join(s.dir, "run", "libvirt", "libvirt-sock")
	s.conf = filepath.Join(s.dir, "etc", "libvirt", "qemu")
	for _, name := range []string{"run", "cache", "home", "etc"} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o700); err != nil {
			return err
		}
	}
	s.run = func() *exec.Cmd {
		cmd := exec.Command("libvirtd", "--pid", filepath.Join(s.dir, "pid"))
		for variable, name := range map[string]string{
			"XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "etc", "XDG_CACHE_HOME": "cache", "XDG_DATA_HOME": "data", "XDG_STATE_HOME": "state", "HOME": "home",
		} {
			cmd.Env = append(cmd.Env, variable+"="+filepath.Join(s.dir, name))
		}
		cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
		return cmd
	}
	return write(filepath.Join(s.dir, "etc", "libvirt", "qemu.conf"), qemuConf)
}
