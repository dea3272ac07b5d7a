package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// work does what is due for one id. It returns when to look again (0: not before
// something changes), or an error: then it is tried again, later each time.
type work func(ctx context.Context, id string) (again time.Duration, err error)

// queue runs work for ids: never twice at once for one id, and once more after
// the last change. It holds ids, not changes, so it is as long as there are objects.
type queue struct {
	do      work
	workers int
	log     *slog.Logger

	mu     sync.Mutex
	state  map[string]*item
	ready  []string
	wake   chan struct{}
	closed bool
}

type item struct {
	running  bool
	dirty    bool
	failures int
	timer    *time.Timer
}

const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 30 * time.Second
)

func newQueue(workers int, do work, log *slog.Logger) *queue {
	return &queue{do: do, workers: workers, log: log, state: map[string]*item{}, wake: make(chan struct{}, workers)}
}

// add makes id due.
func (q *queue) add(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.state[id]
	if it == nil {
		it = &item{}
		q.state[id] = it
	}
	if it.timer != nil {
		it.timer.Stop()
		it.timer = nil
	}
	if it.dirty {
		return
	}
	it.dirty = true
	if !it.running {
		q.ready = append(q.ready, id)
		q.signal()
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends and everything begun has returned.
func (q *queue) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range q.workers {
		wg.Go(func() {
			for {
				id, ok := q.next(ctx)
				if !ok {
					return
				}
				again, err := q.do(ctx, id)
				q.done(ctx, id, again, err)
			}
		})
	}
	wg.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, it := range q.state {
		if it.timer != nil {
			it.timer.Stop()
		}
	}
}

func (q *queue) next(ctx context.Context) (string, bool) {
	for ctx.Err() == nil {
		q.mu.Lock()
		if len(q.ready) > 0 {
			id := q.ready[0]
			q.ready = q.ready[1:]
			it := q.state[id]
			it.running, it.dirty = true, false
			more := len(q.ready) > 0
			q.mu.Unlock()
			if more {
				q.signal()
			}
			return id, true
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-q.wake:
		}
	}
	return "", false
}

func (q *queue) done(ctx context.Context, id string, again time.Duration, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.state[id]
	it.running = false
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		again = min(firstRetry<<min(it.failures, 16), lastRetry)
		it.failures++
		q.log.Error("reconciling failed, trying again", "id", id, "in", again, "error", err)
	} else {
		it.failures = 0
	}
	switch {
	case it.dirty:
		q.ready = append(q.ready, id)
		q.signal()
	case again > 0 && !q.closed:
		it.timer = time.AfterFunc(again, func() { q.add(id) })
	default:
		delete(q.state, id)
	}
}
