package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Position is a place in a document, both from 1; columns count characters.
type Position struct{ Line, Column int }

// SyntaxError says what is wrong with a document, and where.
type SyntaxError struct {
	Position
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// node is a JSON value that knows where it stands.
type node struct {
	start, end int // offsets in the document
	value      any // string, json.Number, bool, nil, []*node or *object
}

// object is a JSON object whose keys are in the document's order.
type object struct {
	keys   []key
	values map[string]*node
}

type key struct {
	name  string
	start int
}

// maxNesting is deeper than any policy: document, statement, condition, operator, key, list.
const maxNesting = 10

// reader makes nodes of a document.
type reader struct {
	text    []byte
	decoder *json.Decoder
}

func (r *reader) position(offset int) Position {
	before := r.text[:min(offset, len(r.text))]
	line := bytes.LastIndexByte(before, '\n') + 1
	return Position{bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[line:]) + 1}
}

func (r *reader) errorf(offset int, format string, args ...any) error {
	return &SyntaxError{r.position(offset), fmt.Sprintf(format, args...)}
}

// next returns the next token and where it starts.
func (r *reader) next() (token json.Token, start int, err error) {
	start = int(r.decoder.InputOffset())
	for start < len(r.text) && bytes.IndexByte([]byte(" \t\r\n,:"), r.text[start]) >= 0 {
		start++
	}
	token, err = r.decoder.Token()
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, start, r.errorf(len(r.text), "the document ends too early")
	case errors.As(err, &syntax):
		return nil, start, r.errorf(start, "not JSON: %v", syntax)
	case err != nil:
		return nil, start, r.errorf(start, "not JSON: %v", err)
	}
	return token, start, nil
}

// read returns the one value that a text is.
func read(text []byte) (*reader, *node, error) {
	r := &reader{text: text, decoder: json.NewDecoder(bytes.NewReader(text))}
	r.decoder.UseNumber()
	if !utf8.Valid(text) {
		return r, nil, r.errorf(0, "not UTF-8 text")
	}
	n, err := r.value(maxNesting)
	if err != nil {
		return r, nil, err
	}
	if rest := bytes.TrimLeft(text[n.end:], " \t\r\n"); len(rest) > 0 {
		return r, nil, r.errorf(len(text)-len(rest), "text after the end of the document")
	}
	return r, n, nil
}

func (r *reader) value(depth int) (*node, error) {
	token, start, err := r.next()
	if err != nil {
		return nil, err
	}
	if depth == 0 {
		return nil, r.errorf(start, "nested too deep")
	}
	n := &node{start: start, value: token}
	switch token {
	case json.Delim('{'):
		n.value, err = r.object(depth)
	case json.Delim('['):
		n.value, err = r.list(depth)
	}
	n.end = int(r.decoder.InputOffset())
	return n, err
}

func (r *reader) object(depth int) (*object, error) {
	o := &object{values: map[string]*node{}}
	for r.decoder.More() {
		token, start, err := r.next()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, r.errorf(start, "not JSON: a name must be a string")
		}
		if o.values[name] != nil {
			return nil, r.errorf(start, "%q stands twice", name)
		}
		if o.values[name], err = r.value(depth - 1); err != nil {
			return nil, err
		}
		o.keys = append(o.keys, key{name, start})
	}
	_, _, err := r.next()
	return o, err
}

func (r *reader) list(depth int) ([]*node, error) {
	list := []*node{}
	for r.decoder.More() {
		n, err := r.value(depth - 1)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	_, _, err := r.next()
	return list, err
}
