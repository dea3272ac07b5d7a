package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Errors that callers distinguish (test with errors.Is).
var (
	// ErrLocked: another process uses this data directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrNotFound: the collection has no object of that key.
	ErrNotFound = errors.New("not found")
	// ErrConflict: concurrent changes made every attempt of an Update fail.
	ErrConflict = errors.New("too many concurrent changes, try again")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrNoSpace: the disk or the store's quota is full; nothing was written.
	ErrNoSpace = errors.New("no space left in the store")
	// ErrNewerFormat: a newer bundt wrote this data.
	ErrNewerFormat = errors.New("data was written by a newer version of bundt; upgrade bundtd, or use another data directory")
	// ErrFailed: the embedded etcd met an error that it cannot survive, such as
	// a failed write to its log. The process has to be restarted.
	ErrFailed = errors.New("embedded etcd failed")
)

// Options say where the state lives.
type Options struct {
	// Dir holds the embedded etcd's data and the lock; it is created with mode
	// 0700. It is not used when Endpoints are given.
	Dir string
	// Endpoints of an existing etcd (http://host:port, https://host:port or
	// unix:///path) to use in place of the embedded one.
	Endpoints []string
	// Migrations that lead from format 1 to the present one; see Migration.
	Migrations []Migration
	// Logger receives etcd's messages; nil discards them.
	Logger *slog.Logger
}

// Store is a connection to bundt's durable state. It is safe for concurrent use.
type Store struct {
	client *clientv3.Client
	member *member // nil when the etcd is somebody else's
	log    *slog.Logger

	// local says that this process holds the only member: what it has
	// acknowledged it has applied, so that serializable reads see it.
	local bool

	mirrors feed

	ctx    context.Context // ends with Close or the failure of the member
	cancel context.CancelCauseFunc
	mu     sync.Mutex // orders the start of tasks and Close
	tasks  sync.WaitGroup
	close  sync.Once
	err    error // of Close
}

// Open starts the embedded etcd in o.Dir, or connects to o.Endpoints, and brings
// the data to the present format. It returns ErrLocked when another process has
// the directory open.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s.mirrors.store = s
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if err := s.connect(ctx, o); err != nil {
		s.cancel(err)
		return nil, err
	}
	if err := s.migrate(ctx, o.Migrations); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context, o Options) error {
	if len(o.Endpoints) > 0 {
		client, err := dial(ctx, o.Endpoints)
		if err != nil {
			return fmt.Errorf("connecting to etcd %v: %w", o.Endpoints, err)
		}
		s.client = client
		return nil
	}
	if o.Dir == "" {
		return errors.New("opening the store: neither a data directory nor etcd endpoints are given")
	}
	m, err := startMember(ctx, o.Dir, s.log, s.cancel)
	if err != nil {
		return fmt.Errorf("opening the store in %s: %w", o.Dir, err)
	}
	s.member, s.client, s.local = m, m.client(), true
	s.start(s.compactPeriodically)
	return nil
}

// Close ends all watches and, when it is embedded, stops etcd and releases the
// directory. Updates that are under way fail.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.mu.Lock()
		failed := s.ctx.Err() != nil
		s.cancel(ErrClosed)
		s.mu.Unlock()
		s.awaitTasks(failed)
		// A client made of in-process calls has no connection to close and
		// reports its cancelled context.
		if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			s.err = fmt.Errorf("closing etcd client: %w", err)
		}
		if s.member != nil {
			s.err = errors.Join(s.err, s.member.stop())
		}
	})
	return s.err
}

// awaitTasks waits for the tasks in the background. In a member that has failed
// they may wait for ever for a lock that nobody holds any more.
func (s *Store) awaitTasks(failed bool) {
	if !failed {
		s.tasks.Wait()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tasks.Wait()
	}()
	select {
	case <-done:
	case <-time.After(failedGrace):
	}
}

// failedGrace is how long Close waits for the tasks of a store that has failed.
const failedGrace = time.Second

// Failed is closed when the store can no longer be used: it was closed, or the
// embedded etcd failed. Err says which.
func (s *Store) Failed() <-chan struct{} { return s.ctx.Done() }

// Err is nil while the store is usable, ErrClosed after Close, or an ErrFailed.
func (s *Store) Err() error {
	if s.ctx.Err() == nil {
		return nil
	}
	return context.Cause(s.ctx)
}

// start runs task in the background until the store ends, which waits for it. It
// reports false when the store has ended already.
func (s *Store) start(task func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.tasks.Go(task)
	return true
}

// bound returns a context that also ends when the store does. The returned
// function must be called.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// explain turns etcd's errors into those of this package.
func (s *Store) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, rpctypes.ErrNoSpace), errors.Is(err, rpctypes.ErrGRPCNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	default:
		return err
	}
}

const (
	compactInterval = 10 * time.Second
	// compactAfter revisions a compaction is worth its cost.
	compactAfter = 2000
	// keepRevisions are kept for readers and watchers that lag behind.
	keepRevisions = 4000
)

// compactPeriodically drops old revisions of the embedded etcd. etcd's own
// compactor looks every five minutes only, in which a busy daemon could write
// more than the quota.
func (s *Store) compactPeriodically() {
	tick := time.NewTicker(compactInterval)
	defer tick.Stop()
	var done int64
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		rev, err := s.revision(s.ctx)
		if err != nil {
			continue
		}
		if target := rev - keepRevisions; target >= done+compactAfter {
			if _, err := s.client.Compact(s.ctx, target); err != nil && s.ctx.Err() == nil {
				s.log.Warn("compacting the store failed", "revision", target, "error", err)
			}
			done = target
		}
	}
}

// revision returns the store's present revision.
func (s *Store) revision(ctx context.Context) (int64, error) {
	if s.local {
		if err := s.Err(); err != nil {
			return 0, err
		}
		return s.member.etcd.Server.KV().Rev(), ctx.Err()
	}
	resp, err := s.client.Get(ctx, formatKey, s.readOptions(clientv3.WithCountOnly())...)
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// awaitVisible waits until local reads see a revision. etcd announces a change a
// moment before it can be read: a receiver that looks at once would find the old
// state, and nothing would make it look again.
func (s *Store) awaitVisible(ctx context.Context, rev int64) error {
	for {
		now, err := s.revision(ctx)
		if err != nil || now >= rev {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(visibleRetry):
		}
	}
}

// visibleRetry is how often awaitVisible looks: the wait is far shorter.
const visibleRetry = 20 * time.Microsecond

func (s *Store) readOptions(opts ...clientv3.OpOption) []clientv3.OpOption {
	if s.local {
		opts = append(opts, clientv3.WithSerializable())
	}
	return opts
}
