package node_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	fakenet "github.com/bundt/bundt/pkg/network/fake"
)

// attacher attaches guests by open files, and only to ports that are configured.
// It remembers how many ports each configuration had.
type attacher struct {
	*fakenet.Datapath

	mu       sync.Mutex
	sizes    []int
	attached []string
}

func (a *attacher) Apply(ctx context.Context, c network.Config) error {
	a.mu.Lock()
	a.sizes = append(a.sizes, len(c.Ports))
	a.mu.Unlock()
	return a.Datapath.Apply(ctx, c)
}

func (a *attacher) Attach(_ context.Context, id string) (*os.File, error) {
	i := slices.IndexFunc(a.Config().Ports, func(p network.Port) bool { return p.ID == id })
	if i < 0 || a.Config().Ports[i].Socket != "" {
		return nil, fmt.Errorf("%w: %s", network.ErrNoSuchPort, id)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attached = append(a.attached, id)
	return os.Open(os.DevNull)
}

// A machine that is attached by an open file has its port before it starts, and
// at a restart of the daemon there is no configuration without it: it would lose
// its port for good.
func TestAttachByFile(t *testing.T) {
	w := newWorld(t)
	w.stop()
	a := &attacher{Datapath: w.net}
	w.path = a
	w.start()
	image := w.build().ID
	var ids []string
	for range 3 {
		inst := w.run(image)
		ids = append(ids, w.wait(inst.ID, model.InstanceRunning).Interface.ID)
	}
	slices.Sort(ids)
	slices.Sort(a.attached)
	if !slices.Equal(a.attached, ids) {
		t.Errorf("attached %v, want %v", a.attached, ids)
	}
	for range 5 {
		w.stop()
		a.sizes = nil
		w.start()
		inst := w.run(image)
		w.wait(inst.ID, model.InstanceRunning)
		ids = append(ids, "")
		for _, n := range a.sizes {
			if n < len(ids)-1 {
				t.Fatalf("a configuration of %d ports, with %d machines running", n, len(ids)-1)
			}
		}
	}
}
