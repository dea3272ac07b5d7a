// Package endpoint owns the address that AWS's clients are pointed at: one URL,
// "/", for all services, told apart by the service that a request is signed for.
// It reads a request within bounds, verifies its signature, has the service's
// codec decode it, makes the call, and answers. It imports the dispatcher and the
// verifier, and no service's types.
package endpoint

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/model"
)

// MaxBody is the largest request body, as sent and when expanded, in bytes.
const MaxBody = 1 << 20

// Codec is a service's protocol.
type Codec interface {
	// Decode returns the call that a request asks for, with an input made by
	// newInput. After an error the call, never nil, holds what is known of it.
	Decode(r *http.Request, body []byte, newInput func(action string) (any, error)) (*api.Call, error)
	// Response returns the body of a call's answer.
	Response(call *api.Call, output any) []byte
	// Failure returns the answer to a request that failed.
	Failure(requestID string, e *model.Error) (status int, body []byte)
	// Refusal spells why a signature is refused.
	Refusal(r sigv4.Reason) (code string)
	// ContentType is that of every answer.
	ContentType() string
}

// Service is one service behind the address.
type Service struct {
	Name       string // in credential scopes
	Global     bool   // clients may sign for us-east-1 instead of the region
	Codec      Codec
	Dispatcher *api.Dispatcher
	// JSON is the codec of requests whose bodies say that they are JSON; nil if the service
	// has one protocol.
	JSON Codec
}

// speaking is the service with the codec that a request is for.
func (s *Service) speaking(r *http.Request) *Service {
	if s.JSON == nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json-") {
		return s
	}
	json := *s
	json.Codec = s.JSON
	return &json
}

// Options of a Handler.
type Options struct {
	Region string
	// Services, the first of which answers what names no service.
	Services []Service
	// BodyTime is how long a client may take to send a request's body, and
	// AnswerTime how long it may take to receive an answer; 30 s if they are zero.
	BodyTime, AnswerTime time.Duration
	// Keys finds the secrets of access keys and their principals.
	Keys sigv4.Keys[api.Principal]
}

const defaultTime = 30 * time.Second

// Handler returns the endpoint. It sets the deadlines of bodies and answers itself:
// the ReadTimeout of an http.Server begins when the client connects, and its
// WriteTimeout before the call is worked on, which would cut off the answers to
// calls that take long.
func Handler(o Options) (http.Handler, error) {
	if len(o.Services) == 0 || o.Keys == nil || o.Region == "" {
		return nil, errors.New("making the endpoint: it needs a region, services and keys")
	}
	o.BodyTime, o.AnswerTime = cmp.Or(o.BodyTime, defaultTime), cmp.Or(o.AnswerTime, defaultTime)
	s := &server{options: o, services: map[string]*Service{}}
	for i := range o.Services {
		s.services[o.Services[i].Name] = &o.Services[i]
	}
	s.verifier = sigv4.Verifier[api.Principal]{Keys: o.Keys, Scope: s.answersFor}
	return s, nil
}

type server struct {
	options  Options
	services map[string]*Service
	verifier sigv4.Verifier[api.Principal]
}

// globalRegion is where AWS has its services that have no region.
const globalRegion = "us-east-1"

func (s *server) answersFor(region, service string) bool {
	svc := s.services[service]
	return svc != nil && (region == s.options.Region || svc.Global && region == globalRegion)
}

// ServeHTTP answers one request of any service.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := api.NewRequestID()
	connection := http.NewResponseController(w)
	// Not every ResponseWriter has deadlines, as those of tests.
	_ = connection.SetWriteDeadline(time.Time{}) // that of an answer before
	_ = connection.SetReadDeadline(time.Now().Add(s.options.BodyTime))
	svc := &s.options.Services[0]
	signed, err := sigv4.Parse(r)
	if err == nil && s.services[signed.Service] != nil {
		svc = s.services[signed.Service].speaking(r)
	}
	var body []byte
	if err == nil {
		body, err = s.serve(w, r, svc, signed, id)
	}
	status := http.StatusOK
	if err != nil {
		status, body = svc.Codec.Failure(id, s.publicError(svc, id, err))
	}
	_ = connection.SetWriteDeadline(time.Now().Add(s.options.AnswerTime))
	h := w.Header()
	h.Set("Content-Type", svc.Codec.ContentType())
	h.Set("X-Amzn-Requestid", id)
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client is gone
}

// serve returns the answer to a request.
func (s *server) serve(w http.ResponseWriter, r *http.Request, svc *Service, signed *sigv4.Request, id string) ([]byte, error) {
	if r.URL.Path != "/" {
		return nil, model.Errorf(model.CodeInvalidAction, "Requests go to the path /")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		return nil, readError(err)
	}
	principal, err := s.verifier.Verify(r.Context(), signed, body)
	if err != nil {
		return nil, err
	}
	if body, err = expand(body, r.Header.Get("Content-Encoding")); err != nil {
		return nil, err
	}
	call, err := svc.Codec.Decode(r, body, svc.Dispatcher.NewInput)
	if err != nil {
		return nil, err
	}
	call.Principal, call.Origin, call.RequestID = principal, origin(r), id
	output, err := svc.Dispatcher.Call(r.Context(), call)
	if err != nil {
		return nil, err
	}
	return svc.Codec.Response(call, output), nil
}

// origin is where a request came from.
func origin(r *http.Request) api.Origin {
	o := api.Origin{TLS: r.TLS != nil, UserAgent: r.UserAgent()}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.Address = from.Addr()
	}
	return o
}

func tooLarge() error {
	return model.Errorf(api.CodeRequestTooLarge, "The request body has more than %d bytes", MaxBody)
}

func readError(err error) error {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return tooLarge()
	}
	return model.Errorf(model.CodeMalformedQueryString, "The request body ends too early")
}

// expand undoes a body's compression, within bounds.
func expand(body []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return body, nil
	case "gzip":
	default:
		return nil, model.Errorf(model.CodeMalformedQueryString, "The request body must be as it is, or compressed by gzip")
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, model.Errorf(model.CodeMalformedQueryString, "The request body is not compressed by gzip")
	}
	expanded, err := io.ReadAll(io.LimitReader(z, MaxBody+1))
	switch {
	case err != nil:
		return nil, model.Errorf(model.CodeMalformedQueryString, "The request body is not compressed by gzip")
	case len(expanded) > MaxBody:
		return nil, tooLarge()
	}
	return expanded, nil
}

// publicError returns the error that a client may see.
func (s *server) publicError(svc *Service, id string, err error) *model.Error {
	var refused *sigv4.Failure
	var public *model.Error
	switch {
	case errors.As(err, &refused):
		return model.Errorf(svc.Codec.Refusal(refused.Reason), "%s", refused.Message)
	case errors.As(err, &public):
		return public
	case errors.Is(err, context.Canceled):
		return model.Errorf(model.CodeServiceUnavailable, "The request ended before it was done")
	}
	return svc.Dispatcher.PublicError(&api.Call{Action: "authentication", RequestID: id}, err)
}
