// Package serialport owns how several people use one machine's serial port at once:
// what the guest writes goes to all, what any of them types goes to the guest. It knows
// no hypervisor: a driver says how to reach the port. It imports nothing of ours.
package serialport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// replayBytes is how much of what was written before a newcomer is shown.
	replayBytes = 64 << 10
	// behindBytes is how far somebody may be behind: the oldest is lost to them then.
	// Nobody else waits, and a flood does not grow.
	behindBytes = 256 << 10
	// writeTime is how long a guest may take to accept what is typed.
	writeTime = 10 * time.Second
)

// lost is what those see who were too far behind.
const lost = "\r\n[... output skipped ...]\r\n"

// Port is one machine's serial port.
type Port struct {
	// Dial reaches the port; nobody else is connected to it meanwhile.
	Dial func(ctx context.Context) (net.Conn, error)
	// Before returns the end of what the guest has written so far, at most that many bytes.
	Before func(max int) ([]byte, error)

	mu      sync.Mutex
	conn    net.Conn // nil while nobody looks
	replay  []byte
	viewers map[*viewer]bool
}

// Join returns a connection to the port. It begins with what the guest has written
// lately, and ends with the machine's process.
func (p *Port) Join(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		// What is written between the two is in the log only.
		replay, err := p.Before(replayBytes)
		if err != nil {
			return nil, err
		}
		conn, err := p.Dial(ctx)
		if err != nil {
			return nil, err
		}
		p.conn, p.replay, p.viewers = conn, replay, map[*viewer]bool{}
		go p.spread(conn)
	}
	v := &viewer{port: p}
	v.ready = sync.NewCond(&v.mu)
	v.add(p.replay)
	p.viewers[v] = true
	return v, nil
}

// spread gives everybody what the guest writes, until the connection ends.
func (p *Port) spread(conn net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buf)
		p.mu.Lock()
		if p.conn != conn { // all have left, and maybe others came
			p.mu.Unlock()
			return
		}
		p.replay = lastOf(append(p.replay, buf[:n]...), replayBytes)
		for v := range p.viewers {
			v.add(buf[:n])
		}
		if err != nil {
			for v := range p.viewers {
				v.end()
			}
			p.conn, p.viewers = nil, nil
			p.mu.Unlock()
			_ = conn.Close()
			return
		}
		p.mu.Unlock()
	}
}

// lastOf is the end of b, in memory that does not grow.
func lastOf(b []byte, most int) []byte {
	if len(b) <= 2*most {
		return b[max(0, len(b)-most):]
	}
	return append([]byte(nil), b[len(b)-most:]...)
}

// leave forgets a viewer; the last one closes the connection.
func (p *Port) leave(v *viewer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.viewers[v] {
		return
	}
	delete(p.viewers, v)
	if len(p.viewers) == 0 {
		_ = p.conn.Close()
		p.conn, p.replay = nil, nil
	}
}

// send has the guest read what was typed.
func (p *Port) send(v *viewer, b []byte) (int, error) {
	p.mu.Lock()
	conn, in := p.conn, p.viewers[v]
	p.mu.Unlock()
	if !in {
		return 0, net.ErrClosed
	}
	if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return conn.Write(b)
}

// viewer is somebody's connection.
type viewer struct {
	port *Port

	mu     sync.Mutex
	ready  *sync.Cond
	unread []byte
	ended  bool
}

// add never waits.
func (v *viewer) add(b []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.unread)+len(b) > behindBytes {
		v.unread = append([]byte(lost), b...)
	} else {
		v.unread = append(v.unread, b...)
	}
	v.ready.Broadcast()
}

func (v *viewer) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	v.ready.Broadcast()
}

// Read waits for what the guest writes.
func (v *viewer) Read(b []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.unread) == 0 && !v.ended {
		v.ready.Wait()
	}
	if len(v.unread) == 0 {
		return 0, io.EOF
	}
	n := copy(b, v.unread)
	if v.unread = v.unread[n:]; len(v.unread) == 0 {
		v.unread = nil
	}
	return n, nil
}

// Write types.
func (v *viewer) Write(b []byte) (int, error) {
	n, err := v.port.send(v, b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.New("the guest does not read its serial port")
	}
	return n, err
}

// Close leaves the port.
func (v *viewer) Close() error {
	v.port.leave(v)
	v.end()
	return nil
}

// What is not of a network has no addresses, and waits for as long as it takes.

func (v *viewer) LocalAddr() net.Addr              { return address{} }
func (v *viewer) RemoteAddr() net.Addr             { return address{} }
func (v *viewer) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (v *viewer) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (v *viewer) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type address struct{}

func (address) Network() string { return "serial" }
func (address) String() string  { return "serial" }
