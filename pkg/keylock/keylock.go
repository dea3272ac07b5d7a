// Package keylock owns locks that are named by keys: of files, say, by their names.
// It imports no package of ours.
package keylock

import "sync"

// Mutex is a mutex per key, kept only while it is used. The zero value is ready.
type Mutex struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sync.Mutex
	users int
}

// Lock locks a key and returns the function that unlocks it.
func (m *Mutex) Lock(key string) (unlock func()) {
	m.mu.Lock()
	if m.held == nil {
		m.held = make(map[string]*lock)
	}
	l := m.held[key]
	if l == nil {
		l = &lock{}
		m.held[key] = l
	}
	l.users++
	m.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(m.held, key)
		}
	}
}

// Held is the number of keys that are locked or waited for.
func (m *Mutex) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.held)
}
