package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/component"
	"github.com/bundt/bundt/pkg/recipe"
)

const (
	// maxReboots is how often one step may ask for a reboot by its exit code.
	maxReboots = 5
	// maxOutput is how much of what a step prints later steps can refer to.
	maxOutput = 64 << 10
	// errorTail is how much of a failed step's log its error shows.
	errorTail = 1 << 10
)

// runSteps runs the steps of one phase. Steps whose failure does not end the
// build at once are followed by the rest. passed, if not nil, is told of each step
// after which none has failed so far, not even one whose failure does not count.
func (j *job) runSteps(ctx context.Context, g *guest, steps []component.Step, outputs map[string]string, passed func(step int)) error {
	var failed error
	for i := range steps {
		s := &steps[i]
		err := j.runStep(ctx, g, s, outputs)
		if err != nil {
			passed = nil
		}
		if passed != nil {
			passed(i)
		}
		switch {
		case err == nil || s.OnFailure == recipe.OnFailureIgnore && ctx.Err() == nil:
		case s.OnFailure == recipe.OnFailureContinue && ctx.Err() == nil:
			failed = errors.Join(failed, err)
		default:
			return errors.Join(failed, err)
		}
	}
	return failed
}

func (j *job) runStep(ctx context.Context, g *guest, s *component.Step, outputs map[string]string) error {
	return j.steps.doLogged(ctx, s.Phase, stepName(s), func(log io.Writer) error {
		ready, err := s.Expand(func(step string) (string, error) { return outputs[s.Component+"."+step], nil })
		if err != nil {
			return err
		}
		command, err := ready.Command()
		if err != nil {
			return err
		}
		for attempt := 1; ; attempt++ {
			var stdout string
			stdout, err = j.attempt(ctx, g, s, command, log)
			if err == nil {
				outputs[s.Component+"."+s.Phase+"."+s.Name] = strings.TrimRight(stdout, "\n")
				return nil
			}
			if attempt >= s.Attempts() || ctx.Err() != nil {
				return err
			}
			fmt.Fprintf(log, "attempt %d of %d failed: %v\n", attempt, s.Attempts(), err)
		}
	})
}

// attempt runs the step once, and again after each reboot that it asks for.
func (j *job) attempt(ctx context.Context, g *guest, s *component.Step, c component.Command, log io.Writer) (string, error) {
	if c.Reboot {
		return "", j.reboot(ctx, g, c.Delay)
	}
	for range maxReboots {
		if g.session == nil {
			if err := j.connect(ctx, g); err != nil {
				return "", err
			}
		}
		stdout := &bounded{most: maxOutput}
		tail := &tail{most: errorTail}
		code, err := j.timed(ctx, g, s.Timeout(), c, io.MultiWriter(stdout, tail, log), io.MultiWriter(tail, log))
		switch {
		case err != nil:
			g.close() // whatever still runs there
			return "", err
		case code == 0:
			return stdout.String(), nil
		case code != component.RebootCode:
			return "", fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(tail.String()))
		}
		fmt.Fprintln(log, "the step asks for a reboot")
		if err := j.reboot(ctx, g, 0); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("the step asked for a reboot %d times", maxReboots)
}

func (j *job) timed(ctx context.Context, g *guest, limit time.Duration, c component.Command, stdout, stderr io.Writer) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	code, err := g.session.Run(ctx, c.Script, c.Bash, stdout, stderr)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return code, err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, b.most-b.Len()))])
	return len(p), nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex // standard output and error come at once
	kept []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if cut := len(t.kept) - t.most; cut > 0 {
		t.kept = append(t.kept[:0], t.kept[cut:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }
