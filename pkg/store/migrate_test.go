package store

import (
	"errors"
	"testing"
)

func TestMigrations(t *testing.T) {
	dir := t.TempDir()
	reopen := func(ms ...Migration) (*Store, error) { return Open(t.Context(), Options{Dir: dir, Migrations: ms}) }
	add := func(key string) Migration {
		return Migration{Name: "add " + key, Apply: func(tx *Tx) error { return things.Put(tx, &thing{key, 1}) }}
	}
	s, err := reopen()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, thing{"old", 1})
	closeStore(t, s)

	broken := errors.New("broken")
	_, err = reopen(add("first"), Migration{"second", func(tx *Tx) error {
		return errors.Join(things.Put(tx, &thing{"half", 1}), broken)
	}})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	second := Migration{"second", func(tx *Tx) error {
		if _, err := things.Get(tx, "first"); err != nil {
			return err
		}
		return things.Delete(tx, "first")
	}}
	first := Migration{"first", func(*Tx) error { t.Error("a migration ran twice"); return nil }}
	if s, err = reopen(first, second); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]error{"old": nil, "first": ErrNotFound, "half": ErrNotFound} {
		if _, err := get(t, s, key); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", key, err, want)
		}
	}
	closeStore(t, s)
	if _, err := reopen(first); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("got %v, want ErrNewerFormat", err)
	}
}

func TestNewStoreIsNotMigrated(t *testing.T) {
	open(t, Options{Migrations: []Migration{{"none", func(*Tx) error { t.Error("ran"); return nil }}}})
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
