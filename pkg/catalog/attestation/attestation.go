// Package attestation owns what is said of images beside that they were signed: how one
// was made, as SLSA provenance, and which bill of materials is of it. The forms are
// in-toto's; signing and verifying them is pkg/catalog/signature. It may import that and
// pkg/model only.
//
// https://slsa.dev/spec/v1.0/provenance
// https://github.com/in-toto/attestation/blob/main/spec/predicates/reference.md
package attestation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	reference "github.com/in-toto/attestation/go/predicates/reference/v0"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/model"
)

// The types of predicates.
const (
	ProvenanceType = "https://slsa.dev/provenance/v1"
	ReferenceType  = "https://in-toto.io/attestation/reference/v0.1"
)

// How images are made, and what makes them: docs/images.md says what each means.
const (
	RecipeBuild   = "https://bundt.dev/build/recipe/v1"
	InstanceBuild = "https://bundt.dev/build/instance/v1"
	Builder       = "https://bundt.dev/builder"
)

// Errors of attestations (test with errors.Is).
var (
	// ErrUnknown: nobody knows how the image was made.
	ErrUnknown = errors.New("how it was made is not known")
	// ErrInvalid: it is not of its form.
	ErrInvalid = errors.New("no attestation that bundt understands")
)

// Facts are what is known of an image beyond its records.
type Facts struct {
	// Parent is the digest of what the image below is made of, see artifact.Content;
	// "" if it cannot be told any more.
	Parent string
	// ParentLayers are the contents of the layers of its disks, each once.
	ParentLayers []string
}

// Provenance says how an image was made: ErrUnknown if that is not known. The same
// image has the same provenance.
func Provenance(img *model.Image, f Facts) (json.RawMessage, error) {
	m := img.Made
	if m == nil {
		return nil, ErrUnknown
	}
	external, buildType := map[string]any{"architecture": string(img.Arch)}, InstanceBuild
	if m.Kind == model.MadeOfRecipe {
		buildType = RecipeBuild
		for _, r := range []*model.RecipeRef{img.Recipe, m.Recipe} {
			if r != nil {
				external["recipe"] = recipeOf(r)
				break
			}
		}
	} else {
		external["noReboot"] = m.NoReboot
		if m.Instance != "" {
			external["instance"] = m.Instance
		}
	}
	if m.Parent != nil {
		external["parentImage"] = parentOf(m.Parent, f)
	}
	parameters, err := structpb.NewStruct(external)
	if err != nil {
		return nil, fmt.Errorf("encoding the parameters of a provenance: %w", err)
	}
	p := &provenance.Provenance{
		BuildDefinition: &provenance.BuildDefinition{BuildType: buildType, ExternalParameters: parameters, ResolvedDependencies: dependencies(img, f)},
		RunDetails: &provenance.RunDetails{
			Builder: &provenance.Builder{Id: Builder, Version: map[string]string{"bundt": m.Version}},
			Metadata: &provenance.BuildMetadata{
				InvocationId: m.ID, StartedOn: timestamppb.New(m.Started.Truncate(time.Second)), FinishedOn: timestamppb.New(m.Finished.Truncate(time.Second)),
			},
		},
	}
	if img.Consistency != "" {
		internal, err := structpb.NewStruct(map[string]any{"consistency": string(img.Consistency)})
		if err != nil {
			return nil, fmt.Errorf("encoding the parameters of a provenance: %w", err)
		}
		p.BuildDefinition.InternalParameters = internal
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("making a provenance: %w", err)
	}
	return encode(p)
}

func recipeOf(r *model.RecipeRef) map[string]any {
	return map[string]any{"name": r.Name, "version": r.Version, "digest": digests(r.Digest)}
}

func digests(digest string) map[string]any {
	return map[string]any{"sha256": strings.TrimPrefix(digest, "sha256:")}
}

func parentOf(p *model.ParentImage, f Facts) map[string]any {
	out := map[string]any{"id": p.ID}
	if p.Name != "" {
		out["name"] = p.Name
	}
	if f.Parent != "" {
		out["digest"] = digests(f.Parent)
	}
	if p.Recipe != nil {
		out["recipe"] = recipeOf(p.Recipe)
	}
	if p.Reference != "" {
		out["reference"] = "oci://" + p.Reference
	}
	return out
}

// dependencies are what the image is made of: what the recipe took, the image below
// and its layers.
func dependencies(img *model.Image, f Facts) (out []*intoto.ResourceDescriptor) {
	for _, i := range img.Materials() {
		digest, ok := strings.CutPrefix(i.Digest, "sha256:")
		if !ok {
			continue // the id of an image, which is below
		}
		out = append(out, &intoto.ResourceDescriptor{Name: i.Name, Uri: i.URI, Digest: map[string]string{"sha256": digest}})
	}
	p := img.Made.Parent
	if p == nil {
		return out
	}
	if p.Reference != "" {
		out = append(out, &intoto.ResourceDescriptor{Name: "parent image in its registry", Uri: "oci://" + p.Reference, Digest: sha256(p.Digest)})
	}
	if f.Parent != "" {
		out = append(out, &intoto.ResourceDescriptor{Name: "parent image", Digest: sha256(f.Parent)})
	}
	for _, l := range f.ParentLayers {
		out = append(out, &intoto.ResourceDescriptor{Name: "layer of the parent image", Digest: sha256(l)})
	}
	return out
}

