package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// detachKey is Ctrl-], as in telnet and virsh.
const detachKey = 0x1d

// SerialOptions are the inputs of "serial".
type SerialOptions struct {
	Factory  *factory.Factory
	Instance string
}

// NewSerialCommand returns the command "serial".
func NewSerialCommand(f *factory.Factory, run func(context.Context, *SerialOptions) error) *cobra.Command {
	o := &SerialOptions{Factory: f}
	if run == nil {
		run = serial
	}
	return &cobra.Command{
		Use:   "serial INSTANCE",
		Short: "Use the serial console of an instance",
		Long: `Connect the terminal to the serial port of a running instance: first what the guest has written
lately is shown, then what it writes, and what is typed the guest reads. Several people can be
connected at once, and see the same. Ctrl-] leaves; the guest does not notice.

It works without a network in the guest. What the guest offers there is the guest's business: most
images have a login prompt, for which a user needs a password.`,
		Example: `  bundt serial web
  echo reboot | bundt serial rescue`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Instances(f, model.InstanceRunning)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instance = args[0]
			return failure.Wrap(run(cmd.Context(), o), "use the serial console of", o.Instance)
		},
	}
}

func serial(ctx context.Context, o *SerialOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	id, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	conn, err := c.ConnectSerial(ctx, id)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	streams := o.Factory.IO
	in, terminal := streams.In.(*os.File)
	if terminal = terminal && streams.InIsTerminal(); terminal {
		fmt.Fprintf(streams.Err, "connected to %s; Ctrl-] leaves\r\n", o.Instance)
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return fmt.Errorf("setting up the terminal: %w", err)
		}
		defer func() {
			_ = term.Restore(int(in.Fd()), before)
			fmt.Fprintln(streams.Err)
		}()
	}
	go typeInto(conn, streams.In, terminal)
	_, err = io.Copy(streams.Out, conn)
	if errors.Is(err, net.ErrClosed) { // somebody left
		err = ctx.Err()
	}
	return err
}

// typeInto sends what is typed, and hangs up at the detach key. What comes from a
// file has no such key: at its end one goes on looking.
func typeInto(conn net.Conn, from io.Reader, terminal bool) {
	typed := make([]byte, 1024)
	for {
		n, err := from.Read(typed)
		text := typed[:n]
		leave := bytes.IndexByte(text, detachKey)
		if terminal && leave >= 0 {
			text = text[:leave]
		}
		if _, werr := conn.Write(text); werr != nil {
			return
		}
		if terminal && (leave >= 0 || err != nil) {
			_ = conn.Close()
			return
		}
		if err != nil {
			return
		}
	}
}
