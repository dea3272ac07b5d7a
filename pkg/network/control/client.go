package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network"
)

const (
	startTimeout = 10 * time.Second
	callTimeout  = 30 * time.Second
	startPoll    = 5 * time.Millisecond
	restartPause = 200 * time.Millisecond // between starts of a switch that keeps dying
)

// Options say which switch a Client uses and how it is started.
type Options struct {
	ControlSocket string
	StateFile     string
	// Command is the argv of the switch's process: a program that calls Serve
	// with the same ControlSocket and StateFile. Empty: the switch is run by
	// somebody else, and one that does not answer is an error.
	Command []string
	// LogFile takes the output of the process, appended; "" discards it.
	LogFile string
	Logger  *slog.Logger
}

// Client is the daemon's side of a switch. It starts the switch's process in
// a session of its own when none answers, starts it again if it dies, and
// applies the last Config anew.
type Client struct {
	options Options
	log     *slog.Logger
	client  *http.Client

	starting sync.Mutex // one process at a time

	mu      sync.Mutex
	last    *network.Config
	stopped bool
	watcher context.CancelFunc
	done    sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
}

var (
	_ network.Datapath = (*Client)(nil)
	_ network.Tracer   = (*Client)(nil)
)

// NewClient returns the datapath of the switch at the control socket. Nothing
// is started before the first call. Close it when the daemon ends.
func NewClient(o Options) (*Client, error) {
	if o.ControlSocket == "" || o.StateFile == "" {
		return nil, errors.New("switch: a control socket and a state file are required")
	}
	if n := len(o.ControlSocket + ".new"); n > 107 { // sun_path
		return nil, fmt.Errorf("switch: control socket %s is %d characters too long for a unix socket: choose a shorter run directory", o.ControlSocket, n-107)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Client{options: o, log: o.Logger}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", o.ControlSocket)
		},
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
	}}
	return d, nil
}

// Apply makes exactly cfg real. A cfg that the switch finds wrong changes
// nothing, neither now nor when the switch is started again.
func (d *Client) Apply(ctx context.Context, cfg network.Config) error {
	if err := d.ensure(ctx); err != nil {
		return err
	}
	if err := d.put(ctx, cfg); err != nil {
		return err
	}
	d.mu.Lock()
	d.last = &cfg
	d.mu.Unlock()
	return nil
}

func (d *Client) put(ctx context.Context, cfg network.Config) error {
	body, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("encoding the network configuration: %w", err)
	}
	return d.call(ctx, http.MethodPut, "/v1/config", body, nil)
}

// maxStatusQuery interfaces are named in a question; more are asked for as all.
const maxStatusQuery = 500

// Status reports ports.
func (d *Client) Status(ctx context.Context, ids ...string) (network.Status, error) {
	var s network.Status
	if err := d.ensure(ctx); err != nil {
		return s, err
	}
	path := "/v1/status"
	if len(ids) > 0 && len(ids) <= maxStatusQuery {
		path += "?" + url.Values{"interface": ids}.Encode()
	}
	return s, d.call(ctx, http.MethodGet, path, nil, &s)
}

// Trace has the switch follow a packet.
func (d *Client) Trace(ctx context.Context, p network.Probe) (t network.Trace, err error) {
	if err := d.ensure(ctx); err != nil {
		return t, err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return t, fmt.Errorf("encoding the packet: %w", err)
	}
	return t, d.call(ctx, http.MethodPost, "/v1/trace", body, &t)
}

// Dial opens a TCP connection from the VPC's gateway to a port's guest, past
// its ingress rules: it is the operator's way in. The connection can be closed
// for writing alone.
func (d *Client) Dial(ctx context.Context, interfaceID string, port uint16) (net.Conn, error) {
	q := url.Values{"interface": {interfaceID}, "port": {strconv.Itoa(int(port))}}
	var conn net.Conn
	err := d.over(ctx, fmt.Sprintf("connecting to %s port %d", interfaceID, port), "/v1/dial?"+q.Encode(), func(c *net.UnixConn, r *bufio.Reader, _ *rights) error {
		conn = &dialedConn{UnixConn: c, r: r}
		return nil
	})
	return conn, err
}

