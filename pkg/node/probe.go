package node

import (
	"context"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

const (
	// A guest is asked again when a twentieth of its age has passed, within these:
	// what it has waited for is told soon, and one that never answers costs little.
	probeFirst = 50 * time.Millisecond
	probeLast  = 30 * time.Second
	probeShare = 20
	// bannerTimeout is how long a guest's SSH server may take to say a word.
	bannerTimeout = 3 * time.Second
	sshPort       = 22
)

// prober finds out which instances' guests have become reachable. One loop looks
// after all of them, so that a crowd that never answers costs one question each
// round and no goroutine each.
type prober struct {
	wake chan struct{}

	mu   sync.Mutex
	due  map[string]*probing // by instance
	next time.Time           // when the loop looks again; zero while it works
}

type probing struct {
	since time.Time
	at    time.Time
	busy  bool // its SSH server is being asked
}

func newProber() *prober {
	return &prober{wake: make(chan struct{}, 1), due: map[string]*probing{}}
}

// add has an instance watched until its guest is reachable.
func (p *prober) add(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due[id] != nil {
		return
	}
	p.due[id] = &probing{since: now, at: now}
	if p.next.IsZero() || p.next.After(now.Add(probeFirst)) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func (p *prober) remove(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.due, id)
}

// take returns the instances to ask about now, and plans when to ask again.
func (p *prober) take(now time.Time) (ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = time.Time{}
	for id, w := range p.due {
		if w.busy || w.at.After(now) {
			continue
		}
		w.at = now.Add(min(max(now.Sub(w.since)/probeShare, probeFirst), probeLast))
		ids = append(ids, id)
	}
	return ids
}

// pause is how long nobody is due; at least probeFirst, which gathers questions.
func (p *prober) pause(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = now.Add(probeLast)
	for _, w := range p.due {
		if !w.busy && w.at.Before(p.next) {
			p.next = w.at
		}
	}
	return max(p.next.Sub(now), probeFirst)
}

func (p *prober) setBusy(id string, busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.due[id]; w != nil {
		w.busy = busy
	}
	if !busy {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// followGuests records which guests have become reachable, until ctx ends.
func (n *Node) followGuests(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.prober.wake:
		case <-time.After(n.prober.pause(time.Now())):
		}
		if err := n.lookAtGuests(ctx, n.prober.take(time.Now()), &asking); err != nil && ctx.Err() == nil {
			n.Logger.Warn("looking whether guests are reachable failed", "error", err)
		}
	}
}

func (n *Node) lookAtGuests(ctx context.Context, ids []string, asking *sync.WaitGroup) error {
	var insts []*model.Instance
	var nics []string
	for _, id := range ids {
		inst, err := n.instances.Get(ctx, id)
		switch {
		case err != nil:
			return err
		case inst == nil || inst.State != model.InstanceRunning || inst.Reachability == model.ReachabilityPassed:
			n.prober.remove(id)
		case inst.RebootsDone == inst.RebootsRequested:
			insts, nics = append(insts, inst), append(nics, inst.Interface.ID)
		}
	}
	if len(insts) == 0 {
		return nil
	}
	st, err := n.Datapath.Status(ctx, nics...)
	if err != nil {
		return err
	}
	for _, inst := range insts {
		if st.Ports[inst.Interface.ID].LeasedAt.Before(inst.LaunchTime) {
			continue
		}
		n.prober.setBusy(inst.ID, true)
		asking.Go(func() {
			defer n.prober.setBusy(inst.ID, false)
			if !n.answers(ctx, inst) {
				return
			}
			if err := n.noteReachable(ctx, inst.ID); err != nil && ctx.Err() == nil {
				n.Logger.Warn("recording that a guest is reachable failed", "instance", inst.ID, "error", err)
			}
		})
	}
	return nil
}

// answers reports whether a guest that has its address is up: its SSH server
// says so, if its image names a login user.
func (n *Node) answers(ctx context.Context, inst *model.Instance) bool {
	if inst.LoginUser == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, bannerTimeout)
	defer cancel()
	c, err := n.Datapath.Dial(ctx, inst.Interface.ID, sshPort)
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(bannerTimeout)); err != nil {
		return false
	}
	banner := make([]byte, 4)
	k, err := c.Read(banner)
	return err == nil && string(banner[:k]) == "SSH-"
}

func (n *Node) noteReachable(ctx context.Context, id string) error {
	err := n.edit(ctx, id, func(i *model.Instance) {
		if i.State == model.InstanceRunning && i.RebootsDone == i.RebootsRequested {
			i.Reachability, i.ReachableSince = model.ReachabilityPassed, n.Now().UTC()
		}
	})
	if err == nil {
		n.prober.remove(id)
	}
	return err
}
