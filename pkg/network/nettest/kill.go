package nettest

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// KillSwitch kills the switch's process that answers at the control socket, and
// waits until it was started again.
func KillSwitch(t *testing.T, controlSocket string) {
	t.Helper()
	pid, err := askPID(controlSocket)
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the switch is started again", func() bool {
		now, err := askPID(controlSocket)
		return err == nil && now != pid
	})
}

func askPID(socket string) (int, error) {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	resp, err := c.Get("http://switch/v1/version")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var v struct{ PID int }
	return v.PID, json.NewDecoder(resp.Body).Decode(&v)
}
