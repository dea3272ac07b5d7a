package policy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// Kind says what a document is attached to, which decides which elements it has.
type Kind int

// The kinds of documents.
const (
	Identity Kind = iota // of a user, group or role: has Resource and no Principal
	Trust                // of a role: who may assume it; has Principal and no Resource
)

// Document is a parsed policy.
type Document struct {
	Statements []*Statement
	kind       Kind
	variables  bool // the version has policy variables
}

// Statement is one rule of a document.
type Statement struct {
	Sid        string
	Allow      bool
	Start, End Position // of the statement in its document
	// Actions and Resources are as written, those of NotAction and NotResource too.
	Actions, Resources []string

	actions      []pattern
	notActions   bool
	resources    []arnPattern
	notResources bool
	principals   []principal
	conditions   []condition
}

// The versions of the language. The older one, which is the default, has no variables.
const (
	version2012 = "2012-10-17"
	version2008 = "2008-10-17"
)

var (
	sidPattern    = regexp.MustCompile(`^[A-Za-z0-9]*$`)
	actionPattern = regexp.MustCompile(`^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)
)

// Parse reads a document of that kind. An error is a *SyntaxError.
func Parse(text []byte, kind Kind) (*Document, error) {
	r, n, err := read(text)
	if err != nil {
		return nil, err
	}
	top, err := r.asObject(n, "a policy", "Version", "Id", "Statement")
	if err != nil {
		return nil, err
	}
	d := &Document{kind: kind}
	if v := top.values["Version"]; v != nil {
		switch v.value {
		case version2012:
			d.variables = true
		case version2008:
		default:
			return nil, r.errorf(v.start, "Version must be %q or %q", version2012, version2008)
		}
	}
	if id := top.values["Id"]; id != nil {
		if _, ok := id.value.(string); !ok {
			return nil, r.errorf(id.start, "Id must be a string")
		}
	}
	list := top.values["Statement"]
	if list == nil {
		return nil, r.errorf(n.start, "a policy must have a Statement")
	}
	for _, n := range listOf(list) {
		s, err := r.statement(d, n)
		if err != nil {
			return nil, err
		}
		same := func(other *Statement) bool { return s.Sid != "" && other.Sid == s.Sid }
		if slices.ContainsFunc(d.Statements, same) {
			return nil, r.errorf(n.start, "two statements have the Sid %q", s.Sid)
		}
		d.Statements = append(d.Statements, s)
	}
	if len(d.Statements) == 0 {
		return nil, r.errorf(list.start, "a policy must have at least one statement")
	}
	return d, nil
}

// listOf returns a list's values; a value that is no list stands for a list of itself.
func listOf(n *node) []*node {
	if list, ok := n.value.([]*node); ok {
		return list
	}
	return []*node{n}
}

// asObject checks that a value is an object with no other keys than these.
func (r *reader) asObject(n *node, what string, keys ...string) (*object, error) {
	o, ok := n.value.(*object)
	if !ok {
		return nil, r.errorf(n.start, "%s must be a JSON object", what)
	}
	for _, k := range o.keys {
		if len(keys) > 0 && !slices.Contains(keys, k.name) {
			return nil, r.errorf(k.start, "%s has no element %q", what, k.name)
		}
	}
	return o, nil
}

// oneOf returns the element that stands under one of two names, and whether it
// is the second; exactly one must be there.
func (r *reader) oneOf(n *node, o *object, name, opposite string) (*node, bool, error) {
	a, b := o.values[name], o.values[opposite]
	switch {
	case a != nil && b != nil:
		return nil, false, r.errorf(n.start, "a statement must not have both %s and %s", name, opposite)
	case a == nil && b == nil:
		return nil, false, r.errorf(n.start, "a statement must have %s or %s", name, opposite)
	case a != nil:
		return a, false, nil
	}
	return b, true, nil
}

// strings returns the non-empty list of strings, or the one string, of an element.
func (r *reader) strings(n *node, what string) ([]*node, error) {
	list := listOf(n)
	for _, v := range list {
		if _, ok := v.value.(string); !ok {
			return nil, r.errorf(v.start, "%s must be a string or a list of strings", what)
		}
	}
	if len(list) == 0 {
		return nil, r.errorf(n.start, "%s must not be empty", what)
	}
	return list, nil
}

func (r *reader) statement(d *Document, n *node) (*Statement, error) {
	elements := []string{"Sid", "Effect", "Action", "NotAction", "Condition", "Resource", "NotResource"}
	if d.kind == Trust {
		elements = append(elements[:5:5], "Principal")
	}
	o, err := r.asObject(n, "a statement", elements...)
	if err != nil {
		return nil, err
	}
	s := &Statement{Start: r.position(n.start), End: r.position(n.end)}
	if sid := o.values["Sid"]; sid != nil {
		text, ok := sid.value.(string)
		if !ok || !sidPattern.MatchString(text) {
			return nil, r.errorf(sid.start, "Sid must be letters and digits")
		}
		s.Sid = text
	}
	switch effect := o.values["Effect"]; {
	case effect == nil:
		return nil, r.errorf(n.start, "a statement must have an Effect")
	case effect.value != "Allow" && effect.value != "Deny":
		return nil, r.errorf(effect.start, `Effect must be "Allow" or "Deny"`)
	default:
		s.Allow = effect.value == "Allow"
	}
	if err := r.actions(s, n, o); err != nil {
		return nil, err
	}
	if d.kind == Trust {
		err = r.principals(s, n, o)
	} else {
		err = r.resources(s, n, o, d.variables)
	}
	if err != nil {
		return nil, err
	}
	if c := o.values["Condition"]; c != nil {
		s.conditions, err = r.conditions(c, d.variables)
	}
	return s, err
}

func (r *reader) actions(s *Statement, n *node, o *object) error {
	element, not, err := r.oneOf(n, o, "Action", "NotAction")
	if err != nil {
		return err
	}
	list, err := r.strings(element, "an action")
	if err != nil {
		return err
	}
	s.notActions = not
	for _, v := range list {
		text := v.value.(string)
		if !actionPattern.MatchString(text) {
			return r.errorf(v.start, "the action %q must be \"*\" or of the form service:Name", text)
		}
		p, _ := compile(text, syntax{wildcards: true}) // without variables nothing can be wrong
		s.actions, s.Actions = append(s.actions, p), append(s.Actions, text)
	}
	return nil
}

func (r *reader) resources(s *Statement, n *node, o *object, variables bool) error {
	element, not, err := r.oneOf(n, o, "Resource", "NotResource")
	if err != nil {
		return err
	}
	list, err := r.strings(element, "a resource")
	if err != nil {
		return err
	}
	s.notResources = not
	for _, v := range list {
		text := v.value.(string)
		p, reason := compileARN(text, syntax{wildcards: true, variables: variables})
		if reason != "" {
			return r.errorf(v.start, "the resource %q: %s", text, reason)
		}
		s.resources, s.Resources = append(s.resources, p), append(s.Resources, text)
	}
	return nil
}

func (r *reader) conditions(n *node, variables bool) ([]condition, error) {
	o, err := r.asObject(n, "Condition")
	if err != nil {
		return nil, err
	}
	var out []condition
	for _, k := range o.keys {
		c, op, reason := parseOperator(k.name)
		if reason != "" {
			return nil, r.errorf(k.start, "%s", reason)
		}
		keys, err := r.asObject(o.values[k.name], k.name)
		if err != nil {
			return nil, err
		}
		for _, k := range keys.keys {
			if service, name, ok := strings.Cut(k.name, ":"); !ok || service == "" || name == "" {
				return nil, r.errorf(k.start, "%q is no condition key: those are of the form service:Name", k.name)
			}
			c.key, c.tests = strings.ToLower(k.name), nil
			for _, v := range listOf(keys.values[k.name]) {
				t, err := r.test(op, v, variables)
				if err != nil {
					return nil, err
				}
				c.tests = append(c.tests, t)
			}
			if len(c.tests) == 0 {
				return nil, r.errorf(keys.values[k.name].start, "a condition must have at least one value")
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// test makes the test of a value, which may be written as a string, a number or a truth value.
func (r *reader) test(op operator, n *node, variables bool) (test, error) {
	var text string
	switch v := n.value.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = map[bool]string{true: "true", false: "false"}[v]
	default:
		return nil, r.errorf(n.start, "the value of a condition must be a string, a number or a truth value")
	}
	t, reason := op.make(text, variables)
	if reason != "" {
		return nil, r.errorf(n.start, "%s", reason)
	}
	return t, nil
}
