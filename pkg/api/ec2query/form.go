package ec2query

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/model"
)

const (
	maxParameters = 20_000
	maxNameLength = 512 // the longest name of a parameter that there is has less than 200 bytes
)

// param is a parameter of a request that the action's input has a place for.
type param struct{ name, value string }

// form is a request's parameters: those that say which action it is, and the rest.
type form struct {
	action, version string
	params          []param
}

func malformed(format string, args ...any) error {
	return model.Errorf(model.CodeMalformedQueryString, "The query string is malformed: "+format, args...)
}

// readForm reads the parameters in a request's query and, if it has a body, in that.
func readForm(r *http.Request, body []byte) (*form, error) {
	f := &form{}
	var encoded string
	switch r.Method {
	case http.MethodGet:
		if len(body) > 0 {
			return nil, malformed("a GET request has no body")
		}
	case http.MethodPost:
		if err := checkMedia(r.Header.Get("Content-Type")); err != nil {
			return nil, err
		}
		encoded = string(body)
	default:
		return nil, malformed("the method must be GET or POST")
	}
	if err := f.parse(r.URL.RawQuery, true); err != nil {
		return nil, err
	}
	if err := f.parse(encoded, false); err != nil {
		return nil, err
	}
	return f, nil
}

// checkMedia refuses bodies that say they are something else than a form in UTF-8.
func checkMedia(contentType string) error {
	if contentType == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/x-www-form-urlencoded" {
		return malformed("the body must be application/x-www-form-urlencoded")
	}
	if charset, given := params["charset"]; given && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return malformed("the charset must be UTF-8")
	}
	return nil
}

// parse adds the parameters in a form. In a query, those that are about the
// signature are not the action's.
func (f *form) parse(encoded string, isQuery bool) error {
	if encoded == "" {
		return nil
	}
	n := strings.Count(encoded, "&") + 1
	if len(f.params)+n > maxParameters {
		return malformed("it has more than %d parameters", maxParameters)
	}
	if f.params == nil {
		f.params = make([]param, 0, n)
	}
	for part := range strings.SplitSeq(encoded, "&") {
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, err := unescape(rawName)
		if err != nil {
			return err
		}
		value, err := unescape(rawValue)
		if err != nil {
			return err
		}
		if isQuery && strings.HasPrefix(name, "X-Amz-") {
			continue
		}
		if err := f.add(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (f *form) add(name, value string) error {
	var special *string
	switch name {
	case "Action":
		special = &f.action
	case "Version":
		special = &f.version
	case "":
		return malformed("a parameter has no name")
	default:
		if len(name) > maxNameLength {
			return malformed("a parameter's name has more than %d bytes", maxNameLength)
		}
		f.params = append(f.params, param{name, value})
		return nil
	}
	if *special != "" {
		return givenTwice(name)
	}
	*special = value
	return nil
}

func unescape(s string) (string, error) {
	if strings.ContainsAny(s, "%+") {
		var err error
		if s, err = url.QueryUnescape(s); err != nil {
			return "", malformed("%q is not percent-encoded", cut(s))
		}
	}
	if !utf8.ValidString(s) {
		return "", malformed("it is not UTF-8")
	}
	return s, nil
}

// cut shortens what a client sent for a message.
func cut(s string) string {
	const longest = 64
	if len(s) <= longest {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}

func givenTwice(name string) error {
	return model.Errorf(model.CodeInvalidParameterValue, "The parameter %s is given more than once", cut(name))
}
