package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/recipe/archive"
)

const allArchs = "all"

// BuildOptions are the inputs of "build".
type BuildOptions struct {
	Factory *factory.Factory
	Plan    plan.Options
	Wait    wait.Options
	Recipe  string
	Archs   []string
	Name    string
	// ShellOnFailure lets the user into an instance in which a step failed.
	ShellOnFailure bool
	NoCache        bool
	// WriteLock pins the packages that were taken in the recipe's lock file.
	WriteLock bool
}

// NewBuildCommand returns the command "build".
func NewBuildCommand(f *factory.Factory, run func(context.Context, *BuildOptions) error) *cobra.Command {
	o := &BuildOptions{Factory: f}
	if run == nil {
		run = build
	}
	cmd := &cobra.Command{
		Use:   "build RECIPE",
		Short: "Build an image from a recipe",
		Long: `Build an image from a recipe: a directory with a recipe.yaml, or the name of one
that is built in (` + strings.Join(f.Recipes.Names(), ", ") + `). Prints the image's id.

A recipe with components then runs their steps in an instance: build and validate, makes an image
of it, and runs those of test in an instance of that. Only an image that passed is kept. Components
that an earlier build has run on the same parent, with the same ones before them, are not run again.

--write-lock pins the packages of a distribution that went into the image, by version and digest, in
recipe.lock beside recipe.yaml: from then on, the recipe is built of these same files.

Building the same recipe again gives the image that is there. --arch chooses the
architectures, of those that the recipe has; the default is this host's, or the
recipe's only one.`,
		Example: `  bundt build tiny
  bundt build ./images/web --arch arm64 --name web-arm
  bundt build tiny --arch all`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return f.Recipes.Names(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Recipe = args[0]
			return failure.Wrap(run(cmd.Context(), o), "build", o.Recipe)
		},
	}
	o.Plan.AddFlags(cmd)
	o.Wait.AddFlags(cmd)
	cmd.Flags().BoolVar(&o.ShellOnFailure, "shell-on-failure", false, "log in to the instance in which a step fails, before it goes")
	cmd.Flags().BoolVar(&o.NoCache, "no-cache", false, "run every step, even if the cache has what comes of it")
	cmd.Flags().BoolVar(&o.WriteLock, "write-lock", false, "pin the packages that were taken in the recipe's "+recipe.LockFileName)
	cmd.Flags().StringSliceVarP(&o.Archs, "arch", "a", nil, "`architectures` to bake for: "+archNames()+" or all")
	cmd.Flags().StringVarP(&o.Name, "name", "n", "", "`name` of the image; default: RECIPE-VERSION-ARCHITECTURE")
	_ = cmd.RegisterFlagCompletionFunc("arch", cobra.FixedCompletions(append(strings.Split(archNames(), ", "), allArchs), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions)
	cmd.AddCommand(newBuildListCommand(f), newBuildShowCommand(f), newBuildLogCommand(f), newBuildCancelCommand(f), newCacheCommand(f))
	return cmd
}

func archNames() string {
	var names []string
	for _, a := range model.Archs {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

func build(ctx context.Context, o *BuildOptions) error {
	ids, err := o.bake(ctx)
	for _, id := range ids {
		if _, perr := fmt.Fprintln(o.Factory.IO.Out, id); err == nil {
			err = perr
		}
	}
	return err
}

// Ensure bakes the image that ref means, if there is none and ref is the name of a
// recipe that is built in. What else ref may be is not its business.
func Ensure(ctx context.Context, f *factory.Factory, c *client.Client, ref string, w wait.Options) error {
	if !slices.Contains(f.Recipes.Names(), ref) {
		return nil
	}
	if _, err := resolve.Image(ctx, c, ref); failure.ExitCode(err) != failure.NotFound {
		return err
	}
	w.NoWait = false // a launch needs it
	_, err := (&BuildOptions{Factory: f, Wait: w, Recipe: ref}).bake(ctx)
	return err
}

// bake builds for each architecture and returns the ids of the images.
func (o *BuildOptions) bake(ctx context.Context) ([]string, error) {
	fsys, err := openContext(o.Factory.Recipes, o.Recipe)
	if err != nil {
		return nil, err
	}
	// Read here too, so that a mistake in the recipe is shown before anything
	// is sent.
	rec, err := recipe.Load(fsys)
	if err != nil {
		return nil, err
	}
	archs, err := chooseArchs(rec.Architectures, o.Archs)
	if err != nil {
		return nil, err
	}
	if o.Name != "" && len(archs) > 1 {
		return nil, failure.Usagef("--name names one image, but %d are built: %v", len(archs), archs)
	}
	if err := o.checkLock(rec); err != nil {
		return nil, err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return nil, err
	}
	digest, err := upload(ctx, c, fsys)
	if err != nil {
		return nil, err
	}
	lock := rec.Lock
	var ids []string
	for _, arch := range archs {
		id, err := o.buildFor(ctx, c, digest, arch)
		if err != nil {
			return ids, err
		}
		if id == "" {
			continue
		}
		ids = append(ids, id)
		if o.WriteLock && !o.Plan.DryRun {
			if lock, err = o.writeLock(ctx, c, lock, id); err != nil {
				return ids, err
			}
		}
	}
	return ids, nil
}

func (o *BuildOptions) checkLock(rec *recipe.Recipe) error {
	if !o.WriteLock {
		return nil
	}
	switch info, err := os.Stat(o.Recipe); {
	case err != nil || !info.IsDir():
		return failure.Usagef("--write-lock is for a recipe in a directory; %s is built in", o.Recipe)
	case o.Wait.NoWait:
		return failure.Usagef("--write-lock needs the built image: it cannot be had with --no-wait")
	case rec.Source.Packages == nil && rec.Source.System == nil:
		return failure.Usagef("--write-lock: the recipe %s takes nothing from a distribution, there is nothing to lock", rec.Name)
	}
	return nil
}

// writeLock replaces what the recipe's lock file has for the image's architecture.
func (o *BuildOptions) writeLock(ctx context.Context, c *client.Client, lock *recipe.Lock, id string) (*recipe.Lock, error) {
	out, err := c.GetImageLock(ctx, &bundttypes.GetImageLockInput{ImageId: &id})
	if err != nil {
		return lock, err
	}
	pins, err := recipe.ParseLock(recipe.LockFileName, []byte(out.Lock))
	if err != nil {
		return lock, fmt.Errorf("reading the daemon's lock file: %w", err)
	}
	if lock == nil {
		lock = &recipe.Lock{APIVersion: recipe.APIVersion, Packages: map[model.Arch][]recipe.LockedPackage{}}
	}
	maps.Copy(lock.Packages, pins.Packages)
	text, err := lock.Marshal()
	if err != nil {
		return lock, err
	}
	name := filepath.Join(o.Recipe, recipe.LockFileName)
	if err := os.WriteFile(name, text, 0o644); err != nil {
		return lock, fmt.Errorf("writing the lock file: %w", err)
	}
	fmt.Fprintf(o.Factory.IO.Err, "wrote %s\n", name)
	return lock, nil
}

// UploadRecipe sends the recipe that ref means, a directory or one that is built in, to
// the daemon, and returns its digest. A mistake in it is shown before anything is sent.
func UploadRecipe(ctx context.Context, f *factory.Factory, c *client.Client, ref string) (digest string, rec *recipe.Recipe, err error) {
	fsys, err := openContext(f.Recipes, ref)
	if err != nil {
		return "", nil, err
	}
	if rec, err = recipe.Load(fsys); err != nil {
		return "", nil, err
	}
	digest, err = upload(ctx, c, fsys)
	return digest, rec, err
}

// openContext opens the recipe's directory: one on disk, or one built in.
func openContext(builtIn factory.Recipes, ref string) (fs.FS, error) {
	info, err := os.Stat(ref)
	switch {
	case err == nil && info.IsDir():
		return os.DirFS(ref), nil
	case err == nil && filepath.Base(ref) == recipe.FileName:
		return os.DirFS(filepath.Dir(ref)), nil
	case err == nil:
		return nil, failure.Usagef("%s is no directory with a %s", ref, recipe.FileName)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("opening the recipe: %w", err)
	}
	if slices.Contains(builtIn.Names(), ref) {
		return builtIn.FS(ref)
	}
	return nil, failure.WithHint(failure.NotFoundf("there is no such directory, and no recipe of that name is built in"),
		"built in are: %s", strings.Join(builtIn.Names(), ", "))
}

// chooseArchs returns which of the recipe's architectures the user means.
func chooseArchs(has []model.Arch, wanted []string) ([]model.Arch, error) {
	if slices.Equal(wanted, []string{allArchs}) {
		return has, nil
	}
	if len(wanted) == 0 {
		if slices.Contains(has, resolve.HostArch()) {
			return []model.Arch{resolve.HostArch()}, nil
		}
		if len(has) == 1 {
			return has, nil
		}
		return nil, failure.Usagef("the recipe is not for this host's architecture, %s; choose with --arch of %v", resolve.HostArch(), has)
	}
	var archs []model.Arch
	for _, w := range wanted {
		a := model.Arch(w)
		if !slices.Contains(has, a) {
			return nil, failure.Usagef("the recipe is for %v, not for %q", has, w)
		}
		if !slices.Contains(archs, a) {
			archs = append(archs, a)
		}
	}
	return archs, nil
}

// upload sends the recipe's directory to the daemon and returns its digest.
func upload(ctx context.Context, c *client.Client, fsys fs.FS) (string, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive.Pack(w, fsys)) }()
	digest, err := c.Upload(ctx, r)
	// Ends the packing if the upload ended before it.
	_ = r.Close()
	return digest, err
}

// buildFor returns the id of the image; none after a dry run.
func (o *BuildOptions) buildFor(ctx context.Context, c *client.Client, digest string, arch model.Arch) (string, error) {
	request := &bundttypes.BuildImageInput{
		ContextDigest: &digest, Architecture: new(string(arch)), ClientToken: new(rand.Text()), DryRun: o.Plan.Flag(),
	}
	if o.Name != "" {
		request.Name = &o.Name
	}
	if o.NoCache {
		request.NoCache = &o.NoCache
	}
	var hold *holdKey
	if o.ShellOnFailure {
		var err error
		if hold, err = newHoldKey(); err != nil {
			return "", err
		}
		defer hold.remove()
		request.HoldKey = &hold.public
	}
	out, err := c.BuildImage(ctx, request)
	if o.Plan.DryRun && plan.Passed(err) {
		return "", plan.Show(o.Factory.IO, "BuildImage", request)
	}
	if err != nil {
		return "", err
	}
	if !o.Wait.NoWait {
		if err := o.watch(ctx, c, out.BuildId, arch, hold); err != nil {
			return "", err
		}
	}
	return out.ImageId, nil
}

// watch shows a build until it is over.
func (o *BuildOptions) watch(ctx context.Context, c *client.Client, id string, arch model.Arch, hold *holdKey) error {
	p := o.Factory.IO.StartProgress(fmt.Sprintf("baking %s for %s", o.Recipe, arch))
	defer p.Stop()
	limited, cancel := o.Wait.Limit(ctx)
	defer cancel()
	shown := &steps{io: o.Factory.IO, p: p}
	doing := ""
	for b, err := range c.WatchBuild(limited, &bundttypes.WatchBuildInput{BuildId: &id}) {
		if limited.Err() != nil {
			return o.Wait.Expired(ctx, doing)
		}
		if err != nil {
			return err
		}
		doing = shown.update(*b)
		p.Detail(doing)
		if hold != nil && b.HeldInstanceId != "" && !hold.used {
			p.Stop()
			if err := hold.shell(ctx, o.Factory, c, b); err != nil {
				return err
			}
		}
		if err := failed(*b); err != nil {
			return err
		}
		if b.State == string(model.BuildAvailable) {
			p.Done(fmt.Sprintf("%s %s available", b.ImageId, b.ImageName))
			return nil
		}
	}
	return fmt.Errorf("the daemon stopped telling of build %s before its end", id)
}

func failed(b bundttypes.Build) error {
	if state := model.BuildState(b.State); !state.Over() || state == model.BuildAvailable {
		return nil
	}
	if b.StateReason == nil {
		return fmt.Errorf("the build %s %s", b.BuildId, b.State)
	}
	return fmt.Errorf("the build %s %s: %s", b.BuildId, b.State, b.StateReason.Message)
}

// steps shows the steps of a build as they end.
type steps struct {
	io    *iostreams.IOStreams
	p     *iostreams.Progress
	shown int
}

// update prints the steps that have ended since the last time and returns what is
// being done now.
func (s *steps) update(b bundttypes.Build) string {
	for s.shown < len(b.Steps) && b.Steps[s.shown].FinishedAt != nil {
		step := b.Steps[s.shown]
		took := iostreams.ShortDuration(step.FinishedAt.Sub(step.StartedAt))
		if step.Cached {
			took = "cached"
		}
		s.p.Line(fmt.Sprintf("  %s %s", stepText(step), s.io.OnErr(iostreams.Dim, took)))
		s.shown++
	}
	if s.shown < len(b.Steps) {
		return stepText(b.Steps[s.shown])
	}
	return b.State
}

func stepText(step bundttypes.BuildStep) string {
	text := step.Name
	if step.Phase != "" {
		text = step.Phase + ": " + text
	}
	if step.Detail != "" {
		text += " " + step.Detail
	}
	return text
}
