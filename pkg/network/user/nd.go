package user

import (
	"net/netip"
	"time"

	"github.com/bundt/bundt/pkg/network/gateway"
)

const advertisingInterval = 5 * time.Minute

// inputND answers neighbour discovery and says if the packet was of that. Reports
// of multicast listeners (MLD) need no answer: nothing is sent to groups.
func (p *port) inputND(pkt *packet) bool {
	if pkt.proto != protoICMPv6 || pkt.offset > 0 {
		return false
	}
	b := pkt.b[pkt.headerLen:]
	switch {
	case b[0] == 130 || b[0] == 131 || b[0] == 132 || b[0] == 143:
		return true
	case !gateway.IsND(b[0]):
		return false
	}
	if pkt.more || pkt.headerLen != ipv6Size || pkt.b[7] != gateway.HopLimitND || b[1] != 0 {
		return true // RFC 6980, RFC 4861
	}
	answer, forged := gateway.AnswerND(p.vpc.config.Load(), p.Config(), addr(pkt.src), b, func(a netip.Addr) (mac, bool) { return p.resolve(a.As16()) })
	if forged {
		p.spoofed.Add(1)
	}
	p.sendV6(answer)
	return true
}

// advertiseSometimes renews what the guest knows before its lifetime ends, and
// tells guests of IPv6 that their subnet got while they ran.
func (p *port) advertiseSometimes() {
	if p.connected.Load() && p.Config().SubnetV6.IsValid() && time.Since(unixNano(p.advertised.Load())) > advertisingInterval {
		p.advertised.Store(time.Now().UnixNano())
		p.sendV6(gateway.Advertisement(p.vpc.config.Load(), p.Config()))
	}
}

// sendV6 sends the guest a packet of its router's; nil is none.
func (p *port) sendV6(pkt *gateway.PacketV6) {
	if pkt == nil {
		return
	}
	if f := p.vpc.frames.get(pkt.To, pkt.By, etherIPv6, len(pkt.B)); f != nil {
		copy(f.payload(), pkt.B)
		p.enqueue(f)
	}
}
