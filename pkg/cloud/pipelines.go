package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/schedule"
	"github.com/bundt/bundt/pkg/store"
)

// maxPipelines is how many pipelines an account can have, as at EC2 Image Builder.
const maxPipelines = 75

// maxKeep bounds how many images a pipeline can be told to keep.
const maxKeep = 1000

// pipelineName is EC2 Image Builder's rule.
// https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateImagePipeline.html
var pipelineName = regexp.MustCompile(`^[-_A-Za-z0-9][-_A-Za-z0-9 ]{1,126}[-_A-Za-z0-9]$`)

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// PipelineRequest is what CreateImagePipeline asks for.
type PipelineRequest struct {
	Name          string
	Description   string
	ContextDigest string // of the uploaded recipe archive
	Arch          model.Arch
	Disabled      bool
	Schedule      model.PipelineSchedule
	Distribution  model.Distribution
	Keep          int
	ClientToken   string `json:"-"`
}

// PipelineChange is what UpdateImagePipeline asks for: nil members stay as they are.
type PipelineChange struct {
	Description   *string
	ContextDigest *string
	Enabled       *bool
	Schedule      *model.PipelineSchedule // an empty expression ends it
	Distribution  *model.Distribution
	Keep          *int
}

// CreatePipeline makes a pipeline. It runs when its schedule is due next.
func (c *Account) CreatePipeline(ctx context.Context, r PipelineRequest) (p model.Pipeline, err error) {
	if !pipelineName.MatchString(r.Name) {
		return p, model.Errorf(model.CodeInvalidParameterValue, "The pipeline's name %q is not valid: 3 to 128 letters, digits, blanks, - and _, with no blank at the ends", r.Name)
	}
	p = model.Pipeline{
		ID: model.NewID(model.PipelinePrefix), OwnerID: c.id, Name: r.Name, Description: r.Description, ContextDigest: r.ContextDigest,
		Arch: r.Arch, Enabled: !r.Disabled, Schedule: r.Schedule, Distribution: r.Distribution, Keep: r.Keep, Created: c.Now(), Handled: c.Now(), ClientToken: r.ClientToken,
	}
	if err := c.checkPipeline(&p); err != nil {
		return p, err
	}
	err = c.oncePerToken(ctx, "CreateImagePipeline", r.ClientToken, r, func(tx *store.Tx) ([]string, error) {
		if err := c.pipelineRoom(tx); err != nil {
			return nil, err
		}
		name := records.Name{Kind: model.PipelinePrefix, OwnerID: c.id, Name: p.Name, ID: p.ID}
		if old, err := records.Names.Get(tx, records.NameKey(name.Kind, c.id, p.Name)); err == nil {
			return nil, model.Errorf("ResourceAlreadyExists", "The name %q is in use by the pipeline %s", p.Name, old.ID)
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		return []string{p.ID}, errors.Join(records.Names.Put(tx, &name), records.Pipelines.Put(tx, &p))
	}, func(tx *store.Tx, ids []string) (err error) {
		p, err = c.pipeline(tx, ids[0])
		return err
	})
	return p, err
}

func (c *Account) pipelineRoom(tx *store.Tx) error {
	all, err := records.Pipelines.List(tx)
	if count(all, func(p model.Pipeline) bool { return p.OwnerID == c.id }) >= maxPipelines {
		return model.Errorf(codeResourceLimit, "There can be %d pipelines in an account at most", maxPipelines)
	}
	return err
}

// checkPipeline refuses what could not work when its time comes, and fills in what
// the recipe says.
func (c *Account) checkPipeline(p *model.Pipeline) error {
	rec, err := c.openRecipe(p.ContextDigest)
	if err != nil {
		return err
	}
	if p.Arch == "" && len(rec.Architectures) == 1 {
		p.Arch = rec.Architectures[0]
	}
	if !slices.Contains(rec.Architectures, p.Arch) {
		return model.Errorf(model.CodeInvalidParameterValue, "the recipe %s is for %v, not for %q", rec.Name, rec.Architectures, p.Arch)
	}
	p.RecipeName, p.RecipeVersion, p.Updated = rec.Name, rec.Version, c.Now()
	if p.Keep < 0 || p.Keep > maxKeep {
		return model.Errorf(model.CodeInvalidParameterValue, "Keep %d: it must be from 0, for all, to %d", p.Keep, maxKeep)
	}
	if err := checkSchedule(&p.Schedule, c.Now()); err != nil {
		return err
	}
	return errors.Join(checkDescription(p.Description), c.checkDistribution(p, rec))
}

func checkSchedule(s *model.PipelineSchedule, now time.Time) error {
	if s.Expression == "" {
		if s.Zone != "" || s.Condition != "" {
			return model.Errorf(model.CodeInvalidParameterCombination, "A time zone or a start condition is of no use without a schedule expression")
		}
		return nil
	}
	parsed, err := schedule.Parse(s.Expression, s.Zone)
	if err != nil {
		return model.Errorf(model.CodeInvalidParameterValue, "%v", err)
	}
	if parsed.Next(now).IsZero() {
		return model.Errorf(model.CodeInvalidParameterValue, "the schedule %q has no time after now", s.Expression)
	}
	// The default is Image Builder's.
	s.Condition = cmp.Or(s.Condition, model.StartOnChanges)
	if s.Condition != model.StartAlways && s.Condition != model.StartOnChanges {
		return model.Errorf(model.CodeInvalidParameterValue, "the start condition %q must be %s or %s", s.Condition, model.StartAlways, model.StartOnChanges)
	}
	return nil
}

func (c *Account) checkDistribution(p *model.Pipeline, rec *recipe.Recipe) error {
	d := &p.Distribution
	d.Name = cmp.Or(d.Name, DefaultNameTemplate)
	sample := nameValues(p, model.PipelineVersion(rec.Version, 1), c.Now())
	name, err := expandName(d.Name, sample)
	if err == nil && name == mustExpand(d.Name, nameValues(p, model.PipelineVersion(rec.Version, 2), c.Now().Add(time.Second))) {
		err = fmt.Errorf("the name %q is the same for each image: it must contain {{ imagebuilder:buildVersion }} or {{ imagebuilder:buildDate }}", d.Name)
	}
	if err == nil {
		err = records.CheckImageName(name)
	}
	if err != nil {
		return asInvalid(err)
	}
	for _, a := range d.Launch.Accounts {
		if !accountNumber.MatchString(a) {
			return model.Errorf(model.CodeInvalidParameterValue, "The account %q is not one: it must have twelve digits", a)
		}
	}
	for _, r := range d.Registries {
		text, err := expandName(r.Reference, sample)
		if err != nil {
			return asInvalid(err)
		}
		ref, err := artifact.ParseReference(text)
		if err != nil {
			return model.Errorf(model.CodeInvalidParameterValue, "Reference: %v", err)
		}
		if ref.Digest != "" {
			return model.Errorf(model.CodeInvalidParameterValue, "Reference: %s says a digest, which is not known before it is sent", r.Reference)
		}
	}
	return errors.Join(checkTags(d.Tags), c.checkRegions(d))
}

func asInvalid(err error) error {
	if e := (*model.Error)(nil); errors.As(err, &e) {
		return err
	}
	return model.Errorf(model.CodeInvalidParameterValue, "%v", err)
}

// DefaultNameTemplate is what the images of a pipeline are called that says nothing.
const DefaultNameTemplate = "{{ bundt:recipe }}-{{ imagebuilder:buildVersion }}-{{ bundt:architecture }}"

// nameReference is what stands for something in a name; the first two names are
// EC2 Image Builder's.
var nameReference = regexp.MustCompile(`\{\{ *([a-zA-Z:]+) *\}\}`)

func nameValues(p *model.Pipeline, version string, now time.Time) map[string]string {
	return map[string]string{
		"imagebuilder:buildVersion": version,
		"imagebuilder:buildDate":    now.UTC().Format("2006-01-02T15-04-05Z"),
		"bundt:recipe":              p.RecipeName,
		"bundt:architecture":        string(p.Arch),
	}
}

func expandName(template string, values map[string]string) (string, error) {
	var failed error
	out := nameReference.ReplaceAllStringFunc(template, func(match string) string {
		name := nameReference.FindStringSubmatch(match)[1]
		value, ok := values[name]
		if !ok && failed == nil {
			failed = fmt.Errorf("%s stands for nothing: names may contain {{ imagebuilder:buildVersion }}, {{ imagebuilder:buildDate }}, {{ bundt:recipe }} and {{ bundt:architecture }}", match)
		}
		return value
	})
	return out, failed
}

// mustExpand expands a template that has been expanded before.
func mustExpand(template string, values map[string]string) string {
	out, _ := expandName(template, values)
	return out
}

func pipelineNotFound(id string) *model.Error {
	return model.Errorf("InvalidImagePipelineID.NotFound", "The image pipeline '%s' does not exist", id).
		WithHint("bundt pipeline ls shows the pipelines there are")
}

// pipeline returns one of the account's pipelines, by its id or its name.
func (c *Account) pipeline(tx *store.Tx, ref string) (model.Pipeline, error) {
	if model.CheckID(model.PipelinePrefix, ref) != nil {
		name, err := get(tx, records.Names, records.NameKey(model.PipelinePrefix, c.id, ref), pipelineNotFound(ref))
		if err != nil {
			return model.Pipeline{}, err
		}
		ref = name.ID
	}
	return own(c, tx, records.Pipelines, ref, pipelineNotFound(ref))
}

// UpdatePipeline changes a pipeline. A run that is under way goes on as it was begun.
func (c *Account) UpdatePipeline(ctx context.Context, ref string, ch PipelineChange) (p model.Pipeline, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if p, err = c.pipeline(tx, ref); err != nil {
			return err
		}
		set(&p.Description, ch.Description)
		set(&p.ContextDigest, ch.ContextDigest)
		set(&p.Distribution, ch.Distribution)
		set(&p.Keep, ch.Keep)
		if ch.Schedule != nil || ch.Enabled != nil && *ch.Enabled && !p.Enabled {
			// Times that were before are not missed.
			p.Handled = c.Now()
		}
		if ch.Schedule != nil || ch.Enabled != nil || ch.ContextDigest != nil {
			p.Failures, p.NotBefore = 0, time.Time{}
		}
		set(&p.Schedule, ch.Schedule)
		set(&p.Enabled, ch.Enabled)
		if err := c.checkPipeline(&p); err != nil {
			return err
		}
		return records.Pipelines.Put(tx, &p)
	})
	return p, err
}

