package ec2query

import (
	"encoding/base64"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

// maxItems bounds every list of a request, as EC2 bounds its longest.
const maxItems = 1000

// decode sets the members of v that the parameters name. Of each name, what is
// before start has been read already.
func decode(params []param, start int, v reflect.Value, p *plan) error {
	var lists []listParams
	for _, q := range params {
		if err := assign(q, start, v, p, &lists); err != nil {
			return err
		}
	}
	for _, l := range lists {
		if err := l.decode(); err != nil {
			return err
		}
	}
	return nil
}

// listParams are the parameters that belong to one list.
type listParams struct {
	list   reflect.Value
	member *member
	items  []itemParam
}

// itemParam is a parameter that belongs to an item of a list.
type itemParam struct {
	number int
	rest   int // where the name goes on after the number and a dot; its length if it ends
	param
}

// assign follows a parameter's name to its member, and sets it. Parameters of
// lists are collected, because their order is not that of the items.
func assign(q param, start int, v reflect.Value, p *plan, lists *[]listParams) error {
	for {
		segment, _, more := strings.Cut(q.name[start:], ".")
		i, known := p.byName[segment]
		if !known {
			return unknown(q.name, segment, p)
		}
		m := &p.members[i]
		field := v.Field(m.index)
		start += len(segment)
		if more {
			start++
		}
		switch {
		case m.kind == kindList:
			return collect(q, start, more, field, m, lists)
		case m.kind != kindStruct:
			if more {
				return unknown(q.name, segment, nil)
			}
			return setOnce(field, m.kind, q)
		case !more:
			return emptyOrUnknown(q, segment)
		}
		if field.IsNil() {
			field.Set(reflect.New(field.Type().Elem()))
		}
		v, p = field.Elem(), m.nested
	}
}

// emptyOrUnknown is for a structure or list that is given as if it were a value:
// some clients send an empty one so.
func emptyOrUnknown(q param, segment string) error {
	if q.value == "" {
		return nil
	}
	return unknown(q.name, segment, nil)
}

func unknown(name, segment string, p *plan) error {
	err := model.Errorf(model.CodeUnknownParameter, "The parameter %s is not recognized", cut(name))
	if p == nil {
		return err
	}
	for known := range p.byName {
		if strings.EqualFold(known, segment) {
			return err.WithHint("did you mean %s?", known)
		}
	}
	return err
}

// collect keeps a list's parameter for later. Its name goes on at start.
func collect(q param, start int, more bool, field reflect.Value, m *member, lists *[]listParams) error {
	if !more {
		return emptyOrUnknown(q, "")
	}
	rest := q.name[start:]
	if m.infix != "" {
		var found bool
		if rest, found = strings.CutPrefix(rest, m.infix); !found {
			return unknown(q.name, "", nil)
		}
		start += len(m.infix)
	}
	digits, _, more := strings.Cut(rest, ".")
	number, ok := parseNumber(digits)
	if !ok || (more && m.item != kindStruct) {
		return unknown(q.name, "", nil)
	}
	start += len(digits)
	if more {
		start++
	} else if m.item == kindStruct {
		return emptyOrUnknown(q, "")
	}
	i := slices.IndexFunc(*lists, func(l listParams) bool { return l.list.Addr().Pointer() == field.Addr().Pointer() && l.member == m })
	if i < 0 {
		i = len(*lists)
		*lists = append(*lists, listParams{list: field, member: m})
	}
	l := &(*lists)[i]
	l.items = append(l.items, itemParam{number, start, q})
	return nil
}

// parseNumber reads an item's number: digits without leading zeros.
func parseNumber(s string) (int, bool) {
	if s == "" || len(s) > 9 || (s[0] == '0' && len(s) > 1) {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// decode makes the list, in the order of the items' numbers.
func (l *listParams) decode() error {
	byNumber := func(a, b itemParam) int { return a.number - b.number }
	if !slices.IsSortedFunc(l.items, byNumber) {
		slices.SortStableFunc(l.items, byNumber)
	}
	n := 0
	for i, item := range l.items {
		if i == 0 || item.number != l.items[i-1].number {
			n++
		}
	}
	if n > maxItems {
		return model.Errorf(model.CodeInvalidParameterValue, "The list of the parameter %s has more than %d items", cut(l.items[0].name), maxItems)
	}
	l.list.Set(reflect.MakeSlice(l.list.Type(), n, n))
	var params []param
	for i, at := 0, 0; i < len(l.items); at++ {
		first := l.items[i]
		params = params[:0]
		for ; i < len(l.items) && l.items[i].number == first.number; i++ {
			params = append(params, l.items[i].param)
		}
		if err := l.decodeItem(l.list.Index(at), first.rest, params); err != nil {
			return err
		}
	}
	return nil
}

func (l *listParams) decodeItem(item reflect.Value, start int, params []param) error {
	if l.member.item == kindStruct {
		return decode(params, start, item, l.member.nested)
	}
	if len(params) > 1 {
		return givenTwice(params[0].name)
	}
	return set(item, l.member.item, params[0])
}

// setOnce sets a scalar member, which must not be set already.
func setOnce(field reflect.Value, k kind, q param) error {
	if !field.IsNil() {
		return givenTwice(q.name)
	}
	if q.value == "" && k != kindString {
		return nil // as an empty string, it is absence
	}
	if k != kindBlob {
		field.Set(reflect.New(field.Type().Elem()))
		field = field.Elem()
	}
	return set(field, k, q)
}

func invalid(q param, want string) error {
	return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter %s is invalid. Expecting %s", cut(q.value), cut(q.name), want)
}

// set parses a value into v.
func set(v reflect.Value, k kind, q param) error {
	switch k {
	case kindString:
		v.SetString(q.value)
	case kindBool:
		switch strings.ToLower(q.value) {
		case "true", "1":
			v.SetBool(true)
		case "false", "0":
			v.SetBool(false)
		default:
			return invalid(q, "true or false")
		}
	case kindInt:
		n, err := strconv.ParseInt(q.value, 10, v.Type().Bits())
		if err != nil {
			return invalid(q, "an integer of "+strconv.Itoa(v.Type().Bits())+" bits")
		}
		v.SetInt(n)
	case kindFloat:
		f, err := strconv.ParseFloat(q.value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return invalid(q, "a number")
		}
		v.SetFloat(f)
	case kindTime:
		t, ok := parseTime(q.value)
		if !ok {
			return invalid(q, "a time like 2006-01-02T15:04:05.000Z")
		}
		v.Set(reflect.ValueOf(t))
	case kindBlob:
		data, err := base64.StdEncoding.DecodeString(q.value)
		if err != nil {
			return invalid(q, "base64")
		}
		v.SetBytes(data)
	}
	return nil
}

// parseTime reads ISO 8601 as clients send it; without a zone it is UTC.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