func sha256(digest string) map[string]string {
	return map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}
}

// Inputs are the packages that a provenance says went into the image.
func Inputs(p *provenance.Provenance) (out []model.Input) {
	for _, d := range p.GetBuildDefinition().GetResolvedDependencies() {
		if strings.HasPrefix(d.GetUri(), "pkg:") && d.GetDigest()["sha256"] != "" {
			out = append(out, model.Input{Name: d.GetName(), Digest: "sha256:" + d.GetDigest()["sha256"], URI: d.GetUri()})
		}
	}
	return out
}

// Materials says that a bill of materials with this digest is of the subject.
func Materials(mediaType, digest string) (json.RawMessage, error) {
	return encode(&reference.Reference{
		Attester:   &reference.Reference_Attester{Id: Builder},
		References: []*intoto.ResourceDescriptor{{Name: "sbom", MediaType: mediaType, Digest: sha256(digest)}},
	})
}

// encode is the same for the same message, as protojson is not.
func encode(m proto.Message) (json.RawMessage, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a predicate: %w", err)
	}
	var out bytes.Buffer
	err = json.Compact(&out, text)
	return out.Bytes(), err
}

// decode reads a predicate. What a later version of its specification has added is
// not looked at, as they ask for.
func decode(predicate json.RawMessage, m proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(predicate, m); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// ReadProvenance reads a statement of the type ProvenanceType.
func ReadProvenance(s *signature.Statement) (*provenance.Provenance, error) {
	var p provenance.Provenance
	if err := decode(s.Predicate, &p); err != nil {
		return nil, err
	}
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &p, nil
}

// ReadMaterials returns the digests "sha256:…" of the bills of materials of a media
// type that a statement of the type ReferenceType names.
func ReadMaterials(s *signature.Statement, mediaType string) (out []string, err error) {
	var r reference.Reference
	if err := decode(s.Predicate, &r); err != nil {
		return nil, err
	}
	for _, d := range r.References {
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if digest := d.Digest["sha256"]; d.MediaType == mediaType && digest != "" {
			out = append(out, "sha256:"+digest)
		}
	}
	return out, nil
}

// Summary says in one line what a provenance does.
func Summary(p *provenance.Provenance) string {
	b, run := p.GetBuildDefinition(), p.GetRunDetails()
	field := b.GetExternalParameters().GetFields()
	what := "made by " + b.GetBuildType()
	switch b.GetBuildType() {
	case RecipeBuild:
		what = "built from the recipe " + recipeText(field["recipe"])
	case InstanceBuild:
		what = strings.TrimSpace("made of the instance " + field["instance"].GetStringValue())
	}
	if parent := field["parentImage"].GetStructValue().GetFields(); parent != nil {
		what += " on the image " + strings.TrimSpace(parent["name"].GetStringValue()+" "+parent["id"].GetStringValue())
		if r := parent["recipe"]; r != nil {
			what += ", of the recipe " + recipeText(r)
		}
	}
	if v := run.GetBuilder().GetVersion()["bundt"]; v != "" && run.GetBuilder().GetId() == Builder {
		what += ", by bundt " + v
	} else {
		what += ", by " + run.GetBuilder().GetId()
	}
	if t := run.GetMetadata().GetFinishedOn(); t != nil {
		what += ", " + t.AsTime().UTC().Format(time.RFC3339)
	}
	return what
}

func recipeText(v *structpb.Value) string {
	f := v.GetStructValue().GetFields()
	text := strings.TrimSpace(f["name"].GetStringValue() + " " + f["version"].GetStringValue())
	if digest := f["digest"].GetStructValue().GetFields()["sha256"].GetStringValue(); digest != "" {
		text += " (sha256:" + digest + ")"
	}
	return text
}

// Attested is what a key says of an image.
type Attested struct {
	Provenance *provenance.Provenance // nil if it does not say
	Bundle     []byte                 // in which it does
	Materials  []string               // digests of bills of materials
}

// Read gathers what the claims of one key say. One that is not of its form is an error.
// Of several provenances the first counts.
func Read(claims []signature.Claim, mediaType string) (a Attested, err error) {
	for i := range claims {
		c := &claims[i]
		switch {
		case c.PredicateType == ProvenanceType && a.Provenance == nil:
			if a.Provenance, err = ReadProvenance(&c.Statement); err != nil {
				return a, fmt.Errorf("reading the provenance: %w", err)
			}
			a.Bundle = c.Bundle
		case c.PredicateType == ReferenceType:
			found, err := ReadMaterials(&c.Statement, mediaType)
			if err != nil {
				return a, fmt.Errorf("reading what bills of materials there are: %w", err)
			}
			a.Materials = append(a.Materials, found...)
		}
	}
	return a, nil
}
