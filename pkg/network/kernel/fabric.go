package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/pkg/metadata"
	api "github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const tendPause = 5 * time.Second

// shared is what all VPCs of a switch use.
type shared struct {
	name       string // in everything made on the host
	namespaces string // directory of their files
	resolver   gateway.Resolver
	secret     []byte // of metadata tokens
	signer     atomic.Pointer[metadata.Signer]
	onLease    func()
}

// fabric is the kernel's networks made from a Config.
type fabric struct {
	shared *shared
	log    *slog.Logger
	cancel context.CancelFunc
	tended chan struct{}

	applying sync.Mutex   // one Apply at a time
	guarded  []netip.Addr // uplinks that the host is guarded from; nil if it is not known
	mu       sync.Mutex   // of what follows
	closed   bool
	vpcs     map[string]*vpc
	ports    map[string]*port
}

var _ control.Fabric = (*fabric)(nil)

func newFabric(sh *shared, log *slog.Logger) *fabric {
	ctx, cancel := context.WithCancel(context.Background())
	f := &fabric{shared: sh, log: log, cancel: cancel, tended: make(chan struct{}), vpcs: map[string]*vpc{}, ports: map[string]*port{}}
	go f.tend(ctx)
	return f
}

// tend does what is due from time to time.
func (f *fabric) tend(ctx context.Context) {
	defer close(f.tended)
	tick := time.NewTicker(tendPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			vpcs, ports := f.now()
			for _, links := range vpcs {
				for p, l := range f.links(links, ports) {
					p.look(l)
				}
			}
			for _, p := range ports {
				p.advertiseSometimes()
				p.public.Retry(p)
			}
		}
	}
}

func (f *fabric) now() (map[string]*vpc, map[string]*port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.vpcs), maps.Clone(f.ports)
}

// Apply makes exactly c real. A bad c changes nothing.
func (f *fabric) Apply(c api.Config) error {
	plan, err := gateway.NewPlan(c)
	if err != nil {
		return err
	}
	for id, p := range plan.Ports {
		if p.Socket != "" {
			return &api.ConfigError{Problem: id + ": its machine was started for the userspace network; stop it and start it again"}
		}
	}
	f.applying.Lock()
	defer f.applying.Unlock()
	if f.closed {
		return control.ErrStopped
	}
	f.shared.signer.Store(plan.Signer)
	if err := f.removeStale(plan); err != nil {
		return err
	}
	for id, vc := range plan.VPCs {
		if err := f.ensureVPC(id, vc); err != nil {
			return err
		}
	}
	for id, p := range f.ports {
		p.public.GiveUp(plan.Ports[id])
	}
	for id, pc := range plan.Ports {
		if err := f.ensurePort(id, pc); err != nil {
			return err
		}
	}
	for id, v := range f.vpcs {
		ports := f.portsOf(id)
		v.place(ports)
		if err := errors.Join(v.sweep(ports), v.refilter(ports, c.Groups), v.lead(ports)); err != nil {
			return err
		}
	}
	if err := f.ensureUplinks(); err != nil {
		return err
	}
	for _, p := range f.ports {
		p.public.Reconcile(p)
	}
	return nil
}

// ensureUplinks makes the ways through the host exactly those that guests may use.
func (f *fabric) ensureUplinks() error {
	keep, wanted := map[string]bool{}, map[*vpc]bool{}
	for id, v := range f.vpcs {
		if wanted[v] = wantsUplink(f.portsOf(id)); wanted[v] {
			keep[f.shared.hostDevice(id)] = true
		}
	}
	if err := f.shared.sweepHost(keep); err != nil {
		return err
	}
	if len(keep) > 0 && len(f.guarded) == 0 { // before the first can be used
		if err := f.shared.guardHost(true, nil); err != nil {
			return err
		}
	}
	var inner []netip.Addr
	for v, w := range wanted {
		if err := v.ensureUplink(w); err != nil {
			return err
		}
		if v.uplink != nil {
			inner = append(inner, v.uplink.inner...)
		}
	}
	slices.SortFunc(inner, netip.Addr.Compare)
	if f.guarded != nil && slices.Equal(f.guarded, inner) {
		return nil
	}
	if err := f.shared.guardHost(len(inner) > 0, inner); err != nil {
		f.guarded = nil
		return err
	}
	f.guarded = append([]netip.Addr{}, inner...)
	return nil
}

func (f *fabric) portsOf(vpcID string) (out []*port) {
	for _, p := range f.ports {
		if p.vpc.id == vpcID {
			out = append(out, p)
		}
	}
	return out
}

// removeStale takes away what the plan does not have: of ours, and what an
// earlier switch has left.
func (f *fabric) removeStale(plan *gateway.Plan) error {
	for id, p := range f.ports {
		if n, ok := plan.Ports[id]; ok && n.VPCID == p.vpc.id {
			continue
		}
		f.mu.Lock()
		delete(f.ports, id)
		f.mu.Unlock()
		p.vpc.place(f.portsOf(p.vpc.id))
		_, stays := plan.VPCs[p.vpc.id]
		if err := p.remove(!stays); err != nil {
			return err
		}
	}
	for id, v := range f.vpcs {
		if _, ok := plan.VPCs[id]; ok {
			continue
		}
		f.mu.Lock()
		delete(f.vpcs, id)
		f.mu.Unlock()
		if err := v.remove(); err != nil {
			return err
		}
	}
	left, err := f.shared.inventory()
	if err != nil {
		return err
	}
	for id, path := range left {
		if _, ok := plan.VPCs[id]; ok {
			continue
		}
		f.log.Info("removing a namespace that nobody needs", "path", path)
		if err := removeNamespace(path); err != nil {
			return err
		}
	}
	return nil
}

