package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Mirror is a collection decoded in memory, for readers that look at many
// objects: a reading costs no decoding and no request for each object. Every
// reading shows at least what was acknowledged before it began, whoever wrote it.
type Mirror[T any] struct {
	feed *feed
	copy *mirrored[T]
}

// NewMirror follows a collection until the store ends. Make all mirrors of a
// store before reading from one: each makes the store's mirrors load anew. Mirrors
// of one collection share its objects.
func NewMirror[T any](s *Store, c Collection[T]) *Mirror[T] {
	m := s.mirrors.add(c.name, &mirrored[T]{objects: map[string]*T{}})
	return &Mirror[T]{feed: &s.mirrors, copy: m.(*mirrored[T])}
}

// Await waits until the mirror shows everything that is acknowledged now.
func (m *Mirror[T]) Await(ctx context.Context) error { return m.feed.await(ctx) }

// Observe calls see for every object that there is, and then for every change, in
// order: before is nil for a new object, now for one that is gone. Between them
// the mirror may have missed states, as its readers do. see must not read the
// mirror, nor wait.
func (m *Mirror[T]) Observe(see func(before, now *T)) {
	m.copy.mu.Lock()
	defer m.copy.mu.Unlock()
	m.copy.observers = append(m.copy.observers, see)
	for _, object := range m.copy.objects {
		see(nil, object)
	}
}

// All returns every object, sorted by key. Objects and slice are shared with
// other readers and must not be changed.
func (m *Mirror[T]) All(ctx context.Context) ([]*T, error) {
	if err := m.feed.await(ctx); err != nil {
		return nil, err
	}
	return m.copy.all(), nil
}

// Get returns the object of that key, nil if there is none. It is shared with
// other readers and must not be changed.
func (m *Mirror[T]) Get(ctx context.Context, key string) (*T, error) {
	if err := m.feed.await(ctx); err != nil {
		return nil, err
	}
	return m.copy.get(key), nil
}

// Getter waits as Get does, once, and returns a function that reads objects by
// their keys from then on: each is at least as new as when Getter was called.
func (m *Mirror[T]) Getter(ctx context.Context) (func(key string) *T, error) {
	if err := m.feed.await(ctx); err != nil {
		return nil, err
	}
	return m.copy.get, nil
}

// mirrored is a mirror's objects.
type mirrored[T any] struct {
	mu        sync.Mutex
	objects   map[string]*T
	sorted    []*T     // nil after a change
	keys      []string // of what was sorted last
	added     []string // keys since then
	deleted   bool     // some of keys are no more
	observers []func(before, now *T)
}

// changed notes a change of one object. The caller holds mu.
func (m *mirrored[T]) changed(key string, before, now *T) {
	m.sorted = nil
	switch {
	case before == nil:
		m.added = append(m.added, key)
	case now == nil:
		m.deleted = true
	}
	for _, see := range m.observers {
		see(before, now)
	}
}

func (m *mirrored[T]) all() []*T {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sorted == nil {
		m.sortKeys()
		m.sorted = make([]*T, len(m.keys))
		for i, key := range m.keys {
			m.sorted[i] = m.objects[key]
		}
	}
	return m.sorted
}

// sortKeys brings keys up to date: few have changed since they were sorted.
func (m *mirrored[T]) sortKeys() {
	if m.deleted {
		m.keys = slices.DeleteFunc(m.keys, func(key string) bool { return m.objects[key] == nil })
		m.added = slices.DeleteFunc(m.added, func(key string) bool { return m.objects[key] == nil })
	}
	if len(m.added) > 0 {
		slices.Sort(m.added)
		old, merged := m.keys, make([]string, 0, len(m.objects))
		for _, key := range m.added {
			before, _ := slices.BinarySearch(old, key)
			merged = append(append(merged, old[:before]...), key)
			old = old[before:]
		}
		m.keys = slices.Compact(append(merged, old...)) // one was deleted and came back
	}
	m.added, m.deleted = nil, false
}

func (m *mirrored[T]) get(key string) *T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.objects[key]
}

