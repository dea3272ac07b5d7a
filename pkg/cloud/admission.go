package cloud

import (
	"context"
	"sync"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// admission decides which launches and starts still fit nodes and quotas. What
// it admits counts from that moment, so that a launch need not wait until the
// one before is on stable storage, and the sums stay exact all the same.
type admission struct {
	instances *store.Mirror[model.Instance]

	mu       sync.Mutex
	nodes    map[string]load   // what instances hold, by node
	accounts map[string]load   // and by account
	promised map[string]demand // by instance: admitted, and not yet seen in the mirror
}

// load is what instances take.
type load struct {
	instances int64 // that are not terminated
	vcpus     int64 // of those that run or are to run
	memory    int64 // MiB, of those too
}

func (l load) plus(m load, sign int64) load {
	return load{l.instances + sign*m.instances, l.vcpus + sign*m.vcpus, l.memory + sign*m.memory}
}

// demand is what one instance takes, and of whom.
type demand struct {
	node, account string
	load
}

func newAdmission(m *store.Mirror[model.Instance]) *admission {
	a := &admission{instances: m, nodes: map[string]load{}, accounts: map[string]load{}, promised: map[string]demand{}}
	m.Observe(a.observe)
	return a
}

// demandOf is what an instance takes now.
func demandOf(i *model.Instance) demand {
	d := demand{node: i.Node, account: i.OwnerID}
	if i.State != model.InstanceTerminated {
		d.instances = 1
	}
	if t, ok := model.InstanceTypeByName(i.Type); ok && holdsMemory(i) {
		d.vcpus, d.memory = int64(t.VCPUs), t.MemoryMiB
	}
	return d
}

// observe follows the mirror: a promise that is kept is no promise any more.
func (a *admission) observe(before, now *model.Instance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if before != nil {
		a.count(demandOf(before), -1)
	}
	if now != nil {
		a.count(demandOf(now), 1)
		if holdsMemory(now) {
			delete(a.promised, now.ID)
		}
	}
}

func (a *admission) count(d demand, sign int64) {
	add := func(to map[string]load, key string) {
		if sum := to[key].plus(d.load, sign); sum == (load{}) {
			delete(to, key)
		} else {
			to[key] = sum
		}
	}
	add(a.nodes, d.node)
	add(a.accounts, d.account)
}

// ask is what a launch or a start wants to be admitted.
type ask struct {
	account  string
	typ      model.InstanceType
	nodes    []model.Node // that can run it, the best first
	quotas   map[model.Quota]int64
	started  string // the instance that starts; "" for new ones
	min, max int    // new ones
}

// promise is what was admitted for one call.
type promise struct {
	admission *admission
	ids       []string
}

func (a *admission) begin() *promise { return &promise{admission: a} }

// release takes back what was admitted: the call has failed, or begins anew, or
// what it wrote is seen in the mirror.
func (p *promise) release() {
	p.admission.mu.Lock()
	defer p.admission.mu.Unlock()
	for _, id := range p.ids {
		delete(p.admission.promised, id)
	}
	p.ids = nil
}

// admit chooses the node of what is asked, and the ids of as many new instances
// as fit, or says why fewer than the least do. They count until p is released.
func (p *promise) admit(ctx context.Context, w ask) (node string, ids []string, err error) {
	a := p.admission
	if err := a.instances.Await(ctx); err != nil { // what was ended is free
		return "", nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	one := demand{account: w.account, load: load{instances: 1, vcpus: int64(w.typ.VCPUs), memory: w.typ.MemoryMiB}}
	if w.started != "" {
		one.instances, w.min, w.max = 0, 1, 1
	}
	count, err := a.withinQuotas(w, one.load)
	if err != nil {
		return "", nil, err
	}
	if one.node, count, err = a.place(w, count); err != nil {
		return "", nil, err
	}
	if w.started != "" {
		ids = []string{w.started}
	}
	for len(ids) < count {
		ids = append(ids, model.NewID(model.InstancePrefix))
	}
	for _, id := range ids {
		a.promised[id] = one
	}
	p.ids = append(p.ids, ids...)
	return one.node, ids, nil
}

// withinQuotas returns how many fit the account's quotas.
func (a *admission) withinQuotas(w ask, one load) (int, error) {
	used := a.accounts[w.account]
	for _, d := range a.promised {
		if d.account == w.account {
			used = used.plus(d.load, 1)
		}
	}
	count := w.max
	for _, q := range []struct {
		quota     model.Quota
		code      string
		used, one int64
	}{
		{model.QuotaInstances, codeInstanceLimit, used.instances, one.instances},
		{model.QuotaVCPUs, codeVCPULimit, used.vcpus, one.vcpus},
		{model.QuotaMemory, codeInstanceLimit, used.memory, one.memory},
	} {
		fit, err := fitQuota(w.quotas, q.quota, q.code, q.used, q.one, w.min)
		if err != nil {
			return 0, err
		}
		count = min(fit, count)
	}
	return count, nil
}

// place chooses the first node that has room for the least, and how many of max
// it takes.
func (a *admission) place(w ask, max int) (node string, count int, err error) {
	for _, n := range w.nodes {
		free := n.MemoryMiB - a.nodes[n.ID].memory
		for _, d := range a.promised {
			if d.node == n.ID {
				free -= d.memory
			}
		}
		if fit := int(free / w.typ.MemoryMiB); fit >= w.min {
			return n.ID, min(fit, max), nil
		}
	}
	return "", 0, model.Errorf(model.CodeInsufficientCapacity, "We currently do not have sufficient %s capacity: %d instances of %d MiB do not fit in this node's memory", w.typ.Name, w.min, w.typ.MemoryMiB).
		WithHint("choose a smaller type (bundt type ls), or stop or terminate other instances (bundt ls)")
}

// holdsMemory reports whether an instance has, or is promised, memory on its node.
func holdsMemory(i *model.Instance) bool {
	return i.Desired == model.InstanceRunning || i.State == model.InstanceStopping || i.State == model.InstanceShuttingDown || i.State == model.InstanceRunning
}
