package serialport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// guest is the other end of a port.
type guest struct {
	net.Conn
	dialed int
}

func (g *guest) port() *Port {
	return &Port{
		Before: func(int) ([]byte, error) { return []byte("before. "), nil },
		Dial: func(context.Context) (net.Conn, error) {
			g.dialed++
			var there net.Conn
			there, g.Conn = net.Pipe()
			return there, nil
		},
	}
}

func join(t *testing.T, p *Port) net.Conn {
	t.Helper()
	v, err := p.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func see(t *testing.T, v net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(v, got); err != nil || string(got) != want {
		t.Fatalf("read %q (%v), not %q", got, err, want)
	}
}

func TestSeveral(t *testing.T) {
	var g guest
	p := g.port()
	a := join(t, p)
	see(t, a, "before. ")
	_, _ = g.Write([]byte("one "))
	see(t, a, "one ")
	b := join(t, p)
	see(t, b, "before. one ")
	_, _ = g.Write([]byte("two"))
	see(t, a, "two")
	see(t, b, "two")
	go func() { _, _ = b.Write([]byte("typed")) }()
	typed := make([]byte, 5)
	if _, err := io.ReadFull(g, typed); err != nil || string(typed) != "typed" {
		t.Fatalf("the guest read %q: %v", typed, err)
	}
	a.Close()
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing after leaving: %v", err)
	}
	_, _ = g.Write([]byte("three"))
	see(t, b, "three")
	b.Close()
	if _, err := g.Write([]byte("x")); err == nil {
		t.Error("somebody is connected though all have left")
	}
	c := join(t, p)
	see(t, c, "before. ")
	if g.dialed != 2 {
		t.Errorf("dialed %d times", g.dialed)
	}
	g.Close()
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the end of the machine is %v", err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("writing after the machine's end succeeds")
	}
}

// TestFlood: who does not read harms nobody, and costs bounded memory.
func TestFlood(t *testing.T) {
	var g guest
	p := g.port()
	asleep, awake := join(t, p), join(t, p)
	see(t, awake, "before. ")
	line := []byte(strings.Repeat("y", 16<<10))
	const lines = 1000 // 16 MiB
	go func() {
		for range lines {
			if _, err := g.Write(line); err != nil {
				return
			}
		}
		g.Close()
	}()
	start := time.Now()
	n, err := io.Copy(io.Discard, awake)
	if err != nil || n < 64<<10 {
		t.Errorf("the one who reads got %d bytes: %v", n, err)
	}
	t.Logf("%d of %d bytes in %s", n, lines*len(line), time.Since(start))
	rest, err := io.ReadAll(asleep)
	if err != nil || len(rest) > behindBytes+len(lost) || !bytes.HasPrefix(rest, []byte(lost)) {
		t.Errorf("the one who slept got %d bytes that begin with %.30q: %v", len(rest), rest, err)
	}
	if cap(p.replay) > 4*replayBytes {
		t.Errorf("%d bytes are kept", cap(p.replay))
	}
}
