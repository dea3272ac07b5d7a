package gateway

import (
	"io"
	"sync"
)

// ConnSet holds what is open for one port, up to a limit, so that it can be
// closed with the port.
type ConnSet struct {
	mu     sync.Mutex
	open   map[io.Closer]struct{}
	limit  int
	closed bool
}

// NewConnSet returns a set of at most limit.
func NewConnSet(limit int) *ConnSet {
	return &ConnSet{limit: limit, open: map[io.Closer]struct{}{}}
}

// Add reports whether c is in the set now: it is not when the set is full, or
// closed for good.
func (s *ConnSet) Add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= s.limit {
		return false
	}
	s.open[c] = struct{}{}
	return true
}

// Remove takes c out of the set.
func (s *ConnSet) Remove(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// CloseAll ends what is open, and whatever is added later.
func (s *ConnSet) CloseAll() { s.abort(true) }

// AbortAll ends what is open: its guest is gone, another may come.
func (s *ConnSet) AbortAll() { s.abort(false) }

func (s *ConnSet) abort(forGood bool) {
	s.mu.Lock()
	s.closed = s.closed || forGood
	open := s.open
	s.open = map[io.Closer]struct{}{}
	s.mu.Unlock()
	for c := range open {
		reset(c)
	}
	for c := range open {
		c.Close()
	}
}

// Splice runs the pair until it ends or the set does.
func (s *ConnSet) Splice(a, b HalfCloser) {
	both := &Pair{a, b}
	if !s.Add(both) {
		both.Close()
		return
	}
	defer s.Remove(both)
	splice(a, b)
}

// Gate bounds how many of something happen at once.
type Gate chan struct{}

// Acquire says if one more may begin.
func (g Gate) Acquire() bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}

// Release ends one.
func (g Gate) Release() { <-g }
