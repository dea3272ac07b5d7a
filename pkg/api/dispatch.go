package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"runtime/debug"

	"github.com/google/uuid"

	"github.com/bundt/bundt/pkg/model"
)

// Principal is who makes a call, as the codec's authentication found it.
type Principal struct {
	AccountID string // 12 digits
	Name      string // for people and the audit log: "unix:1000", an access key's id
	// Identity is whose the access key is, and decides what the principal may do.
	Identity model.Identity
}

// Origin is where a call came from, as far as a network told.
type Origin struct {
	Address   netip.Addr // of the client; the zero Addr on a unix socket
	TLS       bool       // nobody could read it on its way: TLS, or a unix socket
	UserAgent string
}

// Call is one request of one action.
type Call struct {
	Action    string
	Version   string // of the API, where the protocol has one
	Input     any    // pointer to the action's input type
	Asked     any    // the input as the client gave it, where Input has been resolved; else nil
	Principal Principal
	Origin    Origin
	RequestID string // set by the dispatcher if it is empty
}

// Next goes on with a call.
type Next func(ctx context.Context, call *Call) (any, error)

// Interceptor sees every call of a known action, refused ones too: audit and
// metrics. It returns what next returned, or an error of its own.
type Interceptor func(ctx context.Context, call *Call, next Next) (any, error)

// Options of a Dispatcher.
type Options struct {
	// Authorize decides whether the principal may make the call: nil, or an
	// UnauthorizedOperation error. Required.
	Authorize func(ctx context.Context, call *Call) error
	// Interceptors are called in order, the first outermost.
	Interceptors []Interceptor
	// Log gets the reasons behind InternalErrors. Default: discarded.
	Log *slog.Logger
}

// Dispatcher makes calls of the actions in a table.
type Dispatcher struct {
	table     *Table
	authorize func(ctx context.Context, call *Call) error
	log       *slog.Logger
	chain     []Interceptor
}

