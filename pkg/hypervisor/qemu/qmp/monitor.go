package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	goqmp "github.com/digitalocean/go-qemu/qmp"
)

// Monitor returns the client as a monitor of go-qemu, whose commands, which take
// no context, end with ctx. Disconnect leaves the client open: it stays its owner's.
func (c *Client) Monitor(ctx context.Context) goqmp.Monitor {
	return &monitor{client: c, ctx: ctx}
}

// monitor carries a context because go-qemu's interface has no place for one.
type monitor struct {
	client *Client
	ctx    context.Context
}

var _ goqmp.Monitor = (*monitor)(nil)

// Connect reports whether the client is still connected.
func (m *monitor) Connect() error { return m.client.Err() }

// Disconnect does nothing: the client may be in use elsewhere.
func (m *monitor) Disconnect() error { return nil }

// Run sends a command as JSON and returns QEMU's whole answer.
func (m *monitor) Run(command []byte) ([]byte, error) {
	var in struct {
		Execute   string          `json:"execute"`
		OOB       string          `json:"exec-oob"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := json.Unmarshal(command, &in); err != nil {
		return nil, fmt.Errorf("decoding command: %w", err)
	}
	r := request{verb: "execute", command: in.Execute}
	if in.OOB != "" {
		r.verb, r.command = "exec-oob", in.OOB
	}
	if r.command == "" {
		return nil, errors.New("the command has no name")
	}
	if len(in.Arguments) > 0 && string(in.Arguments) != "null" {
		r.args = in.Arguments
	}
	answer, err := m.client.roundTrip(m.ctx, r)
	if err != nil {
		return nil, err
	}
	return answer.raw, nil
}

// Events delivers events until ctx or the monitor's own context ends. A reader
// that stalls loses the oldest events, never the connection.
func (m *monitor) Events(ctx context.Context) (<-chan goqmp.Event, error) {
	if err := m.client.Err(); err != nil {
		return nil, err
	}
	s := m.client.Subscribe()
	out := make(chan goqmp.Event)
	go func() {
		defer close(out)
		defer s.Close()
		for {
			var e Event
			var ok bool
			select {
			case e, ok = <-s.C():
			case <-ctx.Done():
				return
			case <-m.ctx.Done():
				return
			}
			if !ok {
				return
			}
			var ge goqmp.Event
			if json.Unmarshal(e.raw, &ge) != nil {
				continue
			}
			select {
			case out <- ge:
			case <-ctx.Done():
				return
			case <-m.ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
