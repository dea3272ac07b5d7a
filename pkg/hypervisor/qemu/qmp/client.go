// Package qmp owns the connection to a QEMU monitor: the QEMU Machine Protocol
// over a unix socket, with command ids, contexts, out-of-band commands, passed
// file descriptors and bounded event queues. It knows no machine and no command's
// meaning, and imports no package of this project. A Client bound to a context
// is a go-qemu qmp.Monitor, so that go-qemu's upper packages run on it.
// https://www.qemu.org/docs/master/interop/qmp-spec.html
package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	goqmp "github.com/digitalocean/go-qemu/qmp"
)

// ErrClosed: the connection has ended, by QEMU or by Close.
var ErrClosed = errors.New("QMP connection closed")

// Client is one connection to a monitor. Its methods are safe for concurrent use.
type Client struct {
	conn    *net.UnixConn
	version goqmp.Version
	oob     bool

	write sync.Mutex // one command on the wire at a time

	mu      sync.Mutex
	nextID  uint64
	pending map[string]chan *message
	subs    map[*Subscription]struct{}
	err     error
	done    chan struct{}
}

// Dial connects to the monitor at the unix socket path.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connecting to the QMP socket: %w", err)
	}
	return New(ctx, conn.(*net.UnixConn))
}

// New takes over conn, waits for QEMU's greeting and enters command mode.
// QEMU serves one client per socket: New waits, until ctx ends, for its turn.
func New(ctx context.Context, conn *net.UnixConn) (*Client, error) {
	c := &Client{
		conn:    conn,
		pending: map[string]chan *message{},
		subs:    map[*Subscription]struct{}{},
		done:    make(chan struct{}),
	}
	greeted := make(chan *greeting, 1)
	go c.read(greeted)
	if err := c.handshake(ctx, greeted); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) handshake(ctx context.Context, greeted <-chan *greeting) error {
	select {
	case g := <-greeted:
		c.version = g.Version
		c.oob = slices.Contains(g.Capabilities, "oob")
	case <-c.done:
		return fmt.Errorf("waiting for QEMU's greeting: %w", c.Err())
	case <-ctx.Done():
		return fmt.Errorf("waiting for QEMU's greeting: %w", ctx.Err())
	}
	enable := []string{}
	if c.oob {
		enable = append(enable, "oob")
	}
	return c.Execute(ctx, "qmp_capabilities", map[string]any{"enable": enable}, nil)
}

// Version is the version that QEMU greeted with.
func (c *Client) Version() goqmp.Version { return c.version }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended; nil while it lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and fails the commands in flight with ErrClosed.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Executor is whatever runs commands as Client.Execute does.
type Executor interface {
	Execute(ctx context.Context, command string, args, out any) error
}

// Execute runs a command and decodes what it returns into out, unless out is
// nil. A refusal by QEMU is an *Error. When ctx ends first the command may
// still take effect.
func (c *Client) Execute(ctx context.Context, command string, args, out any) error {
	return c.run(ctx, request{verb: "execute", command: command, args: args}, out)
}

// ExecuteOOB runs a command out of band: ahead of those that wait, even while
// QEMU's main loop is busy. Few commands allow it. Without QEMU's support it is
// an ordinary command.
func (c *Client) ExecuteOOB(ctx context.Context, command string, args, out any) error {
	verb := "execute"
	if c.oob {
		verb = "exec-oob"
	}
	return c.run(ctx, request{verb: verb, command: command, args: args}, out)
}

// ExecuteFiles runs a command that takes file descriptors, as getfd and add-fd
// do. The files stay the caller's.
func (c *Client) ExecuteFiles(ctx context.Context, command string, args, out any, files ...*os.File) error {
	return c.run(ctx, request{verb: "execute", command: command, args: args, files: files}, out)
}

type request struct {
	verb    string
	command string
	args    any
	files   []*os.File
}

func (c *Client) run(ctx context.Context, r request, out any) error {
	m, err := c.roundTrip(ctx, r)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(m.Return, out); err != nil {
		return fmt.Errorf("decoding the answer to %s: %w", r.command, err)
	}
	return nil
}

func (c *Client) roundTrip(ctx context.Context, r request) (*message, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", r.command, err)
	}
	answer := make(chan *message, 1)
	id, err := c.register(answer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.command, err)
	}
	defer c.forget(id)

	body := map[string]any{r.verb: r.command, "id": id}
	if r.args != nil {
		body["arguments"] = r.args
	}
	line, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", r.command, err)
	}
	if err := c.send(ctx, append(line, '\n'), r.files); err != nil {
		return nil, fmt.Errorf("sending %s: %w", r.command, err)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			m.Error.Command = r.command
			return nil, m.Error
		}
		return m, nil
	case <-c.done:
		return nil, fmt.Errorf("%s: %w", r.command, c.Err())
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", r.command, ctx.Err())
	}
}

func (c *Client) register(answer chan *message) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return "", c.err
	}
	c.nextID++
	id := "bundt-" + strconv.FormatUint(c.nextID, 10)
	c.pending[id] = answer
	return id, nil
}

func (c *Client) forget(id string) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// send writes one whole command. A command that was written in part would garble
// all that follow, so then the connection is given up.
func (c *Client) send(ctx context.Context, line []byte, files []*os.File) error {
	c.write.Lock()
	defer c.write.Unlock()
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
		close(fired)
	})
	n, err := c.writeLine(line, files)
	if !stop() {
		<-fired
		_ = c.conn.SetWriteDeadline(time.Time{})
	}
	if err == nil {
		return nil
	}
	if n > 0 {
		_ = c.conn.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if closed := c.Err(); closed != nil {
		return closed
	}
	return err
}

func (c *Client) writeLine(line []byte, files []*os.File) (int, error) {
	if len(files) == 0 {
		return c.conn.Write(line)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	n, _, err := c.conn.WriteMsgUnix(line, syscall.UnixRights(fds...), nil)
	if err != nil || n == len(line) {
		return n, err
	}
	more, err := c.conn.Write(line[n:])
	return n + more, err
}

// read delivers messages until the connection ends.
func (c *Client) read(greeted chan<- *greeting) {
	d := newDecoder(c.conn)
	for {
		m, err := d.next()
		if err != nil {
			c.end(err)
			return
		}
		switch {
		case m.Greeting != nil:
			select {
			case greeted <- m.Greeting:
			default: // a second greeting means nothing
			}
		case m.Event != "":
			c.publish(m.event())
		default:
			c.deliver(m)
		}
	}
}

func (c *Client) deliver(m *message) {
	var id string
	if json.Unmarshal(m.ID, &id) != nil {
		return // not an answer to any command of ours
	}
	c.mu.Lock()
	answer := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	if answer != nil {
		answer <- m
	}
}

func (c *Client) publish(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		s.push(e)
	}
}

func (c *Client) end(cause error) {
	if errors.Is(cause, io.EOF) || errors.Is(cause, net.ErrClosed) || errors.Is(cause, syscall.ECONNRESET) {
		cause = ErrClosed
	} else {
		cause = fmt.Errorf("%w: %w", ErrClosed, cause)
	}
	_ = c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = cause
	for s := range c.subs {
		close(s.queue)
	}
	c.subs = nil
	close(c.done)
}
