package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// ForwardOptions are the inputs of "forward".
type ForwardOptions struct {
	Factory  *factory.Factory
	Instance string
	Ports    []string
	Stdio    bool
}

// NewForwardCommand returns the command "forward".
func NewForwardCommand(f *factory.Factory, run func(context.Context, *ForwardOptions) error) *cobra.Command {
	o := &ForwardOptions{Factory: f}
	if run == nil {
		run = forward
	}
	cmd := &cobra.Command{
		Use:   "forward INSTANCE [[ADDRESS:]LOCAL:]REMOTE…",
		Short: "Forward local ports to ports of an instance",
		Long: `Listen on local ports and forward each connection to a port of an instance,
through the daemon, until interrupted. Prints a line "ADDRESS:LOCAL REMOTE" for
each when it listens.

ADDRESS is 127.0.0.1 unless given. LOCAL is REMOTE unless given; 0 takes any free
port. --stdio connects this program's own standard input and output to one port:
it is what bundt ssh gives ssh as its ProxyCommand.`,
		Example: `  bundt forward web 8080:80
  bundt forward db 5432 127.0.0.2:0:9187
  ssh -o ProxyCommand='bundt forward --stdio web 22' root@web`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: complete.First(complete.Instances(f, model.InstanceRunning)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instance, o.Ports = args[0], args[1:]
			return failure.Wrap(run(cmd.Context(), o), "forward to", o.Instance)
		},
	}
	cmd.Flags().BoolVar(&o.Stdio, "stdio", false, "connect standard input and output to the one port given")
	return cmd
}

// mapping is one local address and the port of the instance behind it.
type mapping struct {
	address string
	remote  uint16
}

func forward(ctx context.Context, o *ForwardOptions) error {
	var mappings []mapping
	for _, p := range o.Ports {
		m, err := parseMapping(p)
		if err != nil {
			return err
		}
		mappings = append(mappings, m)
	}
	if o.Stdio && len(mappings) != 1 {
		return failure.Usagef("--stdio connects to one port, not %d", len(mappings))
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	id, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	if o.Stdio {
		return stdio(ctx, o, c, id, mappings[0].remote)
	}
	return serve(ctx, o, c, id, mappings)
}

func parseMapping(text string) (mapping, error) {
	remote := text
	host, local := "127.0.0.1", ""
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		remote, local = text[i+1:], text[:i]
		if j := strings.LastIndexByte(local, ':'); j >= 0 {
			host, local = strings.Trim(local[:j], "[]"), local[j+1:]
		}
	}
	port, err := strconv.ParseUint(remote, 10, 16)
	if err != nil || port == 0 {
		return mapping{}, failure.Usagef("%q is not of the form [[ADDRESS:]LOCAL:]REMOTE: %q is no port", text, remote)
	}
	if local == "" {
		local = remote
	}
	if _, err := strconv.ParseUint(local, 10, 16); err != nil {
		return mapping{}, failure.Usagef("%q is not of the form [[ADDRESS:]LOCAL:]REMOTE: %q is no port", text, local)
	}
	return mapping{net.JoinHostPort(host, local), uint16(port)}, nil
}

func stdio(ctx context.Context, o *ForwardOptions, c *client.Client, id string, port uint16) error {
	conn, err := c.Connect(ctx, id, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		_, _ = io.Copy(conn, o.Factory.IO.In)
		_ = conn.CloseWrite()
	}()
	// The guest's side decides when it is over; our input may stay open for ever.
	_, err = io.Copy(o.Factory.IO.Out, conn)
	return err
}

func serve(ctx context.Context, o *ForwardOptions, c *client.Client, id string, mappings []mapping) error {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	// All of them, or none: what is half there misleads.
	for _, m := range mappings {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", m.address)
		if err != nil {
			if errors.Is(err, os.ErrPermission) {
				return failure.WithHint(err, "ports below 1024 need a privilege; choose another: %d:%d", 8000+m.remote%1000, m.remote)
			}
			return err
		}
		listeners = append(listeners, l)
	}
	var running sync.WaitGroup
	for i, l := range listeners {
		fmt.Fprintf(o.Factory.IO.Out, "%s %d\n", l.Addr(), mappings[i].remote)
		running.Go(func() { accept(ctx, o, c, id, l, mappings[i].remote) })
	}
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close()
	}
	running.Wait()
	return failure.Silent{Code: failure.Interrupted}
}

// accept forwards connections until the listener is closed, then waits for those
// that are left to end, which the end of ctx makes them do.
func accept(ctx context.Context, o *ForwardOptions, c *client.Client, id string, l net.Listener, port uint16) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		local, err := l.Accept()
		if err != nil {
			return
		}
		running.Go(func() {
			defer local.Close()
			remote, err := c.Connect(ctx, id, port)
			if err != nil {
				if ctx.Err() == nil {
					failure.Print(o.Factory.IO.Err, failure.Wrap(err, "connect to", fmt.Sprintf("port %d of %s", port, id)))
				}
				return
			}
			defer remote.Close()
			stop := context.AfterFunc(ctx, func() { _, _ = local.Close(), remote.Close() })
			defer stop()
			splice(local.(*net.TCPConn), remote)
		})
	}
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// splice copies both ways until both sides have said all. An end of one direction
// is passed on as such: protocols live on after it.
func splice(a, b halfCloser) {
	var both sync.WaitGroup
	oneWay := func(to, from halfCloser) {
		_, err := io.Copy(to, from)
		if err != nil {
			// Nobody listens any more: end the other direction too.
			_, _ = to.Close(), from.Close()
			return
		}
		_ = to.CloseWrite()
	}
	both.Go(func() { oneWay(a, b) })
	both.Go(func() { oneWay(b, a) })
	both.Wait()
}
