package user

import (
	"encoding/binary"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// inputARP answers a guest's ARP requests for the whole VPC. Guests never see
// each other's ARP, so none can be poisoned.
func (p *port) inputARP(a []byte) {
	const request = 1
	if len(a) < 28 || binary.BigEndian.Uint32(a) != 0x0001_0800 || binary.BigEndian.Uint16(a[4:]) != 0x0604 {
		return
	}
	sender, target := mapped(a[14:18]), mapped(a[24:28])
	if mac(a[8:14]) != p.mac || (!addr(sender).IsUnspecified() && !p.owns(sender)) {
		p.spoofed.Add(1)
		return
	}
	if binary.BigEndian.Uint16(a[6:]) != request || p.owns(target) {
		return // an answer nobody asked for, or the guest looks for its own address (RFC 5227)
	}
	owner, ok := p.resolve(target)
	if !ok {
		return
	}
	f := p.vpc.frames.get(p.mac, owner, etherARP, 28)
	b := f.payload()
	copy(b, []byte{0, 1, 8, 0, 6, 4, 0, 2})
	copy(b[8:], owner[:])
	copy(b[14:], a[24:28])
	copy(b[18:], p.mac[:])
	copy(b[24:], a[14:18])
	p.enqueue(f)
}

// resolve returns the link address behind which the guest finds target.
func (p *port) resolve(target address) (mac, bool) {
	if p.vpc.isService(target) {
		return gateway.HardwareAddr, true
	}
	if !p.vpc.contains(addr(target)) {
		return mac{}, false
	}
	if !p.onLink(addr(target)) {
		return gateway.HardwareAddr, true
	}
	if to := p.vpc.portOf(target); to != nil {
		return to.mac, true
	}
	return mac{}, false
}
