package gateway

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Lives of UDP flows, as EC2's connection tracking has them: seen in one
// direction, and in both.
const (
	LifeOnce   = 30 * time.Second
	LifeStream = 180 * time.Second
)

// publicUDP is an open UDP port of a public address. It keeps a flow with the
// guest for each client.
type publicUDP struct {
	port PublicPort
	conn *net.UDPConn
	at   netip.AddrPort

	mu    sync.Mutex
	flows map[netip.AddrPort]*publicFlow // by client
}

// publicFlow is a client's way to the guest.
type publicFlow struct {
	net.Conn
	answered atomic.Bool
}

// prolong gives the flow its life from now on.
func (f *publicFlow) prolong() {
	life := LifeOnce
	if f.answered.Load() {
		life = LifeStream
	}
	_ = f.SetReadDeadline(time.Now().Add(life))
}

// serve gives the guest the datagrams of each client until the port is closed.
func (u *publicUDP) serve() {
	defer u.endAll()
	buf := Buffers.Get().(*[]byte)
	defer Buffers.Put(buf)
	for {
		n, client, err := u.conn.ReadFromUDPAddrPort(*buf)
		if err != nil {
			return // it is closed: errors of single datagrams are not told to who is not connected
		}
		if guest := u.flow(netip.AddrPortFrom(client.Addr().Unmap(), client.Port())); guest != nil {
			guest.prolong()
			_, _ = guest.Write((*buf)[:n]) // what is lost is lost: it is UDP
		}
	}
}

// flow returns the client's, a new one if the rules allow; nil if they do not, or
// if the guest has too many open.
func (u *publicUDP) flow(client netip.AddrPort) *publicFlow {
	u.mu.Lock()
	defer u.mu.Unlock()
	if guest := u.flows[client]; guest != nil {
		return guest
	}
	c := u.port.Config()
	private, ok := c.behind(u.at.Addr())
	if !ok || !c.AllowClient(UDP, client, u.at.Port()) {
		return nil
	}
	from := client.Addr()
	if from.IsLoopback() { // which the guest could not answer
		from = Address(c.Subnet)
	}
	conn, err := u.port.DialGuestUDP(from, private, u.at.Port())
	if err != nil {
		return nil
	}
	guest := &publicFlow{Conn: conn}
	if !u.port.Conns().Add(guest) {
		guest.Close()
		return nil
	}
	u.flows[client] = guest
	go u.answer(client, guest)
	return guest
}

// answer gives a client the guest's datagrams until none has come for the life of
// the flow.
func (u *publicUDP) answer(client netip.AddrPort, guest *publicFlow) {
	defer u.end(client, guest)
	buf := Buffers.Get().(*[]byte)
	defer Buffers.Put(buf)
	for {
		n, err := guest.Read(*buf)
		if err != nil {
			return
		}
		if _, err := u.conn.WriteToUDPAddrPort((*buf)[:n], client); err != nil {
			return
		}
		guest.answered.Store(true)
		guest.prolong()
	}
}

func (u *publicUDP) end(client netip.AddrPort, guest *publicFlow) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.flows[client] == guest {
		delete(u.flows, client)
	}
	u.port.Conns().Remove(guest)
	guest.Close()
}

func (u *publicUDP) endAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, guest := range u.flows {
		guest.Close() // which ends its answers
	}
	clear(u.flows)
}
