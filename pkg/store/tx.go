package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	maxAttempts  = 100
	firstBackoff = 250 * time.Microsecond
	maxBackoff   = 32 * time.Millisecond
)

var (
	errReadOnly = errors.New("the transaction is read-only: use Update")
	errTxDone   = errors.New("the transaction has ended")
)

// Tx is a view of the store at one revision plus the changes made through it.
// It is valid during the call of the function that it was given to, and not
// safe for concurrent use.
type Tx struct {
	store    *Store
	ctx      context.Context
	writable bool
	done     bool

	rev    int64             // of the snapshot; 0 until the first read
	reads  map[string]read   // by etcd key
	ranges map[string]string // listed prefix -> collection
	writes map[string][]byte // nil value: deletion
	// deletions has the collections from which something is deleted.
	deletions map[string]struct{}
}

type read struct {
	value       []byte // nil: absent
	modRevision int64  // 0: absent
}

type entry struct {
	key   string
	value []byte
}

// View calls fn with a consistent snapshot. fn may be called again when the
// snapshot was dropped meanwhile, and must not keep the Tx.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.attempt(ctx, false, fn)
}

// Update calls fn and commits its changes in one transaction, if everything
// that fn read, listed ranges included, is still the same at that moment. If
// not, fn is called again on a new snapshot, so it must have no effects but
// those through tx; ErrConflict is returned when many attempts have failed. When
// fn returns an error, nothing is written and Update returns that error. When
// Update returns nil, the changes are on stable storage. If ctx ends during the
// commit, or etcd becomes unavailable, the outcome is unknown.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.attempt(ctx, true, fn)
}

func (s *Store) attempt(ctx context.Context, writable bool, fn func(*Tx) error) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	backoff := firstBackoff
	for range maxAttempts {
		tx := &Tx{store: s, ctx: ctx, writable: writable}
		err := fn(tx)
		tx.done = true
		if err == nil {
			var committed bool
			if committed, err = tx.commit(); committed {
				return nil
			}
		}
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(rand.N(backoff)):
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return ErrConflict
}

func (tx *Tx) usable() error {
	if tx.done {
		return errTxDone
	}
	return tx.store.explain(tx.ctx, tx.ctx.Err())
}

// get returns the value of an etcd key, nil if there is none.
func (tx *Tx) get(key string) ([]byte, error) {
	if err := tx.usable(); err != nil {
		return nil, err
	}
	if value, ok := tx.writes[key]; ok {
		return value, nil
	}
	if r, ok := tx.reads[key]; ok {
		return r.value, nil
	}
	resp, err := tx.fetch(key)
	if err != nil {
		return nil, err
	}
	var r read
	if len(resp.Kvs) == 1 {
		r = read{value: resp.Kvs[0].Value, modRevision: resp.Kvs[0].ModRevision}
	}
	if tx.reads == nil {
		tx.reads = make(map[string]read)
	}
	tx.reads[key] = r
	return r.value, nil
}

// list returns the entries of a collection whose etcd keys begin with prefix,
// with the transaction's own changes, sorted by key.
func (tx *Tx) list(collection, prefix string) ([]entry, error) {
	if err := tx.usable(); err != nil {
		return nil, err
	}
	resp, err := tx.fetch(prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	if tx.ranges == nil {
		tx.ranges = make(map[string]string)
	}
	tx.ranges[prefix] = collection

	entries := make([]entry, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		if _, changed := tx.writes[string(kv.Key)]; !changed {
			entries = append(entries, entry{string(kv.Key), kv.Value})
		}
	}
	for key, value := range tx.writes {
		if value != nil && strings.HasPrefix(key, prefix) {
			entries = append(entries, entry{key, value})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

// fetch reads at the snapshot's revision; the first read determines it.
func (tx *Tx) fetch(key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if tx.rev != 0 {
		opts = append(opts, clientv3.WithRev(tx.rev))
	}
	resp, err := tx.store.client.Get(tx.ctx, key, tx.store.readOptions(opts...)...)
	if err != nil {
		return nil, tx.store.explain(tx.ctx, err)
	}
	if tx.rev == 0 {
		tx.rev = resp.Header.Revision
	}
	return resp, nil
}

func (tx *Tx) put(key string, value []byte) error { return tx.write(key, value) }

func (tx *Tx) delete(collection, key string) error {
	if err := tx.write(key, nil); err != nil {
		return err
	}
	if tx.deletions == nil {
		tx.deletions = make(map[string]struct{})
	}
	tx.deletions[collection] = struct{}{}
	return nil
}

func (tx *Tx) write(key string, value []byte) error {
	if err := tx.usable(); err != nil {
		return err
	}
	if !tx.writable {
		return errReadOnly
	}
	if tx.writes == nil {
		tx.writes = make(map[string][]byte)
	}
	tx.writes[key] = value
	return nil
}

// commit writes the changes if nothing that was read has changed; committed is
// false on a conflict.
func (tx *Tx) commit() (committed bool, err error) {
	if len(tx.writes) == 0 {
		return true, nil
	}
	resp, err := tx.store.client.Txn(tx.ctx).If(tx.checks()...).Then(tx.ops()...).Commit()
	if err != nil {
		if errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge) {
			return false, fmt.Errorf("committing %d changes in one transaction: %w", len(tx.writes), err)
		}
		return false, fmt.Errorf("committing: %w", tx.store.explain(tx.ctx, err))
	}
	return resp.Succeeded, nil
}

// checks are the conditions under which what was read is still true. A range is
// unchanged if no key in it is newer than the snapshot, which shows additions
// and changes, and if nothing was deleted from its collection since: deletions
// leave no trace in the range, so each one also writes the collection's deletion
// marker. That keeps the number of conditions independent of the range's size.
func (tx *Tx) checks() []clientv3.Cmp {
	cmps := make([]clientv3.Cmp, 0, len(tx.reads)+2*len(tx.ranges))
	for key, r := range tx.reads {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(key), "=", r.modRevision))
	}
	for prefix, collection := range tx.ranges {
		cmps = append(cmps,
			clientv3.Compare(clientv3.ModRevision(prefix).WithPrefix(), "<", tx.rev+1),
			clientv3.Compare(clientv3.ModRevision(deletedPrefix+collection), "<", tx.rev+1))
	}
	return cmps
}

func (tx *Tx) ops() []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(tx.writes)+len(tx.deletions))
	for key, value := range tx.writes {
		if value == nil {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, string(value)))
		}
	}
	for collection := range tx.deletions {
		ops = append(ops, clientv3.OpPut(deletedPrefix+collection, ""))
	}
	return ops
}
