package kernel_test

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/network/nettest"
)

// virtioHeader is in front of each frame of a tap.
const virtioHeader = 10

// card is a card on taps, opened one after another as machines do.
type card struct {
	open func() (*os.File, error)
	done chan struct{}
	once sync.Once
}

func newCard(open func() (*os.File, error)) *card {
	return &card{open: open, done: make(chan struct{})}
}

func (c *card) Attach() (nettest.Wire, error) {
	for {
		f, err := c.open()
		select {
		case <-c.done:
			if err == nil {
				f.Close()
			}
			return nil, os.ErrClosed
		default:
		}
		if err == nil {
			return &wire{file: f, buf: make([]byte, 1<<16)}, nil
		}
		select {
		case <-c.done:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *card) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

// wire is a tap that is open.
type wire struct {
	file *os.File
	buf  []byte
}

func (w *wire) Receive() ([]byte, error) {
	n, err := w.file.Read(w.buf)
	if err != nil {
		return nil, err
	}
	if n < virtioHeader {
		return nil, errors.New("a frame without its header")
	}
	return append([]byte(nil), w.buf[virtioHeader:n]...), nil
}

func (w *wire) Send(frame []byte) error {
	_, err := w.file.Write(append(make([]byte, virtioHeader, virtioHeader+len(frame)), frame...))
	return err
}

func (w *wire) Close() error { return w.file.Close() }
