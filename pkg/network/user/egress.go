package user

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/bundt/bundt/pkg/hostonly"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	maxConns      = 1024 // open for one guest, of any kind
	egressTimeout = 10 * time.Second
	interfacesTTL = time.Second
)

var errRefused = errors.New("destination is not for guests")

// egressPolicy knows the addresses of the host.
type egressPolicy struct {
	mu      sync.Mutex
	read    time.Time
	own     map[netip.Addr]bool
	failure error
}

// refuses says if no guest may reach dst through the host.
func (e *egressPolicy) refuses(dst netip.Addr) bool {
	return hostonly.Why(dst) != "" || e.ownAddress(dst)
}

// ownAddress: of an interface, or its broadcast address. When the interfaces
// cannot be read, every address may be the host's.
func (e *egressPolicy) ownAddress(dst netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.own == nil || time.Since(e.read) > interfacesTTL {
		e.own, e.failure = hostonly.Own()
		e.read = time.Now()
	}
	return e.failure != nil || e.own[dst]
}

// dialOutside opens a host socket to dst. A connected UDP socket tells the
// source address that the host's routes choose without a packet sent: it is dst
// itself exactly if dst is the host, by a route that no interface shows.
func (v *vpc) dialOutside(network string, dst netip.AddrPort) (net.Conn, error) {
	if v.contains(dst.Addr()) || v.shared.policy.refuses(dst.Addr()) {
		return nil, errRefused
	}
	probe, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(dst))
	if err != nil {
		return nil, err
	}
	if probe.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap() == dst.Addr() {
		probe.Close()
		return nil, errRefused
	}
	if network == "udp" {
		return probe, nil
	}
	probe.Close()
	return net.DialTimeout("tcp", dst.String(), egressTimeout)
}

// forwardTCP ends a guest's connection to the outside in a host socket. The
// guest's handshake completes only if the other side's did.
func (v *vpc) forwardTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	p := v.portOf(fromStackAddress(id.RemoteAddress))
	if p == nil || !p.dialing.Acquire() {
		r.Complete(true)
		return
	}
	out, err := v.dialOutside("tcp", netip.AddrPortFrom(addr(fromStackAddress(id.LocalAddress)), id.LocalPort))
	p.dialing.Release()
	if err != nil {
		r.Complete(true)
		return
	}
	var wq waiter.Queue
	ep, stackErr := r.CreateEndpoint(&wq)
	r.Complete(false)
	if stackErr != nil {
		out.Close()
		return
	}
	p.conns.Splice(gonet.NewTCPConn(&wq, ep), out.(*net.TCPConn))
}

// forwardUDP gives each of a guest's UDP flows to the outside a host socket. It
// runs in the goroutine that reads the guest's frames: it must not wait.
func (v *vpc) forwardUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	p := v.portOf(fromStackAddress(id.RemoteAddress))
	if p == nil {
		return true // dropped
	}
	out, err := v.dialOutside("udp", netip.AddrPortFrom(addr(fromStackAddress(id.LocalAddress)), id.LocalPort))
	if err != nil {
		return true
	}
	var wq waiter.Queue
	ep, stackErr := r.CreateEndpoint(&wq)
	if stackErr != nil {
		out.Close()
		return true
	}
	guest := gonet.NewUDPConn(&wq, ep)
	both := &gateway.Pair{A: guest, B: out}
	if !p.conns.Add(both) {
		both.Close()
		return true
	}
	go func() {
		defer p.conns.Remove(both)
		relayUDP(guest, out)
	}()
	return true
}

// relayUDP moves datagrams until none has come for the life of a flow.
func relayUDP(guest, out net.Conn) {
	var both sync.WaitGroup
	var mu sync.Mutex
	deadline := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		t := time.Now().Add(d)
		_ = guest.SetReadDeadline(t)
		_ = out.SetReadDeadline(t)
	}
	deadline(lifeOnce)
	move := func(dst, src net.Conn, life time.Duration) {
		defer both.Done()
		defer guest.Close()
		defer out.Close()
		buf := gateway.Buffers.Get().(*[]byte)
		defer gateway.Buffers.Put(buf)
		for {
			n, err := src.Read(*buf)
			if err != nil {
				return
			}
			if _, err := dst.Write((*buf)[:n]); err != nil {
				return
			}
			deadline(life)
		}
	}
	both.Add(2)
	go move(guest, out, lifeStream)
	move(out, guest, lifeOnce)
	both.Wait()
}
