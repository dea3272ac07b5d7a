package sigv4

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

const maxQueryParameters = 20_000

// parameter is one of the query's, decoded.
type parameter struct{ name, value string }

// parseQuery decodes a query as forms are: "+" is a space, only "&" separates.
func parseQuery(raw string) ([]parameter, error) {
	if raw == "" {
		return nil, nil
	}
	if strings.Count(raw, "&") >= maxQueryParameters {
		return nil, failf(Incomplete, "The query has more than %d parameters", maxQueryParameters)
	}
	var all []parameter
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, failf(Incomplete, "The query string is malformed")
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, failf(Incomplete, "The query string is malformed")
		}
		all = append(all, parameter{name, value})
	}
	return all, nil
}

// canonicalRequest is the text whose digest is signed.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (s *Request) canonicalRequest(payloadHash string) []byte {
	b := make([]byte, 0, 1024)
	b = append(b, s.http.Method...)
	b = append(b, '\n')
	b = appendPath(b, s.http.URL)
	b = append(b, '\n')
	b = s.appendQuery(b)
	b = append(b, '\n')
	for _, name := range s.signedHeaders {
		b = append(append(b, name...), ':')
		values, _ := s.headerValues(name)
		for i, v := range values {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCollapsed(b, v)
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, strings.Join(s.signedHeaders, ";")...)
	b = append(b, '\n')
	return append(b, payloadHash...)
}

// appendPath appends the path as it was sent, escaped once more, as every service
// but S3 has it.
func appendPath(b []byte, u *url.URL) []byte {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return appendEscaped(b, path, true)
}

func (s *Request) appendQuery(b []byte) []byte {
	type pair struct{ name, value string }
	pairs := make([]pair, 0, len(s.query))
	for _, p := range s.query {
		if s.Presigned && p.name == "X-Amz-Signature" {
			continue
		}
		pairs = append(pairs, pair{string(appendEscaped(nil, p.name, false)), string(appendEscaped(nil, p.value, false))})
	}
	slices.SortFunc(pairs, func(x, y pair) int {
		return cmp.Or(strings.Compare(x.name, y.name), strings.Compare(x.value, y.value))
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p.name...), '='), p.value...)
	}
	return b
}

// appendEscaped percent-encodes everything but RFC 3986's unreserved characters.
func appendEscaped(b []byte, s string, keepSlash bool) []byte {
	const upperHex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b = append(b, c)
		default:
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// appendCollapsed appends a header's value without spaces around it, and with
// one space for each run of them.
func appendCollapsed(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	for i := range len(v) {
		if v[i] == ' ' && v[i-1] == ' ' {
			continue
		}
		b = append(b, v[i])
	}
	return b
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