// DeletePipeline removes a pipeline and what is known of its runs. Its images stay.
func (c *Account) DeletePipeline(ctx context.Context, ref string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		p, err := c.pipeline(tx, ref)
		if err != nil {
			return err
		}
		runs, err := runsOf(tx, &p)
		if err != nil {
			return err
		}
		for _, r := range runs {
			if !r.State.Over() {
				return underWayAlready(&p, &r)
			}
			err = errors.Join(err, records.PipelineRuns.Delete(tx, r.ID))
		}
		return errors.Join(err, records.Pipelines.Delete(tx, p.ID), records.Names.Delete(tx, records.NameKey(model.PipelinePrefix, c.id, p.Name)))
	})
}

func underWayAlready(p *model.Pipeline, r *model.PipelineRun) *model.Error {
	e := model.Errorf(model.CodeIncorrectState, "The pipeline %s has a run under way: %s is %s", p.Name, r.ID, r.State)
	if r.State == model.RunBuilding {
		return e.WithHint("wait for it, or give it up: bundt build cancel %s", r.BuildID)
	}
	return e.WithHint("wait for it: bundt pipeline runs %s", p.ID)
}

// runsOf are the runs of a pipeline, the newest first.
func runsOf(tx *store.Tx, p *model.Pipeline) ([]model.PipelineRun, error) {
	all, err := records.PipelineRuns.List(tx)
	all = slices.DeleteFunc(all, func(r model.PipelineRun) bool { return r.PipelineID != p.ID })
	slices.SortFunc(all, func(a, b model.PipelineRun) int { return cmp.Compare(b.Number, a.Number) })
	return all, err
}

