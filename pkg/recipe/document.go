package recipe

import (
	"fmt"
	"slices"
	"strings"
)

// Document is a component document of EC2 Image Builder, schema version 1.0.
// https://docs.aws.amazon.com/imagebuilder/latest/userguide/toe-use-documents.html#document-schema
type Document struct {
	Name          string                `yaml:"name" json:"name,omitempty"`
	Description   string                `yaml:"description" json:"description,omitempty"`
	SchemaVersion Value                 `yaml:"schemaVersion" required:"true" json:"schemaVersion"`
	Parameters    []map[string]Variable `yaml:"parameters" json:"parameters,omitempty"`
	Constants     []map[string]Variable `yaml:"constants" json:"constants,omitempty"`
	Phases        []Phase               `yaml:"phases" required:"true" json:"phases"`
}

// Variable is a parameter or a constant of a document. Constants have a Value,
// parameters may have a Default.
type Variable struct {
	Type          string  `yaml:"type" required:"true" json:"type" enum:"string"`
	Value         *Value  `yaml:"value" json:"value,omitempty"`
	Default       *Value  `yaml:"default" json:"default,omitempty"`
	Description   string  `yaml:"description" json:"description,omitempty"`
	AllowedValues []Value `yaml:"allowedValues" json:"allowedValues,omitempty"`
}

// ParseDocument reads a component document. name is used in error messages; the
// error is an ErrorList with every defect. Actions and keys that are not
// supported are refused by their name.
func ParseDocument(name string, data []byte) (*Document, error) {
	d := &decoder{file: name}
	doc := &Document{}
	if d.decodeYAML(data, doc) {
		if v := strings.TrimSuffix(string(doc.SchemaVersion), ".0"); v != "1" && !d.failedAt("schemaVersion") {
			d.at("schemaVersion", "schemaVersion %s: this version reads 1.0", clip(string(doc.SchemaVersion)))
		}
		d.checkVariables("parameters", doc.Parameters)
		d.checkVariables("constants", doc.Constants)
		d.checkPhases("phases", doc.Phases)
	}
	if len(d.errs) > 0 {
		return nil, d.errs.sorted()
	}
	return doc, nil
}

func (d *decoder) checkVariables(at string, all []map[string]Variable) {
	for i, one := range all {
		here := fmt.Sprintf("%s[%d]", at, i)
		if len(one) != 1 {
			d.at(here, "%s must have exactly one name", here)
		}
		for name, v := range one {
			switch constant := at == "constants"; {
			case constant && v.Value == nil && !d.failedAt(here+"."+name):
				d.at(here+"."+name, "the constant %s lacks the key %q", name, "value")
			case constant && (v.Default != nil || v.AllowedValues != nil):
				d.at(here+"."+name, "the constant %s has a value only", name)
			case !constant && v.Value != nil:
				d.at(here+"."+name, "the parameter %s has no value of its own: write default", name)
			}
		}
	}
}

// Variables returns the values of the document's constants and parameters, the
// latter as given or else by default.
func (doc *Document) Variables(given map[string]Value) (map[string]string, error) {
	out := map[string]string{}
	for _, one := range doc.Constants {
		for name, v := range one {
			out[name] = string(*v.Value)
		}
	}
	known := map[string]bool{}
	for _, one := range doc.Parameters {
		for name, v := range one {
			known[name] = true
			value, ok := given[name]
			switch {
			case !ok && v.Default == nil:
				return nil, fmt.Errorf("the parameter %s has no value: give it under parameters", name)
			case !ok:
				value = *v.Default
			}
			if len(v.AllowedValues) > 0 && !slices.Contains(v.AllowedValues, value) {
				return nil, fmt.Errorf("the parameter %s cannot be %q: allowed are %q", name, value, v.AllowedValues)
			}
			out[name] = string(value)
		}
	}
	for name := range given {
		if !known[name] {
			return nil, fmt.Errorf("the document has no parameter %s", name)
		}
	}
	return out, nil
}
