// Package builder owns the builds whose components run in guests: it launches a
// build instance, runs the steps of build and validate in it, makes an image of
// it, runs the steps of test in an instance of that image, and publishes it. It
// acts on the build's account's behalf through pkg/cloud, as a client would, so
// its instances and images are ordinary ones; each carries the build's id, by
// which all of them are swept whatever happens. A build that was interrupted
// begins again from its stage image. It imports pkg/cloud, pkg/component and
// what they are made of; never a driver.
package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Options are what a Builder works with.
type Options struct {
	Node   string // whose builds it runs
	Cloud  *cloud.Cloud
	Store  *store.Store
	Blobs  cloud.Blobs // the recipes
	Guests Guests
	Logs   *Logs
	Cache  Cache
	Logger *slog.Logger
	// BootTimeout is how long a guest may take until it can be logged in to; 0 is
	// DefaultBootTimeout.
	BootTimeout time.Duration
}

// DefaultBootTimeout leaves time for a whole distribution under emulation.
const DefaultBootTimeout = 20 * time.Minute

// atOnce is how many builds run in guests at the same time; others wait.
const atOnce = 2

// Guests opens sessions in the guests of instances.
type Guests interface {
	// Open logs in to a running instance with a key that NewKey made. A guest that is
	// not ready for it yet is an error; the caller tries again.
	Open(ctx context.Context, inst *model.Instance, key *Key) (Session, error)
}

// Session is a connection to a guest's root.
type Session interface {
	// Run runs a script, by bash where there is one if bash is true, else by sh,
	// ending with the first command that fails. It returns the exit code; an error
	// says that the connection broke or ctx ended.
	Run(ctx context.Context, script string, bash bool, stdout, stderr io.Writer) (code int, err error)
	Close() error
}

// errCancelled is the cause of a build's end that its owner asked for.
var errCancelled = errors.New("cancelled on request")

// Builder runs builds.
type Builder struct {
	Options
	slots chan struct{}

	mu   sync.Mutex
	jobs map[string]context.CancelCauseFunc
}

// New returns a builder; Run makes it work.
func New(o Options) *Builder {
	if o.BootTimeout == 0 {
		o.BootTimeout = DefaultBootTimeout
	}
	return &Builder{Options: o, slots: make(chan struct{}, atOnce), jobs: map[string]context.CancelCauseFunc{}}
}

// Run runs builds until ctx ends. Those under way then go on at the next start.
func (b *Builder) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	changes := b.Store.Watch(ctx, records.Builds.Name())
	b.look(ctx, &wg)
	for range changes {
		b.look(ctx, &wg)
	}
}

// look starts the builds that are due and ends those that were cancelled.
func (b *Builder) look(ctx context.Context, wg *sync.WaitGroup) {
	var all []model.Build
	err := b.Store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = records.Builds.List(tx)
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			b.Logger.Error("looking for builds failed", "error", err)
		}
		return
	}
	b.Logs.Forget(all)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, build := range all {
		if !build.Guest || build.StageImage == "" || build.State.Over() || build.Node != b.Node {
			continue
		}
		end, running := b.jobs[build.ID]
		if !running {
			work, cancel := context.WithCancelCause(ctx)
			b.jobs[build.ID], end = cancel, cancel
			wg.Go(func() { b.work(ctx, work, build.OwnerID, build.ID) })
		}
		if build.Cancel {
			end(errCancelled)
		}
	}
}

// work runs a build to its end. work ends when the build is cancelled, ctx with
// the daemon.
func (b *Builder) work(ctx, work context.Context, owner, id string) {
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.jobs[id](nil)
		delete(b.jobs, id)
	}()
	var err error
	j := &job{Builder: b, account: b.Cloud.Account(owner), id: id}
	select {
	case b.slots <- struct{}{}:
		err = j.run(work)
		<-b.slots
	case <-work.Done():
		err = context.Cause(work)
	}
	if ctx.Err() != nil {
		return // the daemon ends: the build goes on when it is back
	}
	if held := (heldError{}); work.Err() != nil && !errors.As(err, &held) {
		err = context.Cause(work)
	}
	if err = j.end(ctx, err); err != nil && ctx.Err() == nil {
		b.Logger.Error("ending a build failed", "build", id, "error", err)
	}
}

// Pauses while waiting for what the reconciler does.
const (
	pause   = 100 * time.Millisecond
	patient = 250 * time.Millisecond
)

// poll asks until done says so, an error is returned or ctx ends.
func poll(ctx context.Context, every time.Duration, ask func() (done bool, err error)) error {
	for {
		done, err := ask()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(every):
		}
	}
}

// end sweeps what the build made and records how it ended.
func (j *job) end(ctx context.Context, cause error) error {
	build, err := j.account.Build(ctx, j.id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || build.State.Over() {
		return err
	}
	if cause == nil {
		return nil
	}
	if err := j.sweep(ctx, &build, false); err != nil {
		return err
	}
	if errors.Is(cause, errCancelled) {
		return j.account.EndBuild(ctx, j.id, model.BuildCancelled, model.Reason{Code: "Client.BuildCancelled", Message: cause.Error()})
	}
	j.Logger.Error("building failed", "build", j.id, "recipe", build.RecipeName, "error", cause)
	return j.account.EndBuild(ctx, j.id, model.BuildFailed, model.Reason{Code: "Client.BuildFailed", Message: cause.Error()})
}

// sweep ends the build's instances and waits until they are gone, then deletes its images.
func (j *job) sweep(ctx context.Context, build *model.Build, keepStage bool) error {
	err := poll(ctx, pause, func() (bool, error) { return j.account.SweepBuild(ctx, build, keepStage) })
	if err != nil {
		return fmt.Errorf("clearing up: %w", err)
	}
	return nil
}
