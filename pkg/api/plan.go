package api

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/model"
)

// structPlan is how to check one structure of an action's request: worked out
// from the struct tags when the action is registered, so that a request costs no
// look-ups.
type structPlan []member

// member is how to check one member.
type member struct {
	index     int
	name      string
	required  bool
	keepEmpty bool
	enum      []string
	min, max  *int64

	acted   bool     // the handler acts on this member
	allowed []string // only on these values; nil for any
	nested  structPlan
}

// maxDepth bounds the nesting of request types; EC2's deepest has 5 levels.
const maxDepth = 12

// rules are an action's paths, and which of them named a member.
type rules struct {
	enums     func(name string) []string
	acts      map[string][]string // path -> allowed values, nil for any
	keepEmpty map[string]bool
	used      map[string]bool
}

func newPlan(enums func(string) []string, action string, t reflect.Type, acts, keepEmpty []string) structPlan {
	r := rules{enums: enums, acts: map[string][]string{}, keepEmpty: map[string]bool{}, used: map[string]bool{}}
	for _, a := range acts {
		path, values, limited := strings.Cut(a, "=")
		r.acts[path] = nil
		if limited {
			r.acts[path] = strings.Split(values, "|")
		}
	}
	for _, path := range keepEmpty {
		r.keepEmpty[path] = true
	}
	plan := r.plan(t, "", false, maxDepth)
	for path := range r.acts {
		if !r.used[path] {
			panic(fmt.Sprintf("api: %s acts on %q, which is no member of its request", action, path))
		}
	}
	for path := range r.keepEmpty {
		if !r.used[path] {
			panic(fmt.Sprintf("api: %s keeps %q empty, which is no member of its request", action, path))
		}
	}
	return plan
}

// plan works out the members of a structure. With covered, the handler acts on all of it.
func (r *rules) plan(t reflect.Type, prefix string, covered bool, depth int) structPlan {
	if depth == 0 {
		panic("api: " + prefix + " is nested too deep")
	}
	var p structPlan
	for i := range t.NumField() {
		f := t.Field(i)
		name := memberName(f)
		path := prefix + name
		allowed, acted := r.acts[path]
		r.used[path] = true
		m := member{
			index:     i,
			name:      name,
			required:  f.Tag.Get("required") == "true",
			keepEmpty: r.keepEmpty[path],
			enum:      r.enums(f.Tag.Get("enum")),
			min:       bound(f, "min"),
			max:       bound(f, "max"),
			acted:     acted || covered || (prefix == "" && name == "DryRun"),
			allowed:   allowed,
		}
		if e := structOf(f.Type); e != nil {
			m.nested = r.plan(e, path+".", m.acted, depth-1)
		}
		p = append(p, m)
	}
	return p
}

// memberName is a field's name in the API: its JSON name.
func memberName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func bound(f reflect.StructField, key string) *int64 {
	n, err := strconv.ParseInt(f.Tag.Get(key), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// structOf returns the structure that a pointer or list is of, nil if it is of
// something else. time.Time is a scalar.
func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() == "time" {
		return nil
	}
	return t
}

// dropEmpty makes empty strings, and structures with nothing in them, absent.
func (p structPlan) dropEmpty(v reflect.Value) {
	for _, m := range p {
		f := v.Field(m.index)
		switch {
		case f.Kind() == reflect.Slice && m.nested != nil:
			for i := range f.Len() {
				m.nested.dropEmpty(f.Index(i))
			}
		case f.Kind() != reflect.Pointer || f.IsNil():
		case m.nested != nil:
			m.nested.dropEmpty(f.Elem())
			if f.Elem().IsZero() {
				f.SetZero()
			}
		case f.Elem().Kind() == reflect.String && f.Elem().Len() == 0 && !m.keepEmpty:
			f.SetZero()
		}
	}
}

// isSet reports whether a request says anything in this member.
func isSet(f reflect.Value) bool {
	if f.Kind() == reflect.Slice {
		return f.Len() > 0
	}
	return !f.IsZero()
}

// each calls check for every structure in v with its plan, outermost first.
func (p structPlan) each(v reflect.Value, prefix string, check func(p structPlan, v reflect.Value, prefix string) error) error {
	if err := check(p, v, prefix); err != nil {
		return err
	}
	for _, m := range p {
		f := v.Field(m.index)
		if m.nested == nil || !isSet(f) {
			continue
		}
		switch f.Kind() {
		case reflect.Pointer:
			if err := m.nested.each(f.Elem(), prefix+m.name+".", check); err != nil {
				return err
			}
		case reflect.Slice:
			for i := range f.Len() {
				// Numbered from 1, as in EC2's Query requests.
				at := fmt.Sprintf("%s%s.%d.", prefix, m.name, i+1)
				if err := m.nested.each(f.Index(i), at, check); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkRequired finds a required member that is absent.
func checkRequired(p structPlan, v reflect.Value, prefix string) error {
	for _, m := range p {
		if m.required && !isSet(v.Field(m.index)) {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter %s", prefix+m.name)
		}
	}
	return nil
}

// checkValues finds a value that is not in its enum or out of its bounds.
func checkValues(p structPlan, v reflect.Value, prefix string) error {
	for _, m := range p {
		if m.enum == nil && m.min == nil && m.max == nil {
			continue
		}
		for _, s := range scalars(v.Field(m.index)) {
			if err := m.checkValue(s, prefix+m.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *member) checkValue(v reflect.Value, path string) error {
	switch {
	case m.enum != nil && !slices.Contains(m.enum, v.String()):
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter %s is invalid. Valid values: %s", v.String(), path, strings.Join(m.enum, ", "))
	case m.min != nil && v.Int() < *m.min:
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter %s is invalid. Expecting a value greater than or equal to %d", v.Int(), path, *m.min)
	case m.max != nil && v.Int() > *m.max:
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%d) for parameter %s is invalid. Expecting a value less than or equal to %d", v.Int(), path, *m.max)
	}
	return nil
}

// scalars returns the values in a member that is a scalar or a list of them.
func scalars(f reflect.Value) []reflect.Value {
	switch {
	case !isSet(f):
		return nil
	case f.Kind() == reflect.Pointer:
		return []reflect.Value{f.Elem()}
	case f.Kind() == reflect.Slice && f.Type().Elem().Kind() != reflect.Uint8:
		all := make([]reflect.Value, f.Len())
		for i := range all {
			all[i] = f.Index(i)
		}
		return all
	}
	return []reflect.Value{f}
}

// checkActs finds a member, or a value of one, that the handler does not act on.
func checkActs(p structPlan, v reflect.Value, prefix string) error {
	for _, m := range p {
		f := v.Field(m.index)
		if !isSet(f) || (m.nested != nil && m.nested.actsOnAny()) {
			continue // of a structure each member is judged
		}
		if !m.acted {
			return model.Errorf(model.CodeUnsupportedOperation, "The parameter %s is not supported", prefix+m.name).
				WithHint("leave %s out of the request", prefix+m.name)
		}
		if m.allowed == nil {
			continue
		}
		for _, s := range scalars(f) {
			if got := fmt.Sprint(s.Interface()); !slices.Contains(m.allowed, got) {
				return model.Errorf(model.CodeUnsupportedOperation, "The value (%s) of the parameter %s is not supported", got, prefix+m.name).
					WithHint("supported: %s", strings.Join(m.allowed, ", "))
			}
		}
	}
	return nil
}

// actsOnAny reports whether the handler acts on any member of the structure.
func (p structPlan) actsOnAny() bool {
	return slices.ContainsFunc(p, func(m member) bool { return m.acted || m.nested.actsOnAny() })
}
