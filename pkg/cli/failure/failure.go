// Package failure owns how commands fail: the shape of error messages and the
// exit codes. It may import pkg/model and pkg/client only.
package failure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// The exit codes, as the man page documents them.
const (
	OK          = 0
	Failed      = 1 // anything without a code of its own
	Usage       = 2 // the command line makes no sense
	NotFound    = 3 // an object that was named does not exist
	WrongState  = 4 // an object is in a state, or has users, that forbid this
	Timeout     = 5 // what was waited for did not come in time
	Unreachable = 6 // the daemon does not answer
	Interrupted = 130
)

// ErrTimeout: what a command waited for did not come in time.
var ErrTimeout = errors.New("timed out")

// Error is a failed command: "verb object: cause", and what to do next.
type Error struct {
	Verb   string
	Object string
	Err    error
	Hint   string // overrides the cause's own
}

func (e *Error) Error() string {
	return strings.TrimSpace(e.Verb+" "+e.Object) + ": " + causeText(e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Wrap says what was being done to what when err came; nil stays nil.
func Wrap(err error, verb, object string) error {
	if err == nil {
		return nil
	}
	return &Error{Verb: verb, Object: object, Err: err}
}

// WithHint adds what to do next.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// UsageError marks err as a mistake on the command line.
func UsageError(err error) error { return usageError{err} }

// Usagef is a mistake on the command line.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// NotFoundf is an object that does not exist.
func NotFoundf(format string, args ...any) error {
	return &notFound{fmt.Errorf(format, args...)}
}

type notFound struct{ error }

// Silent is a failure that has been explained already: only its exit code counts.
type Silent struct{ Code int }

func (s Silent) Error() string { return fmt.Sprintf("exit code %d", s.Code) }

// causeText is the cause as people read it: an API error's message with its code
// behind, as the code is what one searches for.
func causeText(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	var api *model.Error
	if !errors.As(err, &api) {
		return err.Error()
	}
	return strings.Replace(err.Error(), api.Error(), api.Message+" ("+api.Code+")", 1)
}

// ExitCode is the exit code that tells err.
func ExitCode(err error) int {
	var (
		silent Silent
		usage  usageError
		gone   *notFound
		child  *exec.ExitError
	)
	switch {
	case err == nil:
		return OK
	case errors.As(err, &silent):
		return silent.Code
	case errors.As(err, &usage):
		return Usage
	case errors.As(err, &gone):
		return NotFound
	case errors.Is(err, ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, client.ErrUnreachable):
		return Unreachable
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.As(err, &child):
		return child.ExitCode()
	}
	return codeOfAPI(model.CodeOf(err))
}

func codeOfAPI(code string) int {
	switch {
	case strings.HasSuffix(code, ".NotFound"), strings.HasSuffix(code, ".NotFoundException"), strings.HasSuffix(code, ".VersionNotFound"), code == "NoSuchEntity":
		return NotFound
	case code == model.CodeIncorrectInstanceState, code == model.CodeIncorrectState, code == model.CodeIncorrectModificationState,
		code == model.CodeVolumeInUse, strings.HasSuffix(code, ".InUse"), code == "DependencyViolation", code == "Resource.AlreadyAssociated",
		code == "DeleteConflict", strings.HasSuffix(code, "AlreadyExists"), strings.HasSuffix(code, ".AlreadyExistsException"),
		strings.HasSuffix(code, ".Unavailable"), strings.HasSuffix(code, ".Duplicate"):
		return WrongState
	}
	return Failed
}

// hintOf is the first hint in err's tree, from the top.
func hintOf(err error) string {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself, to find the outermost
	case *Error:
		if e.Hint != "" {
			return e.Hint
		}
	case *hinted:
		return e.hint
	case *model.Error:
		return e.Hint
	case interface{ Unwrap() []error }:
		for _, sub := range e.Unwrap() {
			if hint := hintOf(sub); hint != "" {
				return hint
			}
		}
	}
	if below := errors.Unwrap(err); below != nil {
		return hintOf(below)
	}
	return ""
}

// IsOurs reports whether err came out of a command of ours, not of the parsing of
// the command line.
func IsOurs(err error) bool {
	var (
		e      *Error
		silent Silent
		usage  usageError
	)
	return errors.As(err, &e) || errors.As(err, &silent) || errors.As(err, &usage)
}

// Print writes err for people: the error and, on a line of its own, the hint.
func Print(w io.Writer, err error) {
	var silent Silent
	if err == nil || errors.As(err, &silent) {
		return
	}
	var e *Error
	text := causeText(err)
	if errors.As(err, &e) {
		text = err.Error()
	}
	fmt.Fprintln(w, "error:", text)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintln(w, "hint:", hint)
	}
}
