package kernel

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// maxFlows is how many flows that one device's guest began are tracked at a time in
// each family, as many as the switch of user mode tracks: none takes the table of
// connections from the VPC's others.
const maxFlows = 8192

// flowsTable counts them, beside the filter: that is replaced with every change of
// rules, and what it counts begins anew.
const flowsTable = "bundt-flows"

// limitFlows drops packets that begin a flow of a guest that has maxFlows already.
// What is there stays as it is, and with it its counts.
func limitFlows(ns *namespace) error {
	for _, fam := range families() {
		r, err := newRuleset(ns.file, fam.table, flowsTable)
		if err != nil {
			return err
		}
		tables, err := r.conn.ListTablesOfFamily(fam.table)
		if err != nil {
			return fmt.Errorf("listing nftables tables: %w", err)
		}
		if slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == flowsTable }) {
			continue
		}
		r.replace()
		crowded := r.crowded()
		for name, hook := range map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "forward": nftables.ChainHookForward} {
			c := r.hooked(name, nftables.ChainTypeFilter, hook, *nftables.ChainPriorityFilter-1, nftables.ChainPolicyAccept)
			r.rule(c, tracked(expr.CtStateBitNEW), device(expr.MetaKeyIIFNAME, expr.CmpOpNeq, uplinkDevice), crowded, verdict(expr.VerdictDrop))
		}
		if err := r.commit(); err != nil {
			return err
		}
	}
	return nil
}

// crowded matches packets of a guest that has maxFlows flows, if they begin one more.
func (r *ruleset) crowded() []expr.Any {
	const over = 1 // NFT_CONNLIMIT_F_INV
	s := r.set(&nftables.Set{Name: "flows", KeyType: nftables.TypeIFName, Dynamic: true, Size: 4096}, nil)
	return []expr.Any{
		meta(expr.MetaKeyIIFNAME),
		&expr.Dynset{SrcRegKey: reg0, SetID: s.ID, SetName: s.Name, Operation: uint32(unix.NFT_DYNSET_OP_ADD), Exprs: []expr.Any{&expr.Connlimit{Count: maxFlows, Flags: over}}},
	}
}
