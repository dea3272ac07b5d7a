package sigv4_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/tools/txtar"

	"github.com/bundt/bundt/pkg/auth/sigv4"
)

// memoryKeys are access keys by id, in memory.
type memoryKeys map[string]aws.Credentials

func (m memoryKeys) Lookup(_ context.Context, r *sigv4.Request) ([]byte, string, error) {
	k, ok := m[r.AccessKeyID]
	if !ok || k.SessionToken != r.SessionToken {
		return nil, "", sigv4.ErrUnknownKey
	}
	if k.CanExpire && k.Expires.Before(now) {
		return nil, "", sigv4.ErrExpiredToken
	}
	return []byte(k.SecretAccessKey), "user of " + r.AccessKeyID, nil
}

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	forever = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	session = aws.Credentials{AccessKeyID: "ASIASESSION", SecretAccessKey: "another/secret", SessionToken: "FwoG//token+=="}
	over    = aws.Credentials{AccessKeyID: "ASIAOVER", SecretAccessKey: "old/secret", SessionToken: "old", CanExpire: true, Expires: now.Add(-time.Second)}
	keys    = memoryKeys{forever.AccessKeyID: forever, session.AccessKeyID: session, over.AccessKeyID: over}
)

func verifier(at time.Time) *sigv4.Verifier[string] {
	return &sigv4.Verifier[string]{
		Keys:  keys,
		Scope: func(region, service string) bool { return region == "local-1" && service == "ec2" },
		Now:   func() time.Time { return at },
	}
}

// verify does what a server does with a request.
func verify(v *sigv4.Verifier[string], r *http.Request) (string, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	signed, err := sigv4.Parse(r)
	if err != nil {
		return "", err
	}
	return v.Verify(context.Background(), signed, body)
}

