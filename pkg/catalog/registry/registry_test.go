package registry_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/registry"
)

const mediaType = "application/vnd.bundt.test"

// repository is one of a registry on this host that knows one user.
func repository(t *testing.T, options registry.Options) *registry.Repository {
	t.Helper()
	inner := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "baker" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodDelete { // as many registries are set up
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Accept-Ranges", "bytes")
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ref, err := artifact.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/images/web:1")
	if err != nil {
		t.Fatal(err)
	}
	options.Client, options.PlainHTTP = server.Client(), true
	repo, err := registry.Open(ref, options)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

var baker = registry.Options{Username: "baker", Password: "secret", UserAgent: "test"}

func TestBlobs(t *testing.T) {
	repo := repository(t, baker)
	data := bytes.Repeat([]byte("0123456789"), 1000)
	blob := content.NewDescriptorFromBytes(mediaType, data)
	if has, err := repo.Has(t.Context(), blob); has || err != nil {
		t.Fatalf("before it is sent: %v, %v", has, err)
	}
	if _, err := repo.Blob(t.Context(), blob, 1<<20); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("before it is sent: %v", err)
	}
	if err := repo.Push(t.Context(), blob, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if has, err := repo.Has(t.Context(), blob); !has || err != nil {
		t.Errorf("after it was sent: %v, %v", has, err)
	}
	if got, err := repo.Blob(t.Context(), blob, 1<<20); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := repo.Blob(t.Context(), blob, 100); err == nil {
		t.Error("more than the most is taken")
	}
	never := func(int64) error { return nil }
	path := filepath.Join(t.TempDir(), "blob")
	for at, kept := range map[string][]byte{"nothing": nil, "half": data[:5000], "all": data} {
		if err := os.WriteFile(path, kept, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := repo.Fetch(t.Context(), blob, path, never); err != nil {
			t.Fatalf("after %s: %v", at, err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
			t.Errorf("after %s: %d bytes, %v", at, len(got), err)
		}
	}
	for what, kept := range map[string][]byte{"something else": []byte("something else"), "too much": append(bytes.Clone(data), 'x')} {
		if err := os.WriteFile(path, kept, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := repo.Fetch(t.Context(), blob, path, never); !errors.Is(err, registry.ErrDigest) {
			t.Errorf("after %s: %v", what, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after %s the file stays: %v", what, err)
		}
	}
}

func TestManifestsAndAttachments(t *testing.T) {
	repo := repository(t, baker)
	if _, _, err := repo.Manifest(t.Context()); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("before it is sent: %v", err)
	}
	if err := repo.PushSmall(t.Context(), ocispec.MediaTypeEmptyJSON, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	manifest := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{"mediaType":"` + ocispec.MediaTypeEmptyJSON +
		`","digest":"` + artifact.Digest([]byte("{}")) + `","size":2},"layers":[]}`)
	digest, err := repo.PushManifest(t.Context(), manifest)
	if err != nil || digest != artifact.Digest(manifest) {
		t.Fatalf("%s, %v", digest, err)
	}
	about, got, err := repo.Manifest(t.Context())
	if err != nil || !bytes.Equal(got, manifest) {
		t.Fatalf("%s, %v", got, err)
	}
	if all, err := repo.Attached(t.Context(), about, mediaType, 1000); err != nil || len(all) != 0 {
		t.Errorf("before anything is attached: %q, %v", all, err)
	}
	for _, data := range []string{"one", "two", "one"} {
		if err := repo.Attach(t.Context(), manifest, mediaType, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := repo.Attach(t.Context(), manifest, mediaType+".other", []byte("other")); err != nil {
		t.Fatal(err)
	}
	all, err := repo.Attached(t.Context(), about, mediaType, 1000)
	if err != nil || len(all) != 2 {
		t.Errorf("attached: %q, %v", all, err)
	}
	if _, err := repo.Attached(t.Context(), about, mediaType, 2); err == nil {
		t.Error("more than the most is taken")
	}
}

func TestFile(t *testing.T) {
	repo := repository(t, baker)
	if _, err := repo.File(t.Context(), mediaType, 1000); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("before it is sent: %v", err)
	}
	for _, data := range []string{"one", "two"} { // the tag moves
		if _, err := repo.PushFile(t.Context(), mediaType, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got, err := repo.File(t.Context(), mediaType, 1000); err != nil || string(got) != data {
			t.Errorf("%s: %q, %v", data, got, err)
		}
	}
	if _, err := repo.File(t.Context(), mediaType+".other", 1000); err == nil {
		t.Error("a file of another type is taken")
	}
}

func TestNobody(t *testing.T) {
	for name, o := range map[string]registry.Options{"without a user": {}, "with another password": {Username: "baker", Password: "guess"}} {
		if _, _, err := repository(t, o).Manifest(t.Context()); err == nil || strings.Contains(err.Error(), "guess") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
