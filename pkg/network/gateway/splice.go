package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A connection of which one direction has ended is given up when the other
// moves nothing for so long.
const halfOpenIdle = 10 * time.Minute

const spliceBuffer = 64 << 10

// Buffers are for moving bytes or datagrams: *[]byte, long enough for any.
var Buffers = sync.Pool{New: func() any { b := make([]byte, spliceBuffer); return &b }}

// HalfCloser is a connection of which one direction can be ended.
type HalfCloser interface {
	net.Conn
	CloseWrite() error
}

// splice moves bytes both ways until both directions have ended, passing on the
// end of each as it comes, and closes both. An error ends both at once.
func splice(a, b HalfCloser) {
	var ended atomic.Bool
	var both sync.WaitGroup
	move := func(dst, src HalfCloser) {
		defer both.Done()
		if err := moveHalf(dst, src, &ended); err != nil {
			a.Close()
			b.Close()
			return
		}
		_ = dst.CloseWrite()
		ended.Store(true)
		_ = dst.SetReadDeadline(time.Now().Add(halfOpenIdle))
	}
	both.Add(2)
	go move(a, b)
	move(b, a)
	both.Wait()
	a.Close()
	b.Close()
}

func moveHalf(dst, src HalfCloser, ended *atomic.Bool) error {
	buf := Buffers.Get().(*[]byte)
	defer Buffers.Put(buf)
	for {
		if ended.Load() {
			_ = src.SetReadDeadline(time.Now().Add(halfOpenIdle))
		}
		n, err := src.Read(*buf)
		if n > 0 {
			if _, werr := dst.Write((*buf)[:n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Pair closes two connections as one.
type Pair struct{ A, B io.Closer }

// Close closes both.
func (p *Pair) Close() error {
	p.A.Close()
	return p.B.Close()
}

// reset closes the host's side of a connection so that the other end sees it
// break, and does not take what it got for the whole.
func reset(c io.Closer) {
	toBreak(c)
	switch c := c.(type) {
	case *Pair:
		reset(c.A)
		reset(c.B)
	case *net.TCPConn:
		c.Close()
	}
}

// toBreak makes any close a reset: with the first of a pair closed, splice passes
// its end on to the second.
func toBreak(c io.Closer) {
	switch c := c.(type) {
	case *Pair:
		toBreak(c.A)
		toBreak(c.B)
	case *net.TCPConn:
		_ = c.SetLinger(0)
	}
}
