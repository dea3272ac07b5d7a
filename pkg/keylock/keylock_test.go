package keylock_test

import (
	"sync"
	"testing"

	"github.com/bundt/bundt/pkg/keylock"
)

func TestOneAtATimePerKey(t *testing.T) {
	var m keylock.Mutex
	var wg sync.WaitGroup
	counts := map[string]*int{"a": new(int), "b": new(int)}
	for key, n := range counts {
		for range 100 {
			wg.Go(func() {
				defer m.Lock(key)()
				*n++ // the race detector watches
			})
		}
	}
	wg.Wait()
	for key, n := range counts {
		if *n != 100 {
			t.Errorf("%s: %d", key, *n)
		}
	}
	if held := m.Held(); held != 0 {
		t.Errorf("%d locks are kept", held)
	}
	unlock := m.Lock("a")
	m.Lock("b")() // another key does not wait
	if held := m.Held(); held != 1 {
		t.Errorf("%d keys are held, not 1", held)
	}
	unlock()
}
