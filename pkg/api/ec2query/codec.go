package ec2query

import (
	"bytes"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/model"
)

// Codec is one service's dialect.
type Codec struct {
	title      string
	versions   []string // accepted, sorted
	namespace  string   // of an answer, before the version
	operations func(name string) bool
	// buffers are *[]byte that answers are made in: a list of a hundred instances
	// would outgrow a new one eight times.
	buffers sync.Pool
	dialect
}

// dialect is what differs between EC2 and the services after it.
type dialect interface {
	// response appends an answer with an output's members; appendMembers is nil if
	// it has none.
	response(c *Codec, b []byte, call *api.Call, appendMembers func([]byte) []byte) []byte
	failure(c *Codec, requestID string, e *model.Error) (status int, body []byte)
	refusal(r sigv4.Reason) string
	missing() string // code of a request without an action
}

// EC2 returns EC2's codec.
func EC2() *Codec {
	return &Codec{
		title: "AmazonEC2", versions: ec2Versions, namespace: "http://ec2.amazonaws.com/doc/", dialect: ec2Dialect{},
		operations: ec2types.IsName,
	}
}

// STS returns the Security Token Service's codec.
func STS() *Codec {
	return &Codec{title: "AWSSecurityTokenService", versions: []string{"2011-06-15"}, namespace: "https://sts.amazonaws.com/doc/", dialect: awsDialect{}}
}

// IAM returns Identity and Access Management's codec.
func IAM() *Codec {
	return &Codec{title: "AmazonIdentityManagement", versions: []string{"2010-05-08"}, namespace: "https://iam.amazonaws.com/doc/", dialect: awsDialect{}}
}

// Monitoring returns CloudWatch's codec.
func Monitoring() *Codec {
	return &Codec{title: "CloudWatch", versions: []string{"2010-08-01"}, namespace: "http://monitoring.amazonaws.com/doc/", dialect: awsDialect{}}
}

// ContentType is that of every answer.
func (c *Codec) ContentType() string { return "text/xml;charset=UTF-8" }

// Decode returns the call that a request asks for, with an input made by
// newInput. After an error the call holds what is known of it. Errors are
// *model.Error.
func (c *Codec) Decode(r *http.Request, body []byte, newInput func(action string) (any, error)) (*api.Call, error) {
	f, err := readForm(r, body)
	if err != nil {
		return &api.Call{}, err
	}
	call := &api.Call{Action: f.action, Version: f.version}
	switch {
	case f.action == "":
		return call, model.Errorf(c.missing(), "The request must contain the parameter Action")
	case f.version == "":
		return call, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Version")
	}
	if _, known := slices.BinarySearch(c.versions, f.version); !known {
		return call, model.Errorf("NoSuchVersion", "The requested version (%s) of service %s does not exist", cut(f.version), c.title)
	}
	if c.operations != nil && !c.operations(f.action) {
		return call, model.Errorf(model.CodeInvalidAction, "The action %s is not valid for this web service.", cut(f.action))
	}
	if call.Input, err = newInput(f.action); err != nil {
		return call, err
	}
	v := reflect.ValueOf(call.Input).Elem()
	return call, decode(f.params, 0, v, planOf(v.Type()))
}

// Response returns the body of a call's answer. output is a pointer.
func (c *Codec) Response(call *api.Call, output any) []byte {
	v := reflect.ValueOf(output).Elem()
	p := planOf(v.Type())
	var members func([]byte) []byte
	if len(p.members) > 0 {
		members = func(b []byte) []byte { return p.appendMembers(b, v) }
	}
	buffer, _ := c.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	*buffer = c.response(c, (*buffer)[:0], call, members)
	out := bytes.Clone(*buffer)
	if cap(*buffer) <= maxBuffer {
		c.buffers.Put(buffer)
	}
	return out
}

// maxBuffer bytes are kept for the next answer.
const maxBuffer = 1 << 20

// Failure returns the answer to a request that failed.
func (c *Codec) Failure(requestID string, e *model.Error) (status int, body []byte) {
	return c.failure(c, requestID, e)
}

// Refusal returns the service's code for a request that is not signed as it must be.
func (c *Codec) Refusal(r sigv4.Reason) string { return c.refusal(r) }

// open appends the start of an answer's document.
func (c *Codec) open(b []byte, call *api.Call) []byte {
	b = append(b, xmlHeader...)
	b = append(append(append(b, '<'), call.Action...), "Response"...)
	b = append(append(append(b, ` xmlns="`...), c.namespace...), call.Version...)
	return append(b, `/">`...)
}

// message is an error's message and, for people, what to do next.
func message(e *model.Error) string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (hint: " + e.Hint + ")"
}
