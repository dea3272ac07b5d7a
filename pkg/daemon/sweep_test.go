package daemon_test

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
)

// The tests here hold every action in the table to what is common to all of
// EC2's actions, with inputs that are made from the table and the types alone. A
// new action is swept by being there.

// furnish makes one object of each kind, as far as there are actions to, and
// returns a caller that knows their ids.
func furnish(t *testing.T, c *cloud) *caller {
	t.Helper()
	image := c.bootSector()
	c.run(image)
	call := newCaller(c)
	served := map[string]bool{}
	for _, a := range servedActions(t) {
		served[a.Name] = true
	}
	for _, make := range []struct {
		action string
		input  object
	}{
		{"CreateKeyPair", object{"KeyName": "sweep"}},
		{"AllocateAddress", object{"Domain": "vpc"}},
		{"CreateLaunchTemplate", object{"LaunchTemplateName": "sweep", "LaunchTemplateData": object{"ImageId": *image}}},
	} {
		if !served[make.action] {
			continue
		}
		out, err := call.call(t, make.action, make.input)
		if err != nil {
			t.Fatalf("%s: %v", make.action, err)
		}
		call.learn(out)
	}
	for _, a := range servedActions(t) {
		if strings.HasPrefix(a.Name, "Describe") && len(call.minimal(a)) == 0 {
			if out, err := call.call(t, a.Name, object{}); err == nil {
				call.learn(out)
			}
		}
	}
	return call
}

// code is that of an error, "" of none.
func code(err error) string { return model.CodeOf(err) }

func TestSweep(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	call := furnish(t, c)
	before := c.everything()
	for _, a := range servedActions(t) {
		t.Run(a.Name, func(t *testing.T) {
			sweepDryRun(t, call, a)
			sweepMembers(t, call, a)
			sweepParameters(t, call, a)
			sweepIDs(t, call, a)
			sweepPages(t, call, a)
			sweepFilters(t, call, a)
		})
	}
	if after := c.everything(); after != before {
		t.Errorf("requests that must change nothing changed something:\n%s\n---\n%s", before, after)
	}
}

// dry is the same request with DryRun, where the action has it.
func dry(a action, in object) object {
	in = maps.Clone(in)
	if a.op.DryRun {
		in["DryRun"] = true
	}
	return in
}

func sweepDryRun(t *testing.T, call *caller, a action) {
	t.Helper()
	if !a.op.DryRun {
		return
	}
	if _, err := call.call(t, a.Name, dry(a, call.minimal(a))); code(err) != model.CodeDryRunOperation {
		t.Errorf("a dry run of %v answers %v", call.minimal(a), err)
	}
}

// sweepMembers leaves out each required member, and adds one that there is none of.
func sweepMembers(t *testing.T, call *caller, a action) {
	t.Helper()
	in := call.minimal(a)
	for name := range in {
		less := maps.Clone(in)
		delete(less, name)
		if _, err := call.call(t, a.Name, less); code(err) != model.CodeMissingParameter {
			t.Errorf("without %s it answers %v", name, err)
		}
	}
	in["NoSuchParameter"] = "x"
	if _, err := call.call(t, a.Name, in); code(err) != model.CodeUnknownParameter {
		t.Errorf("with an unknown parameter it answers %v", err)
	}
}

// sweepParameters sets each parameter that is not acted on, and each that is
// limited or of an enum to a value that is not allowed.
func sweepParameters(t *testing.T, call *caller, a action) {
	t.Helper()
	for _, p := range a.Parameters() {
		in := dry(a, call.with(a, p.Path))
		f := leaf(a.input, p.Path)
		wrong, allowed := any("no-such-value"), []string{model.CodeInvalidParameterValue}
		switch {
		case !p.Acted:
			if _, err := call.call(t, a.Name, in); code(err) != model.CodeUnsupportedOperation {
				t.Errorf("with %s, which it does not act on, it answers %v to %v", p.Path, err, in)
			}
			continue
		case f.Tag.Get("enum") != "":
		case p.Values != nil:
			allowed = []string{model.CodeUnsupportedOperation}
			wrong = otherThan(f.Type, p.Values)
		default:
			continue
		}
		set(in, p.Path, wrong)
		if _, err := call.call(t, a.Name, in); !slices.Contains(allowed, code(err)) {
			t.Errorf("with %s = %v it answers %v", p.Path, wrong, err)
		}
	}
}

