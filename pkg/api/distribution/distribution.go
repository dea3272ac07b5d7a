// Package distribution owns the address below which other regions get the content of
// images and snapshots: the reading half of the OCI distribution protocol, with each
// request signed like a call of EC2's API, and authorised as one of bundt's own. It
// imports the dispatcher, the verifier and pkg/model, and knows of images only what their
// manifests say.
//
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
package distribution

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth/sigv4"
	"github.com/bundt/bundt/pkg/model"
)

// Path is what all paths of the protocol begin with.
const Path = "/v2/"

// Action is what callers need to be allowed, on the image or snapshot.
const Action = "GetContent"

// service is the one that requests are signed for.
const service = "ec2"

// writeTime is how long a client may take to receive a part of a blob.
const writeTime = time.Minute

// Content is what is given of an image or a snapshot.
type Content interface {
	Manifest() []byte
	// Open returns a blob of the manifest, or its config. It is nil if there is no such.
	Open(digest string) (io.ReadSeekCloser, error)
}

// Options of a Handler.
type Options struct {
	Region     string
	Keys       sigv4.Keys[api.Principal]
	Dispatcher *api.Dispatcher
	// Content returns what an account may copy, by its id.
	Content func(ctx context.Context, account, id string) (Content, error)
}

// Handler serves what is below Path.
func Handler(o Options) http.Handler {
	s := &server{o, sigv4.Verifier[api.Principal]{Keys: o.Keys, Scope: func(region, name string) bool { return region == o.Region && name == service }}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"{id}/manifests/{reference}", s.getManifest)
	mux.HandleFunc("GET "+Path+"{id}/blobs/{digest}", s.getBlob)
	mux.HandleFunc(Path, func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, model.Errorf(model.CodeInvalidAction, "Manifests and blobs are read here, and nothing else"))
	})
	return mux
}

type server struct {
	Options
	verifier sigv4.Verifier[api.Principal]
}

func (s *server) getManifest(w http.ResponseWriter, r *http.Request) {
	c, err := s.content(r)
	if err != nil {
		refuse(w, err)
		return
	}
	manifest := c.Manifest()
	sum := digest.FromBytes(manifest)
	if ref := r.PathValue("reference"); ref != "latest" && ref != sum.String() {
		refuse(w, model.Errorf("MANIFEST_UNKNOWN.NotFound", "%s has no manifest %s", r.PathValue("id"), ref))
		return
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	w.Header().Set("Docker-Content-Digest", sum.String())
	send(w, r, strings.NewReader(string(manifest)))
}

func (s *server) getBlob(w http.ResponseWriter, r *http.Request) {
	c, err := s.content(r)
	if err != nil {
		refuse(w, err)
		return
	}
	name := r.PathValue("digest")
	blob, err := c.Open(name)
	if err == nil && blob == nil {
		err = model.Errorf("BLOB_UNKNOWN.NotFound", "%s has no blob %s", r.PathValue("id"), name)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer blob.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", name)
	w.Header().Set("ETag", `"`+name+`"`)
	send(w, r, blob)
}

// request is the input of Action, as authorisation sees it.
type request struct{ ResourceId string }

// content verifies a request and returns what it is about.
func (s *server) content(r *http.Request) (Content, error) {
	signed, err := sigv4.Parse(r)
	if err != nil {
		return nil, err
	}
	principal, err := s.verifier.Verify(r.Context(), signed, nil)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	call := &api.Call{Action: Action, Input: &request{id}, Principal: principal, Origin: origin(r)}
	out, err := s.Dispatcher.Do(r.Context(), call, func(ctx context.Context) (any, error) { return s.Content(ctx, principal.AccountID, id) })
	if err != nil {
		return nil, err
	}
	return out.(Content), nil
}

func origin(r *http.Request) api.Origin {
	o := api.Origin{TLS: r.TLS != nil, UserAgent: r.UserAgent()}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.Address = from.Addr()
	}
	return o
}

// send answers with a content, or with the part of it that was asked for.
func send(w http.ResponseWriter, r *http.Request, content io.ReadSeeker) {
	http.ServeContent(&steady{w, http.NewResponseController(w)}, r, "", time.Time{}, content)
}

// steady is an answer that takes as long as it takes, while some of it is taken.
type steady struct {
	http.ResponseWriter
	connection *http.ResponseController
}

func (s *steady) Write(b []byte) (int, error) {
	_ = s.connection.SetWriteDeadline(time.Now().Add(writeTime)) // not every ResponseWriter has one, as those of tests
	return s.ResponseWriter.Write(b)
}

// refuse answers as registries do.
func refuse(w http.ResponseWriter, err error) {
	status, code, message := http.StatusInternalServerError, "UNKNOWN", "it failed; the daemon's log says why"
	var refused *sigv4.Failure
	var public *model.Error
	switch {
	case errors.As(err, &refused):
		status, code, message = http.StatusForbidden, "DENIED", refused.Message
	case errors.As(err, &public):
		status, code, message = http.StatusBadRequest, public.Code, public.Message
		switch {
		case strings.HasSuffix(code, ".NotFound"):
			status = http.StatusNotFound
		case code == "UnauthorizedOperation":
			status = http.StatusForbidden
		case code == model.CodeInternalError || code == model.CodeServiceUnavailable:
			status = http.StatusServiceUnavailable
		}
	}
	body, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}) // strings always encode
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client is gone
}
