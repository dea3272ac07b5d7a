package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Change says that an object was created, replaced or deleted. When Resync is
// set, changes may have been missed and the receiver has to look at everything;
// the other fields are empty then.
type Change struct {
	Collection string
	Key        string
	Deleted    bool
	Resync     bool
}

// maxPending distinct objects may have changed without the receiver having
// looked; beyond that it gets one Resync instead.
const maxPending = 4096

const watchRetry = 100 * time.Millisecond

// Watch delivers the changes of these collections, or of all when none is named,
// that are committed after it returns, in the order of commits per object.
// Changes of one object that the receiver has not yet taken are merged into the
// last. The channel is closed when ctx or the store ends. A slow receiver delays
// nobody else.
func (s *Store) Watch(ctx context.Context, collections ...string) <-chan Change {
	out := make(chan Change)
	ctx, cancel := s.bound(ctx)
	w := &watcher{store: s, out: out, wanted: make(map[string]bool, len(collections)), prefix: root}
	for _, c := range collections {
		w.wanted[c] = true
	}
	if len(collections) == 1 {
		w.prefix = collectionPrefix(collections[0])
	}
	rev, err := s.revision(ctx)
	w.resync = err != nil
	started := s.start(func() {
		defer cancel()
		defer close(out)
		w.run(ctx, rev)
	})
	if !started {
		cancel()
		close(out)
	}
	return out
}

type watcher struct {
	store  *Store
	out    chan<- Change
	wanted map[string]bool
	prefix string

	order   []string // keys of pending, oldest first
	pending map[string]Change
	resync  bool
}

// run keeps a watch open from the revision after rev until ctx ends.
func (w *watcher) run(ctx context.Context, rev int64) {
	for ctx.Err() == nil {
		if rev == 0 {
			// Where the last watch ended is lost: start anew from the present.
			w.setResync()
			var err error
			if rev, err = w.store.revision(ctx); err != nil {
				rev = 0
				w.pause(ctx)
				continue
			}
		}
		rev = w.follow(ctx, rev)
	}
}

// follow forwards what one etcd watch delivers until it ends, and returns the
// revision to go on after, or 0 when changes may be lost.
func (w *watcher) follow(ctx context.Context, rev int64) int64 {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := w.store.client.Watch(ctx, w.prefix, clientv3.WithPrefix(), clientv3.WithRev(rev+1))
	for {
		var out chan<- Change
		next, ok := w.next()
		if ok {
			out = w.out
		}
		select {
		case <-ctx.Done():
			return 0
		case out <- next:
			w.taken()
		case resp, ok := <-events:
			if !ok || resp.Err() != nil {
				w.store.log.Debug("watch of the store ended, starting it anew", "error", resp.Err())
				w.pause(ctx)
				return 0
			}
			if err := w.store.awaitVisible(ctx, resp.Header.Revision); err != nil {
				w.pause(ctx)
				return 0
			}
			w.add(resp.Events)
		}
	}
}

func (w *watcher) add(events []*clientv3.Event) {
	for _, e := range events {
		collection, key, ok := splitKey(string(e.Kv.Key))
		if !ok || (len(w.wanted) > 0 && !w.wanted[collection]) || w.resync {
			continue
		}
		if w.pending == nil {
			w.pending = make(map[string]Change)
		}
		id := string(e.Kv.Key)
		if _, ok := w.pending[id]; !ok {
			if len(w.order) >= maxPending {
				w.setResync()
				continue
			}
			w.order = append(w.order, id)
		}
		w.pending[id] = Change{Collection: collection, Key: key, Deleted: e.Type == clientv3.EventTypeDelete}
	}
}

// setResync replaces everything pending, which a resync covers.
func (w *watcher) setResync() {
	w.resync = true
	w.order, w.pending = nil, nil
}

func (w *watcher) next() (Change, bool) {
	if w.resync {
		return Change{Resync: true}, true
	}
	if len(w.order) > 0 {
		return w.pending[w.order[0]], true
	}
	return Change{}, false
}

func (w *watcher) taken() {
	if w.resync {
		w.resync = false
		return
	}
	delete(w.pending, w.order[0])
	w.order = w.order[1:]
}

func (w *watcher) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(watchRetry):
	}
}
