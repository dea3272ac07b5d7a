package jsonapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/model"
)

// StreamProtocol is the Upgrade token of a connection to a guest's port. After
// the 101 answer both sides send bytes; each can close its direction alone.
const StreamProtocol = "bundt-stream"

// ConnectRequest is the input of Connect as authorisation sees it.
type ConnectRequest struct {
	InstanceID string
	Port       uint16
}

// connect joins the client to a port of a guest.
func (s *server) connect(w http.ResponseWriter, r *http.Request, call *api.Call) error {
	if s.options.Connect == nil {
		return model.Errorf(model.CodeUnsupportedOperation, "This daemon connects to no guests")
	}
	request, err := parseConnect(r)
	if err != nil {
		return err
	}
	call.Input = request
	return s.join(w, r, call, func(ctx context.Context) (net.Conn, error) {
		return s.options.Connect(ctx, request.InstanceID, request.Port)
	})
}

// SerialRequest is the input of ConnectSerial as authorisation sees it.
type SerialRequest struct{ InstanceID string }

// connectSerial joins the client to a guest's serial port.
func (s *server) connectSerial(w http.ResponseWriter, r *http.Request, call *api.Call) error {
	if s.options.Serial == nil {
		return model.Errorf(model.CodeUnsupportedOperation, "This daemon connects nobody to serial ports")
	}
	if err := checkUpgrade(r, "InstanceId"); err != nil {
		return err
	}
	request := &SerialRequest{r.URL.Query().Get("InstanceId")}
	call.Input = request
	return s.join(w, r, call, func(ctx context.Context) (net.Conn, error) { return s.options.Serial(ctx, request.InstanceID) })
}

// join makes a call that opens a connection, and joins the client to that.
func (s *server) join(w http.ResponseWriter, r *http.Request, call *api.Call, open func(context.Context) (net.Conn, error)) error {
	var guest net.Conn
	_, err := s.dispatcher.Do(r.Context(), call, func(ctx context.Context) (_ any, err error) {
		guest, err = open(ctx)
		return nil, err
	})
	if err != nil {
		return err
	}
	defer guest.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("taking over the connection: %w", err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Time{}) // the server's timeouts are for requests
	_, err = io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+StreamProtocol+
		"\r\n"+RequestIDHeader+": "+call.RequestID+"\r\n\r\n")
	if err != nil {
		return nil // the client is gone, and there is nobody to tell
	}
	splice(r.Context(), unread(client, buffered.Reader), guest)
	return nil
}

// checkUpgrade checks the header and the parameters, all of which are required, of a
// request for a byte stream.
func checkUpgrade(r *http.Request, parameters ...string) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), StreamProtocol) {
		return model.Errorf(model.CodeMalformedQueryString, "Connect needs the header Upgrade: %s", StreamProtocol)
	}
	query := r.URL.Query()
	for name, values := range query {
		if !slices.Contains(parameters, name) {
			return model.Errorf(model.CodeUnknownParameter, "The parameter %s is not recognized", name)
		}
		if len(values) > 1 {
			return model.Errorf(model.CodeInvalidParameterValue, "The parameter %s is given twice", name)
		}
	}
	for _, name := range parameters {
		if query.Get(name) == "" {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter %s", name)
		}
	}
	return nil
}

func parseConnect(r *http.Request) (*ConnectRequest, error) {
	if err := checkUpgrade(r, "InstanceId", "Port"); err != nil {
		return nil, err
	}
	id, number := r.URL.Query().Get("InstanceId"), r.URL.Query().Get("Port")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || port == 0 {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter Port is invalid. Expecting a port from 1 to 65535", number)
	}
	return &ConnectRequest{InstanceID: id, Port: uint16(port)}, nil
}

// hijackedConn is a connection of which the server has read some bytes already.
type hijackedConn struct {
	net.Conn
	r io.Reader
}

// unread returns a connection that starts with what the server's reader holds.
// Everything after that is read past the reader: at the end of what the client
// sends, it would cancel the request's context.
func unread(conn net.Conn, r *bufio.Reader) *hijackedConn {
	held, _ := r.Peek(r.Buffered()) // never more than there is
	return &hijackedConn{conn, io.MultiReader(bytes.NewReader(held), conn)}
}

func (c *hijackedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *hijackedConn) CloseWrite() error { return closeWrite(c.Conn) }

// closeWrite ends what c sends; other connections than TCP's, unix sockets' and
// TLS's can only be closed as a whole.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// splice copies both ways until both sides have sent everything, one fails, or
// ctx ends. The end of one direction is passed on, the other one goes on.
func splice(ctx context.Context, a, b net.Conn) {
	both := func() { _, _ = a.Close(), b.Close() }
	stop := context.AfterFunc(ctx, both)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyHalf(a, b, both)
	}()
	copyHalf(b, a, both)
	<-done
}

func copyHalf(to, from net.Conn, abort func()) {
	if _, err := io.Copy(to, from); err != nil && !errors.Is(err, net.ErrClosed) {
		abort()
		return
	}
	if closeWrite(to) != nil {
		abort()
	}
}
