package user

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/gateway"
)

const (
	maxDialing  = 64 // connections to the outside that one guest may be opening
	dialTimeout = 10 * time.Second
)

// shared is what all VPCs of a switch use.
type shared struct {
	policy   egressPolicy
	resolver gateway.Resolver
	secret   []byte // of metadata tokens
	signer   atomic.Pointer[metadata.Signer]
}

func invalid(format string, args ...any) error {
	return &network.ConfigError{Problem: fmt.Sprintf(format, args...)}
}

// fabric is the data plane: VPCs and ports made from a Config.
type fabric struct {
	shared  *shared
	log     *slog.Logger
	onLease func()

	mu     sync.Mutex
	closed bool
	vpcs   map[string]*vpc
	ports  map[string]*port
}

func newFabric(sh *shared, logger *slog.Logger, onLease func()) *fabric {
	return &fabric{shared: sh, log: logger, onLease: onLease, vpcs: map[string]*vpc{}, ports: map[string]*port{}}
}

// Apply makes exactly c real. A bad c changes nothing.
func (f *fabric) Apply(c network.Config) error {
	plan, err := gateway.NewPlan(c)
	if err != nil {
		return err
	}
	for id, p := range plan.Ports {
		if p.Socket == "" {
			return invalid("%s: no socket", id)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return control.ErrStopped
	}
	f.shared.signer.Store(plan.Signer)
	f.removeStale(plan)
	for id, vc := range plan.VPCs {
		if err := f.ensureVPC(id, vc); err != nil {
			return err
		}
	}
	for id, p := range f.ports {
		p.public.GiveUp(plan.Ports[id])
	}
	for id, pc := range plan.Ports {
		f.ensurePort(id, pc)
	}
	return nil
}

// removeStale takes away what the plan does not have, or has otherwise.
func (f *fabric) removeStale(plan *gateway.Plan) {
	stale := map[*vpc]bool{}
	for id, v := range f.vpcs {
		if c, ok := plan.VPCs[id]; !ok || !v.sameDomain(c) {
			stale[v] = true
		}
	}
	for id, p := range f.ports {
		n, ok := plan.Ports[id]
		if !ok || stale[p.vpc] || f.vpcs[n.VPCID] != p.vpc || !p.sameAttachment(n, p.vpc) {
			p.vpc.removePort(p)
			delete(f.ports, id)
		}
	}
	for v := range stale {
		v.close()
		delete(f.vpcs, v.id)
	}
}

func (f *fabric) ensureVPC(id string, c network.VPC) error {
	if v := f.vpcs[id]; v != nil {
		return v.update(c)
	}
	v, err := newVPC(c, f.shared)
	if err != nil {
		return fmt.Errorf("making %s: %w", id, err)
	}
	f.vpcs[id] = v
	return nil
}

func (f *fabric) ensurePort(id string, n *gateway.Port) {
	p := f.ports[id]
	if p == nil {
		p = &port{
			vpc: f.vpcs[n.VPCID], id: id, mac: n.HW, ip: n.PrivateIP.As16(), subnet: n.Subnet,
			socket: n.Socket, flows: newFlowTable(), queue: make(chan *frame, queueFrames),
			conns: gateway.NewConnSet(maxConns), dialing: make(gateway.Gate, maxDialing), queries: make(gateway.Gate, gateway.MaxQueries), onLease: f.onLease,
		}
		p.config.Store(newPortConfig(n))
		p.vpc.addPort(p)
		f.ports[id] = p
	}
	p.vpc.configure(p, newPortConfig(n))
	p.public.Reconcile(p)
}

// Status reports ports.
func (f *fabric) Status(ids ...string) network.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return network.Select(f.ports, ids, (*port).status)
}

// Leases returns when each port took its address.
func (f *fabric) Leases() map[string]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	leases := map[string]time.Time{}
	for id, p := range f.ports {
		if at := unixNano(p.leasedAt.Load()); !at.IsZero() {
			leases[id] = at
		}
	}
	return leases
}

func (f *fabric) SetLeases(leases map[string]time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, at := range leases {
		if p := f.ports[id]; p != nil && p.leasedAt.Load() == 0 {
			p.leasedAt.Store(at.UnixNano())
		}
	}
}

// Dial opens a connection from the gateway to the port's guest.
func (f *fabric) Dial(ctx context.Context, id string, to uint16) (control.Dialed, error) {
	f.mu.Lock()
	p := f.ports[id]
	f.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("%w: %s", network.ErrNoSuchPort, id)
	}
	if !p.connected.Load() {
		return nil, fmt.Errorf("%w: %s is not attached: is the instance running?", network.ErrUnreachable, id)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := p.DialGuest(ctx, gateway.Address(p.subnet), addr(p.ip), to)
	if err != nil {
		return nil, err
	}
	return dialed{c, p}, nil
}

// dialed is a connection with the port's guest.
type dialed struct {
	gateway.HalfCloser
	port *port
}

func (d dialed) Splice(peer *net.UnixConn) { d.port.conns.Splice(d.HalfCloser, peer) }

// Close ends the switch. Nothing of it is left on the host in any case.
func (f *fabric) Close(bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, p := range f.ports {
		p.vpc.removePort(p)
	}
	for _, v := range f.vpcs {
		v.close()
	}
	f.ports, f.vpcs = map[string]*port{}, map[string]*vpc{}
}
