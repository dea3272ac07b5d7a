package node

import (
	"context"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// stepLog keeps a build's steps in its record, for those who watch.
type stepLog struct {
	node  *Node
	build *model.Build

	mu    sync.Mutex
	steps []model.BuildStep
	saved time.Time // when those were recorded last
}

// saveEvery is how long mere detail of a step waits to be recorded.
const saveEvery = time.Second

// event notes the progress of a step. Failing to record it does not fail the build.
func (s *stepLog) event(ctx context.Context, e bake.Event) {
	now := s.node.Now().UTC()
	s.mu.Lock()
	i := len(s.steps) - 1
	for i >= 0 && s.steps[i].Name != e.Step {
		i--
	}
	if i < 0 {
		s.steps = append(s.steps, model.BuildStep{Name: e.Step, Started: now})
		i = len(s.steps) - 1
	}
	started := s.steps[i].Detail == "" && !e.Done
	s.steps[i].Detail, s.steps[i].Cached = e.Detail, e.Cached
	if e.Done {
		s.steps[i].Finished = now
	}
	due := started || e.Done || now.Sub(s.saved) >= saveEvery
	if due {
		s.saved = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	if err := s.save(ctx, func(*model.Build) {}); err != nil && ctx.Err() == nil {
		s.node.Logger.Warn("recording a build step failed", "build", s.build.ID, "step", e.Step, "error", err)
	}
}

func (s *stepLog) all() []model.BuildStep {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]model.BuildStep(nil), s.steps...)
}

func (s *stepLog) save(ctx context.Context, change func(*model.Build)) error {
	return s.node.Store.Update(ctx, func(tx *store.Tx) error {
		b, err := records.Builds.Get(tx, s.build.ID)
		if err != nil {
			return err
		}
		b.Steps = s.all()
		change(&b)
		return records.Builds.Put(tx, &b)
	})
}

// pin keeps a layer or blob from the garbage collector until a record names it.
func (n *Node) pin(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pinned[id]++
}

// unpinBlob ends one pin of a blob; "" is none.
func (n *Node) unpinBlob(digest string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unpinLocked(digest)
}

func (n *Node) unpin(layers []model.Layer, b model.Boot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range layers {
		n.unpinLocked(l.ID)
	}
	for _, d := range b.Blobs() {
		n.unpinLocked(d)
	}
}

// unpinLocked is for whoever holds mu.
func (n *Node) unpinLocked(id string) {
	if n.pinned[id]--; n.pinned[id] <= 0 {
		delete(n.pinned, id)
	}
}