// otherThan is a value that is none of these.
func otherThan(t reflect.Type, values []string) any {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return !slices.Contains(values, "true")
	case reflect.String:
		return "no-such-value"
	}
	return 987654
}

// sweepIDs gives each member that takes ids one that is none, and one of nothing.
func sweepIDs(t *testing.T, call *caller, a action) {
	t.Helper()
	for _, p := range a.Parameters() {
		prefix := idPrefixes[p.Path]
		if !p.Acted || prefix == "" {
			continue
		}
		for _, bad := range []struct {
			id, suffix string
		}{{prefix + "-nothexadecimaldig", ".Malformed"}, {prefix + "-0fedcba9876543210", "NotFound"}} {
			in := call.with(a, p.Path)
			set(in, p.Path, bad.id)
			if _, err := call.call(t, a.Name, in); !strings.HasSuffix(code(err), bad.suffix) {
				t.Errorf("with %s %s it answers %v, want %s", p.Path, bad.id, err, bad.suffix)
			}
		}
	}
}

func sweepPages(t *testing.T, call *caller, a action) {
	t.Helper()
	if !a.op.Paginated {
		return
	}
	for _, n := range []int{-1, 0, 1_000_000} {
		in := call.full(a)
		in["MaxResults"] = n
		if _, err := call.call(t, a.Name, in); code(err) != model.CodeInvalidParameterValue {
			t.Errorf("with MaxResults %d it answers %v", n, err)
		}
	}
	in := call.full(a)
	in["MaxResults"] = 100
	if _, err := call.call(t, a.Name, in); err != nil {
		t.Errorf("with MaxResults 100 it answers %v", err)
	}
	in["NextToken"] = "garbage"
	if _, err := call.call(t, a.Name, in); !slices.Contains([]string{model.CodeInvalidNextToken, model.CodeInvalidParameterValue}, code(err)) {
		t.Errorf("with a NextToken of nobody it answers %v", err)
	}
}

func sweepFilters(t *testing.T, call *caller, a action) {
	t.Helper()
	if f, ok := a.input.FieldByName("Filters"); !ok || f.Type != reflect.TypeFor[[]ec2types.Filter]() || !slices.Contains(a.Acts, "Filters") {
		return
	}
	filtered := func(name string, values ...string) (object, error) {
		in := call.full(a)
		in["Filters"] = []object{{"Name": name, "Values": values}}
		return call.call(t, a.Name, in)
	}
	_, err := filtered("no-such-filter", "x")
	var e *model.Error
	if code(err) != model.CodeInvalidParameterValue || !errors.As(err, &e) {
		t.Errorf("with an unknown filter it answers %v", err)
		return
	}
	_, list, _ := strings.Cut(e.Hint, ": ")
	names := strings.Split(strings.ReplaceAll(list, "tag:<key>", "tag:x"), ", ")
	for _, name := range names {
		if _, err := filtered(name, "*"); err != nil {
			t.Errorf("with the filter %s=* it answers %v", name, err)
		}
	}
	if _, err := filtered(names[0], slices.Repeat([]string{"x"}, 201)...); code(err) != "FilterLimitExceeded" {
		t.Errorf("with 201 values of the filter %s it answers %v", names[0], err)
	}
	if _, err := filtered(names[0]); code(err) != model.CodeInvalidParameterValue {
		t.Errorf("with no value of the filter %s it answers %v", names[0], err)
	}
}
