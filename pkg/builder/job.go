package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/component"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/recipe/archive"
)

// phaseImage is the phase of the steps between the components': launching,
// cleaning, making the image.
const phaseImage = "image"

// job is one build on its way.
type job struct {
	*Builder
	account *cloud.Account
	id      string

	build model.Build
	rec   *recipe.Recipe
	steps *progress
}

// plan is the steps of each phase.
type plan struct{ build, validate, test []component.Step }

// run goes through all phases. What it leaves when it fails, end sweeps.
func (j *job) run(ctx context.Context) error {
	var err error
	if j.build, err = j.account.Build(ctx, j.id); err != nil || j.build.State.Over() {
		return err // it ended between being found and being begun
	}
	if j.steps, err = j.begin(ctx); err != nil {
		return err
	}
	// What an interrupted attempt has left is of no use: its key is gone.
	if err := j.sweep(ctx, &j.build, true); err != nil {
		return err
	}
	p, err := j.compile()
	if err != nil {
		return err
	}
	outputs, err := j.makeImage(ctx, p)
	if err != nil {
		return err
	}
	if len(p.test) > 0 {
		if err := j.testImage(ctx, p.test, outputs); err != nil {
			return err
		}
	}
	return j.account.PublishBuild(ctx, j.id, j.rec.Metadata.LoginUser)
}

