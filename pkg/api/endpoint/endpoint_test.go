package endpoint_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2query"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/endpoint"
	"github.com/bundt/bundt/pkg/api/json11"
	"github.com/bundt/bundt/pkg/api/ssmtypes"
	"github.com/bundt/bundt/pkg/api/ststypes"
	"github.com/bundt/bundt/pkg/auth/sigv4"
)

var (
	credentials = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}
	broken      = aws.Credentials{AccessKeyID: "AKIDBROKEN", SecretAccessKey: "secret"}
	someone     = api.Principal{AccountID: "000000000001", Name: "someone"}
)

func dispatcher(t *testing.T, table *api.Table) *api.Dispatcher {
	t.Helper()
	d, err := api.NewDispatcher(table, api.Options{Authorize: func(_ context.Context, call *api.Call) error {
		if !call.Origin.Address.IsLoopback() || call.Origin.TLS || call.Origin.UserAgent != "test" {
			return errors.New("the origin is not the client")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// serve answers for EC2, STS and SSM, with one action each.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	return serveWithin(t, 0)
}

// serveWithin gives bodies that long.
func serveWithin(t *testing.T, bodyTime time.Duration) *httptest.Server {
	t.Helper()
	ec2, sts, ssm := api.NewTable(), api.NewTable(), api.NewTable()
	api.Register(ec2, api.Action[ec2types.DescribeRegionsInput, ec2types.DescribeRegionsOutput]{
		Name: "DescribeRegions", Acts: []string{"RegionNames"},
		Handler: func(ctx context.Context, in *ec2types.DescribeRegionsInput) (*ec2types.DescribeRegionsOutput, error) {
			out := &ec2types.DescribeRegionsOutput{}
			for _, name := range in.RegionNames {
				if name == "panic" {
					panic(name)
				}
				out.Regions = append(out.Regions, ec2types.Region{RegionName: &name})
			}
			return out, nil
		},
	})
	api.Register(sts, api.Action[ststypes.GetCallerIdentityInput, ststypes.GetCallerIdentityOutput]{
		Name: "GetCallerIdentity",
		Handler: func(ctx context.Context, _ *ststypes.GetCallerIdentityInput) (*ststypes.GetCallerIdentityOutput, error) {
			return &ststypes.GetCallerIdentityOutput{Account: new(api.PrincipalFrom(ctx).AccountID)}, nil
		},
	})
	api.Register(ssm, api.Action[ssmtypes.GetParameterInput, ssmtypes.GetParameterOutput]{
		Name: "GetParameter", Acts: []string{"Name"},
		Handler: func(_ context.Context, in *ssmtypes.GetParameterInput) (*ssmtypes.GetParameterOutput, error) {
			return &ssmtypes.GetParameterOutput{Parameter: &ssmtypes.Parameter{Name: in.Name, LastModifiedDate: new(time.UnixMilli(1500)), Version: new(int64(1))}}, nil
		},
	})
	h, err := endpoint.Handler(endpoint.Options{
		Region: "local-1", BodyTime: bodyTime,
		Keys: sigv4.KeysFunc[api.Principal](func(_ context.Context, r *sigv4.Request) ([]byte, api.Principal, error) {
			switch r.AccessKeyID {
			case credentials.AccessKeyID:
				return []byte(credentials.SecretAccessKey), someone, nil
			case broken.AccessKeyID:
				return nil, api.Principal{}, errors.New("the store is gone")
			}
			return nil, api.Principal{}, sigv4.ErrUnknownKey
		}),
		Services: []endpoint.Service{
			{Name: "ec2", Codec: ec2query.EC2(), Dispatcher: dispatcher(t, ec2)},
			{Name: "sts", Global: true, Codec: ec2query.STS(), Dispatcher: dispatcher(t, sts)},
			{Name: "ssm", Codec: json11.SSM(), Dispatcher: dispatcher(t, ssm)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// request is one to a service.
type request struct {
	service, region, path, body string
	header                      map[string]string
	credentials                 *aws.Credentials // nil for an unsigned request
	tamper                      bool
}

func (q request) send(t *testing.T, s *httptest.Server) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.URL+q.path, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "test")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	if q.credentials != nil {
		sum := sha256.Sum256([]byte(q.body))
		if err := v4.NewSigner().SignHTTP(t.Context(), *q.credentials, r, hex.EncodeToString(sum[:]), q.service, q.region, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if q.tamper {
		r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", len(q.body))))
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

func TestServices(t *testing.T) {
	const (
		regions = "Action=DescribeRegions&Version=2016-11-15&RegionName.1="
		whoami  = "Action=GetCallerIdentity&Version=2011-06-15"
		json    = "application/x-amz-json-1.1"
	)
	get := map[string]string{"Content-Type": json, "X-Amz-Target": "AmazonSSM.GetParameter"}
	s := serve(t)
	for name, test := range map[string]struct {
		request
		status int
		want   string // in the body
	}{
		"EC2":              {request{service: "ec2", body: regions + "x"}, 200, "<regionInfo><item><regionName>x</regionName></item></regionInfo>"},
		"EC2, compressed":  {request{service: "ec2", body: gzipped(regions + "x"), header: map[string]string{"Content-Encoding": "gzip"}}, 200, "<regionName>x</regionName>"},
		"STS":              {request{service: "sts", body: whoami}, 200, "<GetCallerIdentityResult><Account>000000000001</Account></GetCallerIdentityResult>"},
		"STS, global":      {request{service: "sts", region: "us-east-1", body: whoami}, 200, "<Account>000000000001</Account>"},
		"SSM":              {request{service: "ssm", body: `{"Name":"/x"}`, header: get}, 200, `{"Parameter":{"LastModifiedDate":1.5,"Name":"/x","Version":1}}`},
		"unsigned":         {request{service: "-", body: regions}, 403, "<Code>MissingAuthenticationToken</Code>"},
		"EC2, other key":   {request{service: "ec2", body: regions, credentials: &aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "x"}}, 401, "<Code>AuthFailure</Code>"},
		"STS, other key":   {request{service: "sts", body: whoami, credentials: &aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "x"}}, 403, "<Code>InvalidClientTokenId</Code>"},
		"SSM, other key":   {request{service: "ssm", body: "{}", header: get, credentials: &aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "x"}}, 400, `"__type":"UnrecognizedClientException"`},
		"EC2, changed":     {request{service: "ec2", body: regions, tamper: true}, 401, "<Code>AuthFailure</Code>"},
		"STS, changed":     {request{service: "sts", body: whoami, tamper: true}, 403, "<Code>SignatureDoesNotMatch</Code>"},
		"SSM, changed":     {request{service: "ssm", body: "{}", header: get, tamper: true}, 400, "InvalidSignatureException"},
		"other service":    {request{service: "s3", body: regions}, 401, "nothing here answers for 's3' in 'local-1'"},
		"EC2 is regional":  {request{service: "ec2", region: "us-east-1", body: regions}, 401, "<Code>AuthFailure</Code>"},
		"keys fail":        {request{service: "ec2", body: regions, credentials: &broken}, 500, "<Code>InternalError</Code>"},
		"handler panics":   {request{service: "ec2", body: regions + "panic"}, 500, "<Code>InternalError</Code>"},
		"STS by EC2's":     {request{service: "ec2", body: whoami}, 400, "<Code>NoSuchVersion</Code>"},
		"no such action":   {request{service: "sts", body: "Action=X&Version=2011-06-15"}, 400, "<Code>InvalidAction</Code>"},
		"no such target":   {request{service: "ssm", body: "{}", header: map[string]string{"Content-Type": json, "X-Amz-Target": "AmazonSSM.X"}}, 400, "UnknownOperationException"},
		"target of other":  {request{service: "ssm", body: "{}", header: map[string]string{"Content-Type": json, "X-Amz-Target": "DynamoDB.X"}}, 400, "UnknownOperationException"},
		"SSM as a form":    {request{service: "ssm", body: "{}", header: map[string]string{"X-Amz-Target": "AmazonSSM.GetParameter"}}, 400, "SerializationException"},
		"SSM, unknown":     {request{service: "ssm", body: `{"Nome":"x"}`, header: get}, 400, "ValidationException"},
		"SSM, missing":     {request{service: "ssm", body: `{}`, header: get}, 400, "ValidationException"},
		"SSM, no JSON":     {request{service: "ssm", body: `{`, header: get}, 400, "SerializationException"},
		"other path":       {request{service: "ec2", path: "/x", body: regions}, 400, "<Code>InvalidAction</Code>"},
		"unknown":          {request{service: "ec2", body: regions + "x&Colour=red"}, 400, "<Code>UnknownParameter</Code>"},
		"dry run":          {request{service: "ec2", body: regions + "x&DryRun=true"}, 412, "<Code>DryRunOperation</Code>"},
		"too large":        {request{service: "ec2", body: strings.Repeat("x", endpoint.MaxBody+1)}, 413, "<Code>RequestEntityTooLarge</Code>"},
		"bomb":             {request{service: "ec2", body: gzipped(strings.Repeat("x", endpoint.MaxBody+1)), header: map[string]string{"Content-Encoding": "gzip"}}, 413, "<Code>RequestEntityTooLarge</Code>"},
		"not compressed":   {request{service: "ec2", body: regions, header: map[string]string{"Content-Encoding": "gzip"}}, 400, "<Code>MalformedQueryString</Code>"},
		"cut short":        {request{service: "ec2", body: gzipped(regions)[:20], header: map[string]string{"Content-Encoding": "gzip"}}, 400, "<Code>MalformedQueryString</Code>"},
		"other encoding":   {request{service: "ec2", body: regions, header: map[string]string{"Content-Encoding": "br"}}, 400, "<Code>MalformedQueryString</Code>"},
		"too many filters": {request{service: "ec2", body: regions + "x" + strings.Repeat("&Filter.1.Name=x", 20_000)}, 400, "<Code>MalformedQueryString</Code>"},
	} {
		t.Run(name, func(t *testing.T) {
			q := test.request
			if q.region == "" {
				q.region = "local-1"
			}
			if q.credentials == nil && q.service != "-" {
				q.credentials = &credentials
			}
			status, header, body := q.send(t, s)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("got %d %s, want %d with %s", status, body, test.status, test.want)
			}
			if id := header.Get("X-Amzn-Requestid"); len(id) != 36 || (q.service != "ssm" && !strings.Contains(body, id)) {
				t.Errorf("the request id is %q, in %s", id, body)
			}
		})
	}
}

func TestHandlerNeedsItsParts(t *testing.T) {
	if _, err := endpoint.Handler(endpoint.Options{Region: "local-1"}); err == nil {
		t.Error("a handler without services and keys was made")
	}
}

// TestBodyTime: a client has little time to send a body.
func TestBodyTime(t *testing.T) {
	s := serveWithin(t, 100*time.Millisecond)
	const form = "Action=DescribeRegions&Version=2016-11-15"
	stalled, stop := io.Pipe()
	defer stop.Close()
	r, err := http.NewRequest(http.MethodPost, s.URL, stalled)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(len(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(form))
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, hex.EncodeToString(sum[:]), "ec2", "local-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest || time.Since(begun) > 10*time.Second {
		t.Errorf("a body that does not come is answered %d after %v", response.StatusCode, time.Since(begun))
	}
}
