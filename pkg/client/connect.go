package client

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const streamProtocol = "bundt-stream"

// Conn is a connection to a port of a guest. Each direction can be closed alone.
type Conn struct {
	net.Conn
	r *bufio.Reader // may hold bytes that came with the answer
}

// Read reads what the guest sent.
func (c *Conn) Read(p []byte) (int, error) { return c.r.Read(p) }

// CloseWrite tells the guest that nothing more comes; reading goes on.
func (c *Conn) CloseWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// Connect opens a connection to a TCP port of an instance, through the daemon
// and the instance's private address. ctx bounds the opening only.
func (c *Client) Connect(ctx context.Context, instanceID string, port uint16) (*Conn, error) {
	return c.join(ctx, "Connect", url.Values{"InstanceId": {instanceID}, "Port": {strconv.Itoa(int(port))}})
}

// ConnectSerial joins the serial port of an instance, which others may have joined, too.
// ctx bounds the opening only.
func (c *Client) ConnectSerial(ctx context.Context, instanceID string) (*Conn, error) {
	return c.join(ctx, "ConnectSerial", url.Values{"InstanceId": {instanceID}})
}

// join asks for a byte stream.
func (c *Client) join(ctx context.Context, what string, query url.Values) (*Conn, error) {
	r, err := c.newRequest(ctx, http.MethodPost, what+"?"+query.Encode(), "", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", streamProtocol)
	conn, err := c.dialSecure(ctx)
	if err != nil {
		return nil, err
	}
	upgraded, err := upgrade(ctx, conn, r)
	if err != nil {
		_ = conn.Close()
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	return upgraded, nil
}

// dialSecure connects to the daemon, with TLS if the endpoint says so.
func (c *Client) dialSecure(ctx context.Context) (net.Conn, error) {
	host, port := c.base.Hostname(), c.base.Port()
	secure := c.base.Scheme == "https"
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[secure]
	}
	conn, err := c.dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil || !secure {
		return conn, err
	}
	config := new(tls.Config)
	if c.tls != nil {
		config = c.tls.Clone()
	}
	config.ServerName = cmp.Or(config.ServerName, host)
	config.NextProtos = nil // an upgrade needs HTTP/1.1
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("talking to bundtd at %s: %w", c.endpoint, err)
	}
	return secured, nil
}

// upgrade sends the request and takes the connection over if the answer is 101.
func upgrade(ctx context.Context, conn net.Conn, r *http.Request) (*Conn, error) {
	// A past deadline wakes reads and writes when ctx ends.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := r.Write(conn); err != nil {
		return nil, fmt.Errorf("sending request to bundtd: %w", err)
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, r)
	if err != nil {
		return nil, fmt.Errorf("reading answer of bundtd: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, responseError(resp)
	}
	if !stop() {
		return nil, ctx.Err() // the deadline may be set already
	}
	return &Conn{conn, reader}, nil
}
