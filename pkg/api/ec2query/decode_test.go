package ec2query

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/model"
)

// everything has a member of each kind that requests have.
type everything struct {
	String  *string       `query:"String"`
	Bool    *bool         `query:"Bool"`
	Int32   *int32        `query:"Int32"`
	Int64   *int64        `query:"Int64"`
	Float   *float64      `query:"Float"`
	Time    *time.Time    `query:"Time"`
	Blob    []byte        `query:"Blob"`
	Texts   []string      `query:"Text"`
	Numbers []int32       `query:"Number"`
	Nested  *everything2  `query:"Nested"`
	Items   []everything2 `query:"Item"`
	Members []string      `query:"Members.member"`
}

type everything2 struct {
	Name *string      `query:"Name"`
	Tags []string     `query:"Tag"`
	Deep *everything3 `query:"Deep"`
}

type everything3 struct {
	On *bool `query:"On"`
}

// decodeForm decodes the parameters of a form into a fresh T.
func decodeForm[T any](form string) (*T, error) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	f, err := readForm(r, []byte(form))
	if err != nil {
		return nil, err
	}
	in := new(T)
	v := reflect.ValueOf(in).Elem()
	return in, decode(f.params, 0, v, planOf(v.Type()))
}

func TestDecode(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for form, want := range map[string]everything{
		"":                                     {},
		"&&":                                   {},
		"String=a+b%2Bc%26%3D":                 {String: new("a b+c&=")},
		"String=":                              {String: new("")},
		"String":                               {String: new("")},
		"String=a=b":                           {String: new("a=b")},
		"String=%E2%82%AC":                     {String: new("€")},
		"String=€":                             {String: new("€")},
		"Bool=true":                            {Bool: new(true)},
		"Bool=False":                           {Bool: new(false)},
		"Bool=1":                               {Bool: new(true)},
		"Bool=":                                {},
		"Int32=-2147483648":                    {Int32: new(int32(-2147483648))},
		"Int32=":                               {},
		"Int64=9223372036854775807":            {Int64: new(int64(9223372036854775807))},
		"Float=1.5e3":                          {Float: new(1500.0)},
		"Time=2026-01-02T03:04:05.006Z":        {Time: &at},
		"Time=2026-01-02T04:04:05.006%2B01:00": {Time: &at},
		"Time=2026-01-02T03:04:05.006":         {Time: &at},
		"Blob=AP8%3D":                          {Blob: []byte{0, 255}},
		"Blob=AP%0A8%3D":                       {Blob: []byte{0, 255}},
		"Text.1=a&Text.2=b":                    {Texts: []string{"a", "b"}},
		"Text.2=b&Text.1=a":                    {Texts: []string{"a", "b"}},
		"Text.7=b&Text.10=c&Text.0=a":          {Texts: []string{"a", "b", "c"}},
		"Text.999999999=a":                     {Texts: []string{"a"}},
		"Text.1=":                              {Texts: []string{""}},
		"Text=":                                {},
		"Number.1=3&Number.2=4":                {Numbers: []int32{3, 4}},
		"Nested=":                              {},
		"Nested.Name=x&Nested.Deep.On=true&Nested.Tag.1=y": {Nested: &everything2{Name: new("x"), Tags: []string{"y"}, Deep: &everything3{On: new(true)}}},
		"Item.2.Name=b&Item.1.Tag.2=y&Item.1.Tag.1=x&Item.2.Deep.On=true": {Items: []everything2{
			{Tags: []string{"x", "y"}}, {Name: new("b"), Deep: &everything3{On: new(true)}}}},
		"Item.1=&Item.3.Name=c":                 {Items: []everything2{{Name: new("c")}}},
		"Members.member.1=a&Members.member.2=b": {Members: []string{"a", "b"}},
		"Members=":                              {},
	} {
		got, err := decodeForm[everything](form)
		if err != nil {
			t.Errorf("%s: %v", form, err)
			continue
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s: %s", form, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for form, want := range map[string]struct{ code, mention string }{
		"Colour=1":                      {model.CodeUnknownParameter, "Colour"},
		"string=1":                      {model.CodeUnknownParameter, "string"},
		"String.1=1":                    {model.CodeUnknownParameter, "String.1"},
		"String.=1":                     {model.CodeUnknownParameter, "String."},
		".String=1":                     {model.CodeUnknownParameter, ".String"},
		"Nested=x":                      {model.CodeUnknownParameter, "Nested"},
		"Nested.Colour=x":               {model.CodeUnknownParameter, "Nested.Colour"},
		"Nested.=x":                     {model.CodeUnknownParameter, "Nested."},
		"Nested.Deep.On.Off=x":          {model.CodeUnknownParameter, "Nested.Deep.On.Off"},
		"Text=x":                        {model.CodeUnknownParameter, "Text"},
		"Text.=x":                       {model.CodeUnknownParameter, "Text."},
		"Text.a=x":                      {model.CodeUnknownParameter, "Text.a"},
		"Text.-1=x":                     {model.CodeUnknownParameter, "Text.-1"},
		"Text.01=x":                     {model.CodeUnknownParameter, "Text.01"},
		"Text.9999999999=x":             {model.CodeUnknownParameter, "Text.9999999999"},
		"Text.1.Name=x":                 {model.CodeUnknownParameter, "Text.1.Name"},
		"Text.1.=x":                     {model.CodeUnknownParameter, "Text.1."},
		"Text.member.1=x":               {model.CodeUnknownParameter, "Text.member.1"},
		"Item.1=x":                      {model.CodeUnknownParameter, "Item.1"},
		"Item.1.Colour=x":               {model.CodeUnknownParameter, "Item.1.Colour"},
		"Item.Name=x":                   {model.CodeUnknownParameter, "Item.Name"},
		"Members.1=x":                   {model.CodeUnknownParameter, "Members.1"},
		"Members.member.x=x":            {model.CodeUnknownParameter, "Members.member.x"},
		"String=a&String=a":             {model.CodeInvalidParameterValue, "String is given more than once"},
		"Text.1=a&Text.1=b":             {model.CodeInvalidParameterValue, "Text.1 is given more than once"},
		"Item.1.Name=a&Item.1.Name=b":   {model.CodeInvalidParameterValue, "Item.1.Name is given more than once"},
		"Nested.Name=a&Nested.Name=b":   {model.CodeInvalidParameterValue, "Nested.Name is given more than once"},
		"Action=A&Action=B":             {model.CodeInvalidParameterValue, "Action is given more than once"},
		"Bool=yes":                      {model.CodeInvalidParameterValue, "Bool"},
		"Int32=2147483648":              {model.CodeInvalidParameterValue, "Int32"},
		"Int32=1.0":                     {model.CodeInvalidParameterValue, "Int32"},
		"Int32=0x10":                    {model.CodeInvalidParameterValue, "Int32"},
		"Int64=9223372036854775808":     {model.CodeInvalidParameterValue, "Int64"},
		"Number.2=x":                    {model.CodeInvalidParameterValue, "Number.2"},
		"Number.1=":                     {model.CodeInvalidParameterValue, "Number.1"},
		"Float=NaN":                     {model.CodeInvalidParameterValue, "Float"},
		"Float=1e999":                   {model.CodeInvalidParameterValue, "Float"},
		"Time=yesterday":                {model.CodeInvalidParameterValue, "Time"},
		"Blob=AP8":                      {model.CodeInvalidParameterValue, "Blob"},
		"String=%zz":                    {model.CodeMalformedQueryString, "percent-encoded"},
		"String=%":                      {model.CodeMalformedQueryString, "percent-encoded"},
		"%zz=1":                         {model.CodeMalformedQueryString, "percent-encoded"},
		"String=%ff":                    {model.CodeMalformedQueryString, "UTF-8"},
		"String=\xff":                   {model.CodeMalformedQueryString, "UTF-8"},
		"=x":                            {model.CodeMalformedQueryString, "no name"},
		strings.Repeat("a", 513) + "=x": {model.CodeMalformedQueryString, "512 bytes"},
		strings.Repeat("&", 20_000):     {model.CodeMalformedQueryString, "20000 parameters"},
		list("Text", maxItems+1):        {model.CodeInvalidParameterValue, "more than 1000 items"},
	} {
		_, err := decodeForm[everything](form)
		if model.CodeOf(err) != want.code || !strings.Contains(fmt.Sprint(err), want.mention) {
			t.Errorf("%.60s: got %v, want %s that mentions %q", form, err, want.code, want.mention)
		}
	}
}

func list(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s.%d=x&", name, i+1)
	}
	return b.String()
}

