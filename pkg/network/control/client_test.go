package control

import (
	"bufio"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A read whose wait ends without data, as Dial's does when its time is over, is an
// error and no panic.
func TestReadInVain(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if b, err := bufio.NewReader(&rights{conn: c}).ReadByte(); err == nil {
		t.Errorf("read %d of a silent connection", b)
	}
}
