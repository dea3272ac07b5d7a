package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// What is here is for pkg/pipeline: the steps of pipelines' runs, each a transaction
// that can be repeated.

// newRun begins a run of a pipeline, for a time of its schedule or, zero, on demand.
func (c *Account) newRun(tx *store.Tx, p *model.Pipeline, due time.Time) (r model.PipelineRun, err error) {
	runs, err := runsOf(tx, p)
	if err != nil {
		return r, err
	}
	for i := range runs {
		if !runs[i].State.Over() {
			return r, underWayAlready(p, &runs[i])
		}
	}
	now := c.Now()
	p.Runs++
	p.LastRun, p.Note, p.Noted = now, "", time.Time{}
	r = model.PipelineRun{
		ID: model.NewID(model.PipelineRunPrefix), OwnerID: c.id, PipelineID: p.ID, Number: p.Runs, Version: model.PipelineVersion(p.RecipeVersion, p.Runs),
		Due: due, State: model.RunPending, Arch: p.Arch, Tags: p.Distribution.Tags, Created: now, Built: model.Dependencies{Recipe: p.ContextDigest},
	}
	values := nameValues(p, r.Version, now)
	if r.ImageName, err = expandName(p.Distribution.Name, values); err != nil {
		return r, err
	}
	if to := p.Distribution.Launch; to.Public || len(to.Accounts) > 0 {
		r.Deliveries = append(r.Deliveries, model.Delivery{Launch: &to, State: model.DeliveryPending})
	}
	for _, to := range p.Distribution.Registries {
		if to.Reference, err = expandName(to.Reference, values); err != nil {
			return r, err
		}
		r.Deliveries = append(r.Deliveries, model.Delivery{Registry: &to, State: model.DeliveryPending})
	}
	for _, to := range p.Distribution.Regions {
		r.Deliveries = append(r.Deliveries, model.Delivery{Region: to, State: model.DeliveryPending})
	}
	return r, errors.Join(records.Pipelines.Put(tx, p), records.PipelineRuns.Put(tx, &r))
}

// BeginDueRun begins the run that a pipeline's schedule was due for, of all its times
// up to now one. It does nothing if the pipeline is not as it was when that was found.
func (c *Account) BeginDueRun(ctx context.Context, was *model.Pipeline, due time.Time) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		p, err := c.pipelineAsItWas(tx, was)
		if err != nil || p == nil {
			return err
		}
		p.Handled = c.Now()
		_, err = c.newRun(tx, p, due)
		return err
	})
}

// pipelineAsItWas is nil if the pipeline has changed since.
func (c *Account) pipelineAsItWas(tx *store.Tx, was *model.Pipeline) (*model.Pipeline, error) {
	p, err := records.Pipelines.Get(tx, was.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil || !p.Enabled || !p.Handled.Equal(was.Handled) || !p.Updated.Equal(was.Updated) || p.Runs != was.Runs {
		return nil, err
	}
	return &p, nil
}

// PassOver notes why nothing was built at a time of a pipeline's schedule.
func (c *Account) PassOver(ctx context.Context, was *model.Pipeline, why string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		p, err := c.pipelineAsItWas(tx, was)
		if err != nil || p == nil {
			return err
		}
		p.Handled = c.Now()
		p.Note, p.Noted = why, p.Handled
		return records.Pipelines.Put(tx, p)
	})
}

// firstPause is how long a pipeline that has failed once is left alone; the pause
// doubles with each failure, up to maxPause.
const (
	firstPause = 5 * time.Minute
	maxPause   = 24 * time.Hour
)

func pauseAfter(failures int) time.Duration {
	if failures > 9 {
		return maxPause
	}
	return min(firstPause<<max(0, failures-1), maxPause)
}

