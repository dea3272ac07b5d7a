package user

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	ipv4proto "gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	ipv6proto "gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the one NIC of a VPC's stack. It writes to the guests' queues at once,
// in the stack's own goroutine: a queue never blocks, so there is nothing to
// wait for and no packet is copied twice.
type link struct {
	mtu        uint32
	output     func(pkt *stack.PacketBuffer)
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

var _ stack.LinkEndpoint = (*link)(nil)

// inject gives the stack a datagram; b may be reused afterwards.
func (l *link) inject(b []byte) {
	d := l.dispatcher.Load()
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	protocol := ipv4proto.ProtocolNumber
	if b[0]>>4 == 6 {
		protocol = ipv6proto.ProtocolNumber
	}
	(*d).DeliverNetworkPacket(protocol, pkt)
	pkt.DecRef()
}

func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		l.output(pkt)
	}
	return pkts.Len(), nil
}

func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

func (l *link) IsAttached() bool                        { return l.dispatcher.Load() != nil }
func (l *link) MTU() uint32                             { return l.mtu }
func (l *link) SetMTU(uint32)                           {} // a VPC with another MTU is another stack
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Wait()                                   {}
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// Capabilities: what a local socket brought is not damaged, so checksums need
// not be verified.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}
