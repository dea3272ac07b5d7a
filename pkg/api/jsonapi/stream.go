package jsonapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/api"
)

const (
	heartbeat    = 15 * time.Second // a comment this often, so that a dead client is noticed
	writeTimeout = 30 * time.Second // a client that takes nothing for so long is gone
)

// stream answers a call with server-sent events: "message" with an event of the
// action, then "end", or "error" with an error's body. An error before the first
// event is an ordinary answer.
// https://html.spec.whatwg.org/multipage/server-sent-events.html
func (s *server) stream(w http.ResponseWriter, r *http.Request, call *api.Call) error {
	events := &eventWriter{w: w, control: http.NewResponseController(w)}
	stop := events.keepAlive()
	err := s.dispatcher.Stream(r.Context(), call, func(event any) error {
		return events.write("message", event)
	})
	stop()
	if err != nil && !events.started {
		return err
	}
	// An error of the last write means that the client is gone.
	if err != nil {
		_ = events.write("error", s.errorBody(call, err))
	} else {
		_ = events.write("end", struct{}{})
	}
	return nil
}

// eventWriter writes server-sent events.
type eventWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	started bool // the header is written
}

func (e *eventWriter) write(kind string, event any) error {
	var data bytes.Buffer
	if err := json.NewEncoder(&data).Encode(event); err != nil {
		return fmt.Errorf("encoding event: %w", err)
	}
	return e.send(fmt.Sprintf("event: %s\ndata: %s\n", kind, data.Bytes()))
}

func (e *eventWriter) send(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.started {
		e.w.Header().Set("Content-Type", "text/event-stream")
		e.w.Header().Set("Cache-Control", "no-store")
		e.w.WriteHeader(http.StatusOK)
		e.started = true
	}
	// Not every ResponseWriter has deadlines (tests' recorders): then a stuck
	// client is noticed by the kernel only.
	_ = e.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := io.WriteString(e.w, text); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("sending event: %w", err)
	}
	return nil
}

// keepAlive sends comments until stop is called; after that nothing more is sent.
func (e *eventWriter) keepAlive() (stop func()) {
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if e.send(": still here\n\n") != nil {
					return // the next event will fail as well
				}
			}
		}
	})
	return func() { close(done); wait.Wait() }
}
