package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network"
)

// protocol is the version of the control protocol. A daemon that meets a switch
// of another version replaces it.
const protocol = 8

const (
	maxConfigBytes = 64 << 20
	maxProbeBytes  = 4 << 10
	leaseSaveDelay = time.Second
	lookEvery      = 5 * time.Second
)

var (
	// ErrRunning: another switch serves the same control socket.
	ErrRunning = errors.New("a switch is running already")
	// ErrStopped: the switch is on its way out and takes no configuration.
	ErrStopped = errors.New("the switch is stopping")
)

// ServeOptions say where a switch is controlled from and what it remembers.
type ServeOptions struct {
	ControlSocket string // unix socket, made with mode 0600
	StateFile     string // last Config, to come back with; mode 0600
	Logger        *slog.Logger
	// LookEvery is the time between looks whether the control socket is still there:
	// without it nobody can ever end the switch, so it ends itself. 5 s if zero.
	LookEvery time.Duration
}

// Fabric moves the guests' packets. Its methods may be called at the same time,
// but for Apply.
type Fabric interface {
	// Apply makes exactly c real. A network.ConfigError changes nothing.
	Apply(c network.Config) error
	// Status reports those of these interfaces that are configured; all, if none
	// is named.
	Status(interfaceIDs ...string) network.Status
	// Leases tells when each port took its address, and SetLeases what an earlier
	// switch knew of it.
	Leases() map[string]time.Time
	SetLeases(leases map[string]time.Time)
	// Trace tells what becomes of a packet.
	Trace(p network.Probe) (network.Trace, error)
	// Dial opens a connection from the gateway to a port's guest.
	Dial(ctx context.Context, interfaceID string, port uint16) (Dialed, error)
	// Close ends the switch; forGood, when nobody will come back for what it has
	// made on the host.
	Close(forGood bool)
}

// Opener is the capability of fabrics that guests are attached to by an open file.
type Opener interface {
	Open(interfaceID string) (*os.File, error)
}

// Dialed is a connection with a guest.
type Dialed interface {
	// Splice joins it with peer until both have ended, or the guest's port.
	Splice(peer *net.UnixConn)
	Close() error
}

// Seed is what a fabric is made with.
type Seed struct {
	Secret  []byte // of metadata tokens
	OnLease func() // to be called when a port has taken its address
	Logger  *slog.Logger
}

// Serve is the main of the switch's process. It returns nil when ctx is done or
// a client has stopped it. The state file stays, except after a stop.
func Serve(ctx context.Context, o ServeOptions, newFabric func(Seed) (Fabric, error)) error {
	if o.ControlSocket == "" || o.StateFile == "" {
		return errors.New("switch: a control socket and a state file are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	held, err := takeLock(o.ControlSocket)
	if err != nil {
		return err
	}
	defer held.Close()
	st, err := loadState(o.StateFile)
	if err != nil {
		return err
	}
	s := &server{options: o, state: st}
	if s.fabric, err = newFabric(Seed{Secret: st.Secret, OnLease: s.leaseTaken, Logger: o.Logger}); err != nil {
		return err
	}
	defer func() { s.fabric.Close(s.forGood) }()
	if err := s.restore(); err != nil {
		// The daemon will apply its own; better an empty switch than none.
		o.Logger.Error("restoring the last configuration", "error", err)
	}
	return s.run(ctx)
}

// server is the control side of a switch.
type server struct {
	options ServeOptions
	fabric  Fabric
	stop    context.CancelFunc
	socket  os.FileInfo // of the control socket

	mu      sync.Mutex // of state, and one Apply at a time
	state   *state
	stopped bool
	forGood bool // and nobody comes back

	// Leases are noted by ports' goroutines, which an Apply may be waiting for:
	// never under mu.
	saverMu sync.Mutex
	saver   *time.Timer
}

func (s *server) restore() error {
	if s.state.Config == nil {
		return nil
	}
	if err := s.fabric.Apply(*s.state.Config); err != nil {
		return err
	}
	s.fabric.SetLeases(s.state.Leases)
	return nil
}

func (s *server) run(ctx context.Context) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	l, err := listenControl(s.options.ControlSocket)
	if err != nil {
		return err
	}
	if s.socket, err = os.Lstat(s.options.ControlSocket); err != nil {
		return errors.Join(fmt.Errorf("looking at the control socket: %w", err), l.Close())
	}
	h := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go s.lookAfter(ctx)
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	s.options.Logger.Info("switch serves", "control", s.options.ControlSocket, "pid", os.Getpid())
	select {
	case <-ctx.Done():
	case err := <-done:
		return fmt.Errorf("serving the control socket: %w", err)
	}
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if h.Shutdown(grace) != nil {
		h.Close()
	}
	if s.reachable() {
		os.Remove(s.options.ControlSocket)
	}
	s.flush()
	return nil
}

// lookAfter ends a switch whose control socket is gone: its data directory was deleted
// under it, say, and no daemon will find it again.
func (s *server) lookAfter(ctx context.Context) {
	t := time.NewTicker(cmp.Or(s.options.LookEvery, lookEvery))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if s.reachable() {
			continue
		}
		s.options.Logger.Error("ending, as nobody can reach the control socket any more", "control", s.options.ControlSocket)
		_, err := os.Stat(s.options.StateFile)
		s.mu.Lock()
		s.stopped, s.forGood = true, errors.Is(err, fs.ErrNotExist)
		s.mu.Unlock()
		s.stop()
		return
	}
}

