package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
)

const (
	agentChardev = "agent"
	// syncTime: an agent that runs answers its first command within it.
	syncTime = time.Second
	// freezeTime: how long a guest may take to write its caches out.
	freezeTime = 10 * time.Second
	thawTime   = 10 * time.Second
	// agentMessage bounds an answer of the guest, which is not to be trusted.
	agentMessage = 1 << 20
)

// agent is a connection to the guest agent.
// https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
type agent struct {
	conn net.Conn
	r    *bufio.Reader
}

// agentListens asks QEMU whether the guest has opened the agent's port.
func agentListens(ctx context.Context, client *qmp.Client) bool {
	var chardevs []struct {
		Label string `json:"label"`
		Open  bool   `json:"frontend-open"`
	}
	if client.Execute(ctx, "query-chardev", nil, &chardevs) != nil {
		return false
	}
	for _, c := range chardevs {
		if c.Label == agentChardev {
			return c.Open
		}
	}
	return false
}

// dialAgent connects and throws away what an earlier connection left unread.
func dialAgent(ctx context.Context, path string) (*agent, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connecting to the guest agent: %w", err)
	}
	a := &agent{conn: conn, r: bufio.NewReader(conn)}
	if err := a.sync(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return a, nil
}

func (a *agent) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	id := rand.Int64N(1 << 53)
	// The agent precedes its answer by 0xff, which nothing else contains.
	if err := a.send(ctx, "\xff", "guest-sync-delimited", map[string]any{"id": id}); err != nil {
		return err
	}
	for {
		line, err := a.line()
		if err != nil {
			return fmt.Errorf("synchronising with the guest agent: %w", err)
		}
		var answer struct {
			Return *int64 `json:"return"`
		}
		if i := bytes.LastIndexByte(line, 0xff); i >= 0 {
			line = line[i+1:]
		}
		if json.Unmarshal(line, &answer) == nil && answer.Return != nil && *answer.Return == id {
			return nil
		}
	}
}

func (a *agent) send(ctx context.Context, prefix, command string, args any) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(freezeTime)
	}
	if err := a.conn.SetDeadline(deadline); err != nil {
		return err
	}
	m := map[string]any{"execute": command}
	if args != nil {
		m["arguments"] = args
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = a.conn.Write([]byte(prefix + string(text) + "\n"))
	return err
}

func (a *agent) line() ([]byte, error) {
	var line []byte
	for {
		part, err := a.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > agentMessage {
			return nil, errors.New("the guest agent's answer is too long")
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// count runs a command that answers with a number.
func (a *agent) count(ctx context.Context, command string) (int, error) {
	if err := a.send(ctx, "", command, nil); err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	line, err := a.line()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	var answer struct {
		Return int        `json:"return"`
		Error  *qmp.Error `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return 0, fmt.Errorf("%s: %w", command, err)
	}
	if answer.Error != nil {
		answer.Error.Command = command
		return 0, answer.Error
	}
	return answer.Return, nil
}

// freeze freezes the guest's filesystems if its agent answers. Its thaw is
// always to be called, and says itself what it could not do.
func (m *machine) freeze(ctx context.Context, client *qmp.Client) (frozen bool, thaw func()) {
	nothing := func() {}
	if !agentListens(ctx, client) {
		return false, nothing
	}
	a, err := dialAgent(ctx, m.paths.Agent())
	if err != nil {
		m.driver.log.Info("snapshot without the guest agent", "machine", m.id, "error", err)
		return false, nothing
	}
	// From here on the guest may be frozen, whatever we hear; also if we are
	// killed, so that the next driver thaws it.
	if err := os.WriteFile(m.paths.frozen(), nil, 0o600); err != nil {
		_ = a.conn.Close()
		m.driver.log.Warn("snapshot without freezing", "machine", m.id, "error", err)
		return false, nothing
	}
	fctx, cancel := context.WithTimeout(ctx, freezeTime)
	defer cancel()
	n, err := a.count(fctx, "guest-fsfreeze-freeze")
	if err != nil {
		m.driver.log.Warn("freezing a guest's filesystems", "machine", m.id, "error", err)
	}
	return err == nil && n > 0, func() {
		_ = a.conn.Close()
		m.thaw()
	}
}

// thaw unfreezes the guest. It keeps trying in the background if the guest does
// not answer.
func (m *machine) thaw() {
	if err := m.tryThaw(); err == nil {
		return
	}
	m.driver.wg.Go(func() {
		for range 6 {
			err := m.tryThaw()
			if err == nil || m.current() == nil {
				return
			}
			m.driver.log.Error("thawing a guest's filesystems", "machine", m.id, "error", err)
			select {
			case <-time.After(time.Second):
			case <-m.driver.ctx.Done():
				return
			}
		}
	})
}

// tryThaw uses a connection of its own: the last one may have an answer left.
func (m *machine) tryThaw() error {
	ctx, cancel := context.WithTimeout(m.driver.ctx, thawTime)
	defer cancel()
	a, err := dialAgent(ctx, m.paths.Agent())
	if err != nil {
		return err
	}
	defer a.conn.Close()
	if _, err := a.count(ctx, "guest-fsfreeze-thaw"); err != nil {
		return err
	}
	return os.Remove(m.paths.frozen())
}

// thawIfLeft thaws a guest that an earlier driver froze and could not thaw.
func (m *machine) thawIfLeft(client *qmp.Client) {
	if _, err := os.Stat(m.paths.frozen()); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(m.driver.ctx, commandTime)
	defer cancel()
	if !agentListens(ctx, client) {
		_ = os.Remove(m.paths.frozen())
		return
	}
	m.driver.wg.Go(m.thaw)
}
