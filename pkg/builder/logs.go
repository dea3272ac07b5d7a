package builder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/bundt/bundt/pkg/model"
)

// maxLog is how much of a step's log is kept; the rest is left out, and said so.
const maxLog = 1 << 20

// Logs are what the steps of builds print: a directory for each build, in it a
// file for each step.
type Logs struct{ dir string }

// OpenLogs returns the logs kept in a directory, which is made if need be.
func OpenLogs(dir string) (*Logs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of build logs: %w", err)
	}
	return &Logs{dir}, nil
}

func (l *Logs) path(build string, step int) string {
	return filepath.Join(l.dir, build, strconv.Itoa(step)+".log")
}

// Clear removes the logs of a build.
func (l *Logs) Clear(build string) error {
	if err := os.RemoveAll(filepath.Join(l.dir, build)); err != nil {
		return fmt.Errorf("removing the logs of build %s: %w", build, err)
	}
	return nil
}

// Forget removes the logs of builds that are not among these.
func (l *Logs) Forget(known []model.Build) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return // looked at again with the next change
	}
	keep := map[string]bool{}
	for _, b := range known {
		keep[b.ID] = true
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			_ = l.Clear(e.Name())
		}
	}
}

// Open begins the log of a step, given by its index among the build's.
func (l *Logs) Open(build string, step int) (io.WriteCloser, error) {
	if err := os.MkdirAll(filepath.Join(l.dir, build), 0o700); err != nil {
		return nil, fmt.Errorf("making a build's log directory: %w", err)
	}
	f, err := os.OpenFile(l.path(build, step), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a step's log: %w", err)
	}
	return &stepLog{f: f}, nil
}

// Read returns the log of a step so far, "" if it has none.
func (l *Logs) Read(build string, step int) (string, error) {
	b, err := os.ReadFile(l.path(build, step))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading a step's log: %w", err)
	}
	return string(b), nil
}

type stepLog struct {
	mu      sync.Mutex // standard output and error come at once
	f       *os.File
	written int
	full    bool
}

// Write never fails a step: a log that cannot be written is cut short.
func (s *stepLog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(p)
	if room := maxLog - s.written; n > room {
		p = p[:max(0, room)]
	}
	if len(p) > 0 {
		k, err := s.f.Write(p)
		s.written += k
		if err != nil {
			s.written = maxLog
		}
	}
	if len(p) < n && !s.full {
		s.full = true
		_, _ = s.f.WriteString("\n[the rest is left out]\n")
	}
	return n, nil
}

func (s *stepLog) Close() error { return s.f.Close() }
