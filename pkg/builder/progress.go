package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/bundt/bundt/pkg/component"
	"github.com/bundt/bundt/pkg/model"
)

// progress keeps the steps of a build in its record, for those who watch.
type progress struct {
	job   *job
	steps []model.BuildStep
}

// begin drops the steps of an attempt before, but not the bake's.
func (j *job) begin(ctx context.Context) (*progress, error) {
	steps := slices.DeleteFunc(slices.Clone(j.build.Steps), func(s model.BuildStep) bool { return s.Phase != "" })
	p := &progress{job: j, steps: steps}
	if err := errors.Join(j.Logs.Clear(j.id), j.setHeld(ctx, "")); err != nil {
		return nil, err
	}
	return p, p.save(ctx)
}

func (p *progress) save(ctx context.Context) error {
	_, err := p.job.account.EditBuild(ctx, p.job.id, func(b *model.Build) error {
		if !b.State.Over() {
			b.State, b.Steps = model.BuildRunning, slices.Clone(p.steps)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recording the build's progress: %w", err)
	}
	return nil
}

// cached notes steps that need not be run, since the cache has what comes of them.
func (p *progress) cached(ctx context.Context, steps []component.Step, from string) error {
	now := p.job.Cloud.Now()
	for i := range steps {
		p.steps = append(p.steps, model.BuildStep{Name: stepName(&steps[i]), Phase: steps[i].Phase, Detail: from, Cached: true, Started: now, Finished: now})
	}
	return p.save(ctx)
}

// stepName is what a step is called in a build's record.
func stepName(s *component.Step) string { return s.Component + " " + s.Name }

func (p *progress) do(ctx context.Context, phase, name string, work func() error) error {
	return p.doLogged(ctx, phase, name, func(io.Writer) error { return work() })
}

// doLogged does one step of the build, whose error names it.
func (p *progress) doLogged(ctx context.Context, phase, name string, work func(log io.Writer) error) error {
	p.steps = append(p.steps, model.BuildStep{Name: name, Phase: phase, Started: p.job.Cloud.Now()})
	i := len(p.steps) - 1
	if err := p.save(ctx); err != nil {
		return err
	}
	log, err := p.job.Logs.Open(p.job.id, i)
	if err != nil {
		return err
	}
	defer log.Close()
	if err = work(log); err != nil {
		err = fmt.Errorf("%s: %s: %w", phase, name, err)
		p.steps[i].Error = err.Error()
		fmt.Fprintln(log, err)
	}
	p.steps[i].Finished = p.job.Cloud.Now()
	if serr := p.save(context.WithoutCancel(ctx)); err == nil {
		err = serr
	}
	return err
}
