// Package catalog owns the commands on the recipes that bundt carries: what can be run
// without bringing anything. It may import pkg/client, pkg/recipe, the API's types,
// pkg/model and its neighbours under pkg/cli only.
package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// NewCommand returns the command "catalog" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog VERB",
		Short: "See the recipes that are built in",
		Long: `See the recipes that are built in. bundt run takes their names as it takes images: it
bakes the image when there is none yet, which then stays.`,
	}
	cmd.AddCommand(newListCommand(f), newShowCommand(f))
	return cmd
}

// entry is one recipe of the catalog.
type entry struct {
	Name          string       `json:"name"`
	Version       string       `json:"version"`
	Description   string       `json:"description"`
	Architectures []model.Arch `json:"architectures"`
	Source        string       `json:"source"`   // the recipe's kind of source
	Verified      string       `json:"verified"` // how its content is known to be what was meant
	// From is where it comes from by URL, by architecture, and SignedBy whose keys sign that.
	From      map[model.Arch]string `json:"from,omitempty"`
	Checksums map[model.Arch]string `json:"checksums,omitempty"`
	SignedBy  []string              `json:"signedBy,omitempty"`
	SizeBytes int64                 `json:"sizeBytes"`           // of the root disk
	LoginUser string                `json:"loginUser,omitempty"` // who logs in by SSH
	Publisher string                `json:"publisher,omitempty"`
	License   string                `json:"license,omitempty"`
	Images    []baked               `json:"images"` // newest first
}

// baked is an image of the recipe that is there.
type baked struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
}

const verifiedHelp = `VERIFIED says how the content is known to be what was meant:

  built     it is built here, of packages that the distribution has signed, or of the
            recipe's own files
  signed    by checksums that the distributor has signed; the recipe has the key
  checksum  by checksums that nobody has signed, from the distributor's server by HTTPS:
            who has the server has the image
  digest    by a digest in the recipe`

func newListCommand(f *factory.Factory) *cobra.Command {
	return command.List[entry]{
		What: "recipes", Short: "List the recipes that are built in, and which of them are baked",
		Long:    verifiedHelp,
		ID:      func(e entry) string { return e.Name },
		All:     func(ctx context.Context, s *command.Session, _ []string) ([]entry, error) { return all(ctx, s) },
		Columns: func(*command.Session) []output.Column[entry] { return columns },
	}.Command(f)
}

var columns = []output.Column[entry]{
	{Title: "NAME", Text: func(e entry) string { return e.Name }},
	{Title: "ARCHITECTURES", Text: func(e entry) string { return strings.Join(names(e.Architectures), ",") }},
	{Title: "SOURCE", Text: func(e entry) string { return e.Source }},
	{Title: "VERIFIED", Text: func(e entry) string { return e.Verified }},
	{Title: "SIZE", Text: func(e entry) string { return fmt.Sprintf("%d MiB", e.SizeBytes>>20) }},
	{Title: "BAKED", Text: func(e entry) string {
		var archs []string
		for _, b := range e.Images {
			if !slices.Contains(archs, b.Architecture) {
				archs = append(archs, b.Architecture)
			}
		}
		return strings.Join(archs, ",")
	}},
	{Title: "DESCRIPTION", Text: func(e entry) string { return e.Description }},
}

func names(archs []model.Arch) []string {
	var out []string
	for _, a := range archs {
		out = append(out, string(a))
	}
	return out
}

func newShowCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show RECIPE", Short: "Show one recipe that is built in, and its images", Object: "recipe", Args: cobra.ExactArgs(1), Shows: true,
		Complete: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return f.Recipes.Names(), cobra.ShellCompDirectiveNoFileComp
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			entries, err := all(ctx, s)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if e.Name == args[0] {
					return output.One(s.Factory.IO, &s.Output, e.Name, e)
				}
			}
			return failure.WithHint(failure.NotFoundf("no recipe of that name is built in"), "built in are: %s", strings.Join(f.Recipes.Names(), ", "))
		},
	}.Command(f)
}

// locations are where an image, and the checksums that it is verified by, come from.
func locations(r *recipe.Recipe, u *recipe.URLSource) (from, checksums map[model.Arch]string, signers []string) {
	from = map[model.Arch]string{}
	for _, a := range r.Architectures {
		from[a] = u.For(a, u.URL)
	}
	c := u.Checksums
	if c == nil {
		return from, nil, nil
	}
	checksums = map[model.Arch]string{}
	for _, a := range r.Architectures {
		checksums[a] = u.For(a, c.URL)
	}
	return from, checksums, c.Fingerprints
}

// all reads the recipes and asks which images of them there are.
func all(ctx context.Context, s *command.Session) ([]entry, error) {
	images, err := resolve.Images(ctx, s.Client, resolve.Filter("tag-key", resolve.RecipeTag))
	if err != nil {
		return nil, err
	}
	byRecipe := map[string][]baked{}
	for _, i := range images {
		if ec2types.Value(i.State) != string(model.ImageAvailable) {
			continue
		}
		name := resolve.Tag(i.Tags, resolve.RecipeTag)
		byRecipe[name] = append(byRecipe[name], baked{ec2types.Value(i.ImageId), ec2types.Value(i.Name), ec2types.Value(i.Architecture)})
	}
	var out []entry
	for _, name := range s.Factory.Recipes.Names() {
		fsys, err := s.Factory.Recipes.FS(name)
		if err != nil {
			return nil, err
		}
		r, err := recipe.Load(fsys)
		if err != nil {
			return nil, fmt.Errorf("reading the recipe %s: %w", name, err)
		}
		e := entry{
			Name: r.Name, Version: r.Version, Description: r.Description, Architectures: r.Architectures, Source: r.Source.Kind(),
			SizeBytes: int64(r.BlockDevices[0].Size), LoginUser: r.Metadata.LoginUser, Publisher: r.Metadata.Publisher,
			License: r.Metadata.License, Images: append([]baked{}, byRecipe[name]...), Verified: string(r.Source.Verification()),
		}
		if u := r.Source.URL; u != nil {
			e.From, e.Checksums, e.SignedBy = locations(r, u)
		}
		out = append(out, e)
	}
	return out, nil
}