// over asks for something that the connection itself becomes, or brings: take
// gets it with what was read ahead, and is its owner if it returns no error.
func (d *Client) over(ctx context.Context, doing, path string, take func(*net.UnixConn, *bufio.Reader, *rights) error) error {
	if err := d.ensure(ctx); err != nil {
		return err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", d.options.ControlSocket)
	if err != nil {
		return fmt.Errorf("connecting to the switch: %w", err)
	}
	c := conn.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	got := &rights{conn: c}
	r := bufio.NewReader(got)
	err = ask(c, r, path)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = take(c, r, got)
	}
	if err != nil {
		got.close()
		c.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", doing, ctx.Err())
		}
	}
	return err
}

// ask sends the request and reads that it is granted.
func ask(c *net.UnixConn, r *bufio.Reader, path string) error {
	req, err := http.NewRequest(http.MethodPost, "http://switch"+path, nil)
	if err != nil {
		return fmt.Errorf("asking the switch: %w", err)
	}
	if err := req.Write(c); err != nil {
		return fmt.Errorf("asking the switch: %w", err)
	}
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return fmt.Errorf("reading the switch's answer: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols:
		return nil
	case http.StatusNotFound:
		return remoteError(resp, network.ErrNoSuchPort)
	case http.StatusBadGateway:
		return remoteError(resp, network.ErrUnreachable)
	}
	return remoteError(resp, nil)
}

// Attacher is a client of a switch whose fabric is an Opener.
type Attacher struct{ *Client }

var _ network.Attacher = Attacher{}

// Attach opens the port's place for a machine.
func (a Attacher) Attach(ctx context.Context, interfaceID string) (*os.File, error) {
	var file *os.File
	err := a.over(ctx, "attaching "+interfaceID, "/v1/attach?"+url.Values{"interface": {interfaceID}}.Encode(), func(c *net.UnixConn, _ *bufio.Reader, r *rights) error {
		if len(r.files) != 1 {
			return fmt.Errorf("attaching %s: the switch gave %d files, not one", interfaceID, len(r.files))
		}
		file, r.files = r.files[0], nil
		c.Close()
		return nil
	})
	return file, err
}

// rights reads a connection and keeps the files that come along.
type rights struct {
	conn  *net.UnixConn
	files []*os.File
}

func (r *rights) Read(b []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := r.conn.ReadMsgUnix(b, oob)
	n, oobn = max(n, 0), max(oobn, 0) // an error comes with -1
	messages, perr := unix.ParseSocketControlMessage(oob[:oobn])
	if perr == nil {
		for i := range messages {
			fds, _ := unix.ParseUnixRights(&messages[i]) // of another kind of message: none
			for _, fd := range fds {
				unix.CloseOnExec(fd)
				r.files = append(r.files, os.NewFile(uintptr(fd), "attachment"))
			}
		}
	}
	if n == 0 && (err == nil || errors.Is(err, io.EOF)) {
		err = io.EOF // as it is, without the operation that met it
	}
	return n, err
}

func (r *rights) close() {
	for _, f := range r.files {
		f.Close()
	}
}

// remoteError is the switch's message, with the sentinel that it stands for.
func remoteError(resp *http.Response, sentinel error) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	resp.Body.Close()
	text := strings.TrimSpace(string(b))
	if sentinel == nil {
		return fmt.Errorf("switch: %s", text)
	}
	return fmt.Errorf("%w%s", sentinel, strings.TrimPrefix(text, sentinel.Error()))
}

// dialedConn is a connection of which some bytes may have been read ahead.
type dialedConn struct {
	*net.UnixConn
	r *bufio.Reader
}

func (c *dialedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// WriteTo hides UnixConn's, which would pass by what was read ahead.
func (c *dialedConn) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{c.r})
}

