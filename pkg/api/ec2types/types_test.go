package ec2types_test

import (
	"encoding/json"
	"encoding/xml"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// fill sets every member of a generated type to something that is not zero.
func fill(v reflect.Value, seed *int) {
	*seed++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, *seed*1e6, time.UTC)))
		return
	case []byte:
		v.SetBytes([]byte{0, 0xff, byte(*seed)})
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), seed)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), seed)
		fill(v.Index(1), seed)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), seed)
		}
	case reflect.String:
		v.SetString("<é&" + string(rune('a'+*seed%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(*seed))
	case reflect.Float64:
		v.SetFloat(float64(*seed) + 0.5)
	default:
		panic("no generated member has type " + v.Type().String())
	}
}

func TestEveryTypeSurvivesJSON(t *testing.T) {
	for _, op := range ec2types.Operations() {
		for _, fresh := range []func() any{op.NewInput, op.NewOutput} {
			want, got, seed := fresh(), fresh(), 0
			fill(reflect.ValueOf(want).Elem(), &seed)
			data, err := json.Marshal(want)
			if err != nil {
				t.Fatalf("%T: %v", want, err)
			}
			if err := json.Unmarshal(data, got); err != nil {
				t.Fatalf("%T: %v", want, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%T changed on the way (-sent +received):\n%s", want, diff)
			}
			if data, _ := json.Marshal(fresh()); string(data) != "{}" {
				t.Errorf("%T with nothing set is %s", want, data)
			}
		}
	}
}

// TestEveryOutputSurvivesXML shows that the xml tags are free of clashes.
func TestEveryOutputSurvivesXML(t *testing.T) {
	for _, op := range ec2types.Operations() {
		want, got, seed := op.NewOutput(), op.NewOutput(), 0
		fill(reflect.ValueOf(want).Elem(), &seed)
		data, err := xml.Marshal(want)
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if err := xml.Unmarshal(data, got); err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T changed on the way (-sent +received):\n%s", want, diff)
		}
	}
}

// TestWireNames pins names that differ between the three forms, as the EC2 API
// reference shows them.
func TestWireNames(t *testing.T) {
	for _, tc := range []struct {
		of           any
		field        string
		query, xml   string
		isRequired   bool
		enumContains string
	}{
		{of: ec2types.RunInstancesInput{}, field: "SecurityGroupIds", query: "SecurityGroupId"},
		{of: ec2types.RunInstancesInput{}, field: "MinCount", query: "MinCount", isRequired: true},
		{of: ec2types.RunInstancesInput{}, field: "InstanceInitiatedShutdownBehavior", query: "InstanceInitiatedShutdownBehavior", enumContains: "terminate"},
		{of: ec2types.TerminateInstancesInput{}, field: "InstanceIds", query: "InstanceId", isRequired: true},
		{of: ec2types.CreateImageInput{}, field: "NoReboot", query: "NoReboot"},
		{of: ec2types.InstanceNetworkInterfaceSpecification{}, field: "PrivateIpAddresses", query: "PrivateIpAddresses"},
		{of: ec2types.DescribeInstancesOutput{}, field: "Reservations", xml: "reservationSet>item,omitempty"},
		{of: ec2types.Reservation{}, field: "Instances", xml: "instancesSet>item,omitempty"},
		{of: ec2types.Instance{}, field: "State", xml: "instanceState,omitempty"},
		{of: ec2types.Instance{}, field: "PublicIpAddress", xml: "ipAddress,omitempty"},
		{of: ec2types.Filter{}, field: "Values", query: "Value"},
	} {
		f, ok := reflect.TypeOf(tc.of).FieldByName(tc.field)
		if !ok {
			t.Fatalf("%T has no %s", tc.of, tc.field)
		}
		if got := f.Tag.Get("query"); got != tc.query {
			t.Errorf("%T.%s: query name %q, want %q", tc.of, tc.field, got, tc.query)
		}
		if got := f.Tag.Get("xml"); got != tc.xml && tc.xml != "" {
			t.Errorf("%T.%s: XML name %q, want %q", tc.of, tc.field, got, tc.xml)
		}
		if got := f.Tag.Get("required") == "true"; got != tc.isRequired {
			t.Errorf("%T.%s: required is %v", tc.of, tc.field, got)
		}
		if values := strings.Join(ec2types.EnumValues(f.Tag.Get("enum")), " "); !strings.Contains(values, tc.enumContains) {
			t.Errorf("%T.%s: enum values %q lack %q", tc.of, tc.field, values, tc.enumContains)
		}
	}
}

func TestOperations(t *testing.T) {
	run, ok := ec2types.OperationByName("RunInstances")
	if !ok || !run.DryRun || run.Paginated || len(run.IdempotencyTokens) != 1 {
		t.Errorf("RunInstances: %+v, %v", run, ok)
	}
	describe, ok := ec2types.OperationByName("DescribeInstances")
	if !ok || !describe.Paginated {
		t.Errorf("DescribeInstances: %+v, %v", describe, ok)
	}
	if _, ok := ec2types.OperationByName("LaunchRockets"); ok {
		t.Error("there is an operation LaunchRockets")
	}
}
