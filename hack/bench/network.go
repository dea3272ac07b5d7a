package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/kernel"
	"github.com/bundt/bundt/pkg/network/nettest"
)

const (
	flowFrames = 320 * flowWindow
	flowWindow = 64 // frames on their way: less than any queue holds
	flowBytes  = 1400
	manyRules  = 10_000
)

// wire is a network card without a guest.
type wire interface {
	send(frame []byte) error
	receive() error // one frame
	Close() error
}

// lab is one datapath with two cards in a VPC.
type lab struct {
	name   string
	dir    string // short: unix sockets' paths are
	client *control.Client
	config network.Config
	open   func(ctx context.Context, p network.Port) (wire, error)
	card   func(ctx context.Context, p network.Port) (nettest.Card, error)
}

// networks are N1 to N5, for each datapath: a flow between two guests of a
// VPC against the least that moves the same frames; the change of one of 10,000
// rules against that of one of ten; a VPC with two guests made and taken away, in
// the kernel against the userspace.
func (b *bench) networks(ctx context.Context, _ string) (err error) {
	labs, err := b.labs()
	defer func() {
		for _, l := range labs {
			err = errors.Join(err, l.client.Stop(context.WithoutCancel(ctx)), os.RemoveAll(l.dir))
		}
	}()
	if err != nil {
		return err
	}
	var made [][]float64
	for _, l := range labs {
		floor := relay
		if l.name == "kernel" {
			floor = bareTaps
		}
		if err := b.flow(ctx, l, floor); err != nil {
			return fmt.Errorf("%s network: %w", l.name, err)
		}
		if err := b.rules(ctx, l); err != nil {
			return fmt.Errorf("%s network: %w", l.name, err)
		}
		t, err := b.comeAndGo(ctx, l)
		if err != nil {
			return fmt.Errorf("%s network: %w", l.name, err)
		}
		made = append(made, t)
	}
	if err := b.traffic(ctx, labs); err != nil {
		return err
	}
	if len(made) > 1 {
		b.add("N3", "a VPC with two interfaces comes and goes: kernel network / user", 20, made[1], made[0])
	}
	return nil
}

// comeAndGo is N3.
func (b *bench) comeAndGo(ctx context.Context, l *lab) (took []float64, err error) {
	for range 3 * b.rounds {
		t, err := timed(func() error {
			return errors.Join(l.client.Apply(ctx, network.Config{}), l.client.Apply(ctx, l.config))
		})
		if err != nil {
			return nil, err
		}
		took = append(took, t)
	}
	return took, nil
}

