package fetch

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/checksum"
)

func TestGet(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })
	mux.HandleFunc("/chunks", func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			_, _ = w.Write([]byte("hello"))
			w.(http.Flusher).Flush()
		}
	})
	mux.Handle("/moved", http.RedirectHandler("/file", http.StatusFound))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.Handle("/metadata", http.RedirectHandler("http://169.254.169.254/latest/meta-data/", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for name, test := range map[string]struct {
		path, digest string
		max          int64
		err          error
		text         string
	}{
		"plain":           {"/file", "", 5, nil, "hello"},
		"with its digest": {"/file", digest, 5, nil, "hello"},
		"redirected":      {"/moved", "", 5, nil, "hello"},
		"another digest":  {"/file", strings.Replace(digest, ":2", ":3", 1), 5, ErrDigest, ""},
		"too large":       {"/file", "", 4, ErrTooLarge, ""},
		"too much":        {"/chunks", "", 49, ErrTooLarge, ""},
		"to metadata":     {"/metadata", "", 1000, ErrRefused, ""},
	} {
		var got bytes.Buffer
		n, err := New(Options{Host: true}).Get(t.Context(), Download{URL: server.URL + test.path, Digest: checksum.Digest(test.digest), MaxBytes: test.max}, &got)
		if !errors.Is(err, test.err) || test.err == nil && (err != nil || got.String() != test.text || n != int64(len(test.text))) {
			t.Errorf("%s: %q (%d), %v; want %q, %v", name, got.String(), n, err, test.text, test.err)
		}
	}
	if _, err := New(Options{Host: true}).Get(t.Context(), Download{URL: server.URL + "/file", Digest: "md5:5d41402abc4b2a76b9719d911017c592", MaxBytes: 5}, &bytes.Buffer{}); err == nil {
		t.Error("a weak digest is taken")
	}
	for _, path := range []string{"/none", "/loop"} {
		if _, err := New(Options{Host: true}).Get(t.Context(), Download{URL: server.URL + path, MaxBytes: 5}, &bytes.Buffer{}); err == nil {
			t.Errorf("%s is no error", path)
		}
	}
	for _, url := range []string{server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), strings.Replace(server.URL, "127.0.0.1", "127.1.2.3", 1)} {
		if _, err := New(Options{}).Get(t.Context(), Download{URL: url + "/file", MaxBytes: 5}, &bytes.Buffer{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s of the host itself: %v", url, err)
		}
	}
}

func TestNoWayFromHTTPSToHTTP(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	f := New(Options{Host: true})
	f.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if _, err := f.Get(t.Context(), Download{URL: secure.URL, MaxBytes: 5}, &bytes.Buffer{}); !errors.Is(err, ErrRefused) {
		t.Errorf("redirected from https to http: %v", err)
	}
	// What is checked in another way may come from a mirror without TLS.
	if _, err := f.Get(t.Context(), Download{URL: secure.URL, MaxBytes: 5, Signed: true}, &bytes.Buffer{}); err != nil {
		t.Errorf("redirected from https to http, of what is signed: %v", err)
	}
}

func TestProgressEndsDownload(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4*reportBytes)) }))
	defer server.Close()
	enough := errors.New("enough")
	var done int64
	n, err := New(Options{Host: true}).Get(t.Context(), Download{URL: server.URL, MaxBytes: 1 << 30, Progress: func(d, _ int64) error { done = d; return enough }}, &bytes.Buffer{})
	if !errors.Is(err, enough) || done == 0 || n >= 4*reportBytes {
		t.Errorf("%d of %d bytes: %v", n, done, err)
	}
}

func TestPolicy(t *testing.T) {
	own := map[netip.Addr]bool{netip.MustParseAddr("192.0.2.5"): true}
	for address, want := range map[string][2]bool{ // with and without the host's own addresses
		"127.0.0.1": {true, false}, "127.77.0.5": {true, false}, "::1": {true, false}, "::ffff:127.0.0.1": {true, false},
		"192.0.2.5": {true, false}, "192.0.2.6": {true, true}, "10.0.0.1": {true, true}, "2001:db8::1": {true, true},
		"169.254.169.254": {}, "::ffff:169.254.169.254": {}, "fe80::1": {}, "fe80::1%eth0": {}, "fd00:ec2::254": {}, "100.100.100.200": {}, "192.0.0.192": {},
		"0.0.0.0": {}, "0.1.2.3": {}, "::": {}, "224.0.0.1": {}, "255.255.255.255": {}, "64:ff9b::a9fe:a9fe": {}, "::169.254.169.254": {}, "2002:a9fe:a9fe::": {},
	} {
		for i, host := range []bool{true, false} {
			p := policy{host: host, own: func() (map[netip.Addr]bool, error) { return own, nil }}
			if err := p.check(netip.MustParseAddr(address)); (err == nil) != want[i] {
				t.Errorf("%s (the host's own allowed: %v): %v", address, host, err)
			}
		}
	}
}
