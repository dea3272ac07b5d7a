package user

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

var spliceBuffers = sync.Pool{New: func() any { b := make([]byte, spliceBuffer); return &b }}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// splice moves bytes both ways until both directions have ended, passing on the
// end of each as it comes, and closes both. An error ends both at once.
func splice(a, b halfCloser) {
	var ended atomic.Bool
	var both sync.WaitGroup
	move := func(dst, src halfCloser) {
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

func moveHalf(dst, src halfCloser, ended *atomic.Bool) error {
	buf := spliceBuffers.Get().(*[]byte)
	defer spliceBuffers.Put(buf)
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

// pair closes two connections as one.
type pair struct{ a, b io.Closer }

func (p *pair) Close() error {
	p.a.Close()
	return p.b.Close()
}

// reset closes the host's side of a connection so that the other end sees it
// break, and does not take what it got for the whole. It comes before the guest's
// side is closed, which splice would pass on as an orderly end.
func reset(c io.Closer) {
	switch c := c.(type) {
	case *pair:
		reset(c.a)
		reset(c.b)
	case *net.TCPConn:
		_ = c.SetLinger(0)
		c.Close()
	}
}

// splice runs the pair on behalf of the port, until it ends or the port does.
func (p *port) splice(a, b halfCloser) {
	both := &pair{a, b}
	if !p.conns.add(both) {
		both.Close()
		return
	}
	defer p.conns.remove(both)
	splice(a, b)
}
