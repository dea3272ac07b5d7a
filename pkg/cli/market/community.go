package market

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
)

// Shared is an image that others let everybody launch: one that is here, or one in a
// registry that a publisher's index of the kind community names.
type Shared struct {
	Name         string
	From         string // account or publisher
	Architecture string
	ImageId      string
	Image        string // in a registry
}

// NewCommunityCommand returns the command "community" with all its verbs.
func NewCommunityCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "community VERB", Short: "Find images that others share with everybody",
		Long: `Find images that others share with everybody: public images of other accounts of this cloud,
and what publishers' indexes of the kind community offer. Nobody has checked them: they may do anything
to those who launch them.`,
	}
	cmd.AddCommand(command.List[Shared]{
		What:  "images that others share",
		Empty: "nobody shares an image; bundt image share IMAGE --public does, and bundt market add-publisher adds an index",
		Long: `List images that others share with everybody. Those without an IMAGE are got by
bundt market pull NAME, or bundt image pull REFERENCE.`,
		All: func(ctx context.Context, s *command.Session, _ []string) ([]Shared, error) { return shared(ctx, s) },
		ID:  func(i Shared) string { return cmp.Or(i.ImageId, i.Image) },
		Columns: func(*command.Session) []output.Column[Shared] {
			return []output.Column[Shared]{
				{Title: "NAME", Text: func(i Shared) string { return i.Name }, Style: func(Shared) iostreams.Style { return iostreams.Mark }},
				{Title: "FROM", Text: func(i Shared) string { return i.From }},
				{Title: "ARCH", Text: func(i Shared) string { return i.Architecture }},
				{Title: "IMAGE", Text: func(i Shared) string { return i.ImageId }},
				{Title: "REFERENCE", Text: func(i Shared) string { return i.Image }, Wide: true},
			}
		},
	}.Command(f))
	return cmd
}

func shared(ctx context.Context, s *command.Session) (all []Shared, err error) {
	own := map[string]bool{}
	if err := images(ctx, s, &ec2types.DescribeImagesInput{Owners: []string{"self"}}, func(i ec2types.Image) { own[*i.ImageId] = true }); err != nil {
		return nil, err
	}
	err = images(ctx, s, &ec2types.DescribeImagesInput{ExecutableUsers: []string{"all"}}, func(i ec2types.Image) {
		if !own[*i.ImageId] && i.ImageOwnerAlias == nil {
			all = append(all, Shared{Name: ec2types.Value(i.Name), From: ec2types.Value(i.OwnerId), Architecture: ec2types.Value(i.Architecture), ImageId: *i.ImageId})
		}
	})
	if err != nil {
		return nil, err
	}
	offered, err := products(ctx, s.Client, "community")
	if err != nil {
		return nil, err
	}
	for _, p := range offered {
		for _, v := range p.Versions {
			all = append(all, Shared{Name: p.Publisher + "/" + p.ProductId, From: p.Publisher, Architecture: v.Architecture, ImageId: v.ImageId, Image: v.Image})
		}
	}
	slices.SortStableFunc(all, func(a, b Shared) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// images calls each with all images that a request finds.
func images(ctx context.Context, s *command.Session, in *ec2types.DescribeImagesInput, each func(ec2types.Image)) error {
	for page, err := range s.DescribeImagesPages(ctx, in) {
		if err != nil {
			return err
		}
		for _, i := range page.Images {
			each(i)
		}
	}
	return nil
}
