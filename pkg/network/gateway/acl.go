package gateway

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/network"
)

// ACL is a network ACL made ready; a nil one lets everything pass.
type ACL struct {
	ID      string
	In, Out []ACLEntry // by rising numbers
}

// ACLEntry is a network.ACLEntry made ready.
type ACLEntry struct {
	Number int
	Allow  bool
	Rule
}

func compileACL(in *network.ACL) (*ACL, error) {
	if in == nil {
		return nil, nil
	}
	out := &ACL{ID: in.ID}
	for _, d := range []struct {
		from []network.ACLEntry
		to   *[]ACLEntry
	}{{in.Ingress, &out.In}, {in.Egress, &out.Out}} {
		for _, e := range d.from {
			if len(e.Peers) != 1 || e.Group != "" {
				return nil, invalid("%s: entry %d is not of one prefix", in.ID, e.Number)
			}
			rules, err := compileRules([]network.Rule{e.Rule}, nil)
			if err != nil {
				return nil, fmt.Errorf("%s: entry %d: %w", in.ID, e.Number, err)
			}
			*d.to = append(*d.to, ACLEntry{Number: e.Number, Allow: e.Allow, Rule: rules[0]})
		}
		slices.SortStableFunc(*d.to, func(a, b ACLEntry) int { return cmp.Compare(a.Number, b.Number) })
	}
	return out, nil
}

// Leaving is the entry that decides about a packet to peer that leaves the ACL's
// subnet; nil if none does, which denies.
func (a *ACL) Leaving(k Kind, peer netip.Addr) *ACLEntry { return decide(a.Out, k, peer) }

// Entering is the entry that decides about a packet of peer that enters.
func (a *ACL) Entering(k Kind, peer netip.Addr) *ACLEntry { return decide(a.In, k, peer) }

func decide(entries []ACLEntry, k Kind, peer netip.Addr) *ACLEntry {
	for i := range entries {
		if e := &entries[i]; e.Covers(k) && e.Peers[0].Contains(peer) {
			return e
		}
	}
	return nil
}

// Leaves says if a packet to peer may leave the port's subnet.
func (p *Port) Leaves(k Kind, peer netip.Addr) bool {
	if p.ACL == nil {
		return true
	}
	e := p.ACL.Leaving(k, peer)
	return e != nil && e.Allow
}

// Enters says if a packet of peer may enter the port's subnet.
func (p *Port) Enters(k Kind, peer netip.Addr) bool {
	if p.ACL == nil {
		return true
	}
	e := p.ACL.Entering(k, peer)
	return e != nil && e.Allow
}

// Neighbors says if two ports of a VPC are in one subnet, within which no ACL judges.
func (p *Port) Neighbors(other *Port) bool { return p.SubnetID == other.SubnetID }

// AllowClient judges the first packet of a client beyond the VPC to a port of the
// guest's, and the answers to it: that one opens a connection on the host before
// anything reaches the guest, who may see another address than the client's.
func (p *Port) AllowClient(proto byte, client netip.AddrPort, port uint16) bool {
	return p.In.Allow(proto, client.Addr(), port) && p.Enters(Kind{Proto: proto, Port: port}, client.Addr()) &&
		p.Leaves(Kind{Proto: proto, Port: client.Port()}, client.Addr())
}

// Ephemeral are the ports that a flow's answers are for, if nobody knows: those that
// Linux gives to who begins one.
var Ephemeral = [2]uint16{32768, 60999}

// Answers returns the first of Ephemeral that the ACL denies the answers to, and the
// entry that does, nil if none does; ok if it denies none.
func answers(entries []ACLEntry, proto byte, peer netip.Addr) (denied uint16, by *ACLEntry, ok bool) {
	// Between two borders of entries all ports are alike.
	borders := []uint16{Ephemeral[0]}
	for i := range entries {
		if e := &entries[i]; e.Ports() {
			borders = append(borders, e.From, e.To+1)
		}
	}
	slices.Sort(borders)
	for _, port := range borders {
		if port < Ephemeral[0] || port > Ephemeral[1] {
			continue
		}
		if e := decide(entries, Kind{Proto: proto, Port: port}, peer); e == nil || !e.Allow {
			return port, e, false
		}
	}
	return 0, nil, true
}
