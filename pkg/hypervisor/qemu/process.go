package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running QEMU, held by a pidfd, so that a reused process id is
// never taken for it. It may be a child or another daemon's child.
type process struct {
	pid    int
	start  uint64 // start time in clock ticks since boot, /proc/PID/stat field 22
	handle *os.File
	done   chan struct{} // closed when it has ended

	// set before done is closed, for a child only
	exit *os.ProcessState
	born time.Time // of our own child; zero for an adopted process
}

// watch takes hold of a process. cmd is the command that started it, nil for a
// process that is not our child.
func watch(pid int, cmd *exec.Cmd) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("opening process %d: %w", pid, err)
	}
	born := time.Time{}
	if cmd != nil {
		born = time.Now() // finer than what the kernel tells of any process
	}
	p := &process{born: born, pid: pid, handle: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	var alive bool
	if p.start, alive, err = procStat(pid); err != nil || (!alive && cmd == nil) {
		_ = p.handle.Close()
		return nil, errors.Join(os.ErrProcessDone, err)
	}
	go p.wait(cmd)
	return p, nil
}

// wait returns when the process has ended. The pidfd becomes readable then; the
// runtime's poller waits for it, so that no thread is spent per machine.
func (p *process) wait(cmd *exec.Cmd) {
	defer close(p.done)
	defer p.handle.Close()
	ended := func(fd uintptr, timeout int) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, timeout)
		return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
	}
	raw, err := p.handle.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool { return ended(fd, 0) })
	}
	if err != nil { // the poller does not take pidfds here
		for fd := p.handle.Fd(); !ended(fd, 1000); {
		}
	}
	if cmd != nil {
		_ = cmd.Wait()
		p.exit = cmd.ProcessState
	}
}

// kill ends the process at once. It is success if it has ended already.
func (p *process) kill() error {
	sent := p.control(func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}
	if sent != nil {
		return fmt.Errorf("killing process %d: %w", p.pid, sent)
	}
	// Its memory is freed from here as well: by itself the process does that, which is
	// most of its end, when and as fast as the scheduler lets it. Without the call
	// (Linux before 5.15) it does all of it.
	go func() {
		_ = p.control(func(fd int) error {
			_, _, err := unix.Syscall(unix.SYS_PROCESS_MRELEASE, uintptr(fd), 0, 0)
			return err
		})
	}()
	return nil
}

// control calls f with the pidfd, unless the process has ended.
func (p *process) control(f func(fd int) error) (err error) {
	raw, closed := p.handle.SyscallConn()
	if closed == nil {
		closed = raw.Control(func(fd uintptr) { err = f(int(fd)) })
	}
	if closed != nil { // as it is when the process has ended
		return unix.ESRCH
	}
	return err
}

// outcome describes how the process ended, if we are told.
func (p *process) outcome() string {
	if p.exit == nil {
		return ""
	}
	return p.exit.String()
}

// spawn starts a program in a session of its own, so that it outlives us.
func spawn(argv []string, dir, log string, files []*os.File) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening QEMU's log: %w", err)
	}
	defer out.Close()
	cmd := &exec.Cmd{
		Path:       argv[0],
		Args:       argv,
		Dir:        dir,
		Env:        []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"}, // nothing of ours, which may hold secrets
		Stdout:     out,
		Stderr:     out,
		ExtraFiles: files,
		// No Pdeathsig: machines outlive the daemon.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting QEMU: %w", err)
	}
	p, err := watch(cmd.Process.Pid, cmd)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return p, nil
}

// end kills the process and waits for its end.
func (p *process) end(ctx context.Context) error {
	if err := p.kill(); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of process %d: %w", p.pid, ctx.Err())
	}
}

// procStat reads a process's start time, and whether it is alive: PID 1 may take
// its time to reap what we left behind.
func procStat(pid int) (start uint64, alive bool, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false, err
	}
	// The command's name, in parentheses, may contain anything.
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) < 20 {
		return 0, false, fmt.Errorf("process %d has an unreadable stat file", pid)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0] != "Z" && fields[0] != "X", err
}

// machineOf returns the machine whose QEMU has this command line: one that was
// started by a driver with the same state directory.
func machineOf(cmdline []byte, stateDir string) (id string, ok bool) {
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	for i, arg := range args {
		if arg != "-name" || i+1 == len(args) {
			continue
		}
		id, ok = strings.CutPrefix(args[i+1], "guest=")
		id, _, _ = strings.Cut(id, ",")
		break
	}
	if !ok || !idPattern.MatchString(id) {
		return "", false
	}
	mark := ",logfile=" + quote(Paths{State: filepath.Join(stateDir, id)}.Console()) + ","
	for _, arg := range args {
		if strings.Contains(arg, mark) {
			return id, true
		}
	}
	return "", false
}

func machineOfPID(pid int, stateDir string) (string, bool) {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(cmdline) == 0 {
		return "", false
	}
	return machineOf(cmdline, stateDir)
}

// findProcesses returns the process ids of all living machines of a state
// directory, recorded or not.
func findProcesses(stateDir string) (map[string]int, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	found := map[string]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if id, ok := machineOfPID(pid, stateDir); ok {
			if _, alive, err := procStat(pid); err == nil && alive {
				found[id] = pid
			}
		}
	}
	return found, nil
}

// startedAt is when the process was started: of an adopted one to a hundredth of
// a second.
func (p *process) startedAt() time.Time {
	if !p.born.IsZero() {
		return p.born
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}
	}
	const ticksPerSecond = 100 // USER_HZ, fixed on all our architectures
	age := time.Duration(now.Nano()) - time.Duration(p.start)*(time.Second/ticksPerSecond)
	return time.Now().Add(-age)
}
