package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// fakeAgent answers as qemu-ga does, over any number of connections in turn.
type fakeAgent struct {
	mu       sync.Mutex
	commands []string
	frozen   bool
	deaf     bool // to everything but sync
}

func (a *fakeAgent) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte("{\"return\": \"left by an earlier client\"}\n"))
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				_ = c.Close()
				break
			}
			_, _ = c.Write(a.answer(line))
		}
	}
}

func (a *fakeAgent) answer(line []byte) []byte {
	var q struct {
		Execute   string
		Arguments struct{ ID int64 }
	}
	if err := json.Unmarshal(bytes.TrimLeft(line, "\xff"), &q); err != nil {
		return []byte("{\"error\":{\"class\":\"GenericError\",\"desc\":\"bad\"}}\n")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commands = append(a.commands, q.Execute)
	switch q.Execute {
	case "guest-sync-delimited":
		return fmt.Appendf(nil, "\xff{\"return\": %d}\n", q.Arguments.ID)
	case "guest-fsfreeze-freeze":
		a.frozen = true
		if a.deaf {
			return nil
		}
		return []byte("{\"return\": 2}\n")
	case "guest-fsfreeze-thaw":
		a.frozen = false
		return []byte("{\"return\": 2}\n")
	}
	return []byte("{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no\"}}\n")
}

func withAgent(t *testing.T, a *fakeAgent) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{id: "i-1", paths: Paths{State: dir, Run: dir},
		driver: &Driver{ctx: t.Context(), log: slog.New(slog.DiscardHandler)}}
	l, err := net.Listen("unix", m.paths.Agent())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go a.serve(l)
	return m
}

func TestAgentFreezesAndThaws(t *testing.T) {
	a := &fakeAgent{}
	m := withAgent(t, a)
	ga, err := dialAgent(t.Context(), m.paths.Agent())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := ga.count(t.Context(), "guest-fsfreeze-freeze"); err != nil || n != 2 || !a.frozen {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := ga.count(t.Context(), "guest-nonsense"); err == nil {
		t.Error("a refusal is no error")
	}
	_ = ga.conn.Close()
	if err := os.WriteFile(m.paths.frozen(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.thaw()
	if a.frozen {
		t.Errorf("still frozen after %v", a.commands)
	}
	if _, err := os.Stat(m.paths.frozen()); !os.IsNotExist(err) {
		t.Errorf("the mark of a frozen guest is left: %v", err)
	}
}

func TestAgentThatDoesNotAnswerCostsABoundedTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qga.sock")
	l, err := net.Listen("unix", path) // QEMU's side, with no agent behind it
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begun := time.Now()
	if _, err := dialAgent(t.Context(), path); err == nil {
		t.Error("it answered")
	}
	if took := time.Since(begun); took > 3*syncTime {
		t.Errorf("took %v", took)
	}
}

func TestFreezeWithoutAnswerIsThawed(t *testing.T) {
	a := &fakeAgent{deaf: true}
	m := withAgent(t, a)
	ga, err := dialAgent(t.Context(), m.paths.Agent())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ga.count(ctx, "guest-fsfreeze-freeze"); err == nil {
		t.Error("no error")
	}
	_ = ga.conn.Close()
	if err := m.tryThaw(); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if a.frozen {
		t.Error("left frozen")
	}
}