// Postpone notes why it could not be told whether a pipeline is to build, and has it
// be looked at again after a pause.
func (c *Account) Postpone(ctx context.Context, was *model.Pipeline, why string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		p, err := c.pipelineAsItWas(tx, was)
		if err != nil || p == nil {
			return err
		}
		p.Failures++
		p.Note, p.Noted = why, c.Now()
		p.NotBefore = c.Now().Add(pauseAfter(p.Failures))
		return records.Pipelines.Put(tx, p)
	})
}

// PipelineParent is the image that the recipe of a pipeline would be built on now, "" if it
// is baked.
func (c *Account) PipelineParent(ctx context.Context, p *model.Pipeline) (id string, err error) {
	rec, err := c.openRecipe(p.ContextDigest)
	if err != nil {
		return "", err
	}
	err = c.store.View(ctx, func(tx *store.Tx) error {
		parent, err := c.parentImage(tx, rec, p.Arch)
		id = parent.ID
		return err
	})
	return id, err
}

// HasImage reports whether the last image that the pipeline has built is there still.
func (c *Account) HasImage(ctx context.Context, p *model.Pipeline) (has bool, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		has = false
		runs, err := runsOf(tx, p)
		if err != nil {
			return err
		}
		for _, r := range runs {
			if r.State != model.RunAvailable {
				continue
			}
			_, err := records.Images.Get(tx, r.ImageID)
			if errors.Is(err, store.ErrNotFound) {
				err = nil
			} else if err == nil {
				has = true
			}
			return err
		}
		return nil
	})
	return has, err
}

// BuildRun begins the build of a run; packages is the state of what it installs.
// What stands against it fails the run.
func (c *Account) BuildRun(ctx context.Context, id, packages string) error {
	var refused *model.Error
	err := c.editRun(ctx, id, func(tx *store.Tx, p *model.Pipeline, r *model.PipelineRun) error {
		if r.State != model.RunPending {
			return nil
		}
		rec, unlocked, err := c.openContext(r.Built.Recipe)
		if err != nil {
			return err
		}
		b, err := c.newBuild(tx, BuildRequest{ContextDigest: r.Built.Recipe, Arch: r.Arch, ImageName: r.ImageName, Tags: r.Tags, ClientToken: r.ID}, rec, unlocked)
		if err != nil {
			return err
		}
		r.State, r.BuildID, r.ImageID = model.RunBuilding, b.ID, b.ImageID
		r.Built.Parent, r.Built.Packages = b.ParentImage, packages
		return nil
	})
	if errors.As(err, &refused) && refused.Code != model.CodeServiceUnavailable {
		return c.editRun(ctx, id, func(tx *store.Tx, p *model.Pipeline, r *model.PipelineRun) error {
			c.endRun(p, r, model.RunFailed, model.Reason{Code: refused.Code, Message: refused.Message})
			return nil
		})
	}
	return err
}

// FollowBuild goes on with a run whose build is over.
func (c *Account) FollowBuild(ctx context.Context, id string) error {
	return c.editRun(ctx, id, func(tx *store.Tx, p *model.Pipeline, r *model.PipelineRun) error {
		if r.State != model.RunBuilding {
			return nil
		}
		b, err := records.Builds.Get(tx, r.BuildID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			c.endRun(p, r, model.RunFailed, model.Reason{Code: model.CodeBuildNotFound, Message: "the build " + r.BuildID + " is gone"})
		case err != nil:
			return err
		case b.State == model.BuildAvailable:
			r.State = model.RunDistributing
			if p != nil {
				p.Built, p.Failures, p.NotBefore = r.Built, 0, time.Time{}
			}
		case b.State == model.BuildCancelled:
			c.endRun(p, r, model.RunCancelled, b.StateReason)
		case b.State.Over():
			c.endRun(p, r, model.RunFailed, b.StateReason)
		}
		return nil
	})
}

// endRun ends a run; one that has failed has its pipeline pause.
func (c *Account) endRun(p *model.Pipeline, r *model.PipelineRun, state model.RunState, why model.Reason) {
	if r.State.Over() {
		return
	}
	r.State, r.StateReason, r.Finished = state, why, c.Now()
	if p != nil && state == model.RunFailed {
		p.Failures++
		p.NotBefore = c.Now().Add(pauseAfter(p.Failures))
	}
}

