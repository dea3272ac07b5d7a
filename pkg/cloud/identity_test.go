package cloud_test

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// A cloud has one key of identity documents, however many ask for it at once, and
// keeps it.
func TestSigningKey(t *testing.T) {
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Migrations: cloud.Migrations()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var mu sync.Mutex
	made := byte(0)
	open := func() *cloud.Cloud {
		c, err := cloud.New(t.Context(), cloud.Options{
			Store: s, Region: "local-1", PublicPool: netip.MustParsePrefix("127.77.0.0/16"),
			NewSigningKey: func(string, time.Time) (model.SigningKey, error) {
				mu.Lock()
				defer mu.Unlock()
				made++
				return model.SigningKey{Key: []byte{made}, Certificate: []byte{made}}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	keys := make([]model.SigningKey, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			k, err := c.SigningKey(t.Context())
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	all.Wait()
	before := made
	again, err := open().SigningKey(t.Context())
	if err != nil || made != before {
		t.Errorf("a key was made again: %v", err)
	}
	for _, k := range keys {
		if !reflect.DeepEqual(k, again) {
			t.Errorf("two keys: %v and %v", k, again)
		}
	}
}
