package ec2query

import (
	"reflect"
	"strings"
	"sync"
	"time"
)

// plan is how one structure is read and written: worked out from its struct tags
// once, so that a request costs no look-ups.
type plan struct {
	members []member       // in the order of the fields
	byName  map[string]int // of Query parameters
}

// member is a field.
type member struct {
	index  int
	kind   kind
	item   kind  // of a list's items, of a map's values
	nested *plan // of the structure, or of the list's items

	infix string // between a list's name and its items' numbers: "" or "member."

	open, close, empty string // of the element
	itemOpen, itemEnd  string // of a list's items, of a map's entries
}

type kind int

const (
	kindString kind = iota
	kindBool
	kindInt
	kindFloat
	kindTime
	kindBlob
	kindStruct
	kindList
	kindMap
)

var plans sync.Map // reflect.Type -> *plan

// planOf returns the plan of a structure.
func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p, _ := plans.LoadOrStore(t, newPlan(t))
	return p.(*plan)
}

func newPlan(t reflect.Type) *plan {
	p := &plan{byName: map[string]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		m := member{index: i}
		m.kind, m.item, m.nested = classify(f.Type)
		if name := f.Tag.Get("query"); name != "" {
			name, infix, found := strings.Cut(name, ".")
			if found {
				m.infix = infix + "."
			}
			p.byName[name] = len(p.members)
		}
		path, _, _ := strings.Cut(f.Tag.Get("xml"), ",")
		name, item, _ := strings.Cut(path, ">")
		m.open, m.close, m.empty = "<"+name+">", "</"+name+">", "<"+name+"/>"
		m.itemOpen, m.itemEnd = "<"+item+">", "</"+item+">"
		p.members = append(p.members, m)
	}
	return p
}

// classify says what a field's type is. Types that no generated member has are a
// mistake in the program.
func classify(t reflect.Type) (k, item kind, nested *plan) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return kindTime, 0, nil
	case t == reflect.TypeFor[[]byte]():
		return kindBlob, 0, nil
	}
	switch t.Kind() {
	case reflect.String:
		return kindString, 0, nil
	case reflect.Bool:
		return kindBool, 0, nil
	case reflect.Int32, reflect.Int64:
		return kindInt, 0, nil
	case reflect.Float64:
		return kindFloat, 0, nil
	case reflect.Struct:
		return kindStruct, 0, planOf(t)
	case reflect.Slice:
		item, _, nested := classify(t.Elem())
		if item == kindList || item == kindMap {
			panic("ec2query: no generated member is a list of " + t.Elem().String())
		}
		return kindList, item, nested
	case reflect.Map:
		item, _, nested := classify(t.Elem())
		return kindMap, item, nested
	}
	panic("ec2query: no generated member has the type " + t.String())
}
