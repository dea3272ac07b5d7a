package qemu

import (
	"context"
	"sync"

	"github.com/bundt/bundt/pkg/hypervisor"
)

// watchers fans events out. A watcher that does not read loses events: they say
// when to look, not what is there.
type watchers struct {
	mu  sync.Mutex
	set map[chan hypervisor.Event]struct{}
}

func (w *watchers) subscribe(ctx context.Context) <-chan hypervisor.Event {
	c := make(chan hypervisor.Event, 256)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = map[chan hypervisor.Event]struct{}{}
	}
	w.set[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.set, c)
		close(c)
	})
	return c
}

func (w *watchers) emit(id, kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.set {
		select {
		case c <- hypervisor.Event{ID: id, Kind: kind}:
		default:
		}
	}
}
