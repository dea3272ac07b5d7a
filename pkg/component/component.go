// Package component owns what the components of a recipe do: it compiles them,
// whether written in the recipe or as component documents of EC2 Image Builder,
// into steps, and steps into scripts for a guest. It is pure, and imports
// pkg/recipe only; running the scripts is pkg/builder's work.
package component

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"regexp"
	"time"

	"github.com/bundt/bundt/pkg/recipe"
)

// Step is one step of a component's phase, ready to be run.
type Step struct {
	Component string
	Phase     string
	recipe.Step

	vars map[string]string // of the document; nil for steps written in the recipe
}

// ID names the step among all of its recipe: "nginx/build/install".
func (s *Step) ID() string { return s.Component + "/" + s.Phase + "/" + s.Name }

// Timeout is how long one attempt may take.
func (s *Step) Timeout() time.Duration {
	if s.TimeoutSeconds == 0 {
		return recipe.DefaultTimeoutSeconds * time.Second
	}
	return time.Duration(s.TimeoutSeconds) * time.Second
}

// Attempts is how often the step is tried, at least once.
func (s *Step) Attempts() int { return max(1, int(s.MaxAttempts)) }

// Digest identifies what the step does: "sha256:…".
func (s *Step) Digest() (string, error) {
	b, err := json.Marshal(struct {
		Component, Phase string
		Step             recipe.Step
		Vars             map[string]string
	}{s.Component, s.Phase, s.Step, s.vars})
	if err != nil {
		return "", fmt.Errorf("encoding step %s: %w", s.ID(), err)
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Compile returns the steps of one phase in the order in which they run:
// component after component. The error names the component, and for defects of a
// document the file, line and column.
func Compile(rec *recipe.Recipe, context fs.FS, phase string) ([]Step, error) {
	var out []Step
	for _, c := range rec.Components {
		phases, vars := c.Phases, map[string]string(nil)
		if c.Document != "" {
			doc, err := readDocument(context, c.Document)
			if err != nil {
				return nil, err
			}
			if vars, err = doc.Variables(c.Parameters); err != nil {
				return nil, fmt.Errorf("component %s: %w", c.Name, err)
			}
			phases = doc.Phases
		}
		before := map[string]bool{}
		for _, name := range []string{recipe.PhaseBuild, recipe.PhaseValidate, recipe.PhaseTest} {
			for _, s := range stepsOf(phases, name) {
				step := Step{Component: c.Name, Phase: name, Step: s, vars: vars}
				if err := step.check(before); err != nil {
					return nil, fmt.Errorf("component %s, step %s: %w", c.Name, s.Name, err)
				}
				before[name+"."+s.Name] = true
				if name == phase {
					out = append(out, step)
				}
			}
		}
	}
	return out, nil
}

func readDocument(context fs.FS, name string) (*recipe.Document, error) {
	const limit = 64 << 10 // Image Builder's is 16 KiB
	data, err := fs.ReadFile(context, name)
	if err != nil {
		return nil, fmt.Errorf("reading the component document %s: %w", name, err)
	}
	if len(data) > limit {
		return nil, fmt.Errorf("the component document %s is larger than %d KiB", name, limit>>10)
	}
	return recipe.ParseDocument(name, data)
}

func stepsOf(phases []recipe.Phase, name string) []recipe.Step {
	for _, p := range phases {
		if p.Name == name {
			return p.Steps
		}
	}
	return nil
}

// reference is "{{ name }}" or "{{ phase.step.outputs.stdout }}".
var reference = regexp.MustCompile(`\{\{ *([A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*) *\}\}`)

// output is the reference to what an earlier step printed.
var output = regexp.MustCompile(`^((?:build|validate|test)\.[A-Za-z0-9_-]+)\.outputs\.stdout$`)

// check expands every reference once, against the steps that come before.
func (s *Step) check(before map[string]bool) error {
	_, err := s.Expand(func(step string) (string, error) {
		if !before[step] {
			return "", fmt.Errorf("{{ %s.outputs.stdout }}: no step of that name comes before", step)
		}
		return "", nil
	})
	return err
}

// Expand returns the step with its references replaced. stdout gives what an
// earlier step of the component printed, named by its phase and name: "build.a".
func (s *Step) Expand(stdout func(step string) (string, error)) (Step, error) {
	var failed error
	expand := func(text string) string {
		return reference.ReplaceAllStringFunc(text, func(match string) string {
			name := reference.FindStringSubmatch(match)[1]
			value, err := s.lookUp(name, match, stdout)
			if err != nil && failed == nil {
				failed = err
			}
			return value
		})
	}
	out := *s
	out.Run = expand(s.Run)
	if s.Inputs.Value != nil {
		out.Inputs = recipe.Inputs{Value: expanded(reflect.ValueOf(s.Inputs.Value), expand).Interface()}
	}
	return out, failed
}

// lookUp is what a reference stands for. What cannot be one, in a step of the
// recipe, which has no parameters, stands for itself: "{{ json }}" of a command.
func (s *Step) lookUp(name, match string, stdout func(string) (string, error)) (string, error) {
	if m := output.FindStringSubmatch(name); m != nil {
		return stdout(m[1])
	}
	value, ok := s.vars[name]
	switch {
	case ok:
		return value, nil
	case s.vars == nil:
		return match, nil
	}
	return "", fmt.Errorf("{{ %s }}: no parameter, no constant and no step's output", name)
}

// expanded copies inputs with every text replaced.
func expanded(v reflect.Value, expand func(string) string) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(expanded(v.Elem(), expand))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(expanded(v.Field(i), expand))
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(expanded(v.Index(i), expand))
		}
	case reflect.String:
		out.SetString(expand(v.String()))
	default:
		out.Set(v)
	}
	return out
}