// load replaces everything at once, so that nobody reads half of it.
func (m *mirrored[T]) load(entries []entry) error {
	objects := make(map[string]*T, len(entries))
	for _, e := range entries {
		object := new(T)
		if err := json.Unmarshal(e.value, object); err != nil {
			return fmt.Errorf("decoding %s: %w", e.key, err)
		}
		objects[e.key] = object
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.objects
	m.objects = objects
	for key, object := range before {
		m.changed(key, object, objects[key])
	}
	for key, object := range objects {
		if before[key] == nil {
			m.changed(key, nil, object)
		}
	}
	return nil
}

func (m *mirrored[T]) put(key string, data []byte) error {
	object := new(T)
	if err := json.Unmarshal(data, object); err != nil {
		return fmt.Errorf("decoding %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.objects[key]
	m.objects[key] = object
	m.changed(key, before, object)
	return nil
}

func (m *mirrored[T]) delete(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before := m.objects[key]; before != nil {
		delete(m.objects, key)
		m.changed(key, before, nil)
	}
}

// sink is a mirror of some type.
type sink interface {
	load(entries []entry) error
	put(key string, data []byte) error
	delete(key string)
}

// feed keeps a store's mirrors up to date by one watch of everything, so that
// one revision says how new all of them are.
type feed struct {
	store *Store

	mu       sync.Mutex
	sinks    map[string]sink    // by collection
	restart  context.CancelFunc // ends the present watch; nil until the first mirror
	revision int64              // the mirrors have everything up to this; 0 while they load
	err      error              // why they cannot load
	progress chan struct{}      // closed at the next change of revision or err
	changes  map[string]int64   // by collection, mirrored or not: the revision of the last change since loaded
	loaded   int64              // the revision at which following began
}

// LastChange returns a revision that has risen when anything in these collections
// has changed since it was asked before. The store must have a mirror.
func (s *Store) LastChange(ctx context.Context, collections ...string) (int64, error) {
	f := &s.mirrors
	if err := f.await(ctx); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.loaded
	for _, c := range collections {
		last = max(last, f.changes[c])
	}
	return last, nil
}

// add returns the collection's mirror: m, or the one that there is.
func (f *feed) add(collection string, m sink) sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.sinks[collection]; old != nil {
		return old
	}
	first := f.restart == nil
	if first {
		f.sinks, f.progress = map[string]sink{}, make(chan struct{})
		f.restart = func() {}
	}
	f.sinks = maps.Clone(f.sinks) // the feed may be reading the old one
	f.sinks[collection] = m
	f.revision = 0
	f.restart()
	if first {
		f.store.start(f.run)
	}
	return m
}

// progressAfter is how long a reader waits before it asks etcd how far the
// watch is: what others keep in the same etcd does not show in it.
const progressAfter = 10 * time.Millisecond

// await waits until the mirrors have everything that is committed now.
func (f *feed) await(ctx context.Context) error {
	target, err := f.store.revision(ctx)
	if err != nil {
		return f.store.explain(ctx, err)
	}
	if reached, _, err := f.has(target); reached || err != nil {
		return err
	}
	ctx, cancel := f.store.bound(ctx)
	defer cancel()
	for {
		reached, progress, err := f.has(target)
		if reached || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-progress:
		case <-time.After(progressAfter):
			if err := f.store.client.RequestProgress(ctx); err != nil {
				return f.store.explain(ctx, err)
			}
		}
	}
}

// has reports whether the mirrors have everything up to a revision; if not,
// progress is closed at the next change of that.
func (f *feed) has(revision int64) (reached bool, progress <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision >= revision, f.progress, f.err
}

// run loads the mirrors and follows the store, again and again, until it ends.
func (f *feed) run() {
	for f.store.ctx.Err() == nil {
		ctx, cancel := context.WithCancel(f.store.ctx)
		f.mu.Lock()
		f.restart = cancel
		f.revision = 0
		f.mu.Unlock()
		rev, err := f.load(ctx)
		switch {
		case err == nil:
			f.follow(ctx, rev)
		case ctx.Err() == nil:
			f.reached(0, err)
			select {
			case <-ctx.Done():
			case <-time.After(watchRetry):
			}
		}
		cancel()
	}
}

// load reads all mirrored collections at one revision and returns it.
func (f *feed) load(ctx context.Context) (int64, error) {
	rev, err := f.store.revision(ctx)
	if err != nil {
		return 0, f.store.explain(ctx, err)
	}
	sinks := f.mirrored()
	for collection, m := range sinks {
		prefix := collectionPrefix(collection)
		resp, err := f.store.client.Get(ctx, prefix, f.store.readOptions(clientv3.WithPrefix(), clientv3.WithRev(rev))...)
		if err != nil {
			return 0, f.store.explain(ctx, err)
		}
		entries := make([]entry, len(resp.Kvs))
		for i, kv := range resp.Kvs {
			entries[i] = entry{string(kv.Key[len(prefix):]), kv.Value}
		}
		if err := m.load(entries); err != nil {
			return 0, fmt.Errorf("loading %s: %w", collection, err)
		}
	}
	f.mu.Lock()
	f.loaded, f.changes = rev, map[string]int64{}
	f.mu.Unlock()
	f.reached(rev, nil)
	return rev, nil
}

// follow applies changes after rev until the watch or ctx ends.
func (f *feed) follow(ctx context.Context, rev int64) {
	for resp := range f.store.client.Watch(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if err := resp.Err(); err != nil {
			f.store.log.Debug("watch of the mirrors ended, loading them anew", "error", err)
			return
		}
		if err := f.store.awaitVisible(ctx, resp.Header.Revision); err != nil {
			return
		}
		if err := f.apply(resp.Events); err != nil {
			f.store.log.Error("following the store failed, loading the mirrors anew", "error", err)
			return
		}
		switch {
		case resp.IsProgressNotify():
			f.reached(resp.Header.Revision, nil)
		case len(resp.Events) > 0:
			f.reached(resp.Events[len(resp.Events)-1].Kv.ModRevision, nil)
		}
	}
}

func (f *feed) apply(events []*clientv3.Event) error {
	sinks := f.mirrored()
	for _, e := range events {
		collection, key, ok := splitKey(string(e.Kv.Key))
		if !ok {
			continue
		}
		f.mu.Lock()
		f.changes[collection] = e.Kv.ModRevision
		f.mu.Unlock()
		if sinks[collection] == nil {
			continue
		}
		if e.Type == clientv3.EventTypeDelete {
			sinks[collection].delete(key)
			continue
		}
		if err := sinks[collection].put(key, e.Kv.Value); err != nil {
			return fmt.Errorf("following %s: %w", collection, err)
		}
	}
	return nil
}

// mirrored returns the mirrors; the map is never changed.
func (f *feed) mirrored() map[string]sink {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sinks
}

// reached tells waiting readers how far the mirrors are, or why they are not.
func (f *feed) reached(rev int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision, f.err = rev, err
	close(f.progress)
	f.progress = make(chan struct{})
}
