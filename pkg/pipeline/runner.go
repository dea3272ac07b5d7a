// Package pipeline owns the running of image pipelines: it begins their runs when
// schedules are due, and takes each run from its build to the end of its
// distribution. What it knows is in the store, and each of its steps can be repeated, so it
// goes on after any interruption. It imports pkg/cloud, pkg/schedule and what they are
// made of; never a driver.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/schedule"
	"github.com/bundt/bundt/pkg/store"
)

// Options are what a Runner works with.
type Options struct {
	Cloud  *cloud.Cloud
	Store  *store.Store
	Logger *slog.Logger
	// Packages identifies what the recipe of this digest would find in its
	// distribution's archive now; "" if it takes nothing from there.
	Packages func(ctx context.Context, contextDigest string, arch model.Arch) (string, error)
}

// Runner runs pipelines.
type Runner struct{ Options }

// New returns a runner; Run makes it work.
func New(o Options) *Runner { return &Runner{o} }

// Longest and shortest waits between two looks. The clock may be set, so that no wait
// is long; and what fails is not tried again at once.
const (
	longestWait  = 30 * time.Second
	shortestWait = 50 * time.Millisecond
	troubleWait  = 5 * time.Second
)

const (
	// atOnce is how many pipelines and runs are looked at side by side.
	atOnce = 8
	// packagesTime is how long a distribution's archive may take to tell its state.
	packagesTime = 2 * time.Minute
)

var errSlowArchive = fmt.Errorf("the distribution's archive did not tell its state within %s", packagesTime)

// Run runs pipelines until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	changes := r.Store.Watch(ctx, records.Pipelines.Name(), records.PipelineRuns.Name(), records.Builds.Name(), records.RegistryTasks.Name())
	for {
		next, err := r.Step(ctx)
		wait := min(longestWait, max(shortestWait, next.Sub(r.Cloud.Now())))
		if next.IsZero() {
			wait = longestWait
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			r.Logger.Error("running pipelines failed, trying again", "error", err)
			wait = troubleWait
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case _, ok := <-changes:
			timer.Stop()
			if !ok {
				return
			}
		}
	}
}

// Step does all that is due now, and returns when something will be due that no change
// in the store tells of; zero if nothing will.
func (r *Runner) Step(ctx context.Context) (next time.Time, err error) {
	var pipelines []model.Pipeline
	var runs []model.PipelineRun
	err = r.Store.View(ctx, func(tx *store.Tx) (err error) {
		if pipelines, err = records.Pipelines.List(tx); err == nil {
			runs, err = records.PipelineRuns.List(tx)
		}
		return err
	})
	if err != nil {
		return next, fmt.Errorf("looking for pipelines: %w", err)
	}
	active := map[string]bool{} // pipelines with a run under way
	for i := range runs {
		active[runs[i].PipelineID] = active[runs[i].PipelineID] || !runs[i].State.Over()
	}
	// Side by side: one that waits for a slow archive does not hold up the others.
	var g errgroup.Group
	g.SetLimit(atOnce)
	var mu sync.Mutex
	do := func(what string, step func() (time.Time, error)) {
		g.Go(func() error {
			at, serr := step()
			mu.Lock()
			defer mu.Unlock()
			if serr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", what, serr))
			}
			next = sooner(next, at)
			return nil
		})
	}
	for i := range runs {
		if !runs[i].State.Over() {
			do("run "+runs[i].ID, func() (time.Time, error) { return r.advance(ctx, &runs[i]) })
		}
	}
	for i := range pipelines {
		do("pipeline "+pipelines[i].Name, func() (time.Time, error) { return r.consider(ctx, &pipelines[i], active[pipelines[i].ID]) })
	}
	_ = g.Wait() // what failed is in err
	return next, err
}

// packages is Packages, for as long as others can wait for it.
func (r *Runner) packages(ctx context.Context, contextDigest string, arch model.Arch) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, packagesTime, errSlowArchive)
	defer cancel()
	state, err := r.Packages(ctx, contextDigest, arch)
	if err != nil && errors.Is(context.Cause(ctx), errSlowArchive) {
		err = errSlowArchive
	}
	return state, err
}

// sooner is the first of two times, of which zero is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// consider begins a run of a pipeline if its schedule is due, however often it was since
// it was looked at last. It returns when it is due next.
func (r *Runner) consider(ctx context.Context, p *model.Pipeline, active bool) (time.Time, error) {
	if !p.Enabled || p.Schedule.Expression == "" {
		return time.Time{}, nil
	}
	s, err := schedule.Parse(p.Schedule.Expression, p.Schedule.Zone)
	if err != nil {
		return time.Time{}, err
	}
	now := r.Cloud.Now()
	due := s.Next(p.Handled)
	switch {
	case due.IsZero() || due.After(now):
		return due, nil
	case now.Before(p.NotBefore):
		return p.NotBefore, nil
	}
	account := r.Cloud.Account(p.OwnerID)
	after := s.Next(now)
	if active {
		return after, account.PassOver(ctx, p, "the run before was still under way")
	}
	if p.Schedule.Condition == model.StartOnChanges {
		changed, err := r.changed(ctx, account, p)
		switch {
		case ctx.Err() != nil:
			return after, ctx.Err()
		case err != nil:
			return after, account.Postpone(ctx, p, "what it is built of cannot be told: "+err.Error())
		case !changed:
			return after, account.PassOver(ctx, p, "nothing that goes into the image has changed")
		}
	}
	return after, account.BeginDueRun(ctx, p, due)
}

// changed reports whether what goes into a pipeline's image is not what went into its
// last one, or that is gone.
func (r *Runner) changed(ctx context.Context, account *cloud.Account, p *model.Pipeline) (bool, error) {
	parent, err := account.PipelineParent(ctx, p)
	if err != nil {
		return false, err
	}
	packages, err := r.packages(ctx, p.ContextDigest, p.Arch)
	if err != nil {
		return false, err
	}
	now := model.Dependencies{Recipe: p.ContextDigest, Parent: parent, Packages: packages}
	if now != p.Built {
		return true, nil
	}
	has, err := account.HasImage(ctx, p)
	return !has, err
}

// advance takes the next step of a run, if there is one to take now. It returns when
// there will be one that no change in the store tells of.
func (r *Runner) advance(ctx context.Context, run *model.PipelineRun) (time.Time, error) {
	account := r.Cloud.Account(run.OwnerID)
	switch run.State {
	case model.RunPending:
		// What cannot be told counts as a change when it can be told again.
		packages, err := r.packages(ctx, run.Built.Recipe, run.Arch)
		if err != nil && ctx.Err() == nil {
			r.Logger.Warn("the state of a recipe's packages cannot be told", "run", run.ID, "error", err)
		}
		return time.Time{}, account.BuildRun(ctx, run.ID, packages)
	case model.RunBuilding:
		return time.Time{}, account.FollowBuild(ctx, run.ID)
	case model.RunDistributing:
		return r.distribute(ctx, account, run)
	}
	return time.Time{}, nil
}

func (r *Runner) distribute(ctx context.Context, account *cloud.Account, run *model.PipelineRun) (next time.Time, err error) {
	over := true
	for i, d := range run.Deliveries {
		if d.State.Over() {
			continue
		}
		over = false
		if r.Cloud.Now().Before(d.Next) {
			next = sooner(next, d.Next)
			continue
		}
		err = errors.Join(err, account.Deliver(ctx, run.ID, i))
	}
	if over {
		err = account.FinishRun(ctx, run.ID)
	}
	return next, err
}