// Pipelines returns the account's pipelines, by name.
func (c *Account) Pipelines(ctx context.Context) ([]model.Pipeline, error) {
	all, err := owned(ctx, c, records.Pipelines)
	slices.SortFunc(all, func(a, b model.Pipeline) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// Pipeline returns one of the account's pipelines, by its id or its name.
func (c *Account) Pipeline(ctx context.Context, ref string) (p model.Pipeline, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		p, err = c.pipeline(tx, ref)
		return err
	})
	return p, err
}

// PipelineRuns returns the runs of the account's pipelines, or of one, the newest first.
func (c *Account) PipelineRuns(ctx context.Context, ref string) (all []model.PipelineRun, err error) {
	if ref == "" {
		all, err = owned(ctx, c, records.PipelineRuns)
		slices.SortFunc(all, func(a, b model.PipelineRun) int {
			return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
		})
		return all, err
	}
	err = c.store.View(ctx, func(tx *store.Tx) error {
		p, err := c.pipeline(tx, ref)
		if err != nil {
			return err
		}
		all, err = runsOf(tx, &p)
		return err
	})
	return all, err
}

// StartPipeline has a pipeline run now, whatever its schedule says and also if it is
// disabled. There is one run at a time.
func (c *Account) StartPipeline(ctx context.Context, ref, token string) (r model.PipelineRun, err error) {
	err = c.oncePerToken(ctx, "StartImagePipelineExecution", token, ref, func(tx *store.Tx) ([]string, error) {
		p, err := c.pipeline(tx, ref)
		if err != nil {
			return nil, err
		}
		r, err := c.newRun(tx, &p, time.Time{})
		return []string{r.ID}, err
	}, func(tx *store.Tx, ids []string) (err error) {
		r, err = own(c, tx, records.PipelineRuns, ids[0], runNotFound(ids[0]))
		return err
	})
	return r, err
}

