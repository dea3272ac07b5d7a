package ec2query

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/api/ststypes"
	"github.com/bundt/bundt/pkg/model"
)

var dialects = []struct {
	codec      *Codec
	version    string
	operations []ec2types.Operation
}{
	{EC2(), "2016-11-15", ec2types.Operations()},
	{STS(), "2011-06-15", ststypes.Operations()},
	{IAM(), "2010-05-08", iamtypes.Operations()},
}

// draw fills v with anything, and reports whether it set something.
func draw(t *rapid.T, v reflect.Value, depth int) bool {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "time")).UTC()))
		return true
	case []byte:
		v.SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "blob"))
		return true
	}
	switch v.Kind() {
	case reflect.Pointer:
		if rapid.IntRange(0, 2).Draw(t, "absent") == 0 {
			return false
		}
		fresh := reflect.New(v.Type().Elem())
		if !draw(t, fresh.Elem(), depth) {
			return false
		}
		v.Set(fresh)
	case reflect.Slice:
		list := reflect.MakeSlice(v.Type(), 0, 0)
		for range rapid.IntRange(0, max(0, 3-depth)).Draw(t, "items") {
			item := reflect.New(v.Type().Elem()).Elem()
			if draw(t, item, depth+1) {
				list = reflect.Append(list, item)
			}
		}
		if list.Len() == 0 {
			return false
		}
		v.Set(list)
	case reflect.Map:
		return false
	case reflect.Struct:
		any := false
		for i := range v.NumField() {
			any = draw(t, v.Field(i), depth) || any
		}
		return any
	case reflect.String:
		v.SetString(rapid.StringOfN(rapid.SampledFrom([]rune("aZ0 é€𝄞<>&\"'\n\t=+%;.\\/")), 0, 6, -1).Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int32:
		v.SetInt(int64(rapid.Int32().Draw(t, "int32")))
	case reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int64"))
	case reflect.Float64:
		v.SetFloat(rapid.Float64Range(-1e15, 1e15).Draw(t, "float"))
	default:
		panic("no generated member has type " + v.Type().String())
	}
	return true
}

// write adds v to a form as clients do, by the struct tags alone.
func write(f url.Values, name string, v reflect.Value) {
	switch x := v.Interface().(type) {
	case time.Time:
		f.Set(name, x.Format(time.RFC3339Nano))
		return
	case []byte:
		f.Set(name, base64.StdEncoding.EncodeToString(x))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		write(f, name, v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			write(f, name+"."+strconv.Itoa(i+1), v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Field(i); !field.IsNil() {
				write(f, strings.TrimPrefix(name+"."+v.Type().Field(i).Tag.Get("query"), "."), field)
			}
		}
	default:
		f.Set(name, fmt.Sprint(v.Interface()))
	}
}

func TestEveryRequestSurvives(t *testing.T) {
	for _, d := range dialects {
		for _, op := range d.operations {
			t.Run(op.Name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					want := op.NewInput()
					draw(t, reflect.ValueOf(want).Elem(), 0)
					form := url.Values{"Action": {op.Name}, "Version": {d.version}}
					write(form, "", reflect.ValueOf(want))
					r := httptest.NewRequest(http.MethodPost, "/", nil)
					call, err := d.codec.Decode(r, []byte(form.Encode()), func(string) (any, error) { return op.NewInput(), nil })
					if err != nil {
						t.Fatalf("%v in %s", err, form.Encode())
					}
					if diff := cmp.Diff(want, call.Input); diff != "" {
						t.Fatalf("%s: %s", form.Encode(), diff)
					}
				})
			})
		}
	}
}

// TestEveryResponseSurvives reads what is written with encoding/xml, which
// understands the struct tags by itself.
func TestEveryResponseSurvives(t *testing.T) {
	for _, d := range dialects {
		for _, op := range d.operations {
			t.Run(op.Name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					want, got := op.NewOutput(), op.NewOutput()
					draw(t, reflect.ValueOf(want).Elem(), 0)
					body := d.codec.Response(&api.Call{Action: op.Name, Version: d.version, RequestID: "r-1"}, want)
					inner, err := unwrap(body, op.Name, d.codec)
					if err == nil {
						err = xml.Unmarshal(inner, got)
					}
					if err != nil {
						t.Fatalf("%v in %s", err, body)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("%s: %s", body, diff)
					}
				})
			})
		}
	}
}

