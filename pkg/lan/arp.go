package lan

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
)

// Of asking and telling the network, as RFC 5227 has it.
const (
	etherARP      = 0x0806
	probes        = 3
	probePause    = 300 * time.Millisecond
	announcements = 2
	arpBytes      = 28
)

var everybody = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// request asks who has an address, in the name of a sender: nobody to probe, the
// address itself to announce it.
func request(hw net.HardwareAddr, sender, target netip.Addr) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, hw...)
	b = append(append(b, sender.AsSlice()...), make([]byte, 6)...)
	return append(b, target.AsSlice()...)
}

func open(link netlink.Link) (*packet.Conn, error) {
	ifi, err := net.InterfaceByIndex(link.Attrs().Index)
	if err != nil {
		return nil, err
	}
	return packet.Listen(ifi, packet.Datagram, etherARP, nil)
}

// probe asks for an address and returns who has it, nil if nobody answers.
func probe(ctx context.Context, link netlink.Link, a netip.Addr) (net.HardwareAddr, error) {
	conn, err := open(link)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	own := link.Attrs().HardwareAddr
	for range probes {
		if _, err := conn.WriteTo(request(own, netip.IPv4Unspecified(), a), &packet.Addr{HardwareAddr: everybody}); err != nil {
			return nil, err
		}
		owner, err := answer(conn, own, a)
		if err != nil || owner != nil {
			return owner, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

// answer waits a while for somebody who has the address, or asks for it as well.
func answer(conn *packet.Conn, own net.HardwareAddr, a netip.Addr) (net.HardwareAddr, error) {
	if err := conn.SetReadDeadline(time.Now().Add(probePause)); err != nil {
		return nil, err
	}
	b := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if n < arpBytes || bytes.Equal(b[8:14], own) {
			continue
		}
		sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
		if sender == a || sender.IsUnspecified() && target == a {
			return bytes.Clone(b[8:14]), nil
		}
	}
}

// announce tells everybody where an address is now.
func announce(link netlink.Link, a netip.Addr) error {
	conn, err := open(link)
	if err != nil {
		return err
	}
	defer conn.Close()
	for range announcements {
		if _, err := conn.WriteTo(request(link.Attrs().HardwareAddr, a, a), &packet.Addr{HardwareAddr: everybody}); err != nil {
			return err
		}
	}
	return nil
}