// editRun changes a run and its pipeline, which is nil if it is gone. A run that is
// gone is not changed.
func (c *Account) editRun(ctx context.Context, id string, edit func(*store.Tx, *model.Pipeline, *model.PipelineRun) error) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		r, err := records.PipelineRuns.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		pipe, err := records.Pipelines.Get(tx, r.PipelineID)
		p := &pipe
		if errors.Is(err, store.ErrNotFound) {
			p, err = nil, nil
		}
		if err != nil {
			return err
		}
		pipeWas, was := pipe, r
		was.Deliveries = slices.Clone(r.Deliveries)
		if err := edit(tx, p, &r); err != nil {
			return err
		}
		// Whoever watches is told of changes only.
		if p != nil && !reflect.DeepEqual(pipe, pipeWas) {
			err = records.Pipelines.Put(tx, p)
		}
		if !reflect.DeepEqual(r, was) {
			err = errors.Join(err, records.PipelineRuns.Put(tx, &r))
		}
		return err
	})
}

// The attempts of a delivery, and the pause after the first, which doubles.
const (
	deliveryAttempts = 5
	deliveryPause    = time.Minute
)

// Deliver takes the next step with one part of a run's distribution, which is due. Its
// failure is the delivery's, and not the image's.
func (c *Account) Deliver(ctx context.Context, id string, index int) error {
	var r model.PipelineRun
	err := c.store.View(ctx, func(tx *store.Tx) (err error) {
		r, err = records.PipelineRuns.Get(tx, id)
		return err
	})
	if err != nil || index >= len(r.Deliveries) {
		return err
	}
	d := r.Deliveries[index]
	switch {
	case d.State == model.DeliveryPending && d.Launch != nil:
		err = c.ShareImage(ctx, r.ImageID, ShareChange{Add: *d.Launch})
		d.State = model.DeliveryDone
	case d.Region != "" && !d.State.Over():
		err = c.deliverToRegion(ctx, &r, &d)
	case d.State == model.DeliveryPending:
		var t model.RegistryTask
		// The token has a repetition after a crash find the first one's task.
		t, err = c.PushImage(ctx, ImagePush{
			RegistryRequest: RegistryRequest{Reference: d.Registry.Reference, PlainHTTP: d.Registry.PlainHTTP, Login: d.Registry.Login, ClientToken: fmt.Sprintf("%s-%d-%d-%d", r.ID, index, d.Round, d.Attempts)},
			ImageID:         r.ImageID, Sign: d.Registry.Sign,
		})
		d.State, d.TaskID = model.DeliveryActive, t.ID
	case d.State == model.DeliveryActive:
		d, err = c.pushed(ctx, d)
	default:
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.deliveryFailed(&d, err)
	} else if d.State == model.DeliveryDone {
		d.Message, d.Next, d.Finished = "", time.Time{}, c.Now()
	}
	return c.editRun(ctx, id, func(_ *store.Tx, _ *model.Pipeline, r *model.PipelineRun) error {
		if index < len(r.Deliveries) && r.State == model.RunDistributing {
			r.Deliveries[index] = d
		}
		return nil
	})
}