// Stop ends the switch, forgets its state and closes the datapath.
func (d *Client) Stop(ctx context.Context) error {
	d.Close()
	d.starting.Lock()
	defer d.starting.Unlock()
	return d.end(ctx, "/v1/stop")
}

// end tells the switch to stop and waits until its lock is free: then it holds
// nothing on the host. One that does not listen yet, as its daemon died when it had just
// started it, is waited for.
func (d *Client) end(ctx context.Context, path string) error {
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := d.call(waiting, http.MethodPost, path, nil, nil)
		if err == nil {
			return d.awaitEnd(ctx)
		}
		running, lockErr := Running(d.options.ControlSocket)
		if none := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED); !none || lockErr != nil {
			return errors.Join(err, lockErr)
		}
		if !running {
			return nil
		}
		select {
		case <-waiting.Done():
			return fmt.Errorf("the switch that holds %s does not answer: end its process by hand: %w", lockFile(d.options.ControlSocket), err)
		case <-time.After(startPoll):
		}
	}
}

func (d *Client) awaitEnd(ctx context.Context) error {
	for {
		running, err := Running(d.options.ControlSocket)
		if err != nil || !running {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the switch to end: %w", ctx.Err())
		case <-time.After(startPoll):
		}
	}
}

// Close ends the daemon's side and leaves the switch running.
func (d *Client) Close() error {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.cancel()
	d.done.Wait()
	d.client.CloseIdleConnections()
	return nil
}

// call does one request of the control protocol.
func (d *Client) call(ctx context.Context, method, path string, body []byte, result any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://switch"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the switch: %w", err)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking the switch: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return remoteError(resp, network.ErrNoSuchPort)
	case resp.StatusCode >= 300:
		return remoteError(resp, nil)
	}
	if result == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(result)
	}
	if err != nil {
		return fmt.Errorf("reading the switch's answer: %w", err)
	}
	return nil
}

// ensure makes sure that a switch of our version answers.
func (d *Client) ensure(ctx context.Context) error {
	d.starting.Lock()
	defer d.starting.Unlock()
	d.mu.Lock()
	stopped, watched := d.stopped, d.watcher != nil
	d.mu.Unlock()
	if stopped {
		return errors.New("switch: closed")
	}
	if watched {
		return nil
	}
	return d.revive(ctx)
}

// revive finds or starts the switch and watches it. starting is held.
func (d *Client) revive(ctx context.Context) error {
	var v versionAnswer
	err := d.call(ctx, http.MethodGet, "/v1/version", nil, &v)
	if err == nil && v.Protocol != protocol {
		d.log.Info("replacing a switch of another version", "theirs", v.Protocol, "ours", protocol)
		if err := d.end(ctx, "/v1/stop?keep=1"); err != nil {
			return fmt.Errorf("replacing the switch: %w", err)
		}
	}
	if err != nil || v.Protocol != protocol {
		if err := d.start(ctx); err != nil {
			return err
		}
	}
	if err := d.reapply(ctx); err != nil {
		return err
	}
	return d.watch()
}

// reapply gives a new switch the configuration that the daemon applied last: it
// may be newer than what the old one had time to remember.
func (d *Client) reapply(ctx context.Context) error {
	d.mu.Lock()
	last := d.last
	d.mu.Unlock()
	if last == nil {
		return nil
	}
	if err := d.put(ctx, *last); err != nil {
		return fmt.Errorf("applying the configuration to the new switch: %w", err)
	}
	return nil
}

