package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestUpdateConflicts interferes once between what a transaction reads and its
// commit. The transaction runs again exactly when the interference changed what
// it read.
func TestUpdateConflicts(t *testing.T) {
	getA := func(tx *Tx) error { _, err := things.Get(tx, "a"); return err }
	existsX := func(tx *Tx) error { _, err := things.Exists(tx, "x"); return err }
	list := func(tx *Tx) error { _, err := things.List(tx); return err }
	listA := func(tx *Tx) error { _, err := things.ListPrefix(tx, "a"); return err }
	nothing := func(*Tx) error { return nil }
	putter := func(v thing) func(*Tx) error { return func(tx *Tx) error { return things.Put(tx, &v) } }
	deleter := func(key string) func(*Tx) error { return func(tx *Tx) error { return things.Delete(tx, key) } }
	tests := []struct {
		name      string
		read      func(*Tx) error
		interfere func(*Tx) error
		conflict  bool
	}{
		{"read key changes", getA, putter(thing{"a", 9}), true},
		{"read key is written with the same value", getA, putter(thing{"a", 1}), true},
		{"read key vanishes", func(tx *Tx) error { _, err := things.Exists(tx, "a"); return err }, deleter("a"), true},
		{"absent key appears", existsX, putter(thing{"x", 1}), true},
		{"other key changes", getA, putter(thing{"b", 9}), false},
		{"key appears in listed range", list, putter(thing{"x", 1}), true},
		{"key changes in listed range", list, putter(thing{"b", 9}), true},
		{"key vanishes from listed range", list, deleter("b"), true},
		{"key changes beside listed prefix", listA, putter(thing{"b", 9}), false},
		{"blind write", nothing, putter(thing{"a", 9}), false},
	}
	s := open(t, Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			put(t, s, thing{"a", 1})
			put(t, s, thing{"b", 1})
			if err := s.Update(t.Context(), deleter("x")); err != nil {
				t.Fatal(err)
			}
			runs := 0
			err := s.Update(t.Context(), func(tx *Tx) error {
				runs++
				if err := tt.read(tx); err != nil {
					return err
				}
				if runs == 1 {
					if err := s.Update(t.Context(), tt.interfere); err != nil {
						return err
					}
				}
				return things.Put(tx, &thing{"out", runs})
			})
			if err != nil || (runs == 2) != tt.conflict {
				t.Errorf("%d runs, %v; conflict wanted: %v", runs, err, tt.conflict)
			}
		})
	}
}

