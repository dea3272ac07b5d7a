package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/digitalocean/go-qemu/qemu"
)

// server plays QEMU's side of one connection.
type server struct {
	t    *testing.T
	conn *net.UnixConn
	r    *bufio.Reader
}

type command struct {
	Execute   string          `json:"execute"`
	OOB       string          `json:"exec-oob"`
	ID        string          `json:"id"`
	Arguments json.RawMessage `json:"arguments"`
}

// connect returns a greeted client and the server behind it.
func connect(t *testing.T) (*Client, *server) {
	t.Helper()
	a, b := pair(t)
	s := &server{t: t, conn: b, r: bufio.NewReader(b)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.send(`{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22},"package":"Debian"},"capabilities":["oob"]}}`)
		c := s.receive()
		if c.Execute != "qmp_capabilities" || !strings.Contains(string(c.Arguments), "oob") {
			t.Errorf("first command: %+v", c)
		}
		s.send(`{"return":{},"id":%q}`, c.ID)
	}()
	c, err := New(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	<-done
	t.Cleanup(func() { _ = c.Close() })
	return c, s
}

func pair(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { _ = c.Close() })
	}
	return conns[0], conns[1]
}

func (s *server) send(format string, args ...any) {
	if _, err := fmt.Fprintf(s.conn, format+"\r\n", args...); err != nil {
		s.t.Errorf("server: %v", err)
	}
}

func (s *server) receive() command {
	line, err := s.r.ReadBytes('\n')
	if err != nil {
		s.t.Errorf("server: %v", err)
		return command{}
	}
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		s.t.Errorf("server: %v in %s", err, line)
	}
	return c
}

func TestAnswersReachTheirCommandsInAnyOrder(t *testing.T) {
	c, s := connect(t)
	const n = 20
	go func() {
		commands := make([]command, n)
		for i := range commands {
			commands[i] = s.receive()
		}
		for i := n - 1; i >= 0; i-- {
			s.send(`{"return":{"name":%q},"id":%q}`, commands[i].Execute, commands[i].ID)
		}
	}()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			name := fmt.Sprintf("query-%d", i)
			var out struct{ Name string }
			if err := c.Execute(t.Context(), name, nil, &out); err != nil || out.Name != name {
				t.Errorf("%s answered %q, %v", name, out.Name, err)
			}
		})
	}
	wg.Wait()
	if v := c.Version().String(); v != "7.2.22" {
		t.Errorf("version %s", v)
	}
}

func TestRefusalKeepsItsClass(t *testing.T) {
	c, s := connect(t)
	go func() {
		s.send(`{"error":{"class":"DeviceNotFound","desc":"no such device"},"id":%q}`, s.receive().ID)
	}()
	err := c.Execute(t.Context(), "device_del", map[string]string{"id": "x"}, nil)
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Class != "DeviceNotFound" || refusal.Command != "device_del" {
		t.Fatalf("got %#v", err)
	}
	if got := err.Error(); got != "device_del: no such device" {
		t.Errorf("message %q", got)
	}
}

func TestLongMessages(t *testing.T) {
	c, s := connect(t)
	long := strings.Repeat("x", 3<<20)
	go func() { s.send(`{"return":%q,"id":%q}`, long, s.receive().ID) }()
	var out string
	if err := c.Execute(t.Context(), "query-qmp-schema", nil, &out); err != nil || out != long {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
}

func TestTooLongMessageEndsTheConnection(t *testing.T) {
	d := newDecoder(strings.NewReader(`{"return":"` + strings.Repeat("x", 100_000) + "\"}\n"))
	d.max = 50_000
	if _, err := d.next(); !errors.Is(err, ErrMessageTooLong) {
		t.Fatalf("got %v", err)
	}
}

func TestGarbageEndsTheConnection(t *testing.T) {
	c, s := connect(t)
	go func() {
		s.receive()
		s.send("this is no JSON")
	}()
	err := c.Execute(t.Context(), "query-status", nil, nil)
	if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "decoding") {
		t.Fatalf("got %v", err)
	}
	if err := c.Execute(t.Context(), "query-status", nil, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("afterwards: %v", err)
	}
}