// pushed looks at the task of a delivery to a registry.
func (c *Account) pushed(ctx context.Context, d model.Delivery) (model.Delivery, error) {
	var t model.RegistryTask
	err := c.store.View(ctx, func(tx *store.Tx) (err error) {
		t, err = records.RegistryTasks.Get(tx, d.TaskID)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return d, fmt.Errorf("the registry task %s is gone", d.TaskID)
	case err != nil:
		return d, err
	case t.State == model.TaskCompleted:
		d.State = model.DeliveryDone
	case t.State.Over():
		return d, errors.New(t.Message)
	}
	return d, nil
}

func (c *Account) deliveryFailed(d *model.Delivery, err error) {
	d.Attempts++
	d.Message, d.TaskID, d.ImageID = err.Error(), "", ""
	if d.Attempts >= deliveryAttempts {
		d.State, d.Next, d.Finished = model.DeliveryFailed, time.Time{}, c.Now()
		return
	}
	d.State, d.Next = model.DeliveryPending, c.Now().Add(deliveryPause<<(d.Attempts-1))
}

// FinishRun ends a run whose deliveries are all over, and removes what of its
// pipeline's images is not to be kept.
func (c *Account) FinishRun(ctx context.Context, id string) error {
	return c.editRun(ctx, id, func(tx *store.Tx, p *model.Pipeline, r *model.PipelineRun) error {
		var failed []string
		for i := range r.Deliveries {
			d := &r.Deliveries[i]
			if !d.State.Over() {
				return nil
			}
			if d.State == model.DeliveryFailed {
				failed = append(failed, d.Target()+": "+d.Message)
			}
		}
		if r.State != model.RunDistributing {
			return nil
		}
		why := model.Reason{}
		if len(failed) > 0 {
			why = model.Reason{Code: "Client.DistributionFailed", Message: fmt.Sprintf("%d of %d parts of the distribution failed: %s", len(failed), len(r.Deliveries), strings.Join(failed, "; "))}
		}
		c.endRun(p, r, model.RunAvailable, why)
		if p == nil {
			return nil
		}
		return c.prune(tx, p, r)
	})
}

// maxRuns is how many runs of a pipeline are remembered whose images are gone.
const maxRuns = 100

// prune removes the pipeline's images but the newest ones, and those in use; and
// forgets old runs. last has just ended.
func (c *Account) prune(tx *store.Tx, p *model.Pipeline, last *model.PipelineRun) error {
	runs, err := runsOf(tx, p)
	if err != nil {
		return err
	}
	kept, known := 0, 0
	for i := range runs {
		r := &runs[i]
		img, err := records.Images.Get(tx, r.ImageID)
		there := err == nil && img.OwnerID == c.id
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if there && (r.ID == last.ID || r.State.Over()) {
			if kept++; p.Keep == 0 || kept <= p.Keep {
				continue
			}
			used, err := imageUsed(tx, &img, c.Now())
			if err != nil {
				return err
			}
			if !used {
				if _, err := c.deregister(tx, img.ID, true); err != nil {
					return err
				}
			}
			continue
		}
		if known++; known > maxRuns && r.State.Over() {
			if err := records.PipelineRuns.Delete(tx, r.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// imageUsed reports whether something would miss an image: an instance of any account
// that was launched of it, a launch template, a build on it, a task that sends it; or
// whether its owner protects it.
func imageUsed(tx *store.Tx, img *model.Image, now time.Time) (bool, error) {
	if img.State != model.ImageAvailable && img.State != model.ImageDisabled || img.Protection.Protects(now) {
		return true, nil
	}
	instances, err := records.Instances.List(tx)
	if err != nil || slices.ContainsFunc(instances, func(i model.Instance) bool { return i.ImageID == img.ID && i.State != model.InstanceTerminated }) {
		return true, err
	}
	versions, err := records.LaunchTemplateVersions.List(tx)
	if err != nil || slices.ContainsFunc(versions, func(v model.LaunchTemplateVersion) bool { return bytes.Contains(v.Data, []byte(img.ID)) }) {
		return true, err
	}
	builds, err := records.Builds.List(tx)
	if err != nil || slices.ContainsFunc(builds, func(b model.Build) bool { return b.ParentImage == img.ID && !b.State.Over() }) {
		return true, err
	}
	tasks, err := records.RegistryTasks.List(tx)
	return slices.ContainsFunc(tasks, func(t model.RegistryTask) bool { return t.Push && t.ImageID == img.ID && !t.State.Over() }), err
}
