package user

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/network/control"
)

const (
	maxDialing  = 64 // connections to the outside that one guest may be opening
	dialTimeout = 10 * time.Second
)

// shared is what all VPCs of a switch use.
type shared struct {
	policy     egressPolicy
	resolver   resolver
	secret     []byte // of metadata tokens
	signer     atomic.Pointer[metadata.Signer]
	httpErrors *log.Logger
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
	plan, err := newPlan(c)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return control.ErrStopped
	}
	f.shared.signer.Store(plan.signer)
	f.removeStale(plan)
	for id, vc := range plan.vpcs {
		if err := f.ensureVPC(id, vc); err != nil {
			return err
		}
	}
	for id, p := range f.ports {
		p.public.giveUp(plan.ports[id].config)
	}
	for id, pc := range plan.ports {
		f.ensurePort(id, pc)
	}
	return nil
}

// removeStale takes away what the plan does not have, or has otherwise.
func (f *fabric) removeStale(plan *plan) {
	stale := map[*vpc]bool{}
	for id, v := range f.vpcs {
		if c, ok := plan.vpcs[id]; !ok || !v.sameDomain(c) {
			stale[v] = true
		}
	}
	for id, p := range f.ports {
		n, ok := plan.ports[id]
		if !ok || stale[p.vpc] || f.vpcs[n.config.VPCID] != p.vpc || !p.sameAttachment(n, p.vpc) {
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

func (f *fabric) ensurePort(id string, n plannedPort) {
	p := f.ports[id]
	if p == nil {
		p = &port{
			vpc: f.vpcs[n.config.VPCID], id: id, mac: n.mac, ip: n.config.PrivateIP.As4(), subnet: n.subnet,
			socket: n.config.Socket, flows: newFlowTable(), queue: make(chan *frame, queueFrames),
			conns: connSet{limit: maxConns}, dialing: make(gate, maxDialing), onLease: f.onLease,
		}
		p.config.Store(n.config)
		p.vpc.addPort(p)
		f.ports[id] = p
	}
	p.vpc.configure(p, n.config)
	p.public.reconcile(p)
}

func (f *fabric) Status() network.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := network.Status{Ports: make(map[string]network.PortStatus, len(f.ports))}
	for id, p := range f.ports {
		s.Ports[id] = p.status()
	}
	return s
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
	c, err := p.dialGuest(ctx, gatewayOf(p.subnet), addr(p.ip), to)
	if err != nil {
		return nil, err
	}
	return dialed{c, p}, nil
}

// dialed is a connection with the port's guest.
type dialed struct {
	*gonet.TCPConn
	port *port
}

func (d dialed) Splice(peer *net.UnixConn) { d.port.splice(d.TCPConn, peer) }

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
