package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/jsonapi"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// daemon is a JSON API with a few actions, in place of bundtd.
type daemon struct {
	handler http.Handler
	blobs   [][]byte
	guest   string        // address that Connect dials
	watched chan struct{} // closed when the endless stream's handler has returned
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{watched: make(chan struct{})}
	table := api.NewTable()
	pager := api.NewPager([]byte("key"))
	api.Register(table, api.Action[ec2types.DescribeInstancesInput, ec2types.DescribeInstancesOutput]{
		Name: "DescribeInstances",
		Acts: []string{"MaxResults", "NextToken"},
		Handler: func(_ context.Context, in *ec2types.DescribeInstancesInput) (*ec2types.DescribeInstancesOutput, error) {
			var all []ec2types.Reservation
			for i := range 12 {
				all = append(all, ec2types.Reservation{ReservationId: new(fmt.Sprintf("r-%02d", i))})
			}
			req := api.PageRequest{Action: "DescribeInstances", NextToken: in.NextToken, MaxResults: in.MaxResults, Min: 5, Max: 1000}
			page, next, err := api.Paginate(pager, req, all, func(r ec2types.Reservation) string { return *r.ReservationId })
			return &ec2types.DescribeInstancesOutput{Reservations: page, NextToken: next}, err
		},
	})
	api.Register(table, api.Action[ec2types.TerminateInstancesInput, ec2types.TerminateInstancesOutput]{
		Name: "TerminateInstances",
		Acts: []string{"InstanceIds"},
		Handler: func(ctx context.Context, in *ec2types.TerminateInstancesInput) (*ec2types.TerminateInstancesOutput, error) {
			if in.InstanceIds[0] == "i-slow" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, model.Errorf(model.CodeInstanceIDNotFound, "no such instance").WithHint("look again")
		},
	})
	api.RegisterStream(table, api.Stream[bundttypes.WatchBuildInput, bundttypes.Build]{Name: "WatchBuild", Acts: []string{"BuildId"}, Handler: d.watch})
	dispatcher, err := api.NewDispatcher(table, api.Options{Authorize: func(context.Context, *api.Call) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	d.handler, err = jsonapi.Handler(dispatcher, jsonapi.Options{
		Authenticate: func(*http.Request) (api.Principal, error) { return api.Principal{Name: "test"}, nil },
		Uploads:      jsonapi.UploadFunc(d.upload),
		Connect:      d.connect,
		Version:      map[string]string{"Version": "v1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *daemon) watch(ctx context.Context, in *bundttypes.WatchBuildInput, send func(bundttypes.Build) error) error {
	for _, state := range []string{"pending", "running"} {
		if err := send(bundttypes.Build{BuildId: *in.BuildId, State: state}); err != nil {
			return err
		}
	}
	switch *in.BuildId {
	case "build-fails":
		return model.Errorf(model.CodeInvalidRecipe, "no flour").WithHint("buy some")
	case "build-endless":
		<-ctx.Done()
		close(d.watched)
		return ctx.Err()
	}
	return send(bundttypes.Build{BuildId: *in.BuildId, State: "available"})
}

func (d *daemon) upload(_ context.Context, blob io.Reader) (string, int64, error) {
	data, err := io.ReadAll(blob)
	if err != nil {
		return "", 0, err
	}
	d.blobs = append(d.blobs, data)
	return digest(data), int64(len(data)), nil
}

func (d *daemon) connect(ctx context.Context, instanceID string, port uint16) (net.Conn, error) {
	if instanceID != "i-1" || port != 22 {
		return nil, model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is not in a state from which it can be connected to", instanceID)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", d.guest)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// serveUnix serves on a unix socket and returns a client of it.
func (d *daemon) serveUnix(t *testing.T) *client.Client {
	t.Helper()
	c, _ := d.serve(t)
	return c
}

// serve is serveUnix that also returns what ends the context of all requests.
func (d *daemon) serve(t *testing.T) (c *client.Client, shutdown func()) {
	t.Helper()
	socket := filepath.Join(shortTempDir(t), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: d.handler, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { cancel(); _ = server.Close() })
	return newClient(t, client.Options{Endpoint: "unix://" + socket}), cancel
}

// serveTLS serves with TLS and returns a client of it.
func (d *daemon) serveTLS(t *testing.T) *client.Client {
	t.Helper()
	server := httptest.NewTLSServer(d.handler)
	t.Cleanup(server.Close)
	return newClient(t, client.Options{Endpoint: server.URL, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig})
}

func newClient(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// shortTempDir is a directory whose path leaves room for a socket's name.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bundt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// overEach runs a test over each kind of endpoint.
func overEach(t *testing.T, test func(t *testing.T, d *daemon, c *client.Client)) {
	for name, serve := range map[string]func(*daemon, *testing.T) *client.Client{"unix": (*daemon).serveUnix, "tls": (*daemon).serveTLS} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t)
			test(t, d, serve(d, t))
		})
	}
}

func TestCalls(t *testing.T) {
	overEach(t, func(t *testing.T, _ *daemon, c *client.Client) {
		ctx := t.Context()
		out, err := c.DescribeInstances(ctx, nil)
		if err != nil || len(out.Reservations) != 12 {
			t.Fatalf("DescribeInstances: %+v, %v", out, err)
		}
		_, err = c.TerminateInstances(ctx, &ec2types.TerminateInstancesInput{InstanceIds: []string{"i-absent"}})
		e, ok := errors.AsType[*model.Error](err)
		if !ok || *e != (model.Error{Code: model.CodeInstanceIDNotFound, Message: "no such instance", Hint: "look again"}) {
			t.Errorf("TerminateInstances: %v", err)
		}
		if _, err := c.DescribeImages(ctx, &ec2types.DescribeImagesInput{}); model.CodeOf(err) != model.CodeUnsupportedOperation {
			t.Errorf("an action of EC2 that the daemon does not have: %v", err)
		}
		var version struct{ Version string }
		if err := c.Version(ctx, &version); err != nil || version.Version != "v1" {
			t.Errorf("Version: %+v, %v", version, err)
		}
	})
}

func TestPages(t *testing.T) {
	c := newDaemon(t).serveUnix(t)
	var sizes []int
	for page, err := range c.DescribeInstancesPages(t.Context(), &ec2types.DescribeInstancesInput{MaxResults: new(int32(5))}) {
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.Reservations))
	}
	if !slices.Equal(sizes, []int{5, 5, 2}) {
		t.Errorf("pages of %v", sizes)
	}
	for page, err := range c.DescribeInstancesPages(t.Context(), &ec2types.DescribeInstancesInput{MaxResults: new(int32(1))}) {
		if page != nil || model.CodeOf(err) != model.CodeInvalidParameterValue {
			t.Errorf("got %v, %v", page, err)
		}
	}
}

func TestUpload(t *testing.T) {
	overEach(t, func(t *testing.T, d *daemon, c *client.Client) {
		blob := bytes.Repeat([]byte("flour"), 1<<20)
		got, err := c.Upload(t.Context(), bytes.NewReader(blob))
		if err != nil || got != digest(blob) || len(d.blobs) != 1 || !bytes.Equal(d.blobs[0], blob) {
			t.Fatalf("digest %q, %v", got, err)
		}
		broken := io.MultiReader(bytes.NewReader(blob), failingReader{})
		if _, err := c.Upload(t.Context(), broken); err == nil || len(d.blobs) != 1 {
			t.Errorf("an upload that broke off was kept: %v", err)
		}
	})
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestStream(t *testing.T) {
	overEach(t, func(t *testing.T, d *daemon, c *client.Client) {
		watch := func(id string, events int) (states []string, last error) {
			for build, err := range c.WatchBuild(t.Context(), &bundttypes.WatchBuildInput{BuildId: &id}) {
				if err != nil {
					return states, err
				}
				if states = append(states, build.State); len(states) == events {
					break
				}
			}
			return states, nil
		}
		if states, err := watch("build-1", 0); err != nil || strings.Join(states, " ") != "pending running available" {
			t.Errorf("got %v, %v", states, err)
		}
		if states, err := watch("build-fails", 0); model.CodeOf(err) != model.CodeInvalidRecipe || len(states) != 2 {
			t.Errorf("got %v, %v", states, err)
		}
		if states, err := watch("", 0); model.CodeOf(err) != model.CodeMissingParameter || states != nil {
			t.Errorf("got %v, %v", states, err)
		}
		if states, err := watch("build-endless", 2); err != nil || len(states) != 2 {
			t.Errorf("got %v, %v", states, err)
		}
		select { // leaving the loop ended the call
		case <-d.watched:
		case <-time.After(5 * time.Second):
			t.Error("the daemon's stream goes on without a client")
		}
	})
}

// TestConnectHalfClose has a guest that answers only once it has heard everything.
func TestConnectHalfClose(t *testing.T) {
	overEach(t, func(t *testing.T, d *daemon, c *client.Client) {
		d.guest = serveGuest(t, func(conn *net.TCPConn) {
			heard, err := io.ReadAll(conn)
			_, _ = fmt.Fprintf(conn, "%s %v", digest(heard), err)
		})
		conn, err := c.Connect(t.Context(), "i-1", 22)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		said := bytes.Repeat([]byte("x"), 3<<20)
		if _, err := conn.Write(said); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || string(answer) != digest(said)+" <nil>" {
			t.Errorf("got %q, %v", answer, err)
		}
	})
}

// TestConnectGuestCloses has a guest that ends its side first and listens on.
func TestConnectGuestCloses(t *testing.T) {
	overEach(t, func(t *testing.T, d *daemon, c *client.Client) {
		heard := make(chan string, 1)
		d.guest = serveGuest(t, func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, "SSH-2.0-bundt")
			_ = conn.CloseWrite()
			all, _ := io.ReadAll(conn)
			heard <- string(all)
		})
		conn, err := c.Connect(t.Context(), "i-1", 22)
		if err != nil {
			t.Fatal(err)
		}
		banner, err := io.ReadAll(conn)
		if err != nil || string(banner) != "SSH-2.0-bundt" {
			t.Errorf("got %q, %v", banner, err)
		}
		if _, err := io.WriteString(conn, "still here"); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
		select {
		case all := <-heard:
			if all != "still here" {
				t.Errorf("the guest heard %q", all)
			}
		case <-time.After(5 * time.Second):
			t.Error("the guest's connection stays open after the client's has closed")
		}
	})
}

