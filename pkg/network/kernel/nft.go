package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	elementsPerMessage = 400     // of a set: an attribute's length has 16 bits
	nftBuffer          = 8 << 20 // of one atomic change, in bytes
)

// ruleset is one atomic change of nftables.
type ruleset struct {
	conn  *nftables.Conn
	table *nftables.Table
	err   error
}

// newRuleset begins a change in a network namespace, nil for the thread's own.
func newRuleset(ns *os.File, family nftables.TableFamily, table string) (*ruleset, error) {
	options := []nftables.ConnOption{nftables.WithSockOptions(
		func(c *mdlayher.Conn) error { return c.SetWriteBuffer(nftBuffer) },
		func(c *mdlayher.Conn) error { return c.SetReadBuffer(nftBuffer) },
	)}
	if ns != nil {
		options = append(options, nftables.WithNetNSFd(int(ns.Fd())))
	}
	conn, err := nftables.New(options...)
	if err != nil {
		return nil, fmt.Errorf("speaking to nftables: %w", err)
	}
	return &ruleset{conn: conn, table: &nftables.Table{Family: family, Name: table}}, nil
}

// replace makes the table anew, empty: whatever is put into it takes its place at
// once.
func (r *ruleset) replace() {
	r.conn.AddTable(r.table) // deleting what is not there is an error
	r.conn.DelTable(r.table)
	r.conn.AddTable(r.table)
}

// remove deletes the table, if it is there.
func (r *ruleset) remove() {
	r.conn.AddTable(r.table)
	r.conn.DelTable(r.table)
}

func (r *ruleset) commit() error {
	if r.err == nil {
		r.err = r.conn.Flush()
	}
	if r.err != nil {
		return fmt.Errorf("changing the nftables table %s: %w", r.table.Name, r.err)
	}
	return nil
}

// hooked makes a chain that packets pass at a hook; what it does not decide gets
// the policy.
func (r *ruleset) hooked(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority, policy nftables.ChainPolicy) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{Table: r.table, Name: name, Type: kind, Hooknum: hook, Priority: &priority, Policy: &policy})
}

// chain makes a chain that others jump to.
func (r *ruleset) chain(name string) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{Table: r.table, Name: name})
}

func (r *ruleset) rule(c *nftables.Chain, parts ...[]expr.Any) {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: all})
}

// set makes a set with its elements.
func (r *ruleset) set(s *nftables.Set, elements []nftables.SetElement) *nftables.Set {
	s.Table = r.table
	if err := r.conn.AddSet(s, nil); err != nil && r.err == nil {
		r.err = err
	}
	r.fill(s, elements)
	return s
}

func (r *ruleset) fill(s *nftables.Set, elements []nftables.SetElement) {
	for len(elements) > 0 {
		n := min(len(elements), elementsPerMessage)
		if err := r.conn.SetAddElements(s, elements[:n]); err != nil && r.err == nil {
			r.err = err
		}
		elements = elements[n:]
	}
}

// addresses makes a set of the family's addresses among them.
func (r *ruleset) addresses(f *family, name string, in []netip.Addr) *nftables.Set {
	in = f.of(in)
	elements := make([]nftables.SetElement, len(in))
	for i, a := range in {
		elements[i].Key = a.AsSlice()
	}
	return r.set(&nftables.Set{Name: name, KeyType: f.addresses}, elements)
}

// devices makes a set of devices.
func (r *ruleset) devices(name string, in []string) *nftables.Set {
	elements := make([]nftables.SetElement, len(in))
	for i, device := range in {
		elements[i].Key = deviceKey(device)
	}
	return r.set(&nftables.Set{Name: name, KeyType: nftables.TypeIFName}, elements)
}

// verdicts makes a map from devices to what happens with their packets.
func (r *ruleset) verdicts(name string, in map[string]*expr.Verdict) *nftables.Set {
	elements := make([]nftables.SetElement, 0, len(in))
	for device, v := range in {
		elements = append(elements, nftables.SetElement{Key: deviceKey(device), VerdictData: v})
	}
	return r.set(&nftables.Set{Name: name, IsMap: true, KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict}, elements)
}

// Registers of 32 bits, as concatenations want them.
const (
	reg0 = unix.NFT_REG32_00 + iota
	reg1
	reg2
)

func deviceKey(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: reg0} }

func payload(base expr.PayloadBase, offset, length, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func compare(op expr.CmpOp, register uint32, data ...byte) expr.Any {
	return &expr.Cmp{Op: op, Register: register, Data: data}
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func network(offset uint32, op expr.CmpOp, data ...byte) []expr.Any {
	return []expr.Any{payload(expr.PayloadBaseNetworkHeader, offset, uint32(len(data)), reg0), compare(op, reg0, data...)}
}

func transport(offset uint32, op expr.CmpOp, data ...byte) []expr.Any {
	return []expr.Any{payload(expr.PayloadBaseTransportHeader, offset, uint32(len(data)), reg0), compare(op, reg0, data...)}
}

func protocol(op expr.CmpOp, n byte) []expr.Any {
	return []expr.Any{meta(expr.MetaKeyL4PROTO), compare(op, reg0, n)}
}

// device compares the name of the device a packet comes in or goes out by.
func device(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	return []expr.Any{meta(key), compare(op, reg0, deviceKey(name)...)}
}

// devices compares the beginning of a name.
func devices(key expr.MetaKey, op expr.CmpOp, prefix string) []expr.Any {
	return []expr.Any{meta(key), compare(op, reg0, []byte(prefix)...)}
}

// in looks up what the registers from reg0 on have.
func in(s *nftables.Set, load ...expr.Any) []expr.Any {
	return append(load, &expr.Lookup{SourceRegister: reg0, SetID: s.ID, SetName: s.Name})
}

func notIn(s *nftables.Set, load ...expr.Any) []expr.Any {
	return append(load, &expr.Lookup{SourceRegister: reg0, SetID: s.ID, SetName: s.Name, Invert: true})
}

// byDevice does what the map says of the device.
func byDevice(s *nftables.Set, key expr.MetaKey) []expr.Any {
	return []expr.Any{meta(key), &expr.Lookup{SourceRegister: reg0, SetID: s.ID, SetName: s.Name, IsDestRegSet: true}}
}

// tracked matches packets of connections in one of the states.
func tracked(states uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(states), Xor: make([]byte, 4)},
		compare(expr.CmpOpNeq, reg0, 0, 0, 0, 0),
	}
}

func verdict(kind expr.VerdictKind, chain ...string) []expr.Any {
	v := &expr.Verdict{Kind: kind}
	if len(chain) > 0 {
		v.Chain = chain[0]
	}
	return []expr.Any{v}
}

func counted(name string) []expr.Any {
	return []expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name}}
}
