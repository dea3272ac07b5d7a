package cloud

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// nodesFor are the nodes that can run guests of an architecture.
func nodesFor(tx *store.Tx, arch model.Arch) ([]model.Node, error) {
	nodes, err := records.Nodes.List(tx)
	if err != nil {
		return nil, err
	}
	nodes = slices.DeleteFunc(nodes, func(n model.Node) bool { return !slices.Contains(n.Archs, arch) })
	if len(nodes) == 0 {
		return nil, model.Errorf(model.CodeUnsupported, "no node of this cloud can run %s guests", arch).
			WithHint("bundt doctor says which emulator is missing and how to install it")
	}
	return nodes, nil
}

// macFor derives a locally administered unicast address from an interface's id.
func macFor(id string) string {
	sum := sha256.Sum256([]byte(id))
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}.String()
}

// reserve takes a free address of a pool. Like EC2 it starts anywhere; the first
// four addresses and the last stay free, as in every EC2 subnet.
func reserve(tx *store.Tx, pool string, cidr netip.Prefix, interfaceID string) (netip.Addr, error) {
	size := int64(1) << (cidr.Addr().BitLen() - cidr.Bits())
	usable := size - 5
	if usable < 1 {
		return netip.Addr{}, fmt.Errorf("reserving an address: pool %s (%s) is too small", pool, cidr)
	}
	first, err := rand.Int(rand.Reader, big.NewInt(usable))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reserving an address: %w", err)
	}
	for k := range usable {
		ip := addrAt(cidr, 4+(first.Int64()+k)%usable)
		taken, err := records.Addresses.Exists(tx, records.AddressKey(pool, ip.String()))
		if err != nil {
			return netip.Addr{}, err
		}
		if !taken {
			return ip, records.Addresses.Put(tx, &records.Address{Pool: pool, IP: ip.String(), InterfaceID: interfaceID})
		}
	}
	return netip.Addr{}, model.Errorf(noAddressCode(pool), "There are no free addresses left in %s", cidr)
}

// noAddressCode is EC2's error code for a pool without a free address.
func noAddressCode(pool string) string {
	if pool == records.PublicPool {
		return "InsufficientAddressCapacity"
	}
	return "InsufficientFreeAddressesInSubnet"
}

func addrAt(cidr netip.Prefix, n int64) netip.Addr {
	b := cidr.Masked().Addr().As4()
	v := int64(b[0])<<24 | int64(b[1])<<16 | int64(b[2])<<8 | int64(b[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