// inventory finds the namespaces with our name, by VPC.
func (s *shared) inventory() (map[string]string, error) {
	entries, err := os.ReadDir(s.namespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if id, ok := strings.CutPrefix(e.Name(), s.prefix()); ok {
			out[id] = filepath.Join(s.namespaces, e.Name())
		}
	}
	return out, nil
}

func (f *fabric) ensureVPC(id string, c api.VPC) error {
	v := f.vpcs[id]
	if v == nil {
		var err error
		if v, err = openVPC(c, f.shared); err != nil {
			return err
		}
		f.mu.Lock()
		f.vpcs[id] = v
		f.mu.Unlock()
	}
	return v.update(c)
}

func (f *fabric) ensurePort(id string, c *gateway.Port) error {
	p := f.ports[id]
	if p == nil {
		p = newPort(f.vpcs[c.VPCID], c)
		f.mu.Lock()
		f.ports[id] = p
		f.mu.Unlock()
	}
	p.config.Store(c)
	return p.ensure(p.vpc.serviceAddresses())
}

// links are the taps of the VPC's ports that are there.
func (f *fabric) links(v *vpc, ports map[string]*port) map[*port]netlink.Link {
	out := map[*port]netlink.Link{}
	list, err := v.ns.link.LinkList()
	if err != nil {
		f.log.Warn("listing the devices of a VPC", "vpc", v.id, "error", err)
	}
	for _, l := range list {
		if p := ports[l.Attrs().Alias]; p != nil && p.vpc == v && p.tap == l.Attrs().Name {
			out[p] = l
		}
	}
	return out
}

// Status reports the ports that are asked for.
func (f *fabric) Status(ids ...string) api.Status {
	vpcs, ports := f.now()
	asked := map[*vpc]bool{}
	for _, id := range ids {
		if p := ports[id]; p != nil {
			asked[p.vpc] = true
		}
	}
	links, refused := map[*port]netlink.Link{}, map[*vpc]map[string]api.Refused{}
	for _, v := range vpcs {
		if len(ids) == 0 || asked[v] {
			maps.Copy(links, f.links(v, ports))
			var err error
			if refused[v], err = v.refusedBy(); err != nil {
				f.log.Warn("counting what was refused", "vpc", v.id, "error", err)
			}
		}
	}
	return api.Select(ports, ids, func(p *port) api.PortStatus {
		st, err := p.status(links[p])
		if err != nil {
			f.log.Warn("reading the state of a port", "interface", p.id, "error", err)
		}
		if by := refused[p.vpc]; by != nil {
			st.Refused = new(by[p.tap])
		}
		return st
	})
}

// Leases returns when each port took its address.
func (f *fabric) Leases() map[string]time.Time {
	_, ports := f.now()
	leases := map[string]time.Time{}
	for id, p := range ports {
		if at := unixNano(p.leasedAt.Load()); !at.IsZero() {
			leases[id] = at
		}
	}
	return leases
}

// SetLeases gives ports without a lease the one that an earlier switch knew.
func (f *fabric) SetLeases(leases map[string]time.Time) {
	_, ports := f.now()
	for id, at := range leases {
		if p := ports[id]; p != nil {
			p.leasedAt.CompareAndSwap(0, at.UnixNano())
		}
	}
}

func (f *fabric) port(id string) (*port, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.ports[id]
	if p == nil {
		return nil, fmt.Errorf("%w: %s", api.ErrNoSuchPort, id)
	}
	return p, nil
}

// Dial opens a connection from the gateway to the port's guest.
func (f *fabric) Dial(ctx context.Context, id string, to uint16) (control.Dialed, error) {
	p, err := f.port(id)
	if err != nil {
		return nil, err
	}
	if !p.connected.Load() {
		return nil, fmt.Errorf("%w: %s is not attached: is the instance running?", api.ErrUnreachable, id)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := p.DialGuest(ctx, gateway.Address(p.Config().Subnet), p.Config().PrivateIP, to)
	if err != nil {
		return nil, err
	}
	return dialed{c, p}, nil
}

type dialed struct {
	gateway.HalfCloser
	port *port
}

func (d dialed) Splice(peer *net.UnixConn) { d.port.conns.Splice(d.HalfCloser, peer) }

// A machine that is about to end may hold its tap for so long.
const (
	openTimeout = 5 * time.Second
	openPause   = 20 * time.Millisecond
)

// Open opens the port's tap for a machine.
func (f *fabric) Open(id string) (*os.File, error) {
	p, err := f.port(id)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(openTimeout); ; time.Sleep(openPause) {
		var file *os.File
		err := p.vpc.ns.do(func() (err error) {
			file, err = openTap(p.tap)
			return err
		})
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return file, err
		}
	}
}

// Close ends the switch. The networks go on without it, unless forGood: then
// nothing is left on the host.
func (f *fabric) Close(forGood bool) {
	f.cancel()
	<-f.tended
	f.applying.Lock()
	defer f.applying.Unlock()
	f.closed = true
	for _, p := range f.ports {
		p.close()
	}
	for _, v := range f.vpcs {
		v.close()
	}
	if !forGood {
		return
	}
	left, err := f.shared.inventory()
	err = errors.Join(err, f.shared.sweepHost(nil), f.shared.guardHost(false, nil))
	for _, path := range left {
		err = errors.Join(err, removeNamespace(path))
	}
	if err != nil {
		f.log.Error("removing the networks", "error", err)
	}
}