// NewDispatcher returns a dispatcher of the table's actions.
func NewDispatcher(t *Table, o Options) (*Dispatcher, error) {
	if o.Authorize == nil {
		return nil, errors.New("making a dispatcher: no authorisation given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Dispatcher{table: t, authorize: o.Authorize, log: o.Log, chain: o.Interceptors}, nil
}

// Table returns the actions that the dispatcher serves.
func (d *Dispatcher) Table() *Table { return d.table }

// NewRequestID returns a fresh request id, in EC2's form.
func NewRequestID() string { return uuid.NewString() }

// NewInput returns a pointer to a zero input of the action, for a codec to fill;
// an UnsupportedOperation error if the service has the action and it is not
// served here, InvalidAction if there is no such action. Clients go on without an
// action that is not supported, as of ClassicLink.
func (d *Dispatcher) NewInput(action string) (any, error) {
	info, err := d.lookup(action)
	if err != nil {
		return nil, err
	}
	return info.NewInput(), nil
}

func (d *Dispatcher) lookup(action string) (*Info, error) {
	info, ok := d.table.Lookup(action)
	if !ok && d.table.exists != nil && d.table.exists(action) {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The functionality you requested is not available: this cloud does not serve %s", action)
	}
	if !ok {
		return nil, model.Errorf(model.CodeInvalidAction, "The action %s is not valid for this web service", action)
	}
	return info, nil
}

// Call makes a call and returns the action's output, a pointer. Every error is a
// *model.Error. The call's input belongs to the dispatcher from here on.
func (d *Dispatcher) Call(ctx context.Context, call *Call) (any, error) {
	return d.run(ctx, call, nil)
}

// Stream makes a call of an action that answers with events, and gives them to
// send one at a time. It returns when the action is done.
func (d *Dispatcher) Stream(ctx context.Context, call *Call, send func(event any) error) error {
	_, err := d.run(ctx, call, send)
	return err
}

func (d *Dispatcher) run(ctx context.Context, call *Call, send func(any) error) (any, error) {
	info, err := d.lookup(call.Action)
	if err != nil {
		return nil, err
	}
	if info.Stream != (send != nil) {
		return nil, model.Errorf(model.CodeInvalidAction, "The action %s does not answer in this form", call.Action)
	}
	if call.RequestID == "" {
		call.RequestID = NewRequestID()
	}
	return d.intercepted(ctx, call, func(ctx context.Context, call *Call) (any, error) {
		if err := d.check(ctx, info, call); err != nil {
			return nil, err
		}
		return info.handle(withAsked(WithPrincipal(ctx, call.Principal), call), call.Input, send)
	})
}

// check validates the request, asks for authorisation, and ends a dry run.
func (d *Dispatcher) check(ctx context.Context, info *Info, call *Call) error {
	v := reflect.ValueOf(call.Input)
	if want := reflect.TypeOf(info.NewInput()); v.Type() != want || v.IsNil() {
		return fmt.Errorf("dispatching %s: input is %T, want %s", call.Action, call.Input, want)
	}
	info.plan.dropEmpty(v.Elem())
	if err := info.plan.judge(v.Elem()); err != nil {
		return err
	}
	unresolved := resolve(ctx, info, call)
	if err := d.authorize(ctx, call); err != nil {
		return err
	}
	if unresolved != nil {
		return unresolved
	}
	if takeDryRun(reflect.ValueOf(call.Input).Elem()) {
		return model.Errorf(model.CodeDryRunOperation, "Request would have succeeded, but DryRun flag is set.")
	}
	return nil
}

// judge finds what is wrong with a request by its plan alone.
func (p structPlan) judge(in reflect.Value) error {
	for _, check := range []func(structPlan, reflect.Value, string) error{checkRequired, checkValues, checkActs} {
		if err := p.each(in, "", check); err != nil {
			return err
		}
	}
	return nil
}

// resolve fills in what the call's input only names. What comes from the store
// is judged like what comes from a client. After an error the input is as it was.
func resolve(ctx context.Context, info *Info, call *Call) error {
	if info.resolve == nil {
		return nil
	}
	in, err := info.resolve(WithPrincipal(ctx, call.Principal), call.Input)
	if err != nil || in == call.Input {
		return err
	}
	if err := info.plan.judge(reflect.ValueOf(in).Elem()); err != nil {
		return err
	}
	call.Input, call.Asked = in, call.Input
	return nil
}

// Do makes a call of something that is not in the table, like an upload: what do
// does is authorised and seen by the interceptors as actions are. Every error is a
// *model.Error.
func (d *Dispatcher) Do(ctx context.Context, call *Call, do func(ctx context.Context) (any, error)) (any, error) {
	return d.intercepted(ctx, call, func(ctx context.Context, call *Call) (any, error) {
		if err := d.authorize(ctx, call); err != nil {
			return nil, err
		}
		return do(WithPrincipal(ctx, call.Principal))
	})
}

// intercepted goes on with a call through the interceptors.
func (d *Dispatcher) intercepted(ctx context.Context, call *Call, next Next) (any, error) {
	next = d.recovering(next)
	for i := len(d.chain) - 1; i >= 0; i-- {
		inner, intercept := next, d.chain[i]
		next = func(ctx context.Context, call *Call) (any, error) { return intercept(ctx, call, inner) }
	}
	out, err := d.recovering(next)(ctx, call)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// takeDryRun removes the DryRun member and returns what it said.
func takeDryRun(in reflect.Value) bool {
	f := in.FieldByName("DryRun")
	if !f.IsValid() || f.Kind() != reflect.Pointer || f.IsNil() {
		return false
	}
	dry := f.Elem().Bool()
	f.SetZero()
	return dry
}

// recovering turns panics and errors that are not for clients into InternalError.
func (d *Dispatcher) recovering(next Next) Next {
	return func(ctx context.Context, call *Call) (out any, err error) {
		defer func() {
			if p := recover(); p != nil {
				d.log.Error("action panicked", "action", call.Action, "request", call.RequestID, "panic", p, "stack", string(debug.Stack()))
				out, err = nil, internalError(call)
			}
		}()
		out, err = next(ctx, call)
		if err != nil {
			return nil, d.PublicError(call, err)
		}
		return out, nil
	}
}

// PublicError returns the error that the client may see for err: the
// *model.Error in its chain, else a general one, with the reason in the log.
func (d *Dispatcher) PublicError(call *Call, err error) *model.Error {
	var e *model.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return model.Errorf(model.CodeServiceUnavailable, "The request ended before it was done")
	}
	d.log.Error("action failed", "action", call.Action, "request", call.RequestID, "error", err)
	return internalError(call)
}

func internalError(call *Call) *model.Error {
	return model.Errorf(model.CodeInternalError, "An internal error has occurred").
		WithHint("the daemon's log has the reason under request %s", call.RequestID)
}

type principalKey struct{}

// WithPrincipal returns a context that carries the caller's identity.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalFrom returns the caller's identity, the zero Principal outside of a call.
func PrincipalFrom(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

type askedKey struct{}

func withAsked(ctx context.Context, call *Call) context.Context {
	if call.Asked == nil {
		return ctx
	}
	return context.WithValue(ctx, askedKey{}, call.Asked)
}

// AskedFrom returns the call's input as the client gave it, before Action.Resolve
// filled it in; nil if there was nothing to fill in.
func AskedFrom(ctx context.Context) any { return ctx.Value(askedKey{}) }

// CodeRequestTooLarge is the error code of a request body over the codec's limit.
const CodeRequestTooLarge = "RequestEntityTooLarge"

// CodeUnauthorizedOperation is the error code of a call that the principal may not make.
const CodeUnauthorizedOperation = "UnauthorizedOperation"

// CodeMissingAuthenticationToken is the error code of a request that is not signed.
const CodeMissingAuthenticationToken = "MissingAuthenticationToken"

// HTTPStatus is the status that EC2 answers an error code with.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
func HTTPStatus(code string) int {
	switch code {
	case model.CodeDryRunOperation:
		return http.StatusPreconditionFailed
	case model.CodeAuthFailure, model.CodeOptInRequired:
		return http.StatusUnauthorized
	case CodeUnauthorizedOperation, CodeMissingAuthenticationToken:
		return http.StatusForbidden
	case CodeRequestTooLarge:
		return http.StatusRequestEntityTooLarge
	case model.CodeInternalError, model.CodeInsufficientCapacity, model.CodeStorageFull:
		return http.StatusInternalServerError
	case model.CodeServiceUnavailable, "RequestLimitExceeded":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}
