package console

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// terminalPolicy lets the terminal's library set styles of its own making; scripts are
// held to this origin's files all the same.
var terminalPolicy = strings.Replace(policy, "style-src 'self'", "style-src 'self' 'unsafe-inline'", 1)

const (
	// terminalWindow is how many bytes of output a browser may have that it has not
	// drawn yet: more waits in the port's buffer, which does not grow.
	terminalWindow = 256 << 10
	terminalChunk  = 16 << 10
	// terminalCheck is how often it is looked whether who types still may.
	terminalCheck = 20 * time.Second
	ackPrefix     = "ack "
)

func (c *Console) terminalRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"instances/{id}/terminal", c.page(terminalPage))
	mux.HandleFunc("GET "+Path+"instances/{id}/serial", c.signedIn(c.serial))
}

func terminalPage(ctx context.Context, r *request) (*view, error) {
	i, err := findInstance(ctx, r, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if state := stateOf(i); state != "running" {
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance %s is %s: only a running one has a serial console", ec2types.Value(i.InstanceId), state)
	}
	return &view{
		Title: "Terminal", Section: "instances", Template: "terminal", Main: i, Still: true, Policy: terminalPolicy,
		Styles: []string{"xterm/xterm.css"}, Scripts: []string{"xterm/xterm.js", "terminal.js"},
	}, nil
}

// serialRequest is the input of ConnectSerial as authorisation and the audit log see it.
type serialRequest struct{ InstanceID string }

// serial joins a browser to an instance's serial port. Binary messages are what is
// typed and what the guest writes; the text message "ack N" says that N more bytes
// have been drawn. Requests from other sites' pages are refused by their Origin.
func (c *Console) serial(w http.ResponseWriter, r *request) {
	id := r.PathValue("id")
	var port net.Conn
	_, err := c.options.Dispatcher.Do(r.Context(), r.newCall("ConnectSerial", &serialRequest{id}), func(ctx context.Context) (_ any, err error) {
		port, err = c.options.Serial(ctx, id)
		return nil, err
	})
	if err != nil {
		e := c.public(err)
		http.Error(w, e.Message, api.HTTPStatus(e.Code))
		return
	}
	defer port.Close()
	ws, err := websocket.Accept(w, r.Request, nil)
	if err != nil {
		return // it has answered
	}
	defer func() { _ = ws.CloseNow() }()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	context.AfterFunc(ctx, func() { _ = port.Close() })
	go c.guard(ctx, r, cancel)
	t := &terminal{port: port, ws: ws}
	t.drawn = sync.NewCond(&t.mu)
	go func() {
		defer cancel()
		t.typed(ctx)
	}()
	t.show(ctx)
	_ = ws.Close(websocket.StatusNormalClosure, "the machine is no more") // it may be gone
}

// guard ends the connection of who may not be here any more.
func (c *Console) guard(ctx context.Context, r *request, cancel func()) {
	tick := time.NewTicker(terminalCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, _, ok := c.principal(r.Request); !ok {
				cancel()
				return
			}
		}
	}
}

// terminal is a browser's connection to a serial port.
type terminal struct {
	port net.Conn
	ws   *websocket.Conn

	mu    sync.Mutex
	drawn *sync.Cond
	ahead int // bytes that were sent and are not drawn
	ended bool
}

// show sends what the guest writes, as fast as it is drawn.
func (t *terminal) show(ctx context.Context) {
	buf := make([]byte, terminalChunk)
	for {
		n, err := t.port.Read(buf)
		if err != nil || !t.await(n) || t.ws.Write(ctx, websocket.MessageBinary, buf[:n]) != nil {
			return
		}
	}
}

// await waits until the browser has room for n bytes.
func (t *terminal) await(n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.ahead > terminalWindow && !t.ended {
		t.drawn.Wait()
	}
	t.ahead += n
	return !t.ended
}

// typed has the guest read what is typed, until the browser is gone.
func (t *terminal) typed(ctx context.Context) {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.ended = true
		t.drawn.Broadcast()
	}()
	for {
		kind, message, err := t.ws.Read(ctx)
		if err != nil {
			return
		}
		if kind == websocket.MessageBinary {
			if _, err := t.port.Write(message); err != nil {
				return
			}
			continue
		}
		text, _ := strings.CutPrefix(string(message), ackPrefix)
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return
		}
		t.mu.Lock()
		t.ahead = max(0, t.ahead-n)
		t.drawn.Broadcast()
		t.mu.Unlock()
	}
}
