package sigv4_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"pgregory.net/rapid"

	"github.com/bundt/bundt/pkg/auth/sigv4"
)

// meaning is all of a request that a service acts on, worked out without the
// verifier: two requests of the same meaning are the same request.
func meaning(r *http.Request, body []byte) string {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "no query: " + r.URL.RawQuery
	}
	var lines []string
	for name, values := range query {
		for _, v := range values {
			lines = append(lines, fmt.Sprintf("query %q=%q", name, v))
		}
	}
	for name, values := range r.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") || lower == "content-type" || lower == "content-encoding" {
			lines = append(lines, fmt.Sprintf("header %q=%q", lower, strings.Fields(strings.Join(values, ","))))
		}
	}
	slices.Sort(lines)
	path := r.URL.Path
	if path == "" {
		path = "/"
	}
	return fmt.Sprintf("%s %q at %q\n%s\n%q", r.Method, path, r.Host, strings.Join(lines, "\n"), body)
}

// accepted returns the meaning of a request's bytes if they verify.
func accepted(raw []byte) (string, bool) {
	r, err := read(raw)
	if err != nil {
		return "", false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if _, err := verify(verifier(now), r); err != nil {
		return "", false
	}
	return meaning(r, body), true
}

func drawRequest(t *rapid.T) request {
	q := typical()
	q.header = q.header.Clone()
	q.credentials = rapid.SampledFrom([]aws.Credentials{forever, session}).Draw(t, "key")
	values := url.Values{}
	for name, value := range rapid.MapOfN(rapid.StringMatching(`[A-Za-z.0-9]{1,12}`), rapid.String(), 1, 5).Draw(t, "params") {
		values.Set(name, value)
	}
	q.body = values.Encode()
	if rapid.Bool().Draw(t, "GET") {
		q.method, q.query, q.body = http.MethodGet, q.body, ""
		q.header.Del("Content-Type")
	}
	if rapid.Bool().Draw(t, "presigned") {
		q.presign = time.Duration(rapid.IntRange(1, 604800).Draw(t, "expires")) * time.Second
	} else if rapid.Bool().Draw(t, "content hash") {
		q.contentSHA256 = hexDigest(q.body)
	}
	q.at = now.Add(-time.Duration(rapid.IntRange(-900, 0).Draw(t, "age")) * time.Second)
	return q
}

// mutate changes, adds, removes or doubles a piece of a request.
func mutate(t *rapid.T, raw []byte) []byte {
	at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
	end := min(len(raw), at+rapid.IntRange(1, 8).Draw(t, "length"))
	var with []byte
	switch rapid.IntRange(0, 4).Draw(t, "change") {
	case 0: // one byte
		end = at + 1
		with = []byte{rapid.Byte().Draw(t, "byte")}
	case 1: // removed
	case 2: // twice
		with = append(bytes.Clone(raw[at:end]), raw[at:end]...)
	case 3: // inserted
		end = at
		with = []byte(rapid.SampledFrom([]string{"&Action=TerminateInstances", "x", "%00", "+", ";", " ", "\r\n", "\r\nX-Amz-Target: x", "\r\nHost: x", "/..", "//", "0"}).Draw(t, "insert"))
	case 4: // a bit
		end = at + 1
		with = []byte{raw[at] ^ 1<<rapid.IntRange(0, 7).Draw(t, "bit")}
	}
	return slices.Concat(raw[:at], with, raw[end:])
}

// TestMutatedRequestsAreRefused: whatever is changed on the way, a request that is
// accepted means what was signed.
func TestMutatedRequestsAreRefused(t *testing.T) {
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		raw := drawRequest(t).wire(t)
		want, ok := accepted(raw)
		if !ok {
			t.Fatalf("refused as it was signed:\n%s", raw)
		}
		changed := mutate(t, raw)
		got, ok := accepted(changed)
		if ok && got != want {
			t.Fatalf("accepted\n%s\nthough this was signed\n%s", changed, raw)
		}
		if !ok {
			refused++
		}
	})
	if refused == 0 {
		t.Error("no mutation was refused")
	}
}

func FuzzVerify(f *testing.F) {
	signed := map[string]bool{}
	for _, change := range []func(*request){
		func(*request) {},
		func(q *request) { q.credentials = session },
		func(q *request) { q.contentSHA256 = hexDigest(q.body) },
		func(q *request) { q.method, q.query, q.body = http.MethodGet, q.body, "" },
		func(q *request) { q.presign = time.Minute },
	} {
		q := typical()
		change(&q)
		raw := q.wire(f)
		m, ok := accepted(raw)
		if !ok {
			f.Fatalf("refused:\n%s", raw)
		}
		signed[m] = true
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, ok := accepted(raw); ok && !signed[got] {
			t.Errorf("accepted, though nobody signed it:\n%s", raw)
		}
	})
}

// BenchmarkVerify is what a signature costs a small request.
func BenchmarkVerify(b *testing.B) {
	q := typical()
	r := mustRead(b, q.wire(b))
	v := verifier(now)
	b.ReportAllocs()
	for b.Loop() {
		s, err := sigv4.Parse(r)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Verify(b.Context(), s, []byte(q.body)); err != nil {
			b.Fatal(err)
		}
	}
}
