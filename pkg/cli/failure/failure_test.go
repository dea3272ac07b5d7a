package failure

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

func TestPrintAndExitCode(t *testing.T) {
	state := model.Errorf(model.CodeIncorrectInstanceState, "it is stopped").WithHint("start it")
	for _, c := range []struct {
		err  error
		want string
		code int
	}{
		{Wrap(state, "stop", "web"), "error: stop web: it is stopped (IncorrectInstanceState)\nhint: start it\n", WrongState},
		{Wrap(fmt.Errorf("deleting: %w: because", state), "rm", "x"), "error: rm x: deleting: it is stopped (IncorrectInstanceState): because\nhint: start it\n", WrongState},
		{Wrap(WithHint(state, "do %s", "that"), "stop", "web"), "error: stop web: it is stopped (IncorrectInstanceState)\nhint: do that\n", WrongState},
		{Wrap(model.Errorf(model.CodeImageIDNotFound, "no such"), "run", "x"), "error: run x: no such (InvalidAMIID.NotFound)\n", NotFound},
		{Wrap(model.Errorf(model.CodeKeyPairDuplicate, "taken"), "create key pair", "x"), "error: create key pair x: taken (InvalidKeyPair.Duplicate)\n", WrongState},
		{Wrap(NotFoundf("no image %q", "x"), "run", "x"), "error: run x: no image \"x\"\n", NotFound},
		{Usagef("bad flag"), "error: bad flag\n", Usage},
		{Wrap(fmt.Errorf("%w after 1s", ErrTimeout), "run", "x"), "error: run x: timed out after 1s\n", Timeout},
		{Wrap(errors.Join(client.ErrUnreachable, state), "ls", ""), "error: ls: cannot reach bundtd\nit is stopped (IncorrectInstanceState)\nhint: start it\n", Unreachable},
		{Wrap(fmt.Errorf("waiting: %w", context.Canceled), "run", "x"), "error: run x: interrupted\n", Interrupted},
		{Wrap(Silent{Code: 7}, "x", "y"), "", 7},
		{errors.New("plain"), "error: plain\n", Failed},
		{nil, "", OK},
	} {
		var w strings.Builder
		Print(&w, c.err)
		if w.String() != c.want {
			t.Errorf("%v: printed %q, want %q", c.err, &w, c.want)
		}
		if got := ExitCode(c.err); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.code)
		}
	}
}

func TestIsOurs(t *testing.T) {
	if IsOurs(errors.New("unknown flag")) || !IsOurs(Wrap(errors.New("x"), "a", "b")) || !IsOurs(Usagef("x")) {
		t.Error("IsOurs does not tell cobra's errors from ours")
	}
}
