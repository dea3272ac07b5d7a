package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"
)

func numbers(t testing.TB, m *Mirror[thing]) map[string]int {
	t.Helper()
	all, err := m.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	last := ""
	for _, v := range all {
		if v.ID <= last {
			t.Fatalf("%q comes after %q: not sorted", v.ID, last)
		}
		out[v.ID], last = v.N, v.ID
	}
	return out
}

func TestMirrorShowsWhatWasAcknowledged(t *testing.T) {
	s := open(t, Options{})
	put(t, s, thing{"before", 1})
	m := NewMirror(s, things)
	if got := numbers(t, m); len(got) != 1 || got["before"] != 1 {
		t.Fatalf("first reading: %v", got)
	}
	for n := range 200 {
		id := fmt.Sprintf("t%d", n%7)
		put(t, s, thing{id, n})
		if got, err := m.Get(t.Context(), id); err != nil || got == nil || got.N != n {
			t.Fatalf("after writing %d: %+v, %v", n, got, err)
		}
	}
	if err := s.Update(t.Context(), func(tx *Tx) error { return things.Delete(tx, "before") }); err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, m); len(got) != 7 {
		t.Errorf("after the deletion: %v", got)
	}
	if got, err := m.Get(t.Context(), "before"); got != nil || err != nil {
		t.Errorf("a deleted object: %v, %v", got, err)
	}
}

// What other collections are written does not keep readers waiting.
func TestMirrorOfAQuietCollection(t *testing.T) {
	s := open(t, Options{})
	m := NewMirror(s, things)
	put(t, s, thing{"a", 1})
	for range 50 {
		if err := s.Update(t.Context(), func(tx *Tx) error { return records.Put(tx, &record{ID: "r"}) }); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, m); got["a"] != 1 {
			t.Fatalf("got %v", got)
		}
	}
}

// Keys of others in the same etcd raise its revision without a change here.
func TestMirrorBesideForeignKeys(t *testing.T) {
	s := open(t, Options{})
	m := NewMirror(s, things)
	put(t, s, thing{"a", 1})
	for range 5 {
		if _, err := s.client.Put(t.Context(), "/elsewhere", "x"); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, m); got["a"] != 1 {
			t.Fatalf("got %v", got)
		}
	}
}

func TestMirrorsMadeLater(t *testing.T) {
	s := open(t, Options{})
	first := NewMirror(s, things)
	put(t, s, thing{"a", 1})
	if got := numbers(t, first); got["a"] != 1 {
		t.Fatalf("got %v", got)
	}
	if err := s.Update(t.Context(), func(tx *Tx) error { return records.Put(tx, &record{ID: "r"}) }); err != nil {
		t.Fatal(err)
	}
	second := NewMirror(s, records)
	if all, err := second.All(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("second mirror: %v, %v", all, err)
	}
	put(t, s, thing{"b", 2})
	if got := numbers(t, first); len(got) != 2 {
		t.Errorf("first mirror: %v", got)
	}
}

