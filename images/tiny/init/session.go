package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// session is one SSH session channel: RFC 4254, section 6.
type session struct {
	ch  ssh.Channel
	env []string

	wantPTY bool
	size    pty.Winsize

	mu   sync.Mutex
	tty  *os.File
	proc *os.Process
}

func newSession(ch ssh.Channel) *session {
	return &session{ch: ch, env: environment(), size: pty.Winsize{Rows: 24, Cols: 80}}
}

func (s *session) serve(reqs <-chan *ssh.Request) {
	started := false
	for r := range reqs {
		ok := false
		switch r.Type {
		case "shell", "exec", "subsystem":
			if !started {
				started = true
				ok = s.start(r)
			}
		default:
			ok = s.request(r)
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
	s.hangUp()
}

// request handles what goes before and beside a command.
func (s *session) request(r *ssh.Request) bool {
	switch r.Type {
	case "pty-req":
		var p struct {
			Term                        string
			Cols, Rows, WidthPx, HighPx uint32
			Modes                       string
		}
		if ssh.Unmarshal(r.Payload, &p) != nil {
			return false
		}
		s.wantPTY = true
		s.size = pty.Winsize{Rows: uint16(p.Rows), Cols: uint16(p.Cols)}
		s.env = append(s.env, "TERM="+p.Term)
		return true
	case "env":
		var e struct{ Name, Value string }
		if ssh.Unmarshal(r.Payload, &e) != nil || !envAllowed(e.Name) {
			return false
		}
		s.env = append(s.env, e.Name+"="+e.Value)
		return true
	case "window-change":
		var w struct{ Cols, Rows, WidthPx, HighPx uint32 }
		if ssh.Unmarshal(r.Payload, &w) != nil {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.tty != nil && pty.Setsize(s.tty, &pty.Winsize{Rows: uint16(w.Rows), Cols: uint16(w.Cols)}) == nil
	case "signal":
		var g struct{ Name string }
		sig, known := signals[signalName(r.Payload, &g)]
		s.mu.Lock()
		defer s.mu.Unlock()
		return known && s.proc != nil && syscall.Kill(-s.proc.Pid, sig) == nil
	}
	return false
}

func signalName(payload []byte, g *struct{ Name string }) string {
	if ssh.Unmarshal(payload, g) != nil {
		return ""
	}
	return g.Name
}

// signals are those of RFC 4254, section 6.10.
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP,
	"ILL": syscall.SIGILL, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE,
	"QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV, "TERM": syscall.SIGTERM,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

// envAllowed accepts what sshd's usual AcceptEnv does: locale and the user's own.
func envAllowed(name string) bool {
	return name == "LANG" || strings.HasPrefix(name, "LC_") || strings.HasPrefix(name, "BUNDT_")
}

func (s *session) start(r *ssh.Request) bool {
	var p struct{ Text string }
	if r.Type != "shell" && ssh.Unmarshal(r.Payload, &p) != nil {
		return false
	}
	var cmd *exec.Cmd
	switch r.Type {
	case "shell":
		cmd = exec.Command("/bin/sh", "-l")
	case "exec":
		cmd = exec.Command("/bin/sh", "-c", p.Text)
	default:
		return serveSubsystem(p.Text, s.ch)
	}
	cmd.Env, cmd.Dir = s.env, "/root"
	var err error
	if s.wantPTY {
		err = s.startOnTTY(cmd)
	} else {
		err = s.startOnPipes(cmd)
	}
	if err != nil {
		logf("SSH: starting a command: %v", err)
		return false
	}
	return true
}

func (s *session) startOnTTY(cmd *exec.Cmd) error {
	var tty *os.File
	err := children.start(cmd, func() (err error) {
		tty, err = pty.StartWithSize(cmd, &s.size)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.tty, s.proc = tty, cmd.Process
	s.mu.Unlock()
	go func() { _, _ = io.Copy(tty, s.ch) }()
	go func() {
		// The terminal reports an error (EIO) once its last holder is gone.
		_, _ = io.Copy(s.ch, tty)
		s.finish(children.wait(cmd))
	}()
	return nil
}

func (s *session) startOnPipes(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := children.start(cmd, cmd.Start); err != nil {
		return err
	}
	s.mu.Lock()
	s.proc = cmd.Process
	s.mu.Unlock()
	go func() {
		_, _ = io.Copy(in, s.ch)
		_ = in.Close()
	}()
	var output sync.WaitGroup
	output.Go(func() { _, _ = io.Copy(s.ch, out) })
	output.Go(func() { _, _ = io.Copy(s.ch.Stderr(), errs) })
	go func() {
		// As sshd does: the session lasts as long as somebody holds its output.
		output.Wait()
		s.finish(children.wait(cmd))
	}()
	return nil
}

// finish tells the client how the command ended.
func (s *session) finish(err error) {
	s.mu.Lock()
	s.proc = nil
	if s.tty != nil {
		_ = s.tty.Close()
		s.tty = nil
	}
	s.mu.Unlock()
	var exit *exec.ExitError
	status, byHow := uint32(0), ""
	if errors.As(err, &exit) {
		if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			byHow = nameOf(w.Signal())
		}
		status = uint32(exit.ExitCode())
	}
	if byHow != "" {
		_, _ = s.ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name string
			Core bool
			Text string
			Lang string
		}{Name: byHow}))
	} else {
		_, _ = s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
	}
	_ = s.ch.Close()
}

func nameOf(sig syscall.Signal) string {
	for name, s := range signals {
		if s == sig {
			return name
		}
	}
	return "TERM"
}

// hangUp tells a terminal's processes that the client is gone.
func (s *session) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty != nil && s.proc != nil {
		_ = syscall.Kill(-s.proc.Pid, syscall.SIGHUP)
	}
}
