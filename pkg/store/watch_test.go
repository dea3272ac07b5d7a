package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func next(t *testing.T, changes <-chan Change) Change {
	t.Helper()
	select {
	case c, ok := <-changes:
		if !ok {
			t.Fatal("the watch was closed")
		}
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no change came")
	}
	panic("unreachable")
}

func TestWatch(t *testing.T) {
	s := open(t, Options{})
	put(t, s, thing{"before", 1})
	ctx, cancel := context.WithCancel(t.Context())
	changes, all := s.Watch(ctx, "things"), s.Watch(ctx)
	if err := s.Update(t.Context(), func(tx *Tx) error { return records.Put(tx, &record{ID: "r"}) }); err != nil {
		t.Fatal(err)
	}
	put(t, s, thing{"a", 1})
	if err := s.Update(t.Context(), func(tx *Tx) error { return things.Delete(tx, "before") }); err != nil {
		t.Fatal(err)
	}
	a, gone := Change{Collection: "things", Key: "a"}, Change{Collection: "things", Key: "before", Deleted: true}
	for _, want := range []Change{a, gone} {
		if c := next(t, changes); c != want {
			t.Errorf("got %+v, want %+v", c, want)
		}
	}
	for _, want := range []Change{{Collection: "records", Key: "r"}, a, gone} {
		if c := next(t, all); c != want {
			t.Errorf("all: got %+v, want %+v", c, want)
		}
	}
	cancel()
	for range changes {
	}
}

func TestWatchEndsWithStore(t *testing.T) {
	s := open(t, Options{})
	changes := s.Watch(context.Background())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-changes; ok {
		t.Error("the watch goes on")
	}
	if _, ok := <-s.Watch(context.Background()); ok {
		t.Error("a watch of a closed store goes on")
	}
}

// TestWatchOverflow lets a receiver sleep while more changes than are kept come
// in: it gets one Resync, and then new changes again.
func TestWatchOverflow(t *testing.T) {
	s := open(t, Options{})
	changes := s.Watch(t.Context(), "things")
	for start := 0; start < maxPending+1000; start += 1000 {
		if err := s.Update(t.Context(), func(tx *Tx) error {
			for i := start; i < start+1000; i++ {
				if err := things.Put(tx, &thing{fmt.Sprint(i), i}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for !next(t, changes).Resync {
		if time.Now().After(deadline) {
			t.Fatal("no Resync")
		}
		time.Sleep(time.Millisecond)
	}
	put(t, s, thing{"last", 1})
	for next(t, changes).Key != "last" {
	}
}

// TestWatchSurvivesCompaction starts to follow from a revision that is gone.
func TestWatchSurvivesCompaction(t *testing.T) {
	s := open(t, Options{})
	for i := range 10 {
		put(t, s, thing{"a", i})
	}
	rev, err := s.revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Compact(t.Context(), rev, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	out := make(chan Change)
	w := &watcher{store: s, out: out, prefix: root}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.run(ctx, rev-5) }()
	if c := next(t, out); !c.Resync {
		t.Errorf("got %+v, want a Resync", c)
	}
	put(t, s, thing{"b", 1})
	if c := next(t, out); c.Key != "b" {
		t.Errorf("got %+v", c)
	}
	cancel()
	<-ended
}
