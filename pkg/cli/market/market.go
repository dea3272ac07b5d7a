// Package market owns the commands on publishers, their products and subscriptions,
// and on what others share. It may import pkg/client, pkg/catalog, the API's types,
// pkg/model and its neighbours under pkg/cli only.
package market

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/transfer"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
)

// NewCommand returns the command "market" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "market VERB", Aliases: []string{"marketplace"}, Short: "Find and subscribe to publishers' products",
		Long: `Find and subscribe to publishers' products: images that others offer on their terms. Which
publishers there are, the cloud's owner chooses by their keys. A product is named by its id, by
PUBLISHER/ID, or by its product code.`,
	}
	cmd.AddCommand(newListCommand(f), newShowCommand(f), newSubscribeCommand(f), newUnsubscribeCommand(f), newPullCommand(f),
		newPublishersCommand(f), newAddPublisherCommand(f), newRefreshCommand(f), newRemovePublisherCommand(f), newPublishCommand(f))
	return cmd
}

type product = bundttypes.Product

// products returns what publishers offer, of one kind or of all.
func products(ctx context.Context, c *client.Client, kind string) (all []product, err error) {
	in := &bundttypes.DescribeProductsInput{Kind: command.Given(kind)}
	for {
		page, err := c.DescribeProducts(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Products...)
		if in.NextToken = page.NextToken; ec2types.Value(in.NextToken) == "" {
			return all, nil
		}
	}
}

// find returns the product that ref means.
func find(ctx context.Context, c *client.Client, ref string) (product, error) {
	all, err := products(ctx, c, "")
	if err != nil {
		return product{}, err
	}
	var found []product
	for _, p := range all {
		if ref == p.ProductId || ref == p.Publisher+"/"+p.ProductId || ref == p.ProductCode {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return product{}, failure.WithHint(failure.NotFoundf("there is no product %q", ref), "bundt market ls lists the products")
	case 1:
		return found[0], nil
	}
	return product{}, failure.Usagef("%s is offered by %s and by %s: say PUBLISHER/%s", ref, found[0].Publisher, found[1].Publisher, ref)
}

// completeProducts completes to the products of all kinds.
func completeProducts(f *factory.Factory) cobra.CompletionFunc {
	return complete.First(func(cmd *cobra.Command, _ []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		c, err := f.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, _ := products(cmd.Context(), c, "")
		for _, p := range all {
			names = append(names, cobra.CompletionWithDesc(p.Publisher+"/"+p.ProductId, p.Title))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func newListCommand(f *factory.Factory) *cobra.Command {
	return command.List[product]{
		What:  "products",
		Empty: "no products; the cloud's owner adds publishers: bundt market add-publisher NAME URL KEY",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]product, error) {
			return products(ctx, s.Client, "market")
		},
		ID: func(p product) string { return p.ProductCode },
		Columns: func(*command.Session) []output.Column[product] {
			return []output.Column[product]{
				{Title: "PRODUCT", Text: func(p product) string { return p.Publisher + "/" + p.ProductId }, Style: func(product) iostreams.Style { return iostreams.Mark }},
				{Title: "TITLE", Text: func(p product) string { return p.Title }},
				{Title: "VERSION", Text: func(p product) string { return newest(p).Version }},
				{Title: "PRICE", Text: func(p product) string { return p.Price }},
				{Title: "SUBSCRIBED", Text: subscribed},
				{Title: "IMAGE", Text: func(p product) string { return newest(p).ImageId }},
				{Title: "CODE", Text: func(p product) string { return p.ProductCode }, Wide: true},
			}
		},
	}.Command(f)
}

func newest(p product) bundttypes.ProductVersion {
	if len(p.Versions) == 0 {
		return bundttypes.ProductVersion{}
	}
	return p.Versions[0]
}

func subscribed(p product) string {
	if p.SubscribedAt == nil {
		return "no"
	}
	return p.SubscribedAt.Format(time.DateOnly)
}

func newShowCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show PRODUCT", Short: "Print all that is known of a product, its terms included", Object: "product", Args: cobra.ExactArgs(1), Shows: true,
		Complete: completeProducts(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			p, err := find(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			return output.One(f.IO, &s.Output, p.ProductCode, p)
		},
	}.Command(f)
}

func newSubscribeCommand(f *factory.Factory) *cobra.Command {
	accept := ""
	return command.Verb{
		Use: "subscribe PRODUCT", Short: "Accept a product's terms, to launch it", Object: "product", Doing: "subscribe to", Args: cobra.ExactArgs(1),
		Long: `Accept a product's terms for this account. Without --accept-terms it prints them and their
digest, and subscribes to nothing: --accept-terms DIGEST says that these very terms were
read. Prints the product code.`,
		Complete: completeProducts(f),
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&accept, "accept-terms", "", "`digest` of the terms that are accepted; \"any\" accepts what they are now")
			command.FlagValues(cmd, "accept-terms", "any")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			p, err := find(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			if accept == "" {
				fmt.Fprintf(f.IO.Out, "%s\nPrice: %s\n", strings.TrimRight(p.Terms, "\n"), cmp.Or(p.Price, "free"))
				return failure.Usagef("nothing was accepted: bundt market subscribe %s --accept-terms %s accepts these terms", args[0], p.TermsDigest)
			}
			if accept == "any" {
				accept = p.TermsDigest
			}
			in := &bundttypes.SubscribeToProductInput{ProductCode: &p.ProductCode, TermsDigest: &accept, DryRun: s.Plan.Flag()}
			return command.Change(ctx, s, p.ProductCode, "SubscribeToProduct", in, s.SubscribeToProduct)
		},
	}.Command(f)
}

func newUnsubscribeCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "unsubscribe PRODUCT", Short: "Launch a product no more", Object: "product", Doing: "unsubscribe from", Args: cobra.ExactArgs(1),
		Long:     "Launch a product no more. Instances of it go on. Prints the product code.",
		Complete: completeProducts(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			p, err := find(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			in := &bundttypes.UnsubscribeFromProductInput{ProductCode: &p.ProductCode, DryRun: s.Plan.Flag()}
			return command.Change(ctx, s, p.ProductCode, "UnsubscribeFromProduct", in, s.UnsubscribeFromProduct)
		},
	}.Command(f)
}

