package kernel

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/bundt/bundt/pkg/network/gateway"
)

// family is what the rules of IPv4 and IPv6 differ in.
type family struct {
	table                    nftables.TableFamily
	length                   uint32 // of an address, in bytes
	source, destination      uint32 // where they are in the header
	icmp, echo               byte   // the protocol's number, and the request's type
	addresses                nftables.SetDatatype
	ports, protocols         nftables.SetDatatype
	metadata, linkLocalNames netip.Addr
}

var ipv4Family = newFamily(family{
	table: nftables.TableFamilyIPv4, length: 4, source: 12, destination: 16, icmp: gateway.ICMP, echo: 8,
	addresses: nftables.TypeIPAddr, metadata: gateway.MetadataAddr, linkLocalNames: gateway.NamesAddr,
})

var ipv6Family = newFamily(family{
	table: nftables.TableFamilyIPv6, length: 16, source: 8, destination: 24, icmp: gateway.ICMPv6, echo: 128,
	addresses: nftables.TypeIP6Addr, metadata: gateway.MetadataAddrV6, linkLocalNames: gateway.NamesAddrV6,
})

func newFamily(f family) *family {
	f.ports = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService, f.addresses)
	f.protocols = nftables.MustConcatSetType(nftables.TypeInetProto, f.addresses)
	return &f
}

func (f *family) has(a netip.Addr) bool { return a.Is4() == (f.length == 4) }

// of are the addresses of the family among them.
func (f *family) of(in []netip.Addr) (out []netip.Addr) {
	for _, a := range in {
		if f.has(a) {
			out = append(out, a)
		}
	}
	return out
}

// from and to load the packet's addresses.
func (f *family) from(register uint32) expr.Any {
	return payload(expr.PayloadBaseNetworkHeader, f.source, f.length, register)
}

func (f *family) to(register uint32) expr.Any {
	return payload(expr.PayloadBaseNetworkHeader, f.destination, f.length, register)
}

// between compares the address in reg0 with a block.
func between(b block) []expr.Any {
	return []expr.Any{compare(expr.CmpOpGte, reg0, b.from.AsSlice()...), compare(expr.CmpOpLte, reg0, b.to.AsSlice()...)}
}

// mask clears what is behind a prefix of so many bits.
func (f *family) mask(register uint32, bits int) expr.Any {
	mask := make([]byte, f.length)
	for i := range bits {
		mask[i/8] |= 1 << (7 - i%8)
	}
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: f.length, Mask: mask, Xor: make([]byte, f.length)}
}
