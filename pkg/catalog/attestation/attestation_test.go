package attestation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bundt/bundt/pkg/catalog/attestation"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/model"
)

var update = flag.Bool("update", false, "write the golden files anew")

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

var began = time.Date(2026, 11, 1, 12, 0, 0, 5, time.FixedZone("", 3600))

// baked is an image of a recipe, and of an instance of it.
func baked() (base, cake *model.Image) {
	base = &model.Image{
		ID: "ami-1", Name: "tiny-1", Arch: model.X8664, Consistency: model.ConsistencyStopped,
		Recipe: &model.RecipeRef{Name: "tiny", Version: "1.0.0", Digest: digest("a"), BuildID: "build-1", Inputs: []model.Input{
			{Name: "context", Digest: digest("b")}, {Name: "package busybox-static 1:1.35", Digest: digest("c"), URI: "pkg:deb/debian/busybox-static@1:1.35?arch=amd64"},
			{Name: "recipe", Digest: digest("a")},
		}},
		Made: &model.Making{Kind: model.MadeOfRecipe, ID: "build-1", Started: began, Finished: began.Add(time.Minute), Version: "1.2.3"},
	}
	cake = &model.Image{
		ID: "ami-2", Name: "cake", Arch: model.X8664, Consistency: model.ConsistencyCrash,
		Made: &model.Making{
			Kind: model.MadeOfInstance, ID: "ami-2", Started: began, Finished: began.Add(time.Second), Version: "1.2.3", Instance: "i-1", NoReboot: true,
			Inputs: base.Recipe.Inputs, Parent: base.Parent(map[string]string{"/dev/sda1": "layer-1"}),
		},
	}
	cake.Made.Parent.Reference, cake.Made.Parent.Digest = "registry.example.com/tiny:1", digest("d")
	return base, cake
}

func TestProvenance(t *testing.T) {
	base, cake := baked()
	for name, of := range map[string]struct {
		img     *model.Image
		facts   attestation.Facts
		summary string
	}{
		"recipe":   {base, attestation.Facts{}, "built from the recipe tiny 1.0.0 (" + digest("a") + "), by bundt 1.2.3, 2026-11-01T11:01:00Z"},
		"instance": {cake, attestation.Facts{Parent: digest("e"), ParentLayers: []string{digest("1"), digest("2")}}, "made of the instance i-1 on the image tiny-1 ami-1, of the recipe tiny 1.0.0 (" + digest("a") + "), by bundt 1.2.3, 2026-11-01T11:00:01Z"},
	} {
		predicate, err := attestation.Provenance(of.img, of.facts)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := json.Indent(&got, predicate, "", "  "); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%v: it is not %s:\n%s", err, golden, got.Bytes())
		}
		again, err := attestation.Provenance(of.img, of.facts)
		if err != nil || !bytes.Equal(predicate, again) {
			t.Errorf("the same image has another provenance: %v", err)
		}
		s := statement(t, attestation.ProvenanceType, predicate)
		p, err := attestation.ReadProvenance(&s)
		if err != nil {
			t.Fatal(err)
		}
		if got := attestation.Summary(p); got != of.summary {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, err := attestation.Provenance(&model.Image{}, attestation.Facts{}); !errors.Is(err, attestation.ErrUnknown) {
		t.Errorf("of an image that nobody knows about: %v", err)
	}
}

// statement makes one about two digests, and has the specification's library look at it.
func statement(t *testing.T, predicateType string, predicate json.RawMessage) signature.Statement {
	t.Helper()
	s, err := signature.NewStatementAbout([]signature.Subject{signature.NewSubject("registry.example.com/cake", digest("8")), signature.NewSubject("cake", digest("9"))}, predicateType, predicate)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var other intoto.Statement
	if err := protojson.Unmarshal(text, &other); err != nil {
		t.Fatalf("the library does not read it: %v", err)
	}
	if err := other.Validate(); err != nil {
		t.Error(err)
	}
	return s
}

// TestRead: what is signed is taken only from the key, about the digest, and whole.
func TestRead(t *testing.T) {
	base, _ := baked()
	predicate, err := attestation.Provenance(base, attestation.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	bill, err := attestation.Materials("application/spdx+json", digest("f"))
	if err != nil {
		t.Fatal(err)
	}
	key, other := newKey(t), newKey(t)
	bundle := sign(t, key, statement(t, attestation.ProvenanceType, predicate))
	bundles := [][]byte{bundle, sign(t, key, statement(t, attestation.ReferenceType, bill)), []byte("nothing")}
	keys := []*signature.PublicKey{key.Public()}
	for _, d := range []string{digest("8"), digest("9")} {
		got, err := attestation.Read(signature.Claims(bundles, d, keys), "application/spdx+json")
		if err != nil || got.Provenance.GetRunDetails().GetMetadata().GetInvocationId() != "build-1" || !bytes.Equal(got.Bundle, bundle) || len(got.Materials) != 1 || got.Materials[0] != digest("f") {
			t.Errorf("about %s: %+v, %v", d, got, err)
		}
	}
	tampered := bytes.Replace(bundle, []byte(`"payload":"`), []byte(`"payload":"IC`), 1)
	for what, claims := range map[string][]signature.Claim{
		"another subject": signature.Claims(bundles, digest("7"), keys),
		"another key":     signature.Claims(bundles, digest("8"), []*signature.PublicKey{other.Public()}),
		"tampered":        signature.Claims([][]byte{tampered}, digest("8"), keys),
		"another type":    signature.Claims([][]byte{sign(t, key, statement(t, signature.Signed, json.RawMessage("{}")))}, digest("8"), keys),
	} {
		if got, err := attestation.Read(claims, "application/spdx+json"); err != nil || got.Provenance != nil || got.Bundle != nil || len(got.Materials) != 0 {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if got, err := attestation.Read(signature.Claims(bundles, digest("8"), keys), "text/plain"); err != nil || len(got.Materials) != 0 {
		t.Errorf("of another media type: %+v, %v", got, err)
	}
	for _, bad := range []struct{ predicateType, predicate string }{
		{attestation.ProvenanceType, `{}`}, {attestation.ProvenanceType, `[]`}, {attestation.ProvenanceType, `{"buildDefinition":{"buildType":"x","externalParameters":{"a":1}}}`},
		{attestation.ReferenceType, `{"references":1}`}, {attestation.ReferenceType, `{"references":[{"name":"sbom","digest":{"sha256":"short"}}]}`},
	} {
		s, err := signature.NewStatement("", digest("8"), bad.predicateType, json.RawMessage(bad.predicate))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attestation.Read(signature.Claims([][]byte{sign(t, key, s)}, digest("8"), keys), "application/spdx+json"); !errors.Is(err, attestation.ErrInvalid) {
			t.Errorf("%s: %v", bad.predicate, err)
		}
	}
}

// TestSummaryOfOthers: of a build of somebody else's, too, there is something to say.
func TestSummaryOfOthers(t *testing.T) {
	s, err := signature.NewStatement("", digest("8"), attestation.ProvenanceType, json.RawMessage(`{"later":1,"buildDefinition":{"buildType":"https://example.com/b","externalParameters":{"a":1}},"runDetails":{"builder":{"id":"https://example.com/r"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := attestation.ReadProvenance(&s)
	if err != nil {
		t.Fatal(err)
	}
	if got := attestation.Summary(p); got != "made by https://example.com/b, by https://example.com/r" {
		t.Error(got)
	}
}

func newKey(t *testing.T) *signature.Key {
	t.Helper()
	k, err := signature.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, k *signature.Key, s signature.Statement) []byte {
	t.Helper()
	b, err := k.Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
