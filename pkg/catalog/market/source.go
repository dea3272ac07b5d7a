package market

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/bundt/bundt/pkg/model"
)

// Source is what a publisher writes, in YAML, to make an index of.
type Source struct {
	Kind      Kind            `yaml:"kind"`
	Publisher string          `yaml:"publisher"`
	Products  []SourceProduct `yaml:"products"`
}

// SourceProduct is one product of a Source.
type SourceProduct struct {
	ID          string          `yaml:"id"`
	Title       string          `yaml:"title"`
	Description string          `yaml:"description"`
	Website     string          `yaml:"website"`
	Support     string          `yaml:"support"`
	Price       string          `yaml:"price"`
	Terms       string          `yaml:"terms"`
	Versions    []SourceVersion `yaml:"versions"`
}

// SourceVersion is one image of a product: its architecture and size are asked of
// the registry.
type SourceVersion struct {
	Version  string    `yaml:"version"`
	Image    string    `yaml:"image"` // HOST[:PORT]/PATH:TAG
	Notes    string    `yaml:"notes"`
	Released time.Time `yaml:"released"`
}

// Found is what a registry has under a reference.
type Found struct {
	Image        string // with its digest
	Architecture model.Arch
	SizeGiB      int64
}

// ParseSource reads a source. Its errors say lines.
func ParseSource(text []byte) (*Source, error) {
	s := &Source{Kind: Market}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var types *yaml.TypeError // its text has a line for each
	switch err := d.Decode(s); {
	case errors.As(err, &types):
		return nil, invalid("%s", strings.Join(types.Errors, "; "))
	case err != nil:
		return nil, invalid("%v", err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, invalid("there is more than one document")
	}
	return s, nil
}

// Index makes the index of a source; find asks the registry of each image.
func (s *Source) Index(serial int64, find func(reference string) (Found, error)) (*Index, error) {
	i := &Index{Schema: schema, Kind: s.Kind, Publisher: s.Publisher, Serial: serial}
	for _, sp := range s.Products {
		p := Product{
			ID: sp.ID, Title: sp.Title, Description: sp.Description, Website: sp.Website, Support: sp.Support, Price: sp.Price, Terms: sp.Terms,
		}
		for _, sv := range sp.Versions {
			found, err := find(sv.Image)
			if err != nil {
				return nil, fmt.Errorf("the product %s, version %s: %w", sp.ID, sv.Version, err)
			}
			p.Versions = append(p.Versions, Version{
				Version: sv.Version, Architecture: found.Architecture, Image: found.Image, SizeGiB: found.SizeGiB, Notes: sv.Notes, Released: sv.Released.UTC(),
			})
		}
		i.Products = append(i.Products, p)
	}
	return i, i.check()
}
