package ec2query

import (
	"encoding/base64"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	xmlHeader  = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	timeFormat = "2006-01-02T15:04:05.000Z"
)

// appendMembers appends an element for every member that is not absent. A list
// with nothing in it is an empty element.
func (p *plan) appendMembers(b []byte, v reflect.Value) []byte {
	for i := range p.members {
		m := &p.members[i]
		field := v.Field(m.index)
		switch {
		case field.IsNil():
			continue
		case m.kind == kindList:
			b = m.appendList(b, field)
			continue
		case m.kind == kindMap:
			b = m.appendMap(b, field)
			continue
		case m.kind != kindBlob:
			field = field.Elem()
		}
		b = append(b, m.open...)
		b = appendValue(b, field, m.kind, m.nested)
		b = append(b, m.close...)
	}
	return b
}

func (m *member) appendList(b []byte, list reflect.Value) []byte {
	n := list.Len()
	if n == 0 {
		return append(b, m.empty...)
	}
	b = append(b, m.open...)
	for i := range n {
		b = append(b, m.itemOpen...)
		b = appendValue(b, list.Index(i), m.item, m.nested)
		b = append(b, m.itemEnd...)
	}
	return append(b, m.close...)
}

func (m *member) appendMap(b []byte, entries reflect.Value) []byte {
	b = append(b, m.open...)
	byKey := map[string]reflect.Value{}
	for it := entries.MapRange(); it.Next(); {
		byKey[it.Key().String()] = it.Value()
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		b = append(append(b, m.itemOpen...), "<key>"...)
		b = appendText(b, key)
		b = append(b, "</key><value>"...)
		b = appendValue(b, byKey[key], m.item, m.nested)
		b = append(append(b, "</value>"...), m.itemEnd...)
	}
	return append(b, m.close...)
}

func appendValue(b []byte, v reflect.Value, k kind, nested *plan) []byte {
	switch k {
	case kindString:
		return appendText(b, v.String())
	case kindBool:
		return strconv.AppendBool(b, v.Bool())
	case kindInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case kindFloat:
		return strconv.AppendFloat(b, v.Float(), 'f', -1, 64)
	case kindTime:
		t, _ := reflect.TypeAssert[time.Time](v) // allocates nothing, as Interface would
		return t.UTC().AppendFormat(b, timeFormat)
	case kindBlob:
		return base64.StdEncoding.AppendEncode(b, v.Bytes())
	case kindStruct:
		return nested.appendMembers(b, v)
	}
	panic("ec2query: a list of lists")
}

// appendText appends s as character data. What XML cannot hold becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	plain := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '&' && c != '<' && c != '>' || c == '\n' || c == '\t' {
			i++
			continue
		}
		size, with := 1, "\uFFFD"
		switch {
		case c == '&':
			with = "&amp;"
		case c == '<':
			with = "&lt;"
		case c == '>':
			with = "&gt;"
		case c == '\r':
			with = "&#xD;"
		case c >= utf8.RuneSelf:
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && r != 0xFFFE && r != 0xFFFF {
				i += size
				continue
			}
		}
		b = append(append(b, s[plain:i]...), with...)
		i += size
		plain = i
	}
	return append(b, s[plain:]...)
}

// appendElement appends a text element.
func appendElement(b []byte, name, text string) []byte {
	b = append(append(append(b, '<'), name...), '>')
	b = appendText(b, text)
	return append(append(append(b, "</"...), name...), '>')
}
