package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
)

// Stream calls an action that answers with events of type E and yields them. A
// last pair with an error says why the stream ended early; leaving the loop ends
// the call.
func Stream[E any](ctx context.Context, c *Client, action string, in any) iter.Seq2[*E, error] {
	return func(yield func(*E, error) bool) {
		body, err := json.Marshal(in)
		if err != nil {
			yield(nil, fmt.Errorf("encoding request of %s: %w", action, err))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		r, err := c.newRequest(ctx, http.MethodPost, action, "application/json", bytes.NewReader(body))
		if err != nil {
			yield(nil, err)
			return
		}
		resp, err := c.send(r)
		if err != nil {
			yield(nil, err)
			return
		}
		defer resp.Body.Close()
		events := bufio.NewReader(resp.Body)
		for {
			event, err := nextEvent[E](events)
			if err != nil && ctx.Err() != nil {
				err = ctx.Err()
			}
			if event == nil && err == nil {
				return // the end
			}
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// nextEvent reads one event: nil without an error at the stream's proper end.
func nextEvent[E any](r *bufio.Reader) (*E, error) {
	kind, data, err := readEvent(r)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // a whole stream ends with an event that says so
		}
		return nil, fmt.Errorf("reading events of bundtd: %w", err)
	}
	switch kind {
	case "end":
		return nil, nil
	case "error":
		var w wireError
		if err := json.Unmarshal(data, &w); err != nil || w.Error.Code == "" {
			return nil, fmt.Errorf("bundtd ended the events with an error that is none: %q", data)
		}
		return nil, w.err()
	}
	event := new(E)
	if err := json.Unmarshal(data, event); err != nil {
		return nil, fmt.Errorf("decoding event of bundtd: %w", err)
	}
	return event, nil
}

// readEvent reads one server-sent event as the daemon writes them: one event
// line, one data line, an empty line; comments in between.
func readEvent(r *bufio.Reader) (kind string, data []byte, err error) {
	for {
		line, err := readLine(r)
		if err != nil {
			return "", nil, err
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && (kind != "" || data != nil):
			return kind, data, nil
		case field == "event":
			kind = value
		case field == "data":
			data = []byte(value)
		}
	}
}

// readLine reads a line of at most maxAnswer bytes, without its end.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) && len(line) < maxAnswer {
			continue
		}
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}
