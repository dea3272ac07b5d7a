package store

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Collection is a set of objects of one type, each stored as JSON under a key
// that is part of the object.
type Collection[T any] struct {
	name string
	key  func(*T) string
}

// NewCollection describes the collection of that name (lower-case letters,
// digits and dashes); key returns an object's key. It panics when the name is
// not one, as that is a programming error.
func NewCollection[T any](name string, key func(*T) string) Collection[T] {
	if !collectionName.MatchString(name) {
		panic(fmt.Sprintf("store: %q is no name of a collection", name))
	}
	return Collection[T]{name: name, key: key}
}

// Name is the collection's name, as in Change.Collection.
func (c Collection[T]) Name() string { return c.name }

// Key is the key of an object.
func (c Collection[T]) Key(v *T) string { return c.key(v) }

// Get returns the object of that key, or ErrNotFound.
func (c Collection[T]) Get(tx *Tx, key string) (T, error) {
	var zero T
	if err := checkKey(c.name, key); err != nil {
		return zero, err
	}
	data, err := tx.get(collectionPrefix(c.name) + key)
	if err != nil {
		return zero, fmt.Errorf("reading %s %q: %w", c.name, key, err)
	}
	if data == nil {
		return zero, fmt.Errorf("%s %q: %w", c.name, key, ErrNotFound)
	}
	return c.decode(key, data)
}

// Exists reports whether there is an object of that key.
func (c Collection[T]) Exists(tx *Tx, key string) (bool, error) {
	_, err := c.Get(tx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// List returns all objects, sorted by key.
func (c Collection[T]) List(tx *Tx) ([]T, error) { return c.ListPrefix(tx, "") }

// ListPrefix returns the objects whose keys begin with prefix, sorted by key.
func (c Collection[T]) ListPrefix(tx *Tx, prefix string) ([]T, error) {
	if err := checkKeyText(c.name, prefix); err != nil {
		return nil, err
	}
	base := collectionPrefix(c.name)
	entries, err := tx.list(c.name, base+prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", c.name, err)
	}
	objects := make([]T, 0, len(entries))
	for _, e := range entries {
		v, err := c.decode(e.key[len(base):], e.value)
		if err != nil {
			return nil, err
		}
		objects = append(objects, v)
	}
	return objects, nil
}

// Put creates or replaces an object.
func (c Collection[T]) Put(tx *Tx, v *T) error {
	key := c.key(v)
	if err := checkKey(c.name, key); err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s %q: %w", c.name, key, err)
	}
	return tx.put(collectionPrefix(c.name)+key, data)
}

// Delete removes the object of that key; it need not exist.
func (c Collection[T]) Delete(tx *Tx, key string) error {
	if err := checkKey(c.name, key); err != nil {
		return err
	}
	return tx.delete(c.name, collectionPrefix(c.name)+key)
}

func (c Collection[T]) decode(key string, data []byte) (T, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("decoding %s %q: %w", c.name, key, err)
	}
	return v, nil
}
