package api

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/api/monitoringtypes"
	"github.com/bundt/bundt/pkg/api/ssmtypes"
	"github.com/bundt/bundt/pkg/api/ststypes"
)

// Action is one action of the API: Handler gets a validated request of which
// only members in Acts (and DryRun, which it never sees) can be set.
type Action[I, O any] struct {
	Name    string
	Handler func(ctx context.Context, in *I) (*O, error)
	// Acts lists the members of the request that the handler acts on, as dotted
	// paths of JSON names that pass through lists: "BlockDeviceMappings.Ebs.VolumeSize".
	// A path to a structure stands for everything in it. "Monitoring.Enabled=false"
	// accepts only that value, "Tenancy=default|host" only these.
	Acts []string
	// KeepEmpty lists string members for which an empty string means something
	// else than absence, like a tag's value in DeleteTags.
	KeepEmpty []string
	// Resolve returns the request with what it only names filled in, like the
	// launch parameters of a template, so that authorisation sees all of what is to
	// be done; the same request if there is nothing to fill in. It changes neither
	// the request nor anything else. Its error is told only to those who may make
	// the call as they asked it. The handler finds the client's words by AskedFrom.
	Resolve func(ctx context.Context, in *I) (*I, error)
}

// Stream is an action that answers with events until it is done. The handler's
// error ends the stream; send returns an error once the client is gone.
type Stream[I, E any] struct {
	Name      string
	Handler   func(ctx context.Context, in *I, send func(E) error) error
	Acts      []string
	KeepEmpty []string
}

// Table is the set of actions. Register everything before serving: a Table may
// be read by many goroutines, but not while it is written.
type Table struct {
	actions map[string]*Info
	enums   func(name string) []string
	exists  func(name string) bool // the service has such an action, served here or not; nil if unknown
}

// NewTable returns an empty table of actions whose requests are the types of any
// of the services or bundt's own.
func NewTable() *Table {
	return &Table{actions: map[string]*Info{}, enums: enumValues, exists: ec2types.IsName}
}

// enumValues gives the values of the enums that the "enum" struct tags of requests
// name. No two services have enums of one name.
func enumValues(name string) []string {
	for _, values := range []func(string) []string{ec2types.EnumValues, iamtypes.EnumValues, ststypes.EnumValues, ssmtypes.EnumValues, monitoringtypes.EnumValues} {
		if found := values(name); found != nil {
			return found
		}
	}
	return nil
}

// Info describes an action to codecs and to people.
type Info struct {
	Name   string
	Acts   []string // as registered, sorted
	Stream bool     // answers with events

	newInput func() any
	plan     structPlan
	resolve  func(ctx context.Context, in any) (any, error) // nil: nothing to resolve
	handle   func(ctx context.Context, in any, send func(any) error) (any, error)
}

// NewInput returns a pointer to a zero input of the action.
func (i *Info) NewInput() any { return i.newInput() }

// Register adds an action to the table. It panics if the name is taken or a path
// names no member: mistakes in the program, found by any test that builds the table.
func Register[I, O any](t *Table, a Action[I, O]) {
	info := &Info{
		Name:     a.Name,
		Acts:     slices.Sorted(slices.Values(a.Acts)),
		newInput: func() any { return new(I) },
		plan:     newPlan(t.enums, a.Name, reflect.TypeFor[I](), a.Acts, a.KeepEmpty),
		handle: func(ctx context.Context, in any, _ func(any) error) (any, error) {
			out, err := a.Handler(ctx, in.(*I))
			if err != nil {
				return nil, err
			}
			if out == nil {
				out = new(O)
			}
			showEmptyLists(out)
			return out, nil
		},
	}
	if a.Resolve != nil {
		info.resolve = func(ctx context.Context, in any) (any, error) { return a.Resolve(ctx, in.(*I)) }
	}
	t.add(info)
}

// RegisterStream adds an action that answers with events; it panics as Register does.
func RegisterStream[I, E any](t *Table, s Stream[I, E]) {
	t.add(&Info{
		Name:     s.Name,
		Acts:     slices.Sorted(slices.Values(s.Acts)),
		Stream:   true,
		newInput: func() any { return new(I) },
		plan:     newPlan(t.enums, s.Name, reflect.TypeFor[I](), s.Acts, s.KeepEmpty),
		handle: func(ctx context.Context, in any, send func(any) error) (any, error) {
			return nil, s.Handler(ctx, in.(*I), func(e E) error { return send(e) })
		},
	})
}

func (t *Table) add(i *Info) {
	if _, taken := t.actions[i.Name]; taken || i.Name == "" {
		panic(fmt.Sprintf("api: action %q is registered twice or has no name", i.Name))
	}
	t.actions[i.Name] = i
}

// Lookup returns the action of that name.
func (t *Table) Lookup(name string) (*Info, bool) {
	i, ok := t.actions[name]
	return i, ok
}

// Actions returns all actions, sorted by name.
func (t *Table) Actions() []*Info {
	all := make([]*Info, 0, len(t.actions))
	for _, i := range t.actions {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *Info) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// showEmptyLists makes an output's own lists that have nothing in them empty
// instead of absent, as EC2 shows them.
func showEmptyLists(out any) {
	v := reflect.ValueOf(out).Elem()
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range v.Fields() {
		if f.Kind() == reflect.Slice && f.IsNil() && f.Type().Elem().Kind() != reflect.Uint8 {
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
		}
	}
}
