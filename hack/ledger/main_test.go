package main

import (
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// TestVerify finds a row that is missing, and one that is another's.
func TestVerify(t *testing.T) {
	l, err := open(filepath.Join(t.TempDir(), "rows"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.db.Close()
	for want := uint64(1); want <= 5; want++ {
		if n, err := l.commit(); n != want || err != nil {
			t.Fatalf("row %d is %d, %v", want, n, err)
		}
	}
	if last, err := l.verify(); last != 5 || err != nil {
		t.Errorf("verify = %d, %v", last, err)
	}
	for name, harm := range map[string]func(*bbolt.Bucket) error{
		"missing":   func(b *bbolt.Bucket) error { return b.Delete(key(3)) },
		"another's": func(b *bbolt.Bucket) error { return b.Put(key(3), row(2)) },
	} {
		if err := l.db.Update(func(tx *bbolt.Tx) error { return harm(tx.Bucket(rows)) }); err != nil {
			t.Fatal(err)
		}
		if _, err := l.verify(); err == nil {
			t.Errorf("a row that is %s is not found", name)
		}
		if err := l.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(rows).Put(key(3), row(3)) }); err != nil {
			t.Fatal(err)
		}
	}
}
