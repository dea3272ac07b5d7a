package lan_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/lan"
)

const sandboxed = "LAN_SANDBOX"

// TestMain runs the tests in a network namespace of their own, as root.
func TestMain(m *testing.M) {
	if os.Getenv(sandboxed) == "" && os.Geteuid() == 0 {
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), sandboxed+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		if err == nil {
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, "no sandbox:", err) // in a container without the rights
	}
	os.Exit(m.Run())
}

func run(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
}

// network has the host at 192.0.2.1 of the interface "eth", and 192.0.2.2 beside it.
func network(t *testing.T) (beside func(argv ...string) (string, error)) {
	t.Helper()
	if os.Getenv(sandboxed) == "" {
		t.Skip("addresses of interfaces need root, and namespaces")
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = exec.Command("ip", "link", "del", "eth").Run() })
	pid := fmt.Sprint(cmd.Process.Pid)
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "link", "add", "eth", "type", "veth", "peer", "name", "eth", "netns", pid)
	run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "eth")
	run(t, "ip", "link", "set", "eth", "up")
	run(t, "ip", "route", "add", "default", "via", "192.0.2.254")
	beside = func(argv ...string) (string, error) {
		out, err := exec.Command("nsenter", append([]string{"-t", pid, "-n"}, argv...)...).CombinedOutput()
		return string(out), err
	}
	for _, argv := range []string{"ip address add 192.0.2.2/24 dev eth", "ip link set eth up"} {
		if out, err := beside(strings.Fields(argv)...); err != nil {
			t.Fatalf("%s: %v: %s", argv, err, out)
		}
	}
	return beside
}

func addresses(t *testing.T) string {
	t.Helper()
	ifi, err := net.InterfaceByName("eth")
	if err != nil {
		t.Fatal(err)
	}
	list, err := ifi.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range list {
		if a.(*net.IPNet).IP.To4() != nil {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, " ")
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestPreview(t *testing.T) {
	network(t)
	p, err := lan.Preview(t.Context(), "eth", addrs("192.0.2.50", "192.0.2.51"))
	if err != nil || !p.Default || len(p.Add) != 2 || len(p.Has) != 1 || p.Has[0].String() != "192.0.2.1/24" {
		t.Errorf("%+v, %v", p, err)
	}
	run(t, "ip", "address", "add", "192.0.2.9/32", "dev", "lo")
	t.Cleanup(func() { run(t, "ip", "address", "del", "192.0.2.9/32", "dev", "lo") })
	for what, tc := range map[string]struct {
		name  string
		addrs []netip.Addr
	}{
		"there is no interface":      {"none", addrs("192.0.2.50")},
		"is the loopback":            {"lo", addrs("127.0.0.5")},
		"in no IPv4 network":         {"eth", addrs("198.51.100.1")},
		"2001:db8::1 is in no":       {"eth", addrs("2001:db8::1")},
		"first or the last":          {"eth", addrs("192.0.2.255")},
		"192.0.2.0 is the first":     {"eth", addrs("192.0.2.0")},
		"the router of a route":      {"eth", addrs("192.0.2.254")},
		"192.0.2.1 is the host's":    {"eth", addrs("192.0.2.1")},
		"192.0.2.9 is the host's":    {"eth", addrs("192.0.2.9")}, // by another interface
		"which answers to it":        {"eth", addrs("192.0.2.50", "192.0.2.2")},
		"there twice":                {"eth", addrs("192.0.2.50", "192.0.2.50")},
		"0 addresses, not 1 to 256":  {"eth", nil},
		"257 addresses, not 1 to 25": {"eth", make([]netip.Addr, 257)},
	} {
		if _, err := lan.Preview(t.Context(), tc.name, tc.addrs); !errors.Is(err, lan.ErrRefused) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	run(t, "ip", "link", "set", "eth", "down")
	if _, err := lan.Preview(t.Context(), "eth", addrs("192.0.2.50")); !errors.Is(err, lan.ErrRefused) || !strings.Contains(err.Error(), "is down") {
		t.Errorf("of an interface that is down: %v", err)
	}
}

func TestTakeAndDrop(t *testing.T) {
	beside := network(t)
	before := addresses(t)
	two := addrs("192.0.2.50", "192.0.2.51")
	if err := lan.Take("eth", two, lan.Forever); err != nil {
		t.Fatal(err)
	}
	if got := addresses(t); got != before+" 192.0.2.50/32 192.0.2.51/32" {
		t.Errorf("the interface has %s", got)
	}
	l, err := net.Listen("tcp", "192.0.2.51:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if out, err := beside("timeout", "5", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.51/80"); err != nil {
		t.Errorf("it is not reached from beside: %v: %s", err, out)
	}
	if out, err := exec.Command("ip", "route", "get", "192.0.2.2").CombinedOutput(); err != nil || !strings.Contains(string(out), "src 192.0.2.1 ") {
		t.Errorf("the host speaks as %s, %v", out, err)
	}
	for range 2 {
		if err := lan.Drop("eth", two); err != nil {
			t.Fatal(err)
		}
		if got := addresses(t); got != before {
			t.Errorf("afterwards it has %s", got)
		}
	}
	if err := lan.Take("none", two, lan.Forever); err == nil {
		t.Error("an interface that is not there takes addresses")
	}
	if err := lan.Drop("none", two); err != nil {
		t.Error(err)
	}
}

// TestTrial: an address on trial goes by itself, and stays if it is kept in time.
func TestTrial(t *testing.T) {
	network(t)
	before := addresses(t)
	if err := errors.Join(lan.Take("eth", addrs("192.0.2.50"), time.Second), lan.Take("eth", addrs("192.0.2.51"), time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := lan.Take("eth", addrs("192.0.2.51"), lan.Forever); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); addresses(t) != before+" 192.0.2.51/32"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the interface has %s", addresses(t))
		}
	}
}