func (b *bench) labs() ([]*lab, error) {
	var labs []*lab
	start := func(name string, more ...string) (*lab, error) {
		dir, err := os.MkdirTemp("", "bundt-net-")
		if err != nil {
			return nil, err
		}
		o := control.Options{ControlSocket: filepath.Join(dir, "c"), StateFile: filepath.Join(dir, "s"), LogFile: filepath.Join(b.dir, name+".log")}
		bundtd, err := filepath.Abs(filepath.Join("bin", "bundtd"))
		if err != nil {
			return nil, err
		}
		o.Command = append([]string{bundtd, "switch", "--control", o.ControlSocket, "--state", o.StateFile}, more...)
		client, err := control.NewClient(o)
		l := &lab{name: name, dir: dir, client: client}
		prefix := netip.MustParsePrefix("10.0.0.0/16")
		l.config.VPCs = []network.VPC{{ID: "vpc-1", CIDR: prefix, Subnets: []network.Subnet{{ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.1.0/24")}}}}
		all := []network.Rule{{Protocol: "-1", Peers: []netip.Prefix{prefix}}}
		for i := range 2 {
			l.config.Ports = append(l.config.Ports, network.Port{
				ID: fmt.Sprintf("eni-%d", i), VPCID: "vpc-1", SubnetID: "subnet-1", MAC: flowMAC(i).String(),
				PrivateIP: flowIP(i), Ingress: all, Egress: all,
			})
			if name == "user" {
				l.config.Ports[i].Socket = filepath.Join(dir, fmt.Sprint(i))
			}
		}
		return l, err
	}
	user, err := start("user")
	if err != nil {
		return nil, err
	}
	user.open = func(_ context.Context, p network.Port) (wire, error) { return listenWire(p.Socket) }
	user.card = func(_ context.Context, p network.Port) (nettest.Card, error) { return nettest.ListenSocket(p.Socket) }
	labs = append(labs, user)
	if problem := kernel.Problem(); problem != "" {
		fmt.Fprintln(os.Stderr, "bench: no kernel network to measure:", problem)
		return labs, nil
	}
	err = errors.Join(os.MkdirAll(kernel.DefaultNamespaces, 0o755), syscall.Mount("none", kernel.DefaultNamespaces, "tmpfs", 0, "")) // this namespace's own
	if err != nil {
		return labs, err
	}
	taps, err := start("kernel", "--kernel", "benchnet")
	if err != nil {
		return labs, err
	}
	taps.open = func(ctx context.Context, p network.Port) (wire, error) {
		f, err := control.Attacher{Client: taps.client}.Attach(ctx, p.ID)
		return newTapWire(f), err
	}
	taps.card = func(ctx context.Context, p network.Port) (nettest.Card, error) {
		f, err := control.Attacher{Client: taps.client}.Attach(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		return newTapCard(f), nil
	}
	return append(labs, taps), nil
}

func flowMAC(i int) net.HardwareAddr { return net.HardwareAddr{0x0a, 0, 0, 0, 0, byte(i + 1)} }
func flowIP(i int) netip.Addr        { return netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)}) }

// flow is N1. The floor moves the same frames with no rules at all.
func (b *bench) flow(ctx context.Context, l *lab, floor func(dir string) (from, to wire, done func(), err error)) error {
	if err := l.client.Apply(ctx, l.config); err != nil {
		return err
	}
	from, err := l.open(ctx, l.config.Ports[0])
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := l.open(ctx, l.config.Ports[1])
	if err != nil {
		return err
	}
	defer to.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := l.client.Status(ctx)
		if err != nil {
			return err
		}
		if s.Ports["eni-0"].Connected && s.Ports["eni-1"].Connected {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("the cards are not attached")
		}
	}
	bareFrom, bareTo, done, err := floor(b.dir)
	if err != nil {
		return err
	}
	defer done()
	for _, m := range [][2]wire{{from, to}, {bareFrom, bareTo}} {
		if err := warm(m[0], m[1]); err != nil {
			return err
		}
	}
	var ours, bare []float64
	for range b.rounds {
		for _, m := range []struct {
			from, to wire
			into     *[]float64
		}{{from, to, &ours}, {bareFrom, bareTo, &bare}} {
			t, err := timed(func() error { return pump(m.from, m.to) })
			if err != nil {
				return err
			}
			*m.into = append(*m.into, t)
		}
	}
	what := map[string]string{"user": "a relay of frames", "kernel": "two bare taps"}[l.name]
	b.add("N1", fmt.Sprintf("%s network: %d frames, guest to guest / %s", l.name, flowFrames, what), 2, ours, bare)
	return nil
}

func flowFrame() []byte {
	return nettest.UDPFrame(flowMAC(0), flowMAC(1), flowIP(0), flowIP(1), 1, 2, make([]byte, flowBytes))
}

// warm sends frames until one comes through: the kernel starts a device's queue
// a moment after somebody has it open.
func warm(from, to wire) error {
	arrived := make(chan error, 1)
	go func() { arrived <- to.receive() }()
	for {
		if err := from.send(flowFrame()); err != nil {
			return err
		}
		select {
		case err := <-arrived:
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// pump sends the flow's frames, a window at a time.
func pump(from, to wire) error {
	frame := flowFrame()
	for sent := 0; sent < flowFrames; sent += flowWindow {
		failed := make(chan error, 1)
		go func() {
			for range flowWindow {
				if err := from.send(frame); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
		for range flowWindow {
			if err := to.receive(); err != nil {
				return err
			}
		}
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

// rules is N2: one rule of many changes.
func (b *bench) rules(ctx context.Context, l *lab) error {
	change := func(n int, port uint16) error {
		c := l.config
		c.Ports = append([]network.Port(nil), c.Ports...)
		rules := make([]network.Rule, n)
		for i := range rules {
			rules[i] = network.Rule{
				Protocol: "tcp", FromPort: uint16(i%100) + 1000, ToPort: uint16(i%100) + 1000,
				Peers: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)},
			}
		}
		rules[n/2].FromPort, rules[n/2].ToPort = port, port
		c.Ports[1].Ingress = rules
		return l.client.Apply(ctx, c)
	}
	var many, few []float64
	if err := change(manyRules, 1); err != nil {
		return err
	}
	for i := range b.rounds {
		t, err := timed(func() error { return change(manyRules, uint16(i+2)) })
		if err != nil {
			return err
		}
		many = append(many, t)
	}
	for i := range b.rounds {
		t, err := timed(func() error { return change(10, uint16(i+2)) })
		if err != nil {
			return err
		}
		few = append(few, t)
	}
	b.add("N2", fmt.Sprintf("%s network: one of %d rules changes / one of 10", l.name, manyRules), 100, many, few)
	return l.client.Apply(ctx, l.config)
}

// streamWire is a card as QEMU's stream sockets are: each frame's length first.
type streamWire struct {
	l net.Listener
	c net.Conn
	r *bufio.Reader
	b []byte
}

// listenWire plays QEMU at a socket; the switch connects to it.
func listenWire(path string) (*streamWire, error) {
	l, err := net.Listen("unix", path)
	return &streamWire{l: l}, err
}

func (w *streamWire) conn() (err error) {
	if w.c == nil {
		if w.c, err = w.l.Accept(); err == nil {
			w.r = bufio.NewReaderSize(w.c, 1<<16)
		}
	}
	return err
}

func (w *streamWire) send(frame []byte) error {
	if err := w.conn(); err != nil {
		return err
	}
	w.b = append(binary.BigEndian.AppendUint32(w.b[:0], uint32(len(frame))), frame...)
	_, err := w.c.Write(w.b)
	return err
}

func (w *streamWire) receive() error {
	if err := w.conn(); err != nil {
		return err
	}
	var head [4]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, w.r, int64(binary.BigEndian.Uint32(head[:])))
	return err
}

func (w *streamWire) Close() error {
	if w.c != nil {
		w.c.Close()
	}
	return w.l.Close()
}

// relay is the floor of the userspace network: what one socket brings goes to
// the other.
func relay(dir string) (from, to wire, done func(), err error) {
	var ends [2]*streamWire
	var conns [2]net.Conn
	for i := range ends {
		path := filepath.Join(dir, fmt.Sprintf("relay%d", i))
		if ends[i], err = listenWire(path); err != nil {
			return nil, nil, nil, err
		}
		if conns[i], err = net.Dial("unix", path); err != nil {
			return nil, nil, nil, err
		}
	}
	go func() {
		_, _ = io.Copy(struct{ io.Writer }{conns[1]}, struct{ io.Reader }{bufio.NewReaderSize(conns[0], 1<<16)})
	}()
	return ends[0], ends[1], func() {
		for i := range ends {
			conns[i].Close()
			ends[i].Close()
		}
	}, nil
}

// tapWire is an open tap with the header of virtio in front of frames.
type tapWire struct {
	f *os.File
	b []byte
}

const virtioHeader = 10

func newTapWire(f *os.File) *tapWire { return &tapWire{f: f, b: make([]byte, 1<<16)} }

func (w *tapWire) send(frame []byte) error {
	_, err := w.f.Write(append(make([]byte, virtioHeader, virtioHeader+len(frame)), frame...))
	return err
}

// receive takes a frame of the flow; the kernel has some of its own to send.
func (w *tapWire) receive() error {
	for {
		if err := w.f.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		n, err := w.f.Read(w.b)
		if err != nil || n >= virtioHeader+flowBytes {
			return err
		}
	}
}

func (w *tapWire) Close() error { return w.f.Close() }

// bareTaps is the floor of the kernel's network: two taps and a route between.
func bareTaps(string) (from, to wire, done func(), err error) {
	var files [2]*os.File
	for i := range files {
		name := fmt.Sprintf("bare%d", i)
		var link netlink.Link
		if files[i], link, err = openTap(name); err != nil {
			return nil, nil, nil, err
		}
		// The flow's frames have the receiver's address on them, as among neighbours.
		hw := flowMAC(1)
		if i == 1 {
			hw = net.HardwareAddr{0x0a, 0, 0, 0, 0, 9}
		}
		index, ip := link.Attrs().Index, net.IP(flowIP(i).AsSlice())
		err = errors.Join(
			netlink.LinkSetHardwareAddr(link, hw), netlink.LinkSetUp(link),
			netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: flowMAC(i)}),
			netlink.RouteReplace(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}}),
			os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/forwarding", []byte("1"), 0),
		)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("setting up a tap: %w", err)
		}
	}
	return newTapWire(files[0]), newTapWire(files[1]), func() { files[0].Close(); files[1].Close() }, nil
}

// openTap makes a tap device that ends with its file.
func openTap(name string) (*os.File, netlink.Link, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	f := os.NewFile(uintptr(fd), name) // what is no device yet cannot be polled
	var link netlink.Link
	if err == nil {
		link, err = netlink.LinkByName(name)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("making a tap: %w", err)
	}
	return f, link, nil
}