// start runs the switch's process and waits until it answers.
func (d *Client) start(ctx context.Context) error {
	if len(d.options.Command) == 0 {
		return fmt.Errorf("no switch answers at %s", d.options.ControlSocket)
	}
	held, err := d.awaitLock(ctx)
	if err != nil || held == nil {
		return err
	}
	defer held.Close()
	cmd := exec.Command(d.options.Command[0], d.options.Command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the daemon's end is not its own
	// It has the lock before it exists for itself: whoever looks finds it at any moment.
	cmd.ExtraFiles = []*os.File{held}
	cmd.Env = append(os.Environ(), lockEnv+"="+strconv.Itoa(firstExtraFile))
	if d.options.LogFile != "" {
		f, err := os.OpenFile(d.options.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("opening the switch's log: %w", err)
		}
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the switch: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // no zombie; ends with the daemon or the switch
	d.log.Info("started the switch", "pid", cmd.Process.Pid)
	return d.awaitStart(ctx, exited)
}

// awaitLock returns the lock; or nothing, when the one who has it has turned out to be
// a switch: that of a daemon that has died since is about to answer, or to end.
func (d *Client) awaitLock(ctx context.Context) (*os.File, error) {
	deadline := time.After(startTimeout)
	for {
		held, err := lock(d.options.ControlSocket)
		if !errors.Is(err, ErrRunning) {
			return held, err
		}
		var v versionAnswer
		if d.call(ctx, http.MethodGet, "/v1/version", nil, &v) == nil && v.Protocol == protocol {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the switch: %w", ctx.Err())
		case <-deadline:
			return nil, fmt.Errorf("waiting for the switch, which does not answer at %s: %w", d.options.ControlSocket, err)
		case <-time.After(startPoll):
		}
	}
}

func (d *Client) awaitStart(ctx context.Context, exited <-chan error) error {
	deadline := time.After(startTimeout)
	for {
		var v versionAnswer
		err := d.call(ctx, http.MethodGet, "/v1/version", nil, &v)
		if err == nil && v.Protocol != protocol {
			return fmt.Errorf("the command %q runs a switch of protocol %d, want %d", d.options.Command[0], v.Protocol, protocol)
		}
		if err == nil {
			return nil
		}
		select {
		case werr := <-exited:
			// Another daemon's may have been first; then it answers soon.
			exited = nil
			if d.call(ctx, http.MethodGet, "/v1/version", nil, &v) != nil {
				return fmt.Errorf("the switch ended at once (%w); its log is %s", orExit(werr), orNone(d.options.LogFile))
			}
		case <-ctx.Done():
			return fmt.Errorf("starting the switch: %w", ctx.Err())
		case <-deadline:
			return fmt.Errorf("the switch does not answer at %s after %s: %w", d.options.ControlSocket, startTimeout, err)
		case <-time.After(startPoll):
		}
	}
}

func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func orNone(path string) string {
	if path == "" {
		return "not kept"
	}
	return path
}

// watch holds a request open that ends when the switch does.
func (d *Client) watch() error {
	ctx, cancel := context.WithCancel(d.ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://switch/v1/version?watch=1", nil)
	if err != nil {
		cancel()
		return fmt.Errorf("watching the switch: %w", err)
	}
	resp, err := d.client.Do(req) //nolint:bodyclose // closed by the goroutine that reads it to its end
	if err != nil {
		cancel()
		return fmt.Errorf("watching the switch: %w", err)
	}
	d.mu.Lock()
	d.watcher = cancel
	d.done.Add(1)
	d.mu.Unlock()
	go func() {
		defer d.done.Done()
		defer cancel()
		_, _ = io.Copy(io.Discard, resp.Body) // any end of it is the switch's, or ours
		resp.Body.Close()
		d.mu.Lock()
		d.watcher = nil
		d.mu.Unlock()
		d.restart()
	}()
	return nil
}

// restart brings a switch that died back, without waiting for a call.
func (d *Client) restart() {
	for d.ctx.Err() == nil {
		d.log.Warn("the switch has ended; starting it again")
		err := d.ensure(d.ctx)
		if err == nil {
			return
		}
		if d.ctx.Err() == nil {
			d.log.Error("restarting the switch", "error", err)
		}
		select {
		case <-d.ctx.Done():
		case <-time.After(restartPause):
		}
	}
}
