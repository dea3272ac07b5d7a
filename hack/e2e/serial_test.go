//go:build vm

package e2e

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// TestSerialConsole types into a real guest's serial port, whose kernel echoes it, with
// the command line, over a daemon that is killed in between.
func TestSerialConsole(t *testing.T) {
	d := newDaemon(t)
	id := d.cli(t, "run", d.build(t, "tiny", "x86_64"), "--type", "b1.nano", "-o", "name")
	for _, word := range []string{"knock", "again"} {
		cmd := d.CLI(t.Context(), "serial", id)
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		_, err = io.WriteString(in, word+"\r")
		must(t, err)
		seen := make(chan []byte, 1)
		go func() {
			var all []byte
			b := make([]byte, 4<<10)
			for !bytes.Contains(all, []byte(word)) {
				n, err := out.Read(b)
				if all = append(all, b[:n]...); err != nil {
					break
				}
			}
			seen <- all
		}()
		select {
		case all := <-seen:
			if !bytes.Contains(all, []byte("[init ")) || !bytes.Contains(all, []byte(word)) {
				t.Errorf("after %q the serial console shows %q", word, all)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("%q is not echoed", word)
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		d.Kill()
		must(t, d.Start(t.Context()))
	}
	d.cli(t, "rm", id)
}