func hexDigest(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// request is what a client sends, signed by the SDK's own signer.
type request struct {
	credentials   aws.Credentials
	method        string
	query, body   string
	header        http.Header
	service       string
	region        string
	at            time.Time
	presign       time.Duration // 0 for a header
	contentSHA256 string        // X-Amz-Content-Sha256; "" for none
}

func typical() request {
	return request{
		credentials: forever, method: http.MethodPost, body: "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-1",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, service: "ec2", region: "local-1", at: now,
	}
}

// fataler is a test, or a property of one.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// wire returns the request's bytes.
func (q request) wire(t fataler) []byte {
	t.Helper()
	r, err := http.NewRequest(q.method, "http://127.0.0.1:8773/?"+q.query, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range q.header {
		r.Header[name] = slices.Clone(values)
	}
	if q.contentSHA256 != "" {
		r.Header.Set("X-Amz-Content-Sha256", q.contentSHA256)
	}
	hash := hexDigest(q.body)
	if q.contentSHA256 != "" {
		hash = q.contentSHA256
	}
	signer := v4.NewSigner()
	if q.presign == 0 {
		err = signer.SignHTTP(context.Background(), q.credentials, r, hash, q.service, q.region, q.at)
	} else {
		query := r.URL.Query()
		query.Set("X-Amz-Expires", q.expires())
		r.URL.RawQuery = query.Encode()
		var signed string
		var header http.Header
		signed, header, err = signer.PresignHTTP(context.Background(), q.credentials, r, hash, q.service, q.region, q.at)
		if err == nil {
			r.URL, err = url.Parse(signed)
			for name, values := range header {
				r.Header[name] = values
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if err := r.Write(&raw); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

func (q request) expires() string { return strconv.Itoa(int(q.presign.Seconds())) }

func read(raw []byte) (*http.Request, error) {
	return http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
}

func mustRead(t fataler, raw []byte) *http.Request {
	t.Helper()
	r, err := read(raw)
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	return r
}

// TestPublishedVectors verifies the requests of AWS's signature test suite, as the
// AWS SDK for JavaScript has them. The path of get-utf8 is not escaped, which no
// HTTP client sends.
func TestPublishedVectors(t *testing.T) {
	vectors, err := txtar.ParseFile("testdata/vectors.txtar")
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]sigv4.Reason{"get-utf8": sigv4.Mismatch}
	v := &sigv4.Verifier[string]{
		Keys: sigv4.KeysFunc[string](func(_ context.Context, r *sigv4.Request) ([]byte, string, error) {
			return []byte(forever.SecretAccessKey), r.AccessKeyID, nil
		}),
		Scope: func(region, service string) bool { return region == "us-east-1" && service == "service" },
		Now:   func() time.Time { return time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC) },
	}
	for _, f := range vectors.Files {
		head, body, _ := strings.Cut(string(f.Data), "\n\n")
		raw := strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + strings.TrimSuffix(body, "\n")
		_, err := verify(v, mustRead(t, []byte(raw)))
		if want, bad := refused[f.Name]; bad {
			if got := reasonOf(err); got != want {
				t.Errorf("%s: %v, want reason %d", f.Name, err, want)
			}
		} else if err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if len(vectors.Files) != 24 {
		t.Errorf("there are %d vectors, want 24", len(vectors.Files))
	}
}

func reasonOf(err error) sigv4.Reason {
	var f *sigv4.Failure
	if errors.As(err, &f) {
		return f.Reason
	}
	return 0
}

func TestAccepts(t *testing.T) {
	for name, change := range map[string]func(*request){
		"header":                func(*request) {},
		"session":               func(q *request) { q.credentials = session },
		"content hash":          func(q *request) { q.contentSHA256 = hexDigest(q.body) },
		"gzip":                  func(q *request) { q.header.Set("Content-Encoding", "gzip") },
		"GET":                   func(q *request) { q.method, q.query, q.body = http.MethodGet, q.body, "" },
		"odd query":             func(q *request) { q.method, q.query, q.body = http.MethodGet, "A=%C3%A9%2F+x&A.=&b=~*%26&B=1;2", "" },
		"spaces in a header":    func(q *request) { q.header.Set("X-Amz-Meta", "  a   b  c ") },
		"old":                   func(q *request) { q.at = now.Add(-sigv4.MaxSkew) },
		"of the future":         func(q *request) { q.at = now.Add(sigv4.MaxSkew) },
		"presigned":             func(q *request) { q.method, q.query, q.body, q.presign = http.MethodGet, q.body, "", time.Minute },
		"presigned POST":        func(q *request) { q.presign = 59 * time.Second },
		"presigned session":     func(q *request) { q.credentials, q.presign = session, 30*time.Second },
		"presigned, long after": func(q *request) { q.presign, q.at = 50*time.Second, now.Add(-50*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			q := typical()
			change(&q)
			got, err := verify(verifier(now), mustRead(t, q.wire(t)))
			if want := "user of " + q.credentials.AccessKeyID; err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	presigned := func(q *request) { q.method, q.query, q.body, q.presign = http.MethodGet, q.body, "", 30*time.Second }
	tests := map[string]struct {
		sign   func(*request)      // before signing
		change func(*http.Request) // after
		want   sigv4.Reason
	}{
		"unsigned":                 {change: func(r *http.Request) { r.Header.Del("Authorization") }, want: sigv4.Missing},
		"other body":               {change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("Action=TerminateInstances")) }, want: sigv4.Mismatch},
		"other method":             {change: func(r *http.Request) { r.Method = http.MethodPut }, want: sigv4.Mismatch},
		"other path":               {change: func(r *http.Request) { r.URL.Path = "/x" }, want: sigv4.Mismatch},
		"other query":              {change: func(r *http.Request) { r.URL.RawQuery = "DryRun=false" }, want: sigv4.Mismatch},
		"bad query":                {change: func(r *http.Request) { r.URL.RawQuery = "A=%zz" }, want: sigv4.Incomplete},
		"other host":               {change: func(r *http.Request) { r.Host = "elsewhere" }, want: sigv4.Mismatch},
		"other content type":       {change: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, want: sigv4.Mismatch},
		"unsigned X-Amz header":    {change: func(r *http.Request) { r.Header.Set("X-Amz-Target", "x") }, want: sigv4.Incomplete},
		"unsigned encoding":        {change: func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, want: sigv4.Incomplete},
		"two authorizations":       {change: func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, want: sigv4.Incomplete},
		"two dates":                {change: func(r *http.Request) { r.Header.Add("X-Amz-Date", r.Header.Get("X-Amz-Date")) }, want: sigv4.Incomplete},
		"no date":                  {change: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, want: sigv4.Incomplete},
		"date of another form":     {change: func(r *http.Request) { r.Header.Set("X-Amz-Date", now.Format(time.RFC3339)) }, want: sigv4.Incomplete},
		"signed header is gone":    {change: func(r *http.Request) { r.Header.Del("Content-Type") }, want: sigv4.Incomplete},
		"other algorithm":          {change: authorization("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), want: sigv4.Incomplete},
		"asymmetric algorithm":     {change: authorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), want: sigv4.Incomplete},
		"upper-case signature":     {change: authorization("Signature=", "Signature=A"), want: sigv4.Incomplete},
		"no signature":             {change: authorization("Signature=", "Sig="), want: sigv4.Incomplete},
		"host not signed":          {change: authorization(";host;", ";"), want: sigv4.Incomplete},
		"headers out of order":     {change: authorization("content-length;content-type", "content-type;content-length"), want: sigv4.Incomplete},
		"header twice":             {change: authorization("host;", "host;host;"), want: sigv4.Incomplete},
		"no terminator":            {change: authorization("/aws4_request", "/aws4"), want: sigv4.Incomplete},
		"no key":                   {change: authorization("Credential=AKIDEXAMPLE", "Credential="), want: sigv4.Incomplete},
		"other key":                {change: authorization("AKIDEXAMPLE", "AKIDEXAMPLF"), want: sigv4.UnknownKey},
		"other day":                {change: authorization("20260301", "20260228"), want: sigv4.Mismatch},
		"other region":             {sign: func(q *request) { q.region = "us-east-1" }, want: sigv4.Mismatch},
		"other service":            {sign: func(q *request) { q.service = "s3" }, want: sigv4.Mismatch},
		"region not signed for":    {change: authorization("/us-east-1/", "/local-1/"), sign: func(q *request) { q.region = "us-east-1" }, want: sigv4.Mismatch},
		"wrong secret":             {sign: func(q *request) { q.credentials.SecretAccessKey = "guess" }, want: sigv4.Mismatch},
		"no token":                 {sign: func(q *request) { q.credentials = session; q.credentials.SessionToken = "" }, want: sigv4.UnknownKey},
		"token of a long-term key": {sign: func(q *request) { q.credentials.SessionToken = "x" }, want: sigv4.UnknownKey},
		"session is over":          {sign: func(q *request) { q.credentials = over }, want: sigv4.ExpiredToken},
		"too old":                  {sign: func(q *request) { q.at = now.Add(-sigv4.MaxSkew - time.Second) }, want: sigv4.Expired},
		"too new":                  {sign: func(q *request) { q.at = now.Add(sigv4.MaxSkew + time.Second) }, want: sigv4.Expired},
		"unsigned payload":         {sign: func(q *request) { q.contentSHA256 = "UNSIGNED-PAYLOAD" }, want: sigv4.Mismatch},
		"streamed payload":         {sign: func(q *request) { q.contentSHA256 = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" }, want: sigv4.Mismatch},
		"hash of another body":     {sign: func(q *request) { q.contentSHA256 = hexDigest("") }, want: sigv4.Mismatch},

		"presigned and header":      {sign: presigned, change: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }, want: sigv4.Incomplete},
		"presigned: over":           {sign: func(q *request) { presigned(q); q.at = now.Add(-31 * time.Second) }, want: sigv4.Expired},
		"presigned: too new":        {sign: func(q *request) { presigned(q); q.at = now.Add(sigv4.MaxSkew + time.Second) }, want: sigv4.Expired},
		"presigned: longer":         {sign: presigned, change: query("X-Amz-Expires=30", "X-Amz-Expires=31"), want: sigv4.Mismatch},
		"presigned: too long":       {sign: presigned, change: query("X-Amz-Expires=30", "X-Amz-Expires=604801"), want: sigv4.Incomplete},
		"presigned: no time":        {sign: presigned, change: query("X-Amz-Expires=30", "X-Amz-Expires=0"), want: sigv4.Incomplete},
		"presigned: no expiry":      {sign: presigned, change: query("X-Amz-Expires=30&", ""), want: sigv4.Incomplete},
		"presigned: twice":          {sign: presigned, change: query("X-Amz-Expires=30", "X-Amz-Expires=30&X-Amz-Expires=30"), want: sigv4.Incomplete},
		"presigned: more":           {sign: presigned, change: query("Action=", "DryRun=true&Action="), want: sigv4.Mismatch},
		"presigned: date in header": {sign: presigned, change: func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260301T120000Z") }, want: sigv4.Incomplete},
		"presigned: with a body":    {sign: presigned, change: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("x")) }, want: sigv4.Mismatch},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q := typical()
			if test.sign != nil {
				test.sign(&q)
			}
			r := mustRead(t, q.wire(t))
			if test.change != nil {
				test.change(r)
			}
			_, err := verify(verifier(now), r)
			if got := reasonOf(err); got != test.want {
				t.Errorf("got reason %d (%v), want %d", got, err, test.want)
			}
		})
	}
}

func authorization(old, with string) func(*http.Request) {
	return func(r *http.Request) {
		changed := strings.Replace(r.Header.Get("Authorization"), old, with, 1)
		if changed == r.Header.Get("Authorization") {
			panic("nothing to replace in " + changed)
		}
		r.Header.Set("Authorization", changed)
	}
}

func query(old, with string) func(*http.Request) {
	return func(r *http.Request) {
		changed := strings.Replace(r.URL.RawQuery, old, with, 1)
		if changed == r.URL.RawQuery {
			panic("nothing to replace in " + changed)
		}
		r.URL.RawQuery = changed
	}
}

// TestThroughServer: what Go's HTTP server takes out of the headers is found again.
func TestThroughServer(t *testing.T) {
	result := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := verify(verifier(now), r)
		result <- err
	}))
	defer server.Close()
	r, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader("Action=X"))
	if err != nil {
		t.Fatal(err)
	}
	if err := v4.NewSigner().SignHTTP(t.Context(), forever, r, hexDigest("Action=X"), "ec2", "local-1", now); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Header.Get("Authorization"), "content-length") {
		t.Fatal("the signer signs no content-length any more: sign one here")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// TestKeysFail: what is not the client's fault is not told as if it were.
func TestKeysFail(t *testing.T) {
	broken := errors.New("the store is gone")
	v := verifier(now)
	v.Keys = sigv4.KeysFunc[string](func(context.Context, *sigv4.Request) ([]byte, string, error) { return nil, "", broken })
	if _, err := verify(v, mustRead(t, typical().wire(t))); !errors.Is(err, broken) || reasonOf(err) != 0 {
		t.Errorf("got %v, want the keys' error", err)
	}
	v.Keys = sigv4.KeysFunc[string](func(context.Context, *sigv4.Request) ([]byte, string, error) { return nil, "nobody", nil })
	if _, err := verify(v, mustRead(t, typical().wire(t))); err == nil || reasonOf(err) != 0 {
		t.Errorf("an empty secret: got %v, want an error that is not the client's", err)
	}
}
