package sigv4

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"

	maxSignedHeaders = 64
	maxTokenLength   = 8 << 10
)

// Request is what a signed request says about its signature. Nothing of it is
// proven until Verifier.Verify.
type Request struct {
	AccessKeyID  string
	SessionToken string // "" for long-term keys
	Date         string // YYYYMMDD, of the credential scope
	Region       string
	Service      string
	Time         time.Time
	Presigned    bool

	expires       time.Duration // how long a presigned URL is good for
	signedHeaders []string      // sorted
	signature     []byte
	query         []parameter
	http          *http.Request
}

// Parse reads how a request is signed. The request's headers must not change
// before Verify. An error is a *Failure.
func Parse(r *http.Request) (*Request, error) {
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	s := &Request{http: r, query: query}
	inHeader := len(r.Header["Authorization"]) > 0
	_, inQuery, err := s.parameter("X-Amz-Algorithm")
	switch {
	case err != nil:
		return nil, err
	case inHeader && inQuery:
		return nil, failf(Incomplete, "The request is signed in its Authorization header and in its query")
	case inHeader:
		err = s.parseHeader()
	case inQuery:
		err = s.parsePresigned()
	default:
		return nil, failf(Missing, "Request is missing Authentication Token")
	}
	if err != nil {
		return nil, err
	}
	return s, s.checkSigned()
}

func (s *Request) parseHeader() error {
	value, _, err := s.header("Authorization")
	if err != nil {
		return err
	}
	scheme, rest, _ := strings.Cut(value, " ")
	if scheme != algorithm {
		return failf(Incomplete, "Unsupported AWS algorithm: the Authorization header must start with %s", algorithm)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, found := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[key]; twice || !found || !slices.Contains([]string{"Credential", "SignedHeaders", "Signature"}, key) {
			return failf(Incomplete, "The Authorization header must have Credential, SignedHeaders and Signature, once each, and nothing else")
		}
		fields[key] = value
	}
	if len(fields) != 3 {
		return failf(Incomplete, "The Authorization header must have Credential, SignedHeaders and Signature")
	}
	if err := s.parseFields(fields["Credential"], fields["SignedHeaders"], fields["Signature"]); err != nil {
		return err
	}
	if s.SessionToken, _, err = s.header("X-Amz-Security-Token"); err != nil {
		return err
	}
	return s.parseHeaderTime()
}

// parseHeaderTime reads X-Amz-Date, or Date if there is none.
func (s *Request) parseHeaderTime() error {
	value, present, err := s.header("X-Amz-Date")
	if err != nil {
		return err
	}
	if present {
		return s.parseTime(value)
	}
	value, present, err = s.header("Date")
	switch {
	case err != nil:
		return err
	case !present || !slices.Contains(s.signedHeaders, "date"):
		return failf(Incomplete, "The request must have a signed X-Amz-Date or Date header")
	}
	if s.Time, err = http.ParseTime(value); err == nil {
		s.Time = s.Time.UTC()
		return nil
	}
	return s.parseTime(value)
}

func (s *Request) parsePresigned() error {
	s.Presigned = true
	values := map[string]string{}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		value, present, err := s.parameter(name)
		if err != nil {
			return err
		}
		if !present {
			return failf(Incomplete, "A presigned request must have the parameter %s", name)
		}
		values[name] = value
	}
	if values["X-Amz-Algorithm"] != algorithm {
		return failf(Incomplete, "Unsupported AWS algorithm: X-Amz-Algorithm must be %s", algorithm)
	}
	if err := s.parseFields(values["X-Amz-Credential"], values["X-Amz-SignedHeaders"], values["X-Amz-Signature"]); err != nil {
		return err
	}
	seconds, err := strconv.ParseUint(values["X-Amz-Expires"], 10, 32)
	if s.expires = time.Duration(seconds) * time.Second; err != nil || seconds == 0 || s.expires > MaxExpires {
		return failf(Incomplete, "X-Amz-Expires must be from 1 to %d seconds", int(MaxExpires.Seconds()))
	}
	for _, name := range []string{"X-Amz-Security-Token", "X-Amz-Date"} {
		if len(s.http.Header[name]) > 0 {
			return failf(Incomplete, "A presigned request must not have the header %s", name)
		}
	}
	if s.SessionToken, _, err = s.parameter("X-Amz-Security-Token"); err != nil {
		return err
	}
	return s.parseTime(values["X-Amz-Date"])
}