func (j *job) compile() (p plan, err error) {
	fsys, err := j.open()
	if err != nil {
		return p, err
	}
	if j.rec, err = recipe.Load(fsys); err != nil {
		return p, fmt.Errorf("reading the recipe: %w", err)
	}
	for phase, to := range map[string]*[]component.Step{
		recipe.PhaseBuild: &p.build, recipe.PhaseValidate: &p.validate, recipe.PhaseTest: &p.test,
	} {
		if *to, err = component.Compile(j.rec, fsys, phase); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (j *job) open() (fs.FS, error) {
	blob, err := j.Blobs.OpenBlob(j.build.ContextDigest)
	if err != nil {
		return nil, fmt.Errorf("opening the recipe: %w", err)
	}
	defer blob.Close()
	return archive.Unpack(blob)
}

// makeImage builds, as far as the cache has not what comes of it, and validates in the
// build instance, and makes the image of it. It returns what the steps have printed.
func (j *job) makeImage(ctx context.Context, p plan) (map[string]string, error) {
	c, err := j.plot(ctx, p.build)
	if err != nil {
		return nil, err
	}
	g, err := j.launch(ctx, c.from, "build")
	if err != nil {
		return nil, err
	}
	defer g.close()
	first := c.first()
	failure := j.runSteps(ctx, g, p.build[first:], c.outputs, func(i int) { j.passed(ctx, g, c, first+i) })
	if failure == nil {
		failure = j.runSteps(ctx, g, p.validate, c.outputs, nil)
	}
	if err := j.hold(ctx, g, failure); err != nil {
		return nil, err
	}
	if err := j.clean(ctx, g, c); err != nil {
		return nil, err
	}
	return c.outputs, j.imageOf(ctx, g)
}

// imageOf makes the image of the build instance, which ends.
func (j *job) imageOf(ctx context.Context, g *guest) error {
	return j.steps.do(ctx, phaseImage, "make image", func() error {
		if err := j.stop(ctx, g); err != nil {
			return err
		}
		if _, err := j.account.ImageForBuild(ctx, &j.build, g.id); err != nil {
			return fmt.Errorf("making the image: %w", err)
		}
		if err := j.complete(ctx, j.build.ImageID); err != nil {
			return err
		}
		return j.terminate(ctx, g)
	})
}

// testImage runs the test phase in a new instance of the image.
func (j *job) testImage(ctx context.Context, steps []component.Step, outputs map[string]string) error {
	g, err := j.launch(ctx, j.build.ImageID, "test")
	if err != nil {
		return err
	}
	defer g.close()
	if err := j.hold(ctx, g, j.runSteps(ctx, g, steps, outputs, nil)); err != nil {
		return err
	}
	return j.steps.do(ctx, phaseImage, "end test instance", func() error { return j.terminate(ctx, g) })
}

// stop has the guest power off, so that its file systems are whole.
func (j *job) stop(ctx context.Context, g *guest) error {
	g.close()
	if _, err := j.account.Stop(ctx, []string{g.id}, false); err != nil {
		return fmt.Errorf("stopping the build instance: %w", err)
	}
	return j.await(ctx, g.id, model.InstanceStopped)
}

func (j *job) terminate(ctx context.Context, g *guest) error {
	g.close()
	if _, err := j.account.Terminate(ctx, []string{g.id}); err != nil {
		return fmt.Errorf("ending instance %s: %w", g.id, err)
	}
	return j.await(ctx, g.id, model.InstanceTerminated)
}

// await waits for an instance's state.
func (j *job) await(ctx context.Context, id string, state model.InstanceState) error {
	return poll(ctx, pause, func() (bool, error) {
		i, err := j.account.Instance(ctx, id)
		if err == nil && i.State == model.InstanceTerminated && state != model.InstanceTerminated {
			err = fmt.Errorf("instance %s has ended: %s", id, i.StateReason.Message)
		}
		return i.State == state, err
	})
}

// complete waits until the snapshots of an image are taken.
func (j *job) complete(ctx context.Context, image string) error {
	return poll(ctx, pause, func() (bool, error) {
		img, err := j.account.Image(ctx, image)
		if err == nil && img.State == model.ImageFailed {
			err = fmt.Errorf("making the image: %s", img.StateReason.Message)
		}
		return img.State == model.ImageTransient, err
	})
}

// guest is an instance that a build works in.
type guest struct {
	id      string
	key     *Key
	session Session // nil while there is none
}

func (g *guest) close() {
	if g.session != nil {
		g.session.Close()
		g.session = nil
	}
}

// launch runs an instance of one of the build's images and logs in to it.
func (j *job) launch(ctx context.Context, image, role string) (*guest, error) {
	g := &guest{}
	err := j.steps.do(ctx, phaseImage, "launch "+role+" instance", func() error {
		var err error
		if g.key, err = NewKey("bundt build " + j.id); err != nil {
			return err
		}
		inst, err := j.account.LaunchForBuild(ctx, &j.build, image, role, g.key.Authorized())
		if err != nil {
			return fmt.Errorf("launching the %s instance: %w", role, err)
		}
		g.id = inst.ID
		return j.connect(ctx, g)
	})
	return g, err
}

// connect logs in to the guest as soon as it can be.
func (j *job) connect(ctx context.Context, g *guest) error {
	ctx, cancel := context.WithTimeoutCause(ctx, j.BootTimeout, fmt.Errorf("instance %s cannot be logged in to after %s", g.id, j.BootTimeout))
	defer cancel()
	var last error
	err := poll(ctx, patient, func() (bool, error) {
		i, err := j.account.Instance(ctx, g.id)
		if err != nil {
			return false, err
		}
		switch {
		case i.State == model.InstanceTerminated || i.State == model.InstanceStopped:
			return false, fmt.Errorf("instance %s is %s: %s", g.id, i.State, i.StateReason.Message)
		case i.LoginUser == "" && j.rec.Metadata.LoginUser == "":
			return false, errors.New("the image has no login user, so no component can run in it: give metadata.loginUser")
		case i.State != model.InstanceRunning || i.RebootsDone != i.RebootsRequested:
			return false, nil
		case i.LoginUser == "":
			i.LoginUser = j.rec.Metadata.LoginUser
		}
		g.session, last = j.Guests.Open(ctx, &i, g.key)
		return last == nil, nil
	})
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return err
}

// reboot restarts the guest and logs in again.
func (j *job) reboot(ctx context.Context, g *guest, delay time.Duration) error {
	g.close()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(delay):
	}
	if err := j.account.Reboot(ctx, []string{g.id}); err != nil {
		return fmt.Errorf("rebooting instance %s: %w", g.id, err)
	}
	return j.connect(ctx, g)
}