func TestUpdateGivesUp(t *testing.T) {
	s := open(t, Options{})
	put(t, s, thing{"a", 0})
	runs := 0
	err := s.Update(t.Context(), func(tx *Tx) error {
		runs++
		v, err := things.Get(tx, "a")
		if err != nil {
			return err
		}
		put(t, s, thing{"a", v.N + 1})
		return things.Put(tx, &thing{"a", -1})
	})
	if !errors.Is(err, ErrConflict) || runs != maxAttempts {
		t.Errorf("%d runs, %v", runs, err)
	}
	if v, err := get(t, s, "a"); err != nil || v.N != maxAttempts {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestSnapshotIsConsistent(t *testing.T) {
	s := open(t, Options{})
	put(t, s, thing{"a", 1})
	put(t, s, thing{"b", 1})
	err := s.View(t.Context(), func(tx *Tx) error {
		if _, err := things.Get(tx, "a"); err != nil {
			return err
		}
		put(t, s, thing{"b", 2})
		put(t, s, thing{"c", 2})
		b, err := things.Get(tx, "b")
		if err != nil || b.N != 1 {
			return fmt.Errorf("b is %v, %w", b, err)
		}
		all, err := things.List(tx)
		if err != nil || len(all) != 2 {
			return fmt.Errorf("list is %v, %w", all, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTxRefuses(t *testing.T) {
	s := open(t, Options{})
	var leaked *Tx
	if err := s.View(t.Context(), func(tx *Tx) error {
		leaked = tx
		return things.Put(tx, &thing{"a", 1})
	}); !errors.Is(err, errReadOnly) {
		t.Errorf("writing in View: %v", err)
	}
	if _, err := things.Get(leaked, "a"); !errors.Is(err, errTxDone) {
		t.Errorf("using a Tx after its end: %v", err)
	}
	mine := errors.New("mine")
	if err := s.Update(t.Context(), func(tx *Tx) error {
		return errors.Join(things.Put(tx, &thing{"a", 1}), mine)
	}); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	if _, err := get(t, s, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a failed Update wrote: %v", err)
	}
	for _, key := range []string{"", "a\x00b", "a\nb", "\xff", strings.Repeat("x", maxKeyBytes+1)} {
		if err := s.Update(t.Context(), func(tx *Tx) error { return things.Put(tx, &thing{key, 1}) }); err == nil {
			t.Errorf("key %q was accepted", key)
		}
	}
}

func TestDecodeErrorNamesKey(t *testing.T) {
	s := open(t, Options{})
	texts := NewCollection("things", func(v *string) string { return "bad" })
	text := "not an object"
	if err := s.Update(t.Context(), func(tx *Tx) error { return texts.Put(tx, &text) }); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, s, "bad"); err == nil || !strings.Contains(err.Error(), `things "bad"`) {
		t.Errorf("got %v", err)
	}
}

// TestCounter checks that concurrent increments are never lost, and that what
// one goroutine has seen never goes back.
func TestCounter(t *testing.T) {
	s := open(t, Options{})
	put(t, s, thing{"n", 0})
	const workers, each = 16, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			last := 0
			for range each {
				var seen int
				err := s.Update(t.Context(), func(tx *Tx) error {
					v, err := things.Get(tx, "n")
					seen = v.N
					v.N++
					return errors.Join(err, things.Put(tx, &v))
				})
				if err != nil || seen < last {
					t.Errorf("read %d after %d, %v", seen, last, err)
					return
				}
				last = seen + 1
				if v, err := get(t, s, "n"); err != nil || v.N < last {
					t.Errorf("own write %d not read: %v, %v", last, v, err)
				}
			}
		})
	}
	wg.Wait()
	if v, err := get(t, s, "n"); err != nil || v.N != workers*each {
		t.Errorf("got %v, %v; want %d", v, err, workers*each)
	}
}

func TestModel(t *testing.T) {
	s := open(t, Options{})
	rapid.Check(t, func(t *rapid.T) {
		model := map[string]int{}
		err := s.Update(context.Background(), func(tx *Tx) error {
			all, err := things.List(tx)
			for _, v := range all {
				err = errors.Join(err, things.Delete(tx, v.ID))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(t, "transactions") {
			next := maps.Clone(model)
			fail := rapid.Bool().Draw(t, "fail")
			mine := errors.New("mine")
			err := s.Update(context.Background(), func(tx *Tx) error {
				for range rapid.IntRange(0, 6).Draw(t, "steps") {
					if err := modelStep(t, tx, next); err != nil {
						return err
					}
				}
				if fail {
					return mine
				}
				return nil
			})
			if fail != errors.Is(err, mine) || (!fail && err != nil) {
				t.Fatal(err)
			}
			if !fail {
				model = next
			}
		}
		if err := s.View(context.Background(), func(tx *Tx) error { return sameAsModel(tx, "", model) }); err != nil {
			t.Fatal(err)
		}
	})
}

func modelStep(t *rapid.T, tx *Tx, model map[string]int) error {
	key := rapid.SampledFrom([]string{"a", "ab", "abc", "b", "b/c", "c"}).Draw(t, "key")
	switch rapid.SampledFrom([]string{"put", "delete", "get", "list"}).Draw(t, "op") {
	case "put":
		n := rapid.IntRange(0, 9).Draw(t, "n")
		model[key] = n
		return things.Put(tx, &thing{key, n})
	case "delete":
		delete(model, key)
		return things.Delete(tx, key)
	case "get":
		v, err := things.Get(tx, key)
		n, ok := model[key]
		if ok != (err == nil) || v.N != n {
			return fmt.Errorf("%s is %v, %w, want %d, %v", key, v, err, n, ok)
		}
		return nil
	default:
		return sameAsModel(tx, key, model)
	}
}

func sameAsModel(tx *Tx, prefix string, model map[string]int) error {
	var want []thing
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(k, prefix) {
			want = append(want, thing{k, model[k]})
		}
	}
	got, err := things.ListPrefix(tx, prefix)
	if err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("list %q is %v, %w, want %v", prefix, got, err, want)
	}
	return nil
}

func TestContextEnds(t *testing.T) {
	s := open(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := s.Update(ctx, func(tx *Tx) error {
		<-ctx.Done()
		return things.Put(tx, &thing{"a", 1})
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
