package jsonapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// everything has a member of each kind that requests have.
type everything struct {
	String *string     `json:"String,omitempty"`
	Bool   *bool       `json:"Bool,omitempty"`
	Int32  *int32      `json:"Int32,omitempty"`
	Int64  *int64      `json:"Int64,omitempty"`
	Float  *float64    `json:"Float,omitempty"`
	Time   *time.Time  `json:"Time,omitempty"`
	Blob   []byte      `json:"Blob,omitzero"`
	List   []string    `json:"List,omitzero"`
	Nested *everything `json:"Nested,omitempty"`
	Items  []struct {
		Name *string `json:"Name,omitempty"`
	} `json:"Items,omitzero"`
}

func TestDecode(t *testing.T) {
	var got everything
	err := Decode([]byte(` {"String":"é\u0000","Bool":false,"Int32":-5,"Int64":9007199254740993,"Float":1.5e3,
		"Time":"2026-01-02T03:04:05.006+01:00","Blob":"AP8=","List":["a",""],"Nested":{"List":[],"String":null},
		"Items":[{"Name":"x"},{}]} `), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := everything{
		String: new("é\x00"), Bool: new(false), Int32: new(int32(-5)), Int64: new(int64(9007199254740993)), Float: new(1500.0),
		Time: new(time.Date(2026, 1, 2, 2, 4, 5, 6e6, time.UTC)), Blob: []byte{0, 255}, List: []string{"a", ""},
		Nested: &everything{List: []string{}},
	}
	want.Items = make([]struct {
		Name *string `json:"Name,omitempty"`
	}, 2)
	want.Items[0].Name = new("x")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for body, want := range map[string]struct{ code, mention string }{
		`{"Colour":1}`:                      {model.CodeUnknownParameter, "Colour"},
		`{"string":"x"}`:                    {model.CodeUnknownParameter, "string"},
		`{"Nested":{"Nested":{"X":1}}}`:     {model.CodeUnknownParameter, "Nested.Nested.X"},
		`{"Items":[{},{"X":1}]}`:            {model.CodeUnknownParameter, "Items[1].X"},
		`{"Bool":true,"Bool":true}`:         {model.CodeInvalidParameterValue, "Bool is given twice"},
		`{"Nested":{"Bool":true,"Bool":1}}`: {model.CodeInvalidParameterValue, "Nested.Bool is given twice"},
		`{"Bool":"true"}`:                   {model.CodeInvalidParameterValue, "Bool"},
		`{"String":1}`:                      {model.CodeInvalidParameterValue, "String"},
		`{"String":{}}`:                     {model.CodeInvalidParameterValue, "an object"},
		`{"Int32":2147483648}`:              {model.CodeInvalidParameterValue, "Int32"},
		`{"Int32":1.0}`:                     {model.CodeInvalidParameterValue, "Int32"},
		`{"Int32":"1"}`:                     {model.CodeInvalidParameterValue, "Int32"},
		`{"Float":1e999}`:                   {model.CodeInvalidParameterValue, "Float"},
		`{"Time":"yesterday"}`:              {model.CodeInvalidParameterValue, "Time"},
		`{"Time":1}`:                        {model.CodeInvalidParameterValue, "Time"},
		`{"Blob":"AP8"}`:                    {model.CodeInvalidParameterValue, "Blob"},
		`{"Blob":[1]}`:                      {model.CodeInvalidParameterValue, "Blob"},
		`{"List":"a"}`:                      {model.CodeInvalidParameterValue, "List"},
		`{"List":{"a":1}}`:                  {model.CodeInvalidParameterValue, "List"},
		`{"List":["a",1]}`:                  {model.CodeInvalidParameterValue, "List[1]"},
		`{"List":[null]}`:                   {model.CodeInvalidParameterValue, "List[0]"},
		`{"Nested":[]}`:                     {model.CodeInvalidParameterValue, "Nested"},
		`{} {}`:                             {model.CodeMalformedQueryString, "follows"},
		`{}x`:                               {model.CodeMalformedQueryString, "follows"},
		`[]`:                                {model.CodeMalformedQueryString, "object"},
		`null`:                              {model.CodeMalformedQueryString, "object"},
		`{`:                                 {model.CodeMalformedQueryString, "too early"},
		`{"Nested":{`:                       {model.CodeMalformedQueryString, "too early"},
		`{"List":["a"`:                      {model.CodeMalformedQueryString, "too early"},
		`{"Bool" true}`:                     {model.CodeMalformedQueryString, ""},
		`{Bool:true}`:                       {model.CodeMalformedQueryString, ""},
		"{\"String\":\"\xff\"}":             {model.CodeMalformedQueryString, "UTF-8"},
	} {
		err := Decode([]byte(body), new(everything))
		if model.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.mention) {
			t.Errorf("%s: got %v, want %s with %q", body, err, want.code, want.mention)
		}
	}
	err := Decode([]byte(`{"Nested":{"string":"x"}}`), new(everything))
	var e *model.Error
	if !errors.As(err, &e) || e.Hint != "did you mean Nested.String?" {
		t.Errorf("no hint about case: %+v", e)
	}
}

func TestEmptyBodyIsAnEmptyRequest(t *testing.T) {
	for _, body := range []string{"", " \n", "{}"} {
		var got everything
		if err := Decode([]byte(body), &got); err != nil || !reflect.ValueOf(got).IsZero() {
			t.Errorf("%q: %+v, %v", body, got, err)
		}
	}
}

// FuzzDecode feeds every request type with hostile bodies. What is accepted must
// mean the same to encoding/json, and survive being written and read again.
func FuzzDecode(f *testing.F) {
	operations := ec2types.Operations()
	for i := range operations {
		f.Add(i, []byte(`{"DryRun":true,"InstanceIds":["i-1"],"Filters":[{"Name":"x","Values":["y"]}]}`))
	}
	f.Add(20, []byte(`{"MinCount":1,"MaxCount":1,"BlockDeviceMappings":[{"Ebs":{"VolumeSize":8}}],"Placement":null}`))
	f.Add(12, []byte(`{"KeyName":"k","PublicKeyMaterial":"c3No"}`))
	f.Add(3, []byte(`{"DryRun":true,"DryRun":false}{`))
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		fresh := operations[uint(which)%uint(len(operations))].NewInput
		got := fresh()
		err := Decode(body, got)
		if err != nil {
			if _, ok := errors.AsType[*model.Error](err); !ok {
				t.Fatalf("error for no client: %v", err)
			}
			return
		}
		if len(bytes.TrimSpace(body)) > 0 {
			std := fresh()
			if err := json.Unmarshal(body, std); err != nil {
				t.Fatalf("encoding/json refuses what was accepted: %v", err)
			}
			if diff := cmp.Diff(std, got); diff != "" {
				t.Fatalf("encoding/json reads something else (-std +got):\n%s", diff)
			}
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again := fresh()
		if err := Decode(data, again); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