func TestMirrorOfManyWriters(t *testing.T) {
	s := open(t, Options{})
	m := NewMirror(s, things)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			id := fmt.Sprintf("w%d", w)
			for n := range 40 {
				if err := s.Update(t.Context(), func(tx *Tx) error { return things.Put(tx, &thing{id, n}) }); err != nil {
					t.Error(err)
					return
				}
				if got, err := m.Get(t.Context(), id); err != nil || got == nil || got.N != n {
					t.Errorf("%s wrote %d and reads %+v, %v", id, n, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestMirrorEndsWithStore(t *testing.T) {
	s := open(t, Options{})
	m := NewMirror(s, things)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := m.All(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func BenchmarkMirrorGet(b *testing.B) {
	s := open(b, Options{})
	m := NewMirror(s, things)
	put(b, s, thing{"a", 1})
	for b.Loop() {
		if _, err := m.Get(b.Context(), "a"); err != nil {
			b.Fatal(err)
		}
	}
}

// Whoever observes a mirror can keep sums of it, through changes and reloads.
func TestMirrorObserved(t *testing.T) {
	s := open(t, Options{})
	put(t, s, thing{"a", 1})
	m := NewMirror(s, things)
	var mu sync.Mutex
	sum, objects := 0, 0
	m.Observe(func(before, now *thing) {
		mu.Lock()
		defer mu.Unlock()
		if before != nil {
			sum, objects = sum-before.N, objects-1
		}
		if now != nil {
			sum, objects = sum+now.N, objects+1
		}
	})
	check := func(wantSum, wantObjects int) {
		t.Helper()
		if err := m.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if sum != wantSum || objects != wantObjects {
			t.Errorf("%d objects with the sum %d, want %d with %d", objects, sum, wantObjects, wantSum)
		}
	}
	check(1, 1)
	put(t, s, thing{"b", 20})
	put(t, s, thing{"a", 3})
	check(23, 2)
	NewMirror(s, records) // all load anew
	check(23, 2)
	if err := s.Update(t.Context(), func(tx *Tx) error { return things.Delete(tx, "a") }); err != nil {
		t.Fatal(err)
	}
	check(20, 1)
}

func TestLastChange(t *testing.T) {
	s := open(t, Options{})
	NewMirror(s, things)
	others := NewCollection("others", func(r *record) string { return r.ID })
	last := func() int64 {
		t.Helper()
		rev, err := s.LastChange(t.Context(), records.Name(), things.Name())
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	before := last()
	if err := s.Update(t.Context(), func(tx *Tx) error { return others.Put(tx, &record{ID: "o"}) }); err != nil {
		t.Fatal(err)
	}
	if now := last(); now != before {
		t.Errorf("a change of another collection: %d after %d", now, before)
	}
	for _, change := range []func(tx *Tx) error{
		func(tx *Tx) error { return records.Put(tx, &record{ID: "r"}) }, // without a mirror
		func(tx *Tx) error { return things.Put(tx, &thing{"t", 1}) },
		func(tx *Tx) error { return records.Delete(tx, "r") },
	} {
		if err := s.Update(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if now := last(); now <= before {
			t.Errorf("after a change: %d after %d", now, before)
		} else {
			before = now
		}
	}
}

// The order is kept through additions, deletions and returns.
func TestMirrorOrder(t *testing.T) {
	s := open(t, Options{})
	m := NewMirror(s, things)
	want := map[string]int{}
	for round := range 40 {
		err := s.Update(t.Context(), func(tx *Tx) error {
			for k := range 5 {
				id := fmt.Sprintf("t%d", (round*7+k*11)%30)
				if (round+k)%3 == 0 {
					if err := things.Delete(tx, id); err != nil {
						return err
					}
					delete(want, id)
					continue
				}
				if err := things.Put(tx, &thing{id, round}); err != nil {
					return err
				}
				want[id] = round
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if round%4 == 0 {
			continue // several changes between readings
		}
		if got := numbers(t, m); !maps.Equal(got, want) {
			t.Fatalf("round %d: %v, want %v", round, got, want)
		}
	}
}

func TestMirrorOfAClosedStore(t *testing.T) {
	s := open(t, Options{})
	put(t, s, thing{"a", 1})
	m := NewMirror(s, things)
	if got := numbers(t, m); got["a"] != 1 {
		t.Fatalf("got %v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.All(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
}

// What is read after LastChange is at least that new: etcd tells of a change a
// moment before it can be read, and who kept the older state with the newer
// revision would never look again.
func TestLastChangeIsVisible(t *testing.T) {
	s := open(t, Options{})
	NewMirror(s, things)
	written := make(chan error, 1)
	go func() {
		var err error
		for n := 1; n <= 3000 && err == nil; n++ {
			err = s.Update(t.Context(), func(tx *Tx) error { return things.Put(tx, &thing{"t", n}) })
		}
		written <- err
	}()
	first := map[int64]int{} // what was read after a revision
	for {
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
		rev, err := s.LastChange(t.Context(), things.Name())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = s.View(t.Context(), func(tx *Tx) error {
			v, err := things.Get(tx, "t")
			n = v.N
			return err
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		again, err := s.LastChange(t.Context(), things.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := first[rev]; !ok {
			first[rev] = n
		}
		if again == rev && first[rev] != n {
			t.Fatalf("of revision %d, %d was read first and then %d", rev, first[rev], n)
		}
	}
}
