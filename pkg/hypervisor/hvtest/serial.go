package hvtest

import (
	"errors"
	"io"
	"testing"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// serialPort has two look at a machine's serial port: both see what it wrote before, and
// both are told of its end.
func (s *suite) serialPort(t *testing.T, d hypervisor.Driver) {
	ctx := t.Context()
	port := d.(hypervisor.SerialPort)
	spec := s.Spec(t, "i-0000000000000000d")
	if _, err := port.SerialPort(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotFound) {
		t.Errorf("serial port of an absent machine: %v", err)
	}
	s.start(t, d, spec)
	s.console(t, d, spec.ID, 1)
	was, err := d.(hypervisor.Console).ConsoleOutput(ctx, spec.ID, 64)
	if err != nil || len(was) == 0 {
		t.Fatalf("the console has %q: %v", was, err)
	}
	ended := make(chan error, 2)
	for range 2 {
		conn, err := port.SerialPort(ctx, spec.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		seen := make([]byte, len(was))
		if _, err := io.ReadFull(conn, seen); err != nil {
			t.Fatalf("reading what the guest wrote before: %v", err)
		}
		if _, err := conn.Write([]byte("typed\r")); err != nil {
			t.Fatalf("typing: %v", err)
		}
		go func() {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
	}
	if err := d.Kill(ctx, spec.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("the connection ended with %v", err)
		}
	}
	if _, err := port.SerialPort(ctx, spec.ID); !errors.Is(err, hypervisor.ErrNotRunning) {
		t.Errorf("serial port of a stopped machine: %v", err)
	}
}