// reachable reports whether the control socket's name still leads here. What cannot be
// told counts as so.
func (s *server) reachable() bool {
	now, err := os.Lstat(s.options.ControlSocket)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return os.SameFile(now, s.socket)
}

// listenControl replaces a socket that a dead switch left. The new one has its
// mode before it has its name.
func listenControl(path string) (net.Listener, error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(tmp, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		l.Close()
		os.Remove(tmp)
		return nil, fmt.Errorf("making the control socket: %w", err)
	}
	return l, nil
}

// leaseTaken has the leases saved soon.
func (s *server) leaseTaken() {
	s.saverMu.Lock()
	defer s.saverMu.Unlock()
	if s.saver == nil {
		s.saver = time.AfterFunc(leaseSaveDelay, s.flush)
	}
}

// flush saves the leases if any is new.
func (s *server) flush() {
	s.saverMu.Lock()
	due := s.saver != nil
	if due {
		s.saver.Stop()
		s.saver = nil
	}
	s.saverMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !due || s.stopped || s.state.Config == nil {
		return
	}
	s.state.Leases = s.fabric.Leases()
	if err := s.state.save(s.options.StateFile); err != nil {
		s.options.Logger.Error("saving leases", "error", err)
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/version", s.getVersion)
	mux.HandleFunc("GET /v1/status", s.getStatus)
	mux.HandleFunc("PUT /v1/config", s.putConfig)
	mux.HandleFunc("POST /v1/trace", s.postTrace)
	mux.HandleFunc("POST /v1/dial", s.postDial)
	if o, ok := s.fabric.(Opener); ok {
		mux.HandleFunc("POST /v1/attach", func(w http.ResponseWriter, r *http.Request) { postAttach(w, r, o) })
	}
	mux.HandleFunc("POST /v1/stop", s.postStop)
	return mux
}

type versionAnswer struct {
	Protocol int `json:"protocol"`
	PID      int `json:"pid"`
}

func (s *server) getVersion(w http.ResponseWriter, r *http.Request) {
	answer(w, versionAnswer{Protocol: protocol, PID: os.Getpid()})
	if r.URL.Query().Get("watch") == "" {
		return
	}
	http.NewResponseController(w).Flush()
	<-r.Context().Done() // the answer ends when the switch does
}

func (s *server) getStatus(w http.ResponseWriter, r *http.Request) {
	answer(w, s.fabric.Status(r.URL.Query()["interface"]...))
}

// putConfig makes the config real, then remembers it.
func (s *server) putConfig(w http.ResponseWriter, r *http.Request) {
	var c network.Config
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxConfigBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		http.Error(w, "reading the configuration: "+err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		http.Error(w, ErrStopped.Error(), http.StatusServiceUnavailable)
		return
	}
	if err := s.fabric.Apply(c); err != nil {
		status := http.StatusInternalServerError
		if bad := (*network.ConfigError)(nil); errors.As(err, &bad) {
			status = http.StatusBadRequest
		}
		http.Error(w, err.Error(), status)
		return
	}
	s.state.Config, s.state.Leases = &c, s.fabric.Leases()
	if err := s.state.save(s.options.StateFile); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// postTrace follows a packet.
func (s *server) postTrace(w http.ResponseWriter, r *http.Request) {
	var p network.Probe
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxProbeBytes)).Decode(&p); err != nil {
		http.Error(w, "reading the packet: "+err.Error(), http.StatusBadRequest)
		return
	}
	t, err := s.fabric.Trace(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	answer(w, t)
}

// postDial turns the control connection into one with the guest.
func (s *server) postDial(w http.ResponseWriter, r *http.Request) {
	port, err := strconv.ParseUint(r.URL.Query().Get("port"), 10, 16)
	if err != nil || port == 0 {
		http.Error(w, "port: want a number from 1 to 65535", http.StatusBadRequest)
		return
	}
	guest, err := s.fabric.Dial(r.Context(), r.URL.Query().Get("interface"), uint16(port))
	if err != nil {
		refuse(w, err)
		return
	}
	c, err := takeOver(w, nil)
	if err != nil {
		guest.Close()
		return
	}
	guest.Splice(c)
}

// postAttach answers with an open file.
func postAttach(w http.ResponseWriter, r *http.Request, o Opener) {
	f, err := o.Open(r.URL.Query().Get("interface"))
	if err != nil {
		refuse(w, err)
		return
	}
	defer f.Close()
	if c, err := takeOver(w, unix.UnixRights(int(f.Fd()))); err == nil {
		c.Close()
	}
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	if errors.Is(err, network.ErrNoSuchPort) {
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}

// takeOver makes the control connection one of its own, with a message beside
// the answer. The client sends nothing before it has this, so nothing is buffered.
func takeOver(w http.ResponseWriter, rights []byte) (*net.UnixConn, error) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, err
	}
	c := conn.(*net.UnixConn)
	_, _, err = c.WriteMsgUnix([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n"), rights, nil)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// postStop ends the switch for good: it will not come back as it was.
func (s *server) postStop(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if r.URL.Query().Get("keep") == "" {
		s.forGood = true
		if err := os.Remove(s.options.StateFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	answer(w, versionAnswer{Protocol: protocol, PID: os.Getpid()})
	s.stop()
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
