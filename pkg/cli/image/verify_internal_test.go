package image

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/attestation"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/inventory"
	"github.com/bundt/bundt/pkg/sbom"
)

// TestAttested: the bill of materials that a key has signed has to be there, unchanged,
// among others that anybody may have attached.
func TestAttested(t *testing.T) {
	server := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	ref, err := artifact.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/web:1")
	must(t, err)
	repo, err := registry.Open(ref, registry.Options{Client: http.DefaultClient, PlainHTTP: true})
	must(t, err)
	_, err = repo.PushFile(t.Context(), "text/plain", []byte("an image"))
	must(t, err)
	about, manifest, err := repo.Manifest(t.Context())
	must(t, err)
	bill := func(version string) []byte {
		b, err := sbom.Encode(&sbom.Image{Arch: "x86_64", Created: time.Unix(0, 0), Inventory: &inventory.Inventory{Packages: []inventory.Package{{Manager: inventory.Apk, Name: "musl", Version: version}}}})
		must(t, err)
		return b
	}
	key, err := signature.NewKey()
	must(t, err)
	said, err := attestation.Materials(sbom.MediaType, artifact.Digest(bill("1")))
	must(t, err)
	statement, err := signature.NewStatement("web", about.Digest.String(), attestation.ReferenceType, said)
	must(t, err)
	bundle, err := key.Sign(statement)
	must(t, err)
	claims := signature.Claims([][]byte{bundle}, about.Digest.String(), []*signature.PublicKey{key.Public()})
	check := func(demanded bool) (*verified, error) {
		v := &verified{repo: repo, about: about, name: "baker"}
		return v, v.attested(t.Context(), claims, demanded)
	}

	if _, err := check(false); !errors.Is(err, signature.ErrUntrusted) || !strings.Contains(err.Error(), "of 0 bills of materials none") {
		t.Errorf("without the document: %v", err)
	}
	must(t, repo.Attach(t.Context(), manifest, sbom.MediaType, bill("2")))
	must(t, repo.Attach(t.Context(), manifest, sbom.MediaType, []byte("nonsense")))
	if _, err := check(false); !errors.Is(err, signature.ErrUntrusted) || !strings.Contains(err.Error(), "of 2 bills of materials none") {
		t.Errorf("with others: %v", err)
	}
	must(t, repo.Attach(t.Context(), manifest, sbom.MediaType, bill("1")))
	v, err := check(false)
	if err != nil || !slices.ContainsFunc(v.lines, func(l string) bool { return strings.HasPrefix(l, "sbom: image x86_64, 1 packages (sha256:") }) {
		t.Errorf("with the document: %q, %v", v.lines, err)
	}
	if _, err := check(true); !errors.Is(err, signature.ErrUntrusted) || !strings.Contains(err.Error(), "does not say how") {
		t.Errorf("a provenance is demanded: %v", err)
	}
	claims[0].PredicateType, claims[0].Predicate = attestation.ProvenanceType, json.RawMessage(`{}`)
	if _, err := check(false); !errors.Is(err, attestation.ErrInvalid) {
		t.Errorf("a provenance without anything: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
