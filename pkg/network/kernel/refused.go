package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	api "github.com/bundt/bundt/pkg/network"
)

// The sets of the devices whose guests' packets the rules refused, with how many.
const (
	refusedOut = "refused-out"
	refusedIn  = "refused-in"
)

// tallies are these sets.
type tallies struct{ out, in *nftables.Set }

// tally makes a set of devices that counts for each.
func (r *ruleset) tally(name string) *nftables.Set {
	return r.set(&nftables.Set{Name: name, KeyType: nftables.TypeIFName, Dynamic: true, Size: 4096}, nil)
}

// count counts a packet for the device that it comes in or goes out by.
func count(s *nftables.Set, key expr.MetaKey) []expr.Any {
	return []expr.Any{
		meta(key), &expr.Dynset{SrcRegKey: reg0, SetID: s.ID, SetName: s.Name, Operation: uint32(unix.NFT_DYNSET_OP_ADD), Exprs: []expr.Any{&expr.Counter{}}},
	}
}

// refusals are what the VPC's installed filter has refused, by tap.
func refusals(ns *os.File) (map[string]api.Refused, error) {
	out := map[string]api.Refused{}
	for _, fam := range families() {
		r, err := newRuleset(ns, fam.table, filterTable)
		if err != nil {
			return nil, err
		}
		for name, add := range map[string]func(*api.Refused, uint64){
			refusedOut: func(t *api.Refused, n uint64) { t.Egress += n }, refusedIn: func(t *api.Refused, n uint64) { t.Ingress += n },
		} {
			elements, err := r.conn.GetSetElements(&nftables.Set{Table: r.table, Name: name, KeyType: nftables.TypeIFName})
			if errors.Is(err, unix.ENOENT) {
				continue // no filter is installed
			}
			if err != nil {
				return nil, fmt.Errorf("reading how many packets were refused: %w", err)
			}
			for _, e := range elements {
				if e.Counter == nil {
					continue
				}
				tap := string(bytes.TrimRight(e.Key, "\x00"))
				t := out[tap]
				add(&t, e.Counter.Packets)
				out[tap] = t
			}
		}
	}
	return out, nil
}

// keepRefusals adds what the filter that is replaced has counted to what the ones
// before it have.
func (v *vpc) keepRefusals() error {
	now, err := refusals(v.ns.file)
	if err != nil {
		return err
	}
	v.refusedMu.Lock()
	defer v.refusedMu.Unlock()
	for tap, n := range now {
		t := v.refused[tap]
		v.refused[tap] = api.Refused{Egress: t.Egress + n.Egress, Ingress: t.Ingress + n.Ingress}
	}
	return nil
}

// refusedBy are the packets of each tap that were refused since the switch began.
func (v *vpc) refusedBy() (map[string]api.Refused, error) {
	v.refusedMu.Lock()
	defer v.refusedMu.Unlock()
	now, err := refusals(v.ns.file)
	if err != nil {
		return nil, err
	}
	for tap, t := range v.refused {
		n := now[tap]
		now[tap] = api.Refused{Egress: t.Egress + n.Egress, Ingress: t.Ingress + n.Ingress}
	}
	return now, nil
}
