package store

import (
	"context"
	"errors"
	"testing"
)

type thing struct {
	ID string
	N  int
}

var things = NewCollection("things", func(t *thing) string { return t.ID })

func open(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" && o.Endpoints == nil {
		o.Dir = t.TempDir()
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

func put(t testing.TB, s *Store, v thing) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx *Tx) error { return things.Put(tx, &v) }); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s *Store, key string) (v thing, err error) {
	t.Helper()
	err = s.View(t.Context(), func(tx *Tx) (err error) {
		v, err = things.Get(tx, key)
		return err
	})
	return v, err
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, thing{"a", 1})
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second Open: got %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	if v, err := get(t, s, "a"); err != nil || v.N != 1 {
		t.Fatalf("got %v, %v", v, err)
	}
	if _, err := get(t, s, "b"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
}