// unwrap returns the element that holds the output's members.
func unwrap(body []byte, action string, c *Codec) ([]byte, error) {
	var outer struct {
		XMLName   xml.Name
		RequestID string `xml:"requestId"`
		Metadata  struct {
			RequestID string `xml:"RequestId"`
		} `xml:"ResponseMetadata"`
		Inner []byte `xml:",innerxml"`
	}
	if err := xml.Unmarshal(body, &outer); err != nil {
		return nil, err
	}
	if outer.XMLName.Local != action+"Response" || !strings.HasPrefix(outer.XMLName.Space, c.namespace) {
		return nil, fmt.Errorf("the root is %v", outer.XMLName)
	}
	if outer.RequestID+outer.Metadata.RequestID != "r-1" {
		return nil, fmt.Errorf("there is no request id")
	}
	if _, isEC2 := c.dialect.(ec2Dialect); isEC2 {
		return body, nil
	}
	start, end := "<"+action+"Result>", "</"+action+"Result>"
	from, to := strings.Index(string(outer.Inner), start), strings.Index(string(outer.Inner), end)
	if from < 0 || to < 0 {
		return []byte("<none/>"), nil
	}
	return outer.Inner[from : to+len(end)], nil
}

func TestResponses(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	for want, got := range map[string][]byte{
		// What EC2 answers, by its API reference.
		`<DescribeKeyPairsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r-1</requestId>` +
			`<keySet><item><createTime>2026-01-02T02:04:05.000Z</createTime><keyName>a&lt;b&amp;` + "\uFFFD" + `</keyName><tagSet/></item></keySet></DescribeKeyPairsResponse>`: EC2().Response(
			call("DescribeKeyPairs", "2016-11-15"), &ec2types.DescribeKeyPairsOutput{KeyPairs: []ec2types.KeyPairInfo{
				{KeyName: new("a<b&\x00"), CreateTime: &at, Tags: []ec2types.Tag{}}}}),
		`<DescribeKeyPairsResponse xmlns="http://ec2.amazonaws.com/doc/2014-10-01/"><requestId>r-1</requestId><keySet/></DescribeKeyPairsResponse>`: EC2().Response(
			call("DescribeKeyPairs", "2014-10-01"), &ec2types.DescribeKeyPairsOutput{KeyPairs: []ec2types.KeyPairInfo{}}),
		`<DeregisterImageResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r-1</requestId><return>true</return></DeregisterImageResponse>`: EC2().Response(
			call("DeregisterImage", "2016-11-15"), new(struct{})),
		`<GetAccountSummaryResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetAccountSummaryResult><SummaryMap>` +
			`<entry><key>Groups</key><value>0</value></entry><entry><key>Users</key><value>2</value></entry></SummaryMap></GetAccountSummaryResult>` +
			`<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetAccountSummaryResponse>`: IAM().Response(
			call("GetAccountSummary", "2010-05-08"), &iamtypes.GetAccountSummaryOutput{SummaryMap: map[string]int32{"Users": 2, "Groups": 0}}),
		`<DeleteUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></DeleteUserResponse>`: IAM().Response(
			call("DeleteUser", "2010-05-08"), &iamtypes.DeleteUserOutput{}),
	} {
		if diff := cmp.Diff(xmlHeader+want, string(got)); diff != "" {
			t.Error(diff)
		}
	}
}