func TestLongestList(t *testing.T) {
	got, err := decodeForm[everything](list("Text", maxItems))
	if err != nil || len(got.Texts) != maxItems {
		t.Errorf("got %d items, %v", len(got.Texts), err)
	}
}

// TestRealRequests are forms as clients send them.
func TestRealRequests(t *testing.T) {
	run, err := decodeForm[ec2types.RunInstancesInput]("Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MaxCount=1&MinCount=1" +
		"&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsda1&BlockDeviceMapping.1.Ebs.VolumeSize=8&BlockDeviceMapping.1.Ebs.DeleteOnTermination=true" +
		"&SecurityGroupId.1=sg-1&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a+b" +
		"&NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SecurityGroupId.1=sg-2&NetworkInterface.1.PrivateIpAddresses.1.Primary=true")
	if err != nil {
		t.Fatal(err)
	}
	want := &ec2types.RunInstancesInput{
		ImageId: new("ami-1"), MaxCount: new(int32(1)), MinCount: new(int32(1)), SecurityGroupIds: []string{"sg-1"},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: new(int32(8)), DeleteOnTermination: new(true)}}},
		TagSpecifications:   []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("Name"), Value: new("a b")}}}},
		NetworkInterfaces: []ec2types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: new(int32(0)), Groups: []string{"sg-2"}, PrivateIpAddresses: []ec2types.PrivateIpAddressSpecification{{Primary: new(true)}},
		}},
	}
	if diff := cmp.Diff(want, run); diff != "" {
		t.Error(diff)
	}
	user, err := decodeForm[iamtypes.CreateUserInput]("Action=CreateUser&Version=2010-05-08&UserName=bo&Tags.member.1.Key=k&Tags.member.1.Value=v")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&iamtypes.CreateUserInput{UserName: new("bo"), Tags: []iamtypes.Tag{{Key: new("k"), Value: new("v")}}}, user); diff != "" {
		t.Error(diff)
	}
}
