package bundttypes_test

import (
	"encoding/json"
	"encoding/xml"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bundt/bundt/pkg/api/bundttypes"
)

// draw fills a value with anything that its type can hold.
func draw(t *rapid.T, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "present") {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem())
		}
	case reflect.Slice:
		if n := rapid.IntRange(0, 3).Draw(t, "items"); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				draw(t, v.Index(i))
			}
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			draw(t, f)
		}
	case reflect.String:
		v.SetString(rapid.StringMatching(`[ -~éß漢]*`).Draw(t, "string"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(rapid.Int32().Draw(t, "int")))
	default:
		t.Fatalf("no member has type %s", v.Type())
	}
}

var types = []any{
	bundttypes.BuildImageInput{}, bundttypes.BuildImageOutput{}, bundttypes.DescribeBuildsInput{}, bundttypes.DescribeBuildsOutput{},
	bundttypes.WatchBuildInput{}, bundttypes.DescribeLineageInput{}, bundttypes.DescribeLineageOutput{}, bundttypes.DescribeHostInput{},
	bundttypes.DescribeHostOutput{}, bundttypes.DescribeInventoryInput{}, bundttypes.DescribeInventoryOutput{},
	bundttypes.DescribeInstanceDetailsInput{}, bundttypes.DescribeInstanceDetailsOutput{},
	bundttypes.GetNetworkTraceInput{}, bundttypes.GetNetworkTraceOutput{}, bundttypes.GetInstanceDiagnosisInput{}, bundttypes.GetInstanceDiagnosisOutput{},
	bundttypes.GetInstanceIdentityCertificateInput{}, bundttypes.GetInstanceIdentityCertificateOutput{},
	bundttypes.AdoptDomainInput{}, bundttypes.AdoptDomainOutput{}, bundttypes.PushImageInput{}, bundttypes.PushImageOutput{}, bundttypes.PullImageInput{}, bundttypes.PullImageOutput{},
	bundttypes.DescribeRegistryTasksInput{}, bundttypes.DescribeRegistryTasksOutput{}, bundttypes.CancelRegistryTaskInput{}, bundttypes.CancelRegistryTaskOutput{},
	bundttypes.ImageSigningKey{}, bundttypes.ImportImageSigningKeyInput{}, bundttypes.TrustKeyInput{}, bundttypes.TrustKeyOutput{},
	bundttypes.DistrustKeyInput{}, bundttypes.DescribeTrustedKeysOutput{},
	bundttypes.AddPublisherInput{}, bundttypes.AddPublisherOutput{}, bundttypes.DescribePublishersOutput{}, bundttypes.DescribeProductsInput{}, bundttypes.DescribeProductsOutput{},
	bundttypes.SubscribeToProductInput{}, bundttypes.SubscribeToProductOutput{}, bundttypes.PullProductImageInput{}, bundttypes.PullProductImageOutput{},
	bundttypes.SignIndexInput{}, bundttypes.SignIndexOutput{},
	bundttypes.PreviewLanInput{}, bundttypes.PreviewLanOutput{}, bundttypes.AttachLanInput{}, bundttypes.AttachLanOutput{}, bundttypes.DescribeLansOutput{},
}

func TestTypesSurviveJSONAndXML(t *testing.T) {
	codecs := map[string]struct {
		encode func(any) ([]byte, error)
		decode func([]byte, any) error
	}{"JSON": {json.Marshal, json.Unmarshal}, "XML": {xml.Marshal, xml.Unmarshal}}
	for _, of := range types {
		for name, codec := range codecs {
			if name == "XML" && strings.HasSuffix(reflect.TypeOf(of).Name(), "Input") {
				continue // requests are not XML
			}
			rapid.Check(t, func(t *rapid.T) {
				want, got := reflect.New(reflect.TypeOf(of)), reflect.New(reflect.TypeOf(of))
				draw(t, want.Elem())
				data, err := codec.encode(want.Interface())
				if err != nil {
					t.Fatalf("%s of %T: %v", name, of, err)
				}
				if err := codec.decode(data, got.Interface()); err != nil {
					t.Fatalf("%s of %T: %v", name, of, err)
				}
				if diff := cmp.Diff(want.Interface(), got.Interface()); diff != "" {
					t.Fatalf("%T changed on the way through %s:\n%s", of, name, diff)
				}
			})
		}
	}
}

// TestNamesAgree shows that a member has one name in Go, JSON and Query, and the
// same with a small first letter in XML, where lists say what they are sets of.
func TestNamesAgree(t *testing.T) {
	for _, of := range types {
		for f := range reflect.TypeOf(of).Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != f.Name {
				t.Errorf("%T.%s has the JSON name %q", of, f.Name, name)
			}
			query, isList := f.Tag.Get("query"), f.Type.Kind() == reflect.Slice
			if strings.HasSuffix(reflect.TypeOf(of).Name(), "Input") && query != name && (!isList || query+"s" != name) {
				t.Errorf("%T.%s has the Query name %q", of, f.Name, query)
			}
		}
	}
}