func TestContextEndsAWaitAndALateAnswerHarmsNobody(t *testing.T) {
	c, s := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	late := make(chan string, 1)
	go func() {
		late <- s.receive().ID
		cancel()
	}()
	if err := c.Execute(ctx, "stop", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	s.send(`{"return":{},"id":%q}`, <-late)
	go func() { s.send(`{"return":{},"id":%q}`, s.receive().ID) }()
	if err := c.Execute(t.Context(), "cont", nil, nil); err != nil {
		t.Fatal(err)
	}
}

func TestStalledPeerDoesNotOutlastTheContext(t *testing.T) {
	c, _ := connect(t) // the server reads nothing
	// Time enough to encode it on a busy machine, so that the writing is what stalls.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	big := strings.Repeat("x", 2<<20) // more than a socket holds
	if err := c.Execute(ctx, "human-monitor-command", big, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	after, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Execute(after, "cont", nil, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("a half-written command must end the connection, got %v", err)
	}
}

func TestConnectionEndFailsWhatIsInFlight(t *testing.T) {
	c, s := connect(t)
	events := c.Subscribe()
	go func() {
		s.receive()
		_ = s.conn.Close()
	}()
	if err := c.Execute(t.Context(), "quit", nil, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("got %v", err)
	}
	if _, ok := <-events.C(); ok {
		t.Error("the event channel is still open")
	}
	if _, ok := <-c.Subscribe().C(); ok {
		t.Error("a subscription to an ended connection is open")
	}
	events.Close()
}

func TestNoGreeting(t *testing.T) {
	a, _ := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := New(ctx, a); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestSlowSubscriberLosesOldestAndStallsNobody(t *testing.T) {
	c, s := connect(t)
	slow, quick := c.Subscribe(), c.Subscribe()
	defer slow.Close()
	const n = queueLength + 500
	got := make(chan int)
	go func() {
		seen := 0
		for range quick.C() {
			seen++
			if seen == n {
				break
			}
		}
		got <- seen
	}()
	for i := range n {
		s.send(`{"event":"STOP","data":{"n":%d},"timestamp":{"seconds":1,"microseconds":5}}`, i)
		if i%100 == 0 { // a peer that waits for answers paces itself as QEMU does
			go func() { s.send(`{"return":{},"id":%q}`, s.receive().ID) }()
			if err := c.Execute(t.Context(), "query-status", nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen := <-got; seen != n {
		t.Errorf("the quick subscriber saw %d of %d", seen, n)
	}
	if lost := slow.Lost(); lost != 500 {
		t.Errorf("lost %d, want 500", lost)
	}
	var first struct{ N int }
	if err := json.Unmarshal((<-slow.C()).Data, &first); err != nil || first.N != 500 {
		t.Errorf("oldest kept event is %d, %v", first.N, err)
	}
}

func TestOutOfBand(t *testing.T) {
	c, s := connect(t)
	go func() {
		q := s.receive()
		if q.OOB != "migrate-pause" {
			t.Errorf("got %+v", q)
		}
		s.send(`{"return":{},"id":%q}`, q.ID)
	}()
	if err := c.ExecuteOOB(t.Context(), "migrate-pause", nil, nil); err != nil {
		t.Fatal(err)
	}
}

func TestFilesArePassed(t *testing.T) {
	c, s := connect(t)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("passed"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make(chan string, 1)
	go func() {
		line, oob := make([]byte, 4096), make([]byte, 64)
		n, on, _, _, err := s.conn.ReadMsgUnix(line, oob)
		if err != nil {
			t.Error(err)
		}
		messages, _ := syscall.ParseSocketControlMessage(oob[:on])
		fds, _ := syscall.ParseUnixRights(&messages[0])
		passed := os.NewFile(uintptr(fds[0]), "passed")
		content, _ := io.ReadAll(passed)
		_ = passed.Close()
		got <- string(content)
		var q command
		_ = json.Unmarshal(line[:n], &q)
		s.send(`{"return":{},"id":%q}`, q.ID)
	}()
	if err := c.ExecuteFiles(t.Context(), "getfd", map[string]string{"fdname": "x"}, nil, f); err != nil {
		t.Fatal(err)
	}
	if content := <-got; content != "passed" {
		t.Errorf("the peer read %q", content)
	}
}

// go-qemu's Domain, made for its own socket monitor, works on the client.
func TestGoQEMUDomain(t *testing.T) {
	c, s := connect(t)
	domain, err := qemu.NewDomain(c.Monitor(t.Context()), "i-0")
	if err != nil {
		t.Fatal(err)
	}
	events, done, err := domain.Events()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 2 {
			switch q := s.receive(); q.Execute {
			case "query-status":
				s.send(`{"return":{"running":true,"singlestep":false,"status":"running"},"id":%q}`, q.ID)
			default:
				s.send(`{"error":{"class":"CommandNotFound","desc":"no"},"id":%q}`, q.ID)
			}
		}
		s.send(`{"event":"RESET","data":{"guest":true},"timestamp":{"seconds":7,"microseconds":0}}`)
	}()
	status, err := domain.Status()
	if err != nil || status != qemu.StatusRunning {
		t.Fatalf("%v, %v", status, err)
	}
	var refusal *Error
	if err := domain.SystemReset(); !errors.As(err, &refusal) || refusal.Class != "CommandNotFound" {
		t.Fatalf("got %v", err)
	}
	if e := <-events; e.Event != "RESET" || e.Data["guest"] != true || e.Timestamp.Seconds != 7 {
		t.Errorf("got %+v", e)
	}
	done <- struct{}{}
	if err := domain.Close(); err != nil {
		t.Fatal(err)
	}
	if c.Err() != nil {
		t.Error("closing the domain ended the client")
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte(`{"QMP":{"version":{},"capabilities":[]}}` + "\r\n" + `{"return":{},"id":"a"}` + "\n"))
	f.Add([]byte(`{"event":"STOP","timestamp":{"seconds":1,"microseconds":-1}}` + "\n"))
	f.Add([]byte("\n\r\n{\"error\":{\"class\":1}}\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		d := newDecoder(bytes.NewReader(input))
		d.max = 1 << 16
		total := 0
		for {
			m, err := d.next()
			if err != nil {
				return
			}
			total += len(m.raw)
			if len(m.raw) > d.max || total > len(input) {
				t.Fatalf("%d bytes out of %d", total, len(input))
			}
			if m.Event != "" {
				m.event()
			}
		}
	})
}
