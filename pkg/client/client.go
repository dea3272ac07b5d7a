// Package client is the Go client of bundt's API: one method per action, over
// the daemon's unix socket or HTTP(S). It has no state but idle connections and
// no timeouts but its callers' contexts. It imports pkg/api's types and pkg/model
// only.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/bundt/bundt/pkg/model"
)

// ErrUnreachable: nothing answers at the endpoint. Test with errors.Is.
var ErrUnreachable = errors.New("cannot reach bundtd")

// maxAnswer bounds what the client reads into memory of one answer or event.
const maxAnswer = 256 << 20

// Options of a Client.
type Options struct {
	// Endpoint is unix:///path/of/socket, http://host:port or https://host:port.
	Endpoint string
	// TLS configures https endpoints; nil uses the system's roots.
	TLS *tls.Config
	// Header is sent with each request, like Authorization; may be nil.
	Header http.Header
}

// Client calls the API of one daemon. It is safe for concurrent use.
type Client struct {
	endpoint string // as given
	base     *url.URL
	socket   string // path of the unix socket, "" for TCP
	tls      *tls.Config
	header   http.Header
	http     *http.Client
}

// New returns a client of the daemon at o.Endpoint. It makes no connection.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("parsing endpoint: %w", err)
	}
	c := &Client{endpoint: o.Endpoint, tls: o.TLS, header: o.Header}
	switch {
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		c.socket = u.Path
		c.base = &url.URL{Scheme: "http", Host: "bundtd"}
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.User == nil:
		c.base = &url.URL{Scheme: u.Scheme, Host: u.Host}
	default:
		return nil, fmt.Errorf("endpoint %q is not of the form unix:///path, http://host:port or https://host:port", o.Endpoint)
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext:       c.dial,
			TLSClientConfig:   o.TLS,
			ForceAttemptHTTP2: true,
		},
		// The API does not redirect; following one would send requests elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Endpoint returns the endpoint as it was given.
func (c *Client) Endpoint() string { return c.endpoint }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dial connects to the daemon, wherever the request says it goes.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.socket != "" {
		network, address = "unix", c.socket
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil && ctx.Err() == nil {
		return nil, c.unreachable(err)
	}
	return conn, err
}

// unreachable explains a connection that could not be made: both ErrUnreachable
// and a *model.Error with a hint are in its chain.
func (c *Client) unreachable(err error) error {
	cause := err
	if op, ok := errors.AsType[*net.OpError](err); ok {
		cause = op.Err // without repeating the address
	}
	e := model.Errorf(model.CodeServiceUnavailable, "cannot reach bundtd at %s: %v", c.endpoint, cause).
		WithHint("is it running? start it with `bundtd`")
	if errors.Is(err, syscall.EACCES) {
		e = e.WithHint("your user may not use the socket: join the group that owns it")
	}
	return &unreachableError{public: e, cause: err}
}

type unreachableError struct {
	public *model.Error
	cause  error
}

func (e *unreachableError) Error() string   { return e.public.Message }
func (e *unreachableError) Unwrap() []error { return []error{ErrUnreachable, e.public, e.cause} }

// newRequest makes a request to a path below /api/.
func (c *Client) newRequest(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath("api").String()+"/"+path, body)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r, nil
}

// send sends a request and returns the response if its status is 200, else the
// error in it. The caller closes the response's body.
func (c *Client) send(r *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		if cause := r.Context().Err(); cause != nil {
			return nil, cause
		}
		if u, ok := errors.AsType[*unreachableError](err); ok {
			return nil, u
		}
		// The URL of a unix socket's request means nothing to people.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, fmt.Errorf("talking to bundtd at %s: %w", c.endpoint, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, responseError(resp)
}

// wireError is the body of an error.
type wireError struct {
	Error struct{ Code, Message, Hint string }
}

func (w wireError) err() error {
	return &model.Error{Code: w.Error.Code, Message: w.Error.Message, Hint: w.Error.Hint}
}

func responseError(resp *http.Response) error {
	var w wireError
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(data, &w)
	}
	if err != nil || w.Error.Code == "" {
		return fmt.Errorf("bundtd answered %s and no error of its API: is the endpoint right?", resp.Status)
	}
	return w.err()
}

// Call calls an action: in is its input, out points to its output. The client
// has a method for each action; Call is for those that it does not know.
func (c *Client) Call(ctx context.Context, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding request of %s: %w", action, err)
	}
	if string(body) == "null" {
		body = []byte("{}")
	}
	return c.exchange(ctx, http.MethodPost, action, "application/json", bytes.NewReader(body), out)
}

// exchange sends a request and decodes the answer into out.
func (c *Client) exchange(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	r, err := c.newRequest(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	resp, err := c.send(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return cause
		}
		return fmt.Errorf("reading answer of bundtd: %w", err)
	}
	// Members that this client does not know are ignored: a newer daemon may send more.
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decoding answer of bundtd: %w", err)
	}
	return nil
}

func call[O any](ctx context.Context, c *Client, action string, in any) (*O, error) {
	out := new(O)
	if err := c.Call(ctx, action, in, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Version decodes the daemon's version information into out.
func (c *Client) Version(ctx context.Context, out any) error {
	return c.exchange(ctx, http.MethodGet, "version", "", nil, out)
}

// Upload sends a blob and returns its digest, "sha256:…".
func (c *Client) Upload(ctx context.Context, blob io.Reader) (digest string, err error) {
	var out struct{ Digest string }
	// The transport must not close a reader that the caller owns.
	if err := c.exchange(ctx, http.MethodPost, "upload", "application/octet-stream", struct{ io.Reader }{blob}, &out); err != nil {
		return "", err
	}
	return out.Digest, nil
}
