package json11

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/jsonapi"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/model"
)

// Codec is one service's use of the protocol.
type Codec struct{ target, media string }

// SSM returns Systems Manager's codec.
func SSM() *Codec { return &Codec{target: "AmazonSSM", media: "application/x-amz-json-1.1"} }

// Monitoring returns CloudWatch's codec, for clients of 2025 and later. It is version 1.0 of
// the protocol, which differs in its name only.
func Monitoring() *Codec {
	return &Codec{target: "GraniteServiceVersion20100801", media: "application/x-amz-json-1.0"}
}

// ContentType is that of every answer.
func (c *Codec) ContentType() string { return c.media }

// Decode returns the call that a request asks for, with an input made by
// newInput. After an error the call holds what is known of it. Errors are
// *model.Error.
func (c *Codec) Decode(r *http.Request, body []byte, newInput func(action string) (any, error)) (*api.Call, error) {
	call := &api.Call{}
	if got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || got != c.media || r.Method != http.MethodPost {
		return call, model.Errorf("SerializationException", "The request must be a POST of %s", c.media)
	}
	target, action, found := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if !found || target != c.target {
		return call, model.Errorf("UnknownOperationException", "The header X-Amz-Target must be %s.ACTION", c.target)
	}
	call.Action = action
	var err error
	if call.Input, err = newInput(action); err != nil {
		return call, model.Errorf("UnknownOperationException", "There is no action of that name")
	}
	if err := jsonapi.Decode(readable(body, reflect.TypeOf(call.Input)), call.Input); err != nil {
		return call, err
	}
	return call, nil
}

// Response returns the body of a call's answer. output is a pointer.
func (c *Codec) Response(_ *api.Call, output any) []byte {
	body, err := json.Marshal(value(reflect.ValueOf(output)))
	if err != nil {
		panic(err) // nothing but what JSON has comes out of value
	}
	return body
}

// Failure returns the answer to a request that failed.
func (c *Codec) Failure(_ string, e *model.Error) (status int, body []byte) {
	code := codeOf(e.Code)
	message := e.Message
	if e.Hint != "" {
		message += " (hint: " + e.Hint + ")"
	}
	body, err := json.Marshal(map[string]string{"__type": code, "message": message})
	if err != nil {
		panic(err) // strings always encode
	}
	switch code {
	case "InternalServerError":
		return http.StatusInternalServerError, body
	case "ServiceUnavailable":
		return http.StatusServiceUnavailable, body
	}
	return http.StatusBadRequest, body
}

// codeOf spells the dispatcher's codes as the protocol's services do.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html
func codeOf(code string) string {
	switch code {
	case model.CodeInvalidParameterValue, model.CodeMissingParameter, model.CodeUnknownParameter, model.CodeUnsupportedOperation:
		return "ValidationException"
	case model.CodeMalformedQueryString:
		return "SerializationException"
	case api.CodeUnauthorizedOperation:
		return "AccessDeniedException"
	case model.CodeInternalError:
		return "InternalServerError"
	case model.CodeServiceUnavailable:
		return "ServiceUnavailable"
	case "RequestLimitExceeded":
		return "ThrottlingException"
	}
	return code
}

// Refusal returns the code for a request that is not signed as it must be.
func (c *Codec) Refusal(r sigv4.Reason) string {
	switch r {
	case sigv4.Missing:
		return "MissingAuthenticationTokenException"
	case sigv4.Incomplete:
		return "IncompleteSignatureException"
	case sigv4.UnknownKey:
		return "UnrecognizedClientException"
	case sigv4.ExpiredToken:
		return "ExpiredTokenException"
	}
	return "InvalidSignatureException"
}

// value returns what encoding/json writes for v as the protocol has it: times are
// numbers, absent members are left out.
func value(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		return value(v.Elem())
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return float64(t.UnixMilli()) / 1000
		}
		members := map[string]any{}
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsNil() {
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				members[name] = value(f)
			}
		}
		return members
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return base64.StdEncoding.EncodeToString(v.Bytes())
		}
		items := make([]any, v.Len())
		for i := range items {
			items[i] = value(v.Index(i))
		}
		return items
	case reflect.Map:
		entries := map[string]any{}
		for it := v.MapRange(); it.Next(); {
			entries[it.Key().String()] = value(it.Value())
		}
		return entries
	}
	return v.Interface()
}

// readable is a request whose times, which the protocol has as seconds since 1970, are texts, as
// encoding/json reads them. What is no such request stays as it is, for the decoder to refuse.
func readable(body []byte, t reflect.Type) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var in any
	if d.Decode(&in) != nil || d.More() {
		return body
	}
	in, changed := withTimes(in, t)
	if !changed {
		return body
	}
	if out, err := json.Marshal(in); err == nil {
		return out
	}
	return body
}

// withTimes changes what is a number and shall be a time.
func withTimes(in any, t reflect.Type) (_ any, changed bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := in.(type) {
	case json.Number:
		if t == reflect.TypeFor[time.Time]() {
			if seconds, err := v.Float64(); err == nil && math.Abs(seconds) < 1<<36 {
				return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC().Format(time.RFC3339Nano), true
			}
		}
	case []any:
		for i := range v {
			if t.Kind() == reflect.Slice {
				item, c := withTimes(v[i], t.Elem())
				v[i], changed = item, changed || c
			}
		}
	case map[string]any:
		if t.Kind() != reflect.Struct {
			break
		}
		for name := range v {
			if f, ok := t.FieldByName(name); ok {
				item, c := withTimes(v[name], f.Type)
				v[name], changed = item, changed || c
			}
		}
	}
	return in, changed
}