func newPullCommand(f *factory.Factory) *cobra.Command {
	var w wait.Options
	version, arch := "", ""
	return command.Verb{
		Use: "pull PRODUCT", Short: "Get a product's image, to launch it", Object: "product", Args: cobra.ExactArgs(1),
		Long: `Get a product's image from the publisher's registry, unless it is here. All accounts see it,
and those that have subscribed can launch it. Prints the image's id.`,
		Example:  "  bundt market pull bakery/web --version 2.0",
		Complete: completeProducts(f),
		Flags: func(cmd *cobra.Command) {
			w.AddFlags(cmd)
			cmd.Flags().StringVar(&version, "version", "", "`version` of the product; default: the newest")
			cmd.Flags().StringVarP(&arch, "arch", "a", "", "`architecture`; default: the version's first")
			_ = cmd.RegisterFlagCompletionFunc("version", cobra.NoFileCompletions)
			_ = cmd.RegisterFlagCompletionFunc("arch", cobra.NoFileCompletions)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			p, err := find(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "PullProductImage", &bundttypes.PullProductImageInput{
				ProductCode: &p.ProductCode, Version: command.Given(version), Architecture: command.Given(arch), DryRun: s.Plan.Flag(),
			}, s.PullProductImage)
			if err != nil || out == nil {
				return err
			}
			if out.Task != nil {
				if _, err := transfer.Follow(ctx, s, w, *out.Task, "getting "+p.Title); err != nil || w.NoWait {
					return err
				}
			}
			return s.Print(out.ImageId)
		},
	}.Command(f)
}

func newPublishersCommand(f *factory.Factory) *cobra.Command {
	type publisher = bundttypes.Publisher
	return command.List[publisher]{
		What: "publishers", Use: "publishers", Short: "List whose products are shown",
		Empty: "no publishers; bundt market add-publisher NAME URL KEY adds one",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]publisher, error) {
			out, err := s.DescribePublishers(ctx, &bundttypes.DescribePublishersInput{})
			if err != nil {
				return nil, err
			}
			return out.Publishers, nil
		},
		ID: func(p publisher) string { return p.Name },
		Columns: func(s *command.Session) []output.Column[publisher] {
			return []output.Column[publisher]{
				{Title: "NAME", Text: func(p publisher) string { return p.Name }, Style: func(publisher) iostreams.Style { return iostreams.Mark }},
				{Title: "STATE", Text: func(p publisher) string { return p.State }},
				{Title: "KIND", Text: func(p publisher) string { return p.Kind }},
				{Title: "INDEX", Text: func(p publisher) string { return p.Url }},
				{Title: "LOOKED", Text: func(p publisher) string { return output.Age(s.Factory.Now(), ec2types.Value(p.LookedAt)) }},
				{Title: "REASON", Text: func(p publisher) string { return p.StateReason }},
				{Title: "KEY", Text: func(p publisher) string { return p.KeyId }, Wide: true},
			}
		},
	}.Command(f)
}

