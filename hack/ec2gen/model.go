package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// model is the part of an AWS service model (API description version 2) that
// the generator reads.
type model struct {
	Source     string               `json:"source,omitempty"`
	License    string               `json:"license,omitempty"`
	Version    string               `json:"version"`
	Metadata   metadata             `json:"metadata"`
	Operations map[string]operation `json:"operations"`
	Shapes     map[string]shape     `json:"shapes"`
}

type metadata struct {
	APIVersion   string `json:"apiVersion"`
	Protocol     string `json:"protocol"`
	XMLNamespace string `json:"xmlNamespace"`
}

type operation struct {
	Input  *ref `json:"input,omitempty"`
	Output *ref `json:"output,omitempty"`
}

// ref is the use of a shape as a member of another.
type ref struct {
	Shape            string `json:"shape"`
	LocationName     string `json:"locationName,omitempty"`
	QueryName        string `json:"queryName,omitempty"`
	IdempotencyToken bool   `json:"idempotencyToken,omitempty"`
}

type shape struct {
	Type      string         `json:"type"`
	Required  []string       `json:"required,omitempty"`
	Members   map[string]ref `json:"members,omitempty"`
	Member    *ref           `json:"member,omitempty"`
	Key       *ref           `json:"key,omitempty"`
	Value     *ref           `json:"value,omitempty"`
	Flattened bool           `json:"flattened,omitempty"`
	Enum      []string       `json:"enum,omitempty"`
	Min       *float64       `json:"min,omitempty"`
	Max       *float64       `json:"max,omitempty"`
	Sensitive bool           `json:"sensitive,omitempty"`
}

func readModel(svc service, path string) (*model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading model: %w", err)
	}
	m := new(model)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("parsing model %s: %w", path, err)
	}
	if m.Metadata.Protocol != svc.protocol {
		return nil, fmt.Errorf("model %s has protocol %q, want %s", path, m.Metadata.Protocol, svc.protocol)
	}
	return m, m.add(svc)
}

//go:embed additions.json
var additions []byte

// add gives EC2's model the members that EC2 got after the model was published, and values
// that bundt takes beside EC2's own. Shapes that exist get more of both; others are new.
func (m *model) add(svc service) error {
	if svc.name != "ec2" {
		return nil
	}
	var more model
	if err := json.Unmarshal(additions, &more); err != nil {
		return fmt.Errorf("parsing additions.json: %w", err)
	}
	for name, op := range more.Operations {
		if _, served := m.Operations[name]; served {
			m.Operations[name] = op
		}
	}
	for name, s := range more.Shapes {
		have, ok := m.Shapes[name]
		if !ok {
			m.Shapes[name] = s
			continue
		}
		maps.Copy(have.Members, s.Members)
		have.Enum = append(have.Enum, s.Enum...)
		slices.Sort(have.Enum)
		have.Enum = slices.Compact(have.Enum) // trimmed models have them already
		m.Shapes[name] = have
	}
	return nil
}

// reach adds to seen the shape of that name and every shape that it is made of.
func (m *model) reach(name string, seen map[string]bool) error {
	if seen[name] {
		return nil
	}
	s, ok := m.Shapes[name]
	if !ok {
		return fmt.Errorf("model has no shape %s", name)
	}
	seen[name] = true
	for _, member := range s.Members {
		if err := m.reach(member.Shape, seen); err != nil {
			return err
		}
	}
	for _, r := range []*ref{s.Member, s.Key, s.Value} {
		if r == nil {
			continue
		}
		if err := m.reach(r.Shape, seen); err != nil {
			return err
		}
	}
	return nil
}

// reachable returns the shapes that make up the inputs and those that make up
// the outputs of all operations.
func (m *model) reachable() (inputs, outputs map[string]bool, err error) {
	inputs, outputs = map[string]bool{}, map[string]bool{}
	for _, op := range m.Operations {
		if op.Input != nil {
			if err := m.reach(op.Input.Shape, inputs); err != nil {
				return nil, nil, err
			}
		}
		if op.Output != nil {
			if err := m.reach(op.Output.Shape, outputs); err != nil {
				return nil, nil, err
			}
		}
	}
	return inputs, outputs, nil
}

// maxEnum is the longest list of values that is kept. Longer lists (instance
// types) are a catalog, not a vocabulary: bundt has its own.
const maxEnum = 100

// trim returns the part of m that the named actions need.
func (m *model) trim(actions []string, source string) (*model, error) {
	t := &model{
		Source:     source,
		License:    "Apache-2.0. Copyright Amazon.com, Inc. or its affiliates. Trimmed to the operations that bundt serves; no documentation text.",
		Version:    m.Version,
		Metadata:   m.Metadata,
		Operations: map[string]operation{},
		Shapes:     map[string]shape{},
	}
	for _, name := range actions {
		op, ok := m.Operations[name]
		if !ok {
			return nil, fmt.Errorf("model has no operation %s", name)
		}
		t.Operations[name] = op
	}
	t.Shapes = m.Shapes
	inputs, outputs, err := t.reachable()
	if err != nil {
		return nil, err
	}
	t.Shapes = map[string]shape{}
	for name, s := range m.Shapes {
		if !inputs[name] && !outputs[name] {
			continue
		}
		if len(s.Enum) > maxEnum {
			s.Enum = nil
		}
		slices.Sort(s.Enum)
		t.Shapes[name] = s
	}
	return t, nil
}
