package nettest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

// Card is where a guest's network card is attached to a datapath: to one wire
// after another.
type Card interface {
	// Attach waits for the next wire.
	Attach() (Wire, error)
	Close() error
}

// Wire carries Ethernet frames until it is closed, by either side.
type Wire interface {
	Receive() ([]byte, error)
	Send(frame []byte) error
	Close() error
}

// Socket is a card as QEMU's -netdev stream,server=on has it.
func Socket(t testing.TB, path string) Card {
	t.Helper()
	c, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ListenSocket is Socket for who is no test.
func ListenSocket(path string) (Card, error) {
	l, err := net.Listen("unix", path)
	return socket{l}, err
}

type socket struct{ net.Listener }

func (s socket) Attach() (Wire, error) {
	c, err := s.Accept()
	if err != nil {
		return nil, err
	}
	return &stream{Conn: c, r: bufio.NewReader(c)}, nil
}

// stream has each frame's length in front of it.
type stream struct {
	net.Conn
	r *bufio.Reader
}

func (s *stream) Receive() ([]byte, error) {
	var n uint32
	if err := binary.Read(s.r, binary.BigEndian, &n); err != nil {
		return nil, err
	}
	f := make([]byte, n)
	_, err := io.ReadFull(s.r, f)
	return f, err
}

func (s *stream) Send(frame []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
	_, err := s.Write(append(b, frame...))
	return err
}
