package instance

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

const logInterval = 300 * time.Millisecond

// LogsOptions are the inputs of "logs".
type LogsOptions struct {
	Factory  *factory.Factory
	Instance string
	Follow   bool
	Raw      bool
}

// NewLogsCommand returns the command "logs".
func NewLogsCommand(f *factory.Factory, run func(context.Context, *LogsOptions) error) *cobra.Command {
	o := &LogsOptions{Factory: f}
	if run == nil {
		run = logs
	}
	cmd := &cobra.Command{
		Use:     "logs INSTANCE",
		Aliases: []string{"console-output"},
		Short:   "Print what an instance wrote to its serial console",
		Long: `Print the last 64 KiB that an instance wrote to its serial console.

On a terminal, control characters other than line ends, tabs and colours are left
out: guests are not trusted with your terminal. --raw prints everything.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Instances(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instance = args[0]
			return failure.Wrap(run(cmd.Context(), o), "read the console of", o.Instance)
		},
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on printing what is written, until the instance is terminated")
	cmd.Flags().BoolVar(&o.Raw, "raw", false, "print every byte as it is, even on a terminal")
	return cmd
}

func logs(ctx context.Context, o *LogsOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	id, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	w := o.Factory.IO.Out
	if o.Factory.IO.OutIsTerminal() && !o.Raw {
		w = &terminalFilter{w: w}
	}
	var printed []byte
	for {
		text, err := console(ctx, c, id)
		if err != nil {
			return err
		}
		if _, err := w.Write(unprinted(printed, text)); err != nil {
			return fmt.Errorf("writing output: %w", err)
		}
		printed = text
		if !o.Follow || over(ctx, c, id) {
			return nil
		}
		select {
		case <-ctx.Done():
			return failure.Silent{Code: failure.Interrupted}
		case <-time.After(logInterval):
		}
	}
}

func console(ctx context.Context, c *client.Client, id string) ([]byte, error) {
	out, err := c.GetConsoleOutput(ctx, &ec2types.GetConsoleOutputInput{InstanceId: &id, Latest: new(true)})
	if err != nil {
		return nil, err
	}
	text, err := base64.StdEncoding.DecodeString(ec2types.Value(out.Output))
	if err != nil {
		return nil, fmt.Errorf("reading the daemon's answer: %w", err)
	}
	return text, nil
}

func over(ctx context.Context, c *client.Client, id string) bool {
	found, err := resolve.InstancesByID(ctx, c, []string{id})
	return err == nil && len(found) == 1 && resolve.State(found[0]) == string(model.InstanceTerminated)
}

// unprinted returns what text, a window on the end of an output that grows, has
// beyond the window before. When the windows do not touch, all of text is new.
func unprinted(before, text []byte) []byte {
	if bytes.HasPrefix(text, before) {
		return text[len(before):]
	}
	// The window has moved on: find where the end of the last one is now.
	const enough = 512
	mark := before[max(0, len(before)-enough):]
	if i := bytes.LastIndex(text, mark); i >= 0 {
		return text[i+len(mark):]
	}
	return text
}

// terminalFilter passes text, line ends, tabs and colours on, and nothing else
// that a terminal would obey.
type terminalFilter struct {
	w      io.Writer
	escape []byte // an escape sequence that has not ended
}

// Write implements io.Writer.
func (t *terminalFilter) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p))
	for _, b := range p {
		switch {
		case len(t.escape) > 0:
			out = t.inEscape(out, b)
		case b == 0x1b:
			t.escape = append(t.escape, b)
		case b == '\n' || b == '\r' || b == '\t' || b >= 0x20 && b != 0x7f:
			out = append(out, b)
		}
	}
	if _, err := t.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// inEscape takes one more byte of an escape sequence: CSI parameters and their
// final byte. Only SGR ("m": colours) is passed on.
func (t *terminalFilter) inEscape(out []byte, b byte) []byte {
	const longest = 32
	t.escape = append(t.escape, b)
	switch {
	case len(t.escape) == 2 && b == '[':
		return out
	case len(t.escape) > 2 && (b >= '0' && b <= '9' || b == ';') && len(t.escape) < longest:
		return out
	case len(t.escape) > 2 && b == 'm':
		out = append(out, t.escape...)
	case b == '\n':
		out = append(out, b)
	}
	t.escape = t.escape[:0]
	return out
}
