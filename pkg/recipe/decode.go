package recipe

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	// yaml/v3 for its node tree: every node has a line and a column, and the
	// tree shows duplicate keys, aliases and tags before anything is decoded.
	"go.yaml.in/yaml/v3"
)

// position is where a value stands in its file.
type position struct{ line, column int }

// decoder fills structs from a YAML tree as their yaml and enum tags say, and
// collects every defect instead of stopping at the first.
type decoder struct {
	file string
	errs ErrorList
	pos  map[string]position // by path, "files[2].mode"
}

// scalar is a type with a notation of its own.
type scalar interface{ parse(text string) error }

// decodeYAML decodes the single document of data into v, a pointer to a struct.
// It reports false if v is not usable at all.
func (d *decoder) decodeYAML(data []byte, v any) bool {
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		d.fail(position{1, 1}, "the file is empty")
		return false
	case err != nil:
		d.fail(syntaxPosition(err), "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return false
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		d.fail(position{more.Line, more.Column}, "more than one document in the file")
	}
	d.pos = map[string]position{}
	d.value(doc.Content[0], reflect.ValueOf(v).Elem(), "", "")
	return true
}

// syntaxPosition finds the line that yaml's messages carry: "yaml: line 3: …".
func syntaxPosition(err error) position {
	_, rest, ok := strings.Cut(err.Error(), "line ")
	if !ok {
		return position{1, 1}
	}
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	n, convErr := strconv.Atoi(digits)
	if convErr != nil {
		n = 1
	}
	return position{n, 1}
}

func (d *decoder) fail(p position, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, Line: p.line, Column: p.column, Message: fmt.Sprintf(format, args...)})
}

// at reports a defect of the value at path, or of what surrounds it if the value
// was not written.
func (d *decoder) at(path, format string, args ...any) {
	p, ok := d.pos[path]
	for parent := path; !ok && parent != ""; p, ok = d.pos[parent] {
		parent = parent[:max(0, strings.LastIndexAny(parent, ".["))]
	}
	d.fail(p, format, args...)
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, path, enum string) {
	at := position{n.Line, n.Column}
	d.pos[path] = at
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.fail(at, "anchors and aliases are not allowed: write the value out")
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fail(at, "tags are not allowed: %s", n.Tag)
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if later, ok := v.Addr().Interface().(*Inputs); ok {
		later.node = n // what they are is known when the action is
		return
	}
	if s, ok := v.Addr().Interface().(scalar); ok {
		d.scalar(n, s, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(at, "%s must be a list, not %s", describePath(path), describeNode(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, v.Index(i), fmt.Sprintf("%s[%d]", path, i), enum)
		}
	case reflect.Map:
		d.dictionary(n, v, path)
	case reflect.String:
		d.text(n, v, path, enum)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			d.fail(at, "%s must be true or false, not %s", describePath(path), describeNode(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
			d.fail(at, "%s must be a whole decimal number, not %s", describePath(path), describeNode(n))
			return
		}
		v.SetInt(i)
	default:
		panic("recipe: no decoding for " + v.Type().String())
	}
}

func (d *decoder) scalar(n *yaml.Node, s scalar, path string) {
	if n.Kind != yaml.ScalarNode {
		d.at(path, "%s must be a single value, not %s", describePath(path), describeNode(n))
		return
	}
	if err := s.parse(n.Value); err != nil {
		d.at(path, "%s: %v", describePath(path), err)
	}
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, path, enum string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		d.at(path, "%s must be text, not %s", describePath(path), describeNode(n))
		return
	}
	v.SetString(n.Value)
	if enum == "" {
		return
	}
	allowed := strings.Split(enum, "|")
	if !slices.Contains(allowed, n.Value) {
		d.at(path, "%s cannot be %q: %s", describePath(path), n.Value, suggest(n.Value, allowed, "it must be"))
	}
}

func (d *decoder) dictionary(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.at(path, "%s must be a mapping, not %s", describePath(path), describeNode(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, kv := range d.pairs(n) {
		e := reflect.New(v.Type().Elem()).Elem()
		p := join(path, kv.key.Value)
		d.value(kv.value, e, p, "")
		d.pos[p] = position{kv.key.Line, kv.key.Column}
		v.SetMapIndex(reflect.ValueOf(kv.key.Value).Convert(v.Type().Key()), e)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.at(path, "%s must be a mapping, not %s", describePath(path), describeNode(n))
		return
	}
	fields := fieldsOf(v)
	seen := map[string]bool{}
	for _, kv := range d.pairs(n) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == kv.key.Value })
		if i < 0 {
			names := make([]string, len(fields))
			for j, f := range fields {
				names[j] = f.name
			}
			d.fail(position{kv.key.Line, kv.key.Column}, "unknown key %q: %s", kv.key.Value, suggest(kv.key.Value, names, "known here are"))
			continue
		}
		seen[kv.key.Value] = true
		d.value(kv.value, fields[i].value, join(path, kv.key.Value), fields[i].enum)
	}
	for _, f := range fields {
		if f.required && !seen[f.name] {
			d.at(path, "%s lacks the key %q", describePath(path), f.name)
		}
	}
}

type pair struct{ key, value *yaml.Node }

// pairs returns a mapping's entries, reporting keys that are not text and
// duplicates, of which the first counts.
func (d *decoder) pairs(n *yaml.Node) []pair {
	first := map[string]int{}
	var out []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		at := position{k.Line, k.Column}
		switch line, dup := first[k.Value]; {
		case k.Kind != yaml.ScalarNode || k.Anchor != "" || k.ShortTag() != "!!str":
			d.fail(at, "a key must be plain text, not %s", describeNode(k))
		case dup:
			d.fail(at, "duplicate key %q: it is already on line %d", k.Value, line)
		default:
			first[k.Value] = k.Line
			out = append(out, pair{k, n.Content[i+1]})
		}
	}
	return out
}

type field struct {
	name, enum string
	required   bool
	value      reflect.Value
}

func fieldsOf(v reflect.Value) []field {
	var out []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if sf.Anonymous {
			out = append(out, fieldsOf(v.Field(i))...)
			continue
		}
		name := sf.Tag.Get("yaml")
		if name != "-" {
			out = append(out, field{name, sf.Tag.Get("enum"), sf.Tag.Get("required") == "true", v.Field(i)})
		}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func suggest(got string, known []string, otherwise string) string {
	if n := nearest(got, known); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return otherwise + " " + strings.Join(known, ", ")
}

func describePath(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("the text %q", clip(n.Value))
	case "!!bool":
		return fmt.Sprintf("the truth value %s (quote it to make it text)", clip(n.Value))
	case "!!int", "!!float":
		return fmt.Sprintf("the number %s (quote it to make it text)", clip(n.Value))
	}
	return fmt.Sprintf("%q", clip(n.Value))
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
