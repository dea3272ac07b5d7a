package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func environment() []string {
	return []string{"PATH=" + searchPath, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "TERM=linux"}
}

// family knows the processes that this program started and waits for itself;
// every other child of process 1 is an orphan to be reaped.
type family struct {
	mu   sync.Mutex
	pids map[int]bool
}

var children = family{pids: map[int]bool{}}

// start starts a command with starter, which is usually cmd.Start.
func (f *family) start(cmd *exec.Cmd, starter func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := starter(); err != nil {
		return err
	}
	f.pids[cmd.Process.Pid] = true
	return nil
}

func (f *family) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pids, cmd.Process.Pid)
	return err
}

func (f *family) run(cmd *exec.Cmd) error {
	if err := f.start(cmd, cmd.Start); err != nil {
		return err
	}
	return f.wait(cmd)
}

// reapOrphans collects zombies that were left to process 1. Those of its own
// commands are left to whoever waits for them.
func reapOrphans() {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGCHLD)
	for {
		select {
		case <-sig:
		case <-time.After(30 * time.Second):
		}
		children.mu.Lock()
		for _, pid := range zombies() {
			if !children.pids[pid] {
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
		}
		children.mu.Unlock()
	}
}

func zombies() []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// pid (name) state ppid …; the name may hold anything, so look behind it.
		s := string(b)
		fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		if len(fields) > 1 && fields[0] == "Z" && fields[1] == "1" {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// runServices starts the executables of /etc/rc.d, in order of their names, all
// at once: this is how a machine is told what to do after each boot.
func runServices() {
	services, _ := filepath.Glob("/etc/rc.d/*")
	for _, name := range services {
		fi, err := os.Stat(name)
		if err != nil || !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
			continue
		}
		go func() {
			if err := runLogged(exec.Command(name, "start"), "/var/log/rc/"+filepath.Base(name)+".log"); err != nil {
				logf("service %s: %v", filepath.Base(name), err)
			}
		}()
	}
}

// consoleShell offers a root shell on the serial console, started by Enter.
// Whoever holds the console holds the machine.
func consoleShell() {
	active, _ := os.ReadFile("/sys/class/tty/console/active")
	names := strings.Fields(string(active))
	if len(names) == 0 {
		return
	}
	device := "/dev/" + names[len(names)-1]
	for {
		if err := oneConsoleShell(device); err != nil {
			logf("console shell: %v", err)
			return
		}
	}
}

func oneConsoleShell(device string) error {
	tty, err := os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	if _, err := tty.Read(make([]byte, 64)); err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-l")
	cmd.Env, cmd.Dir = environment(), "/root"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := children.run(cmd); err != nil {
		fmt.Fprintf(tty, "shell ended: %v\n", err)
	}
	return nil
}
