package jsonapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/model"
)

// Decode reads one JSON object into a request, a pointer to a structure with
// json tags, strictly: every member must be one of the request's, given once, by
// its exact name, with a value of its type, and nothing may follow the object.
// Nesting is bounded by the types, because nothing unknown is read. An empty body
// is an empty request; null is absence. Errors are *model.Error and name the member.
func Decode(body []byte, request any) error {
	if !utf8.Valid(body) {
		return malformed(errors.New("it is not UTF-8"))
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := decoder{json: json.NewDecoder(bytes.NewReader(body))}
	d.json.UseNumber()
	token, err := d.json.Token()
	if err != nil {
		return malformed(err)
	}
	if token != json.Delim('{') {
		return malformed(errors.New("it is not an object"))
	}
	if err := d.object(reflect.ValueOf(request).Elem(), ""); err != nil {
		return err
	}
	if _, err := d.json.Token(); !errors.Is(err, io.EOF) {
		return malformed(errors.New("something follows the object"))
	}
	return nil
}

type decoder struct{ json *json.Decoder }

func malformed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	}
	return model.Errorf(model.CodeMalformedQueryString, "The request body is not one JSON object: %v", err)
}

func wrongType(path, want string, got json.Token) error {
	return model.Errorf(model.CodeInvalidParameterValue, "The parameter %s must be %s, not %s", path, want, describe(got))
}

// describe names a token for people; long values are cut.
func describe(t json.Token) string {
	switch v := t.(type) {
	case json.Delim:
		if v == '{' {
			return "an object"
		}
		return "a list"
	case string:
		if len(v) > 64 {
			return strconv.Quote(strings.ToValidUTF8(v[:64], "")) + "…"
		}
		return strconv.Quote(v)
	case nil:
		return "null"
	}
	return fmt.Sprint(t)
}

// object reads the members of an object whose brace has been read.
func (d *decoder) object(v reflect.Value, prefix string) error {
	seen := map[int]bool{}
	for d.json.More() {
		token, err := d.json.Token()
		if err != nil {
			return malformed(err)
		}
		name := token.(string) // the JSON decoder allows nothing else here
		index, near := fieldByName(v.Type(), name)
		if index < 0 {
			err := model.Errorf(model.CodeUnknownParameter, "The parameter %s is not recognized", prefix+name)
			if near != "" {
				err = err.WithHint("did you mean %s?", prefix+near)
			}
			return err
		}
		if seen[index] {
			return model.Errorf(model.CodeInvalidParameterValue, "The parameter %s is given twice", prefix+name)
		}
		seen[index] = true
		if err := d.value(v.Field(index), prefix+name); err != nil {
			return err
		}
	}
	_, err := d.json.Token()
	if err != nil {
		return malformed(err)
	}
	return nil
}

// fieldByName finds a member by its JSON name; if there is none, near is one
// that differs only in case.
func fieldByName(t reflect.Type, name string) (index int, near string) {
	for i := range t.NumField() {
		got, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if got == name {
			return i, ""
		}
		if strings.EqualFold(got, name) {
			near = got
		}
	}
	return -1, near
}

// value reads any value.
func (d *decoder) value(v reflect.Value, path string) error {
	token, err := d.json.Token()
	if err != nil {
		return malformed(err)
	}
	if token == nil {
		if strings.HasSuffix(path, "]") {
			return wrongType(path, "a value", token)
		}
		return nil
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Interface().(type) {
	case time.Time, []byte:
		return scalar(v, path, token)
	}
	switch v.Kind() {
	case reflect.Struct:
		if token != json.Delim('{') {
			return wrongType(path, "an object", token)
		}
		return d.object(v, path+".")
	case reflect.Slice:
		if token != json.Delim('[') {
			return wrongType(path, "a list", token)
		}
		return d.list(v, path)
	}
	return scalar(v, path, token)
}

// list reads the items of a list whose bracket has been read.
func (d *decoder) list(v reflect.Value, path string) error {
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for d.json.More() {
		item := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(item, fmt.Sprintf("%s[%d]", path, list.Len())); err != nil {
			return err
		}
		list = reflect.Append(list, item)
	}
	if _, err := d.json.Token(); err != nil {
		return malformed(err)
	}
	v.Set(list)
	return nil
}

// scalar stores a token that is a whole value.
func scalar(v reflect.Value, path string, token json.Token) error {
	switch v.Interface().(type) {
	case time.Time:
		s, _ := token.(string)
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return wrongType(path, "a time like 2006-01-02T15:04:05Z", token)
		}
		v.Set(reflect.ValueOf(t))
		return nil
	case []byte:
		s, ok := token.(string)
		data, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil || !ok {
			return wrongType(path, "base64", token)
		}
		v.SetBytes(data)
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		s, ok := token.(string)
		if !ok {
			return wrongType(path, "a string", token)
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := token.(bool)
		if !ok {
			return wrongType(path, "true or false", token)
		}
		v.SetBool(b)
	default:
		return number(v, path, token)
	}
	return nil
}

func number(v reflect.Value, path string, token json.Token) error {
	n, _ := token.(json.Number)
	if v.CanFloat() {
		f, err := strconv.ParseFloat(n.String(), v.Type().Bits())
		if err != nil {
			return wrongType(path, "a number", token)
		}
		v.SetFloat(f)
		return nil
	}
	i, err := strconv.ParseInt(n.String(), 10, v.Type().Bits())
	if err != nil {
		return wrongType(path, fmt.Sprintf("a whole number of %d bits", v.Type().Bits()), token)
	}
	v.SetInt(i)
	return nil
}
