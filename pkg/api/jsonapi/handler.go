// Package jsonapi owns the JSON form of the API, which the command line, the
// console and the Go client use: POST /api/<Action> with the request's members as
// a JSON object, answered by the response's members, or by
//
//	{"Error": {"Code": …, "Message": …, "Hint": …}, "RequestId": …}
//
// with EC2's HTTP status. Besides actions there are
//
//	POST /api/upload    a blob in the body; answers {"Digest", "Size"}
//	POST /api/Connect   upgrades to a byte stream to a guest's port
//	POST /api/ConnectSerial  upgrades to one to its serial port
//	GET  /api/          the actions and what they act on
//	GET  /api/version   the daemon's version
//	GET  /healthz       liveness
//
// It knows no use case: actions come from the table of package api, the rest
// through Options.
package jsonapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/model"
)

// MaxBody is the largest request body of an action, in bytes. Uploads have no
// such bound.
const MaxBody = 16 << 20

// RequestIDHeader carries the request's id in every answer.
const RequestIDHeader = "X-Bundt-Request-Id"

// Uploader keeps blobs.
type Uploader interface {
	// Upload reads a blob to its end and keeps it under its digest
	// ("sha256:…"). When reading fails, nothing is kept.
	Upload(ctx context.Context, blob io.Reader) (digest string, size int64, err error)
}

// UploadFunc is a function that is an Uploader.
type UploadFunc func(ctx context.Context, blob io.Reader) (digest string, size int64, err error)

// Upload calls f.
func (f UploadFunc) Upload(ctx context.Context, blob io.Reader) (string, int64, error) {
	return f(ctx, blob)
}

// Options of a Handler.
type Options struct {
	// Authenticate finds who sent a request. Required. An error is answered as it
	// is, AuthFailure if it is no *model.Error.
	Authenticate func(r *http.Request) (api.Principal, error)
	// Uploads takes uploaded blobs; nil refuses them.
	Uploads Uploader
	// Connect opens a connection to a port of an instance; nil refuses it. The
	// caller is in the context, as handlers of actions find it.
	// Errors are answered as they are. The connection should have CloseWrite, or
	// the end of one direction ends both.
	Connect func(ctx context.Context, instanceID string, port uint16) (net.Conn, error)
	// Serial joins the serial port of an instance; nil refuses it. It is like Connect.
	Serial func(ctx context.Context, instanceID string) (net.Conn, error)
	// Version is answered by GET /api/version, as JSON.
	Version any
}

type server struct {
	dispatcher *api.Dispatcher
	options    Options
}

// Handler returns the JSON API of the dispatcher's actions. Contexts of requests
// come from http.Server.BaseContext, and ending that context ends streams and
// connections that http.Server.Shutdown does not wait for.
func Handler(d *api.Dispatcher, o Options) (http.Handler, error) {
	if o.Authenticate == nil {
		return nil, errors.New("making the JSON API: no authentication given")
	}
	s := &server{dispatcher: d, options: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /api/{$}", s.authenticated("ListActions", s.listActions))
	mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, o.Version) })
	mux.HandleFunc("POST /api/upload", s.authenticated("Upload", s.upload))
	mux.HandleFunc("POST /api/Connect", s.authenticated("Connect", s.connect))
	mux.HandleFunc("POST /api/ConnectSerial", s.authenticated("ConnectSerial", s.connectSerial))
	mux.HandleFunc("POST /api/{action}", func(w http.ResponseWriter, r *http.Request) {
		s.authenticated(r.PathValue("action"), s.action)(w, r)
	})
	return mux, nil
}

// authenticated gives each request an id and a principal before serving it.
func (s *server) authenticated(action string, serve func(http.ResponseWriter, *http.Request, *api.Call) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call := &api.Call{Action: action, RequestID: api.NewRequestID()}
		w.Header().Set(RequestIDHeader, call.RequestID)
		principal, err := s.options.Authenticate(r)
		if err != nil {
			if model.CodeOf(err) == "" {
				err = model.Errorf(model.CodeAuthFailure, "The caller could not be authenticated")
			}
			s.fail(w, call, err)
			return
		}
		call.Principal = principal
		if err := serve(w, r, call); err != nil {
			s.fail(w, call, err)
		}
	}
}

// action serves a call of an action in the table.
func (s *server) action(w http.ResponseWriter, r *http.Request, call *api.Call) error {
	info, ok := s.dispatcher.Table().Lookup(call.Action)
	if !ok {
		_, err := s.dispatcher.NewInput(call.Action)
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	call.Input = info.NewInput()
	if err := Decode(body, call.Input); err != nil {
		return err
	}
	if info.Stream {
		return s.stream(w, r, call)
	}
	out, err := s.dispatcher.Call(r.Context(), call)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// readBody reads a request's JSON. A body must say that it is JSON: pages of
// other origins cannot make a browser send that without asking first.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, model.Errorf(api.CodeRequestTooLarge, "The request body has more than %d bytes", MaxBody)
	}
	if err != nil {
		return nil, malformed(err)
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, model.Errorf(model.CodeMalformedQueryString, "The request must have the header Content-Type: application/json")
	}
	return body, nil
}

// actionInfo is one entry of the list of actions.
type actionInfo struct {
	Name   string   `json:"Name"`
	Acts   []string `json:"Acts"` // members of the request that it acts on
	Stream bool     `json:"Stream,omitempty"`
}

func (s *server) listActions(w http.ResponseWriter, _ *http.Request, _ *api.Call) error {
	all := []actionInfo{}
	for _, i := range s.dispatcher.Table().Actions() {
		all = append(all, actionInfo{i.Name, i.Acts, i.Stream})
	}
	writeJSON(w, http.StatusOK, map[string]any{"Actions": all})
	return nil
}

// uploaded is the answer to an upload.
type uploaded struct {
	Digest string `json:"Digest"`
	Size   int64  `json:"Size"`
}

func (s *server) upload(w http.ResponseWriter, r *http.Request, call *api.Call) error {
	if s.options.Uploads == nil {
		return model.Errorf(model.CodeUnsupportedOperation, "This daemon takes no uploads")
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/octet-stream" {
		return model.Errorf(model.CodeMalformedQueryString, "An upload must have the header Content-Type: application/octet-stream")
	}
	out, err := s.dispatcher.Do(r.Context(), call, func(ctx context.Context) (any, error) {
		digest, size, err := s.options.Uploads.Upload(ctx, r.Body)
		return uploaded{digest, size}, err
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// errorBody is the body of every error.
type errorBody struct {
	Error     errorDetail `json:"Error"`
	RequestID string      `json:"RequestId"`
}

type errorDetail struct {
	Code    string `json:"Code"`
	Message string `json:"Message"`
	Hint    string `json:"Hint,omitempty"`
}

func (s *server) errorBody(call *api.Call, err error) errorBody {
	e := s.dispatcher.PublicError(call, err)
	return errorBody{errorDetail{e.Code, e.Message, e.Hint}, call.RequestID}
}

func (s *server) fail(w http.ResponseWriter, call *api.Call, err error) {
	body := s.errorBody(call, err)
	writeJSON(w, api.HTTPStatus(body.Error.Code), body)
}

// writeJSON answers; an error of writing means that the client is gone.
func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body)
}
