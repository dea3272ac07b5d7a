package metadata

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	headerToken    = "X-Aws-Ec2-Metadata-Token"
	headerTokenTTL = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	tokenPath      = "/latest/api/token"
)

// versions of the service, as EC2 lists them; all show the same tree.
var versions = []string{
	"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15",
	"2008-02-01", "2008-09-01", "2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12",
	"2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02",
	"2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03",
	"2021-03-23", "2021-07-15", "2022-07-09", "2022-09-24", "2024-04-11", "latest",
}

// ServerOptions say whom a Server answers and how.
type ServerOptions struct {
	// Lookup returns the document of the instance whose port the request came
	// in by; false if there is none (answered by 404). Required.
	Lookup func(*http.Request) (Document, bool)
	// Secret (32 bytes) authenticates session tokens; the same secret after a
	// restart keeps them good. Nil: a random one.
	Secret []byte
	// LimitHops, if set, is called before a token is sent: the IP packets of
	// the response may make this many hops (Options.HopLimit, 1 by default), so
	// that a token does not leave the instance through a proxy or container.
	LimitHops func(r *http.Request, hops int)
	// Signer returns who signs identity documents; nil, or of nil, nobody.
	Signer func() *Signer
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server is the metadata service. It holds no state per instance.
type Server struct {
	lookup    func(*http.Request) (Document, bool)
	limitHops func(*http.Request, int)
	signer    func() *Signer
	now       func() time.Time
	tokens    tokens
}

// New returns a server of instance metadata.
func New(o ServerOptions) *Server {
	s := &Server{lookup: o.Lookup, limitHops: o.LimitHops, signer: o.Signer, now: o.Now, tokens: tokens{secret: o.Secret}}
	if len(s.tokens.secret) == 0 {
		s.tokens.secret = make([]byte, 32)
		rand.Read(s.tokens.secret) // never fails (crypto/rand)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.signer == nil {
		s.signer = func() *Signer { return nil }
	}
	if s.limitHops == nil {
		s.limitHops = func(*http.Request, int) {}
	}
	return s
}

// ServeHTTP answers as the service at 169.254.169.254 does, with version 1
// (plain) and version 2 (session tokens) requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "EC2ws")
	doc, ok := s.lookup(r)
	if !ok {
		fail(w, http.StatusNotFound)
		return
	}
	if doc.Options.Disabled {
		fail(w, http.StatusForbidden)
		return
	}
	switch {
	case r.Method == http.MethodPut && r.URL.Path == tokenPath:
		s.putToken(w, r, doc)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed)
	case r.URL.Path == tokenPath:
		w.Header().Set("Allow", "PUT")
		fail(w, http.StatusMethodNotAllowed)
	case s.authorized(w, r, doc):
		s.serve(w, r, doc)
	default:
		fail(w, http.StatusUnauthorized)
	}
}

// putToken starts a session. A request that passed a proxy is refused: open
// proxies and reverse proxies add X-Forwarded-For.
func (s *Server) putToken(w http.ResponseWriter, r *http.Request, doc Document) {
	if len(r.Header.Values("X-Forwarded-For")) > 0 {
		fail(w, http.StatusForbidden)
		return
	}
	ttl, err := strconv.ParseUint(r.Header.Get(headerTokenTTL), 10, 32)
	if err != nil || ttl < 1 || ttl > uint64(MaxTokenTTL/time.Second) {
		fail(w, http.StatusBadRequest)
		return
	}
	token := s.tokens.issue(doc.InstanceID, s.now().Add(time.Duration(ttl)*time.Second))
	s.limitHops(r, max(doc.Options.HopLimit, 1))
	w.Header().Set(headerTokenTTL, strconv.FormatUint(ttl, 10))
	write(w, r, "text/plain", []byte(token))
}

// authorized: a token that is given must be good, one that is not given may be
// required.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request, doc Document) bool {
	given := r.Header.Values(headerToken)
	if len(given) == 0 {
		return !doc.Options.TokensRequired
	}
	left := s.tokens.remaining(doc.InstanceID, given[0], s.now())
	if len(given) > 1 || left <= 0 {
		return false
	}
	w.Header().Set(headerTokenTTL, strconv.Itoa(int(left/time.Second)))
	return true
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, doc Document) {
	path := strings.TrimLeft(r.URL.Path, "/")
	if path == "" {
		write(w, r, "text/plain", []byte(strings.Join(versions, "\n")))
		return
	}
	version, rest, _ := strings.Cut(path, "/")
	if !known(version) {
		fail(w, http.StatusNotFound)
		return
	}
	n := tree(doc, s.signer()).lookup(rest)
	switch {
	case n == nil:
		fail(w, http.StatusNotFound)
		return
	case n.isDir():
		write(w, r, "text/plain", []byte(n.list()))
		return
	}
	body, err := n.content()
	switch {
	case err != nil:
		fail(w, http.StatusInternalServerError)
	case strings.HasPrefix(strings.TrimLeft(rest, "/"), "user-data"):
		write(w, r, "application/octet-stream", body)
	default:
		write(w, r, "text/plain", body)
	}
}

func known(version string) bool {
	for _, v := range versions {
		if v == version {
			return true
		}
	}
	return false
}

func write(w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the guest that hangs up has no use for an error
	}
}

// fail answers with a page in EC2's form: clients are known to look for its title.
func fail(w http.ResponseWriter, status int) {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	page := `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head><title>` + title + `</title></head>
 <body><h1>` + title + `</h1></body>
</html>
`
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page)) // net/http drops it for HEAD
}
