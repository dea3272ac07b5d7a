package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	goqmp "github.com/digitalocean/go-qemu/qmp"
)

// MaxMessage bounds one message from QEMU. The largest that QEMU is known to
// send, query-qmp-schema and query-named-block-nodes of a long chain, stay well
// below it; more than this is a broken or hostile peer.
const MaxMessage = 64 << 20

// ErrMessageTooLong: the peer sent a line longer than MaxMessage.
var ErrMessageTooLong = errors.New("QMP message too long")

// Error is QEMU's answer to a command that it refused.
type Error struct {
	Command string `json:"-"`
	Class   string `json:"class"` // "GenericError", "CommandNotFound", "DeviceNotFound", …
	Desc    string `json:"desc"`
}

func (e *Error) Error() string {
	if e.Command == "" {
		return e.Desc
	}
	return e.Command + ": " + e.Desc
}

// Event is an asynchronous message from QEMU.
type Event struct {
	Name string
	Data json.RawMessage // nil if the event has none
	Time time.Time       // QEMU's clock

	raw []byte
}

// message is any message from QEMU: a greeting, an answer or an event.
type message struct {
	Greeting *greeting       `json:"QMP"`
	ID       json.RawMessage `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *Error          `json:"error"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	Stamp    struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`

	raw []byte
}

type greeting struct {
	Version      goqmp.Version `json:"version"`
	Capabilities []string      `json:"capabilities"`
}

func (m *message) event() Event {
	e := Event{Name: m.Event, Data: m.Data, raw: m.raw}
	if m.Stamp.Seconds > 0 {
		e.Time = time.Unix(m.Stamp.Seconds, m.Stamp.Microseconds*1000)
	}
	return e
}

// decoder reads messages, one a line, each in memory of its own.
type decoder struct {
	r   *bufio.Reader
	max int
}

func newDecoder(r io.Reader) *decoder {
	return &decoder{r: bufio.NewReaderSize(r, 16<<10), max: MaxMessage}
}

// next returns the next message. Every error but io.EOF between messages means
// that the stream cannot be trusted any more.
func (d *decoder) next() (*message, error) {
	for {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		m := &message{raw: line}
		if err := json.Unmarshal(line, m); err != nil {
			return nil, fmt.Errorf("decoding QMP message: %w", err)
		}
		return m, nil
	}
}

func (d *decoder) line() ([]byte, error) {
	var line []byte
	for {
		part, err := d.r.ReadSlice('\n')
		if len(line)+len(part) > d.max {
			return nil, fmt.Errorf("%w: over %d bytes", ErrMessageTooLong, d.max)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}