func TestConnectErrors(t *testing.T) {
	overEach(t, func(t *testing.T, _ *daemon, c *client.Client) {
		if _, err := c.Connect(t.Context(), "i-stopped", 22); model.CodeOf(err) != model.CodeIncorrectInstanceState {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Connect(ctx, "i-1", 22); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestShutdown ends connections and streams, which http.Server does not wait for.
func TestShutdown(t *testing.T) {
	d := newDaemon(t)
	c, shutdown := d.serve(t)
	guestDone := make(chan struct{})
	d.guest = serveGuest(t, func(conn *net.TCPConn) {
		_, _ = io.Copy(io.Discard, conn)
		close(guestDone)
	})
	conn, err := c.Connect(t.Context(), "i-1", 22)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var last error
	for build, err := range c.WatchBuild(t.Context(), &bundttypes.WatchBuildInput{BuildId: new("build-endless")}) {
		if last = err; err == nil && build.State == "running" {
			shutdown()
		}
	}
	if model.CodeOf(last) != model.CodeServiceUnavailable {
		t.Errorf("the stream ended with %v", last)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client's connection goes on: %v", err)
	}
	select {
	case <-guestDone:
	case <-time.After(5 * time.Second):
		t.Error("the guest's connection goes on")
	}
}

// serveGuest is a guest's port: it serves each connection and closes it.
func serveGuest(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			}()
		}
	}()
	return listener.Addr().String()
}

func TestUnreachable(t *testing.T) {
	gone := filepath.Join(shortTempDir(t), "gone")
	for _, endpoint := range []string{"unix://" + gone, "http://127.0.0.1:1"} {
		c := newClient(t, client.Options{Endpoint: endpoint})
		_, called := c.DescribeInstances(t.Context(), nil)
		_, connected := c.Connect(t.Context(), "i-1", 22)
		_, uploaded := c.Upload(t.Context(), strings.NewReader("x"))
		for what, err := range map[string]error{"call": called, "connect": connected, "upload": uploaded} {
			e, ok := errors.AsType[*model.Error](err)
			if !errors.Is(err, client.ErrUnreachable) || !ok || e.Hint == "" || !strings.Contains(err.Error(), endpoint) {
				t.Errorf("%s of %s: %v", what, endpoint, err)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	c := newDaemon(t).serveUnix(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.TerminateInstances(ctx, &ec2types.TerminateInstancesInput{InstanceIds: []string{"i-slow"}})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestNotADaemon(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, err := newClient(t, client.Options{Endpoint: server.URL}).DescribeInstances(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "endpoint") {
		t.Errorf("got %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"unix:///run/bundt.sock": true, "http://localhost:8773": true, "https://bundt.example/": true,
		"": false, "/run/bundt.sock": false, "unix://run/bundt.sock": false, "ftp://x": false, "http://": false,
		"http://x/path": false, "http://user:pass@x": false,
	} {
		if _, err := client.New(client.Options{Endpoint: endpoint}); (err == nil) != ok {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}
