package qmp

import (
	"sync/atomic"
)

// queueLength bounds the events that wait for a slow subscriber.
const queueLength = 1024

// Subscription is a bounded queue of events. When its reader is slow the oldest
// events are dropped and counted, so that a subscriber never stalls the monitor;
// after a loss, and after every new connection, the reader asks QEMU for the
// state itself.
type Subscription struct {
	client *Client
	queue  chan Event
	lost   atomic.Uint64
}

// Subscribe starts a queue with the events from now on. On an ended connection
// its channel is closed already.
func (c *Client) Subscribe() *Subscription {
	s := &Subscription{client: c, queue: make(chan Event, queueLength)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		close(s.queue)
		return s
	}
	c.subs[s] = struct{}{}
	return s
}

// C delivers the events in order. It is closed when the connection ends or the
// subscription is closed.
func (s *Subscription) C() <-chan Event { return s.queue }

// Lost returns how many events were dropped since the last call.
func (s *Subscription) Lost() uint64 { return s.lost.Swap(0) }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if _, live := s.client.subs[s]; live {
		delete(s.client.subs, s)
		close(s.queue)
	}
}

// push is called by the client's reader only, under its lock.
func (s *Subscription) push(e Event) {
	for {
		select {
		case s.queue <- e:
			return
		default:
		}
		select {
		case <-s.queue:
			s.lost.Add(1)
		default:
		}
	}
}
