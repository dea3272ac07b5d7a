package recipe

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Component is a named piece of work inside the image: either phases written in
// the recipe, or a component document of EC2 Image Builder.
type Component struct {
	Name   string  `yaml:"name" required:"true" json:"name"`
	Phases []Phase `yaml:"phases" json:"phases,omitempty"`
	// Document is a file of the context: see ParseDocument.
	Document   string           `yaml:"document" json:"document,omitempty"`
	Parameters map[string]Value `yaml:"parameters" json:"parameters,omitempty"` // of the document, by name
}

// The phases, in the order in which they run: build and validate on the build
// instance, test on an instance of the image that was made of it.
const (
	PhaseBuild    = "build"
	PhaseValidate = "validate"
	PhaseTest     = "test"
)

// Phase is one phase of a component.
type Phase struct {
	Name  string `yaml:"name" required:"true" json:"name" enum:"build|validate|test"`
	Steps []Step `yaml:"steps" required:"true" json:"steps"`
}

// What a failed step means for the build, in EC2 Image Builder's words.
const (
	OnFailureAbort    = "Abort"    // the build fails at once
	OnFailureContinue = "Continue" // the rest is run, then the build fails
	OnFailureIgnore   = "Ignore"   // the failure does not count
)

// Step is one piece of work of a phase: a script, or one of EC2 Image Builder's
// actions.
// https://docs.aws.amazon.com/imagebuilder/latest/userguide/toe-use-documents.html#document-schema
type Step struct {
	Name           string `yaml:"name" required:"true" json:"name"`
	Run            string `yaml:"run" json:"run,omitempty"` // a shell script that ends with the first failure
	Action         string `yaml:"action" json:"action,omitempty"`
	Inputs         Inputs `yaml:"inputs" json:"inputs,omitzero"`
	TimeoutSeconds int64  `yaml:"timeoutSeconds" json:"timeoutSeconds,omitempty"` // of an attempt; 0: DefaultTimeoutSeconds
	OnFailure      string `yaml:"onFailure" json:"onFailure,omitempty" enum:"Abort|Continue|Ignore"`
	MaxAttempts    int64  `yaml:"maxAttempts" json:"maxAttempts,omitempty"` // 0: one
}

// DefaultTimeoutSeconds is how long an attempt of a step may take: Image Builder's
// two hours.
const DefaultTimeoutSeconds = 7200

// Inputs are what an action works with: its Value has the action's type, for
// instance *[]CreateFile, once the step has been checked.
type Inputs struct {
	Value any
	node  *yaml.Node
}

// IsZero reports whether there are none.
func (i Inputs) IsZero() bool { return i.Value == nil }

// MarshalJSON encodes the value, for digests.
func (i Inputs) MarshalJSON() ([]byte, error) { return json.Marshal(i.Value) }

var stepPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

func (d *decoder) checkComponents(r *Recipe) {
	for i := range r.Components {
		c := &r.Components[i]
		at := fmt.Sprintf("components[%d]", i)
		d.match(at+".name", c.Name, namePattern, "a name")
		if slices.ContainsFunc(r.Components[:i], func(o Component) bool { return o.Name == c.Name }) {
			d.at(at+".name", "component %s is defined twice", c.Name)
		}
		_, phases := d.pos[at+".phases"]
		_, parameters := d.pos[at+".parameters"]
		switch {
		case phases == (c.Document != ""):
			d.at(at, "component %s needs exactly one of phases and document", c.Name)
		case parameters && phases:
			d.at(at+".parameters", "component %s: parameters are those of a document", c.Name)
		case c.Document != "":
			d.contextPath(at+".document", c.Document)
		}
		d.checkPhases(at+".phases", c.Phases)
	}
}

func (d *decoder) checkPhases(at string, phases []Phase) {
	if _, written := d.pos[at]; written && len(phases) == 0 && !d.failedAt(at) {
		d.at(at, "%s is empty: give one of build, validate and test", at)
	}
	for i, p := range phases {
		here := fmt.Sprintf("%s[%d]", at, i)
		if slices.ContainsFunc(phases[:i], func(o Phase) bool { return o.Name == p.Name }) {
			d.at(here+".name", "the phase %s is there twice", p.Name)
		}
		if len(p.Steps) == 0 && !d.failedAt(here+".steps") {
			d.at(here+".steps", "the phase %s has no steps", p.Name)
		}
		for j := range p.Steps {
			d.checkStep(fmt.Sprintf("%s.steps[%d]", here, j), &p.Steps[j], p.Steps[:j])
		}
	}
}

func (d *decoder) checkStep(at string, s *Step, before []Step) {
	d.match(at+".name", s.Name, stepPattern, "a step's name of letters, digits, '_' and '-'")
	if slices.ContainsFunc(before, func(o Step) bool { return o.Name == s.Name }) {
		d.at(at+".name", "the step %s is there twice", s.Name)
	}
	for key, n := range map[string]int64{".timeoutSeconds": s.TimeoutSeconds, ".maxAttempts": s.MaxAttempts} {
		if _, written := d.pos[at+key]; written && n < 1 && !d.failedAt(at+key) {
			d.at(at+key, "%s%s must be at least 1", at, key)
		}
	}
	if (s.Run == "") == (s.Action == "") {
		if !d.failedAt(at) {
			d.at(at, "the step %s needs exactly one of run and action", s.Name)
		}
		return
	}
	if s.Run != "" {
		if s.Inputs.node != nil {
			d.at(at+".inputs", "the step %s: inputs are those of an action", s.Name)
		}
		return
	}
	d.checkAction(at, s)
}

// checkAction decodes the step's inputs into the type that its action takes.
func (d *decoder) checkAction(at string, s *Step) {
	inputs, ok := newInputs(s.Action)
	switch {
	case !ok && slices.Contains(foreignActions, s.Action):
		d.at(at+".action", "the action %s of EC2 Image Builder is not supported here", s.Action)
	case !ok:
		d.at(at+".action", "unknown action %q: %s", s.Action, suggest(s.Action, ActionNames(), "known are"))
	case s.Inputs.node == nil && !inputsOptional[s.Action]:
		d.at(at, "%s lacks the key %q", at, "inputs")
	default:
		v := reflect.ValueOf(inputs).Elem()
		if s.Inputs.node != nil {
			// One action's inputs may be written without the list around them.
			if v.Kind() == reflect.Slice && s.Inputs.node.Kind == yaml.MappingNode {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
				v = v.Index(0)
			}
			d.value(s.Inputs.node, v, at+".inputs", "")
		}
		s.Inputs.Value = inputs
		if c, ok := inputs.(checker); ok {
			c.check(d, at+".inputs")
		}
	}
}

// checker is implemented by inputs of which not every value makes sense.
type checker interface{ check(d *decoder, at string) }