func runNotFound(id string) *model.Error {
	return model.Errorf("InvalidImagePipelineExecutionID.NotFound", "The pipeline execution '%s' does not exist", id).
		WithHint("bundt pipeline runs shows those there are")
}

// RetryDeliveries has what failed of a run's distribution be tried again, now.
func (c *Account) RetryDeliveries(ctx context.Context, id string) (r model.PipelineRun, err error) {
	if err := model.CheckID(model.PipelineRunPrefix, id); err != nil {
		return r, model.Errorf("InvalidImagePipelineExecutionID.Malformed", "Invalid id: %v", err)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if r, err = own(c, tx, records.PipelineRuns, id, runNotFound(id)); err != nil {
			return err
		}
		failed := false
		for i := range r.Deliveries {
			d := &r.Deliveries[i]
			if d.State == model.DeliveryFailed || d.State == model.DeliveryPending && d.Attempts > 0 {
				*d = model.Delivery{Launch: d.Launch, Registry: d.Registry, Region: d.Region, State: model.DeliveryPending, Round: d.Round + 1}
				failed = true
			}
		}
		if !failed || r.ImageID == "" {
			return model.Errorf(model.CodeIncorrectState, "Nothing of the distribution of %s has failed", id)
		}
		r.State, r.StateReason, r.Finished = model.RunDistributing, model.Reason{}, time.Time{}
		return records.PipelineRuns.Put(tx, &r)
	})
	return r, err
}

// NextRun is when a pipeline's schedule is due next, or its pause after a failure is
// over; zero for a pipeline that does not run by itself.
func NextRun(p *model.Pipeline) time.Time {
	if !p.Enabled || p.Schedule.Expression == "" {
		return time.Time{}
	}
	s, err := schedule.Parse(p.Schedule.Expression, p.Schedule.Zone)
	if err != nil {
		return time.Time{}
	}
	due := s.Next(p.Handled)
	if !due.IsZero() && due.Before(p.NotBefore) {
		return p.NotBefore
	}
	return due
}