func (s *Request) parseTime(value string) error {
	var err error
	if s.Time, err = time.Parse(timeFormat, value); err != nil {
		return failf(Incomplete, "The request's date must be in ISO 8601 basic format, like 20060102T150405Z")
	}
	return nil
}

// parseFields reads what header and query have in common.
func (s *Request) parseFields(credential, signedHeaders, signature string) error {
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[4] != terminator || slices.Contains(scope, "") {
		return failf(Incomplete, "The credential must have the form ACCESS-KEY-ID/YYYYMMDD/REGION/SERVICE/%s", terminator)
	}
	s.AccessKeyID, s.Date, s.Region, s.Service = scope[0], scope[1], scope[2], scope[3]
	s.signedHeaders = strings.Split(signedHeaders, ";")
	if len(s.signedHeaders) > maxSignedHeaders {
		return failf(Incomplete, "SignedHeaders has more than %d names", maxSignedHeaders)
	}
	for i, name := range s.signedHeaders {
		if name == "" || name != strings.ToLower(name) || (i > 0 && s.signedHeaders[i-1] >= name) {
			return failf(Incomplete, "SignedHeaders must be lower-case names in order, each once")
		}
	}
	var err error
	if s.signature, err = hex.DecodeString(signature); err != nil || len(s.signature) != 32 || signature != strings.ToLower(signature) {
		return failf(Incomplete, "The signature must be 64 lower-case hexadecimal digits")
	}
	return nil
}

// checkSigned refuses a request of which something that matters is not signed.
func (s *Request) checkSigned() error {
	if !slices.Contains(s.signedHeaders, "host") {
		return failf(Incomplete, "'Host' must be a signed header")
	}
	if len(s.SessionToken) > maxTokenLength {
		return failf(Incomplete, "The session token is too long")
	}
	for name, values := range s.http.Header {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, "x-amz-") && lower != "content-encoding" {
			continue
		}
		if len(values) > 1 {
			return failf(Incomplete, "The header %s is given more than once", name)
		}
		if _, signed := slices.BinarySearch(s.signedHeaders, lower); !signed {
			return failf(Incomplete, "The header %s must be signed", name)
		}
	}
	for _, name := range s.signedHeaders {
		if _, present := s.headerValues(name); !present {
			return failf(Incomplete, "The signed header %s is not in the request", name)
		}
	}
	return nil
}

// header returns a header that may be there once.
func (s *Request) header(name string) (value string, present bool, err error) {
	values := s.http.Header[name]
	switch {
	case len(values) > 1:
		return "", false, failf(Incomplete, "The header %s is given more than once", name)
	case len(values) == 0:
		return "", false, nil
	}
	return strings.TrimSpace(values[0]), true, nil
}

// parameter returns a query parameter that may be there once.
func (s *Request) parameter(name string) (value string, present bool, err error) {
	for _, p := range s.query {
		if p.name != name {
			continue
		}
		if present {
			return "", false, failf(Incomplete, "The parameter %s is given more than once", name)
		}
		value, present = p.value, true
	}
	return value, present, nil
}

// headerValues returns a signed header's values by its lower-case name. The HTTP
// server takes some headers out of the map.
func (s *Request) headerValues(lower string) (values []string, present bool) {
	switch lower {
	case "host":
		return []string{s.http.Host}, true
	case "content-length":
		if s.http.ContentLength < 0 {
			return nil, false
		}
		return []string{strconv.FormatInt(s.http.ContentLength, 10)}, true
	}
	values, present = s.http.Header[http.CanonicalHeaderKey(lower)]
	return values, present
}