func newAddPublisherCommand(f *factory.Factory) *cobra.Command {
	var w wait.Options
	plain := false
	return command.Verb{
		Use: "add-publisher NAME URL KEY", Short: "Show what a publisher offers", Object: "publisher", Doing: "add", Args: cobra.ExactArgs(3),
		Long: `Show all accounts of this cloud what a publisher offers. URL is where its signed index is:
https://HOST/PATH, oci://HOST/PATH:TAG, or file:///BUCKET/KEY in the admin account's bucket
directory. KEY is the file with its public key in PEM: nothing that another key signed is taken. The
index is looked at every six hours. Only the admin account may. Prints the name.`,
		Example: "  bundt market add-publisher bakery oci://registry.example.com/bakery/index bakery.pub",
		Complete: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 2 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		Flags: func(cmd *cobra.Command) {
			w.AddFlags(cmd)
			cmd.Flags().BoolVar(&plain, "plain-http", false, "speak to the registry without TLS")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			key, err := os.ReadFile(args[2])
			if err != nil {
				return fmt.Errorf("reading the key: %w", err)
			}
			out, err := command.Send(ctx, s, "AddPublisher", &bundttypes.AddPublisherInput{
				Name: &args[0], Url: &args[1], PublicKey: new(string(key)), PlainHttp: command.Given(plain), DryRun: s.Plan.Flag(),
			}, s.AddPublisher)
			if err != nil || out == nil {
				return err
			}
			return looked(ctx, s, w, args[0])
		},
	}.Command(f)
}

// looked waits until a publisher's index was looked at.
func looked(ctx context.Context, s *command.Session, w wait.Options, name string) error {
	if w.NoWait {
		return s.Print(name)
	}
	p := s.Factory.IO.StartProgress("looking at what " + name + " offers")
	err := w.Until(ctx, p, func(ctx context.Context) (bool, string, error) {
		out, err := s.DescribePublishers(ctx, &bundttypes.DescribePublishersInput{})
		if err != nil {
			return false, "", err
		}
		for _, p := range out.Publishers {
			if strings.EqualFold(p.Name, name) {
				if p.State == "failed" {
					return false, "", fmt.Errorf("it failed: %s", p.StateReason)
				}
				return p.State == "ready", p.State, nil
			}
		}
		return false, "", failure.NotFoundf("there is no publisher %q", name)
	})
	p.Stop()
	if err != nil {
		return err
	}
	return s.Print(name)
}

// completePublishers completes to publishers' names.
func completePublishers(f *factory.Factory) cobra.CompletionFunc {
	return complete.First(func(cmd *cobra.Command, _ []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		c, err := f.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if out, err := c.DescribePublishers(cmd.Context(), &bundttypes.DescribePublishersInput{}); err == nil {
			for _, p := range out.Publishers {
				names = append(names, p.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func newRefreshCommand(f *factory.Factory) *cobra.Command {
	var w wait.Options
	return command.Verb{
		Use: "refresh PUBLISHER", Short: "Look at a publisher's index now", Object: "publisher", Args: cobra.ExactArgs(1),
		Complete: completePublishers(f),
		Flags:    w.AddFlags,
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			out, err := command.Send(ctx, s, "RefreshPublisher", &bundttypes.RefreshPublisherInput{Name: &args[0], DryRun: s.Plan.Flag()}, s.RefreshPublisher)
			if err != nil || out == nil {
				return err
			}
			return looked(ctx, s, w, args[0])
		},
	}.Command(f)
}

func newRemovePublisherCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "remove-publisher PUBLISHER", Short: "Show a publisher's products no more", Object: "publisher", Doing: "remove", Args: cobra.ExactArgs(1),
		Long:     "Show a publisher's products no more, and deregister their images. Instances of them go on. Prints the name.",
		Complete: completePublishers(f),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return command.Change(ctx, s, args[0], "RemovePublisher", &bundttypes.RemovePublisherInput{Name: &args[0], DryRun: s.Plan.Flag()}, s.RemovePublisher)
		},
	}.Command(f)
}
