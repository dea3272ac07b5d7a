package fetch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/checksum"
)

// shaky serves content with ranges, as servers of images do, and breaks off each
// answer after some bytes.
type shaky struct {
	content  []byte
	tag      string
	after    int  // bytes of each answer, 0 for all
	noRanges bool // answers with everything, always
	refuse   int  // requests that are answered by 503 first
	requests []string
}

func (s *shaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests = append(s.requests, r.Header.Get("Range"))
	if s.refuse > 0 {
		s.refuse--
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	if s.noRanges {
		r.Header.Del("Range")
	}
	if s.tag != "" {
		w.Header().Set("ETag", s.tag)
	}
	out := w
	if s.after > 0 {
		out = &breaking{w, s.after}
	}
	http.ServeContent(out, r, "disk.img", time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC), bytes.NewReader(s.content))
}

type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		_, _ = b.ResponseWriter.Write(p[:b.left])
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

func TestGetFile(t *testing.T) {
	content := make([]byte, 300<<10)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content)
	digest := checksum.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(content)))
	other := checksum.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("other"))))
	for name, test := range map[string]struct {
		server  shaky
		begun   []byte // in the file before
		digest  checksum.Digest
		max     int64
		err     error
		request int // how many there are, 0 for any number
	}{
		"at once":                    {server: shaky{}, digest: digest, request: 1},
		"without a digest":           {server: shaky{}, request: 1},
		"broken off again and again": {server: shaky{after: 100 << 10}, digest: digest, request: 3},
		"broken off, without ranges": {server: shaky{after: 100 << 10, noRanges: true}, digest: digest, err: io.ErrUnexpectedEOF},
		"busy at first":              {server: shaky{refuse: 2}, digest: digest, request: 3},
		"begun by an earlier call":   {server: shaky{tag: `"a"`}, begun: content[:200<<10], digest: digest, request: 1},
		"whole by an earlier call":   {server: shaky{}, begun: content, digest: digest, request: 1},
		"begun with something else":  {server: shaky{}, begun: []byte("something else"), digest: digest, request: 2},
		"more than it is":            {server: shaky{}, begun: append(append([]byte{}, content...), 1), digest: digest, request: 2},
		"another digest":             {server: shaky{}, digest: other, err: ErrDigest, request: 1},
		"begun, and another digest":  {server: shaky{}, begun: content[:10], digest: other, err: ErrDigest, request: 2},
		"too large":                  {server: shaky{}, digest: digest, max: 1000, err: ErrTooLarge, request: 1},
		"begun, and too large":       {server: shaky{}, begun: content[:999], digest: digest, max: 1000, err: ErrTooLarge, request: 1},
		"an answer without ranges":   {server: shaky{noRanges: true}, begun: content[:999], digest: digest, request: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.server.content = content
			server := httptest.NewServer(&test.server)
			defer server.Close()
			file, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if _, err := file.Write(test.begun); err != nil {
				t.Fatal(err)
			}
			if test.max == 0 {
				test.max = 1 << 20
			}
			f := New(Options{Host: true})
			f.pause = time.Millisecond
			got, err := f.GetFile(t.Context(), Download{URL: server.URL + "/disk.img", Digest: test.digest, MaxBytes: test.max}, file)
			if !errors.Is(err, test.err) || test.request != 0 && len(test.server.requests) != test.request {
				t.Fatalf("%v after the requests %q; want %v after %d", err, test.server.requests, test.err, test.request)
			}
			if err != nil {
				return
			}
			if have, err := os.ReadFile(file.Name()); err != nil || !bytes.Equal(have, content) || got.Bytes != int64(len(content)) {
				t.Errorf("%d bytes (it says %d): %v", len(have), got.Bytes, err)
			}
			if len(test.begun) != len(content) && got.Modified.Format(time.DateOnly) != "2026-05-04" {
				t.Errorf("modified %s", got.Modified)
			}
		})
	}
}

// TestGetFileChanged has the file change on the server between two parts of it.
func TestGetFileChanged(t *testing.T) {
	old, now := bytes.Repeat([]byte("old"), 100<<10), bytes.Repeat([]byte("new"), 100<<10)
	s := &shaky{content: old, tag: `"old"`, after: 100 << 10}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(s.requests) == 1 {
			s.content, s.tag, s.after = now, `"new"`, 0
		}
		s.ServeHTTP(w, r)
	}))
	defer server.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := New(Options{Host: true}).GetFile(t.Context(), Download{URL: server.URL, MaxBytes: 1 << 20}, file); err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile(file.Name()); err != nil || !bytes.Equal(have, now) {
		t.Errorf("a mixture of the old and the new: %v", err)
	}
}

func TestGetFileRefused(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for want, f := range map[error]*Fetcher{ErrNotFound: New(Options{Host: true}), ErrRefused: New(Options{})} {
		if _, err := f.GetFile(t.Context(), Download{URL: server.URL + "/x", MaxBytes: 5}, file); !errors.Is(err, want) || !strings.Contains(err.Error(), server.URL+"/x") {
			t.Errorf("%v; want %v", err, want)
		}
	}
}

func TestMirrors(t *testing.T) {
	m, err := ParseMirrors([]string{"https://a.example=http://mirror.example:81/a/", "https://a.example/b/=http://b.example"})
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]string{
		"https://a.example/x/y.img":         "http://mirror.example:81/a/x/y.img",
		"https://a.example/b/y.img":         "http://b.example/y.img",
		"https://a.example/b":               "http://mirror.example:81/a/b",
		"https://a.example.org/b":           "",
		"http://a.example/b":                "",
		"https://a.example/../b":            "",
		"https://a.example/x/%2e%2e/%2e./b": "",
		"https://a.example/%252e%252e/b":    "",
		`https://a.example/..\\b`:           "",
	} {
		got, ok := m.Rewrite(from)
		if got != want || ok != (want != "") {
			t.Errorf("%s is at %q, %v; want %q", from, got, ok, want)
		}
	}
	for _, s := range []string{"", "https://a.example", "a=b", "https://a=ftp://b", "https://a.example?x=http://b", "=http://b"} {
		if _, err := ParseMirrors([]string{s}); err == nil {
			t.Errorf("%q is taken for a mirror", s)
		}
	}
}

// TestMirrorIsTheOwners has a mirror on the host itself, where users' URLs do not lead.
func TestMirrorIsTheOwners(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	defer server.Close()
	f := New(Options{Mirrors: Mirrors{{"https://images.example.org/pub", server.URL + "/images"}}})
	var got bytes.Buffer
	if _, err := f.Get(t.Context(), Download{URL: "https://images.example.org/pub/a/b", MaxBytes: 100}, &got); err != nil || got.String() != "/images/a/b" {
		t.Errorf("by the mirror: %q, %v", got.String(), err)
	}
	if where, ok := f.Where("https://images.example.org/pub/a"); where != server.URL+"/images/a" || !ok {
		t.Errorf("it is asked at %s", where)
	}
	if _, err := f.Get(t.Context(), Download{URL: server.URL + "/images/a/b", MaxBytes: 100}, &got); !errors.Is(err, ErrRefused) {
		t.Errorf("to the mirror itself: %v", err)
	}
}