func call(action, version string) *api.Call {
	return &api.Call{Action: action, Version: version, RequestID: "r-1"}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		codec  *Codec
		err    *model.Error
		status int
		body   string
	}{
		{EC2(), model.Errorf("DryRunOperation", "ok & well"), 412, `<Response><Errors><Error><Code>DryRunOperation</Code><Message>ok &amp; well</Message></Error></Errors><RequestID>r-1</RequestID></Response>`},
		{EC2(), model.Errorf("AuthFailure", "no").WithHint("go"), 401, `<Response><Errors><Error><Code>AuthFailure</Code><Message>no (hint: go)</Message></Error></Errors><RequestID>r-1</RequestID></Response>`},
		{STS(), model.Errorf("InvalidClientTokenId", "no"), 403, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code><Message>no</Message></Error><RequestId>r-1</RequestId></ErrorResponse>`},
		{IAM(), model.Errorf("InternalError", "no"), 500, `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Receiver</Type><Code>InternalFailure</Code><Message>no</Message></Error><RequestId>r-1</RequestId></ErrorResponse>`},
		{IAM(), model.Errorf("NoSuchEntity", "no"), 404, `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>no</Message></Error><RequestId>r-1</RequestId></ErrorResponse>`},
		{IAM(), model.Errorf("MissingParameter", "no"), 400, `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>ValidationError</Code><Message>no</Message></Error><RequestId>r-1</RequestId></ErrorResponse>`},
	} {
		status, body := test.codec.Failure("r-1", test.err)
		if status != test.status || string(body) != xmlHeader+test.body {
			t.Errorf("%s: %d %s", test.err.Code, status, body)
		}
	}
}

func TestCommonParameters(t *testing.T) {
	for name, test := range map[string]struct {
		codec  *Codec
		method string
		target string
		media  string
		body   string
		want   string // code; "" for none
	}{
		"GET":               {codec: EC2(), target: "/?Action=DescribeRegions&Version=2016-11-15&X-Amz-Signature=x"},
		"POST":              {codec: EC2(), method: "POST", target: "/", body: "Action=DescribeRegions&Version=2014-10-01", media: "application/x-www-form-urlencoded; charset=UTF-8"},
		"both":              {codec: EC2(), method: "POST", target: "/?Action=DescribeRegions", body: "Version=2016-11-15"},
		"no action":         {codec: EC2(), target: "/?Version=2016-11-15", want: "MissingParameter"},
		"no action of STS":  {codec: STS(), target: "/?Version=2011-06-15", want: "MissingAction"},
		"no version":        {codec: EC2(), target: "/?Action=DescribeRegions", want: "MissingParameter"},
		"other version":     {codec: EC2(), target: "/?Action=DescribeRegions&Version=2016-11-16", want: "NoSuchVersion"},
		"STS's version":     {codec: EC2(), target: "/?Action=DescribeRegions&Version=2011-06-15", want: "NoSuchVersion"},
		"bundt's action":    {codec: EC2(), target: "/?Action=BuildImage&Version=2016-11-15", want: "InvalidAction"},
		"signature in body": {codec: EC2(), method: "POST", target: "/", body: "Action=DescribeRegions&Version=2016-11-15&X-Amz-Signature=x", want: "UnknownParameter"},
		"twice in both":     {codec: EC2(), method: "POST", target: "/?Version=2016-11-15", body: "Action=DescribeRegions&Version=2016-11-15", want: "InvalidParameterValue"},
		"PUT":               {codec: EC2(), method: "PUT", target: "/?Action=DescribeRegions&Version=2016-11-15", want: "MalformedQueryString"},
		"GET with a body":   {codec: EC2(), target: "/?Action=DescribeRegions&Version=2016-11-15", body: "x", want: "MalformedQueryString"},
		"JSON":              {codec: EC2(), method: "POST", target: "/", body: "{}", media: "application/json", want: "MalformedQueryString"},
		"Latin 1":           {codec: EC2(), method: "POST", target: "/", body: "Action=A", media: "application/x-www-form-urlencoded; charset=iso-8859-1", want: "MalformedQueryString"},
	} {
		r := httptest.NewRequest(test.method, test.target, nil)
		if test.media != "" {
			r.Header.Set("Content-Type", test.media)
		}
		_, err := test.codec.Decode(r, []byte(test.body), func(string) (any, error) { return new(ec2types.DescribeRegionsInput), nil })
		if model.CodeOf(err) != test.want {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

// FuzzDecode: any form is read or refused with a public error, and what is read
// means the same when it is written again.
func FuzzDecode(f *testing.F) {
	f.Add("ImageId=ami-1&MaxCount=1&TagSpecification.1.Tag.2.Key=a&BlockDeviceMapping.1.Ebs.VolumeSize=8")
	f.Add("NetworkInterface.2.SecurityGroupId.1=sg&NetworkInterface.1.DeviceIndex=0&DryRun=true&ImageId=")
	f.Add("SecurityGroup.1=%C3%A9&SecurityGroup.3=b&SecurityGroup.3=c&InstanceMarketOptions.SpotOptions.ValidUntil=2026-01-02")
	f.Fuzz(func(t *testing.T, form string) {
		in, err := decodeForm[ec2types.RunInstancesInput](form)
		if err != nil {
			if model.CodeOf(err) == "" {
				t.Fatalf("%q: %v is no public error", form, err)
			}
			return
		}
		again := url.Values{}
		write(again, "", reflect.ValueOf(in))
		if _, err := decodeForm[ec2types.RunInstancesInput](again.Encode()); err != nil {
			t.Fatalf("%q was read, but not as %q: %v", form, again.Encode(), err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	body := []byte("Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-0123456789abcdef0")
	c := EC2()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decode(r, body, func(string) (any, error) { return new(ec2types.DescribeInstancesInput), nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResponse(b *testing.B) {
	out := &ec2types.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{ReservationId: new("r-1"), Instances: []ec2types.Instance{{
		InstanceId: new("i-0123456789abcdef0"), ImageId: new("ami-0123456789abcdef0"), State: &ec2types.InstanceState{Name: new("running"), Code: new(int32(16))},
		LaunchTime: new(time.Now()), PrivateIpAddress: new("10.0.0.4"), InstanceType: new("t3.micro"), Tags: []ec2types.Tag{{Key: new("Name"), Value: new("web")}},
	}}}}}
	c, call := EC2(), call("DescribeInstances", "2016-11-15")
	b.ReportAllocs()
	for b.Loop() {
		c.Response(call, out)
	}
}
