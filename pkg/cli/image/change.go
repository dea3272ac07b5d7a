package image

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

// change is a verb that changes each of some images by one request.
type change struct {
	use, short, long, example string
	flags                     func(*cobra.Command)
	// request makes the request that changes the image of this id, and what sends it.
	request func(id string, dryRun *bool) (action string, request any, send func(context.Context, *client.Client) error, err error)
}

func (v change) command(f *factory.Factory) *cobra.Command {
	p := &plan.Options{}
	verb, _, _ := strings.Cut(v.use, " ")
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Long: v.long, Example: v.example,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.Images(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			return failure.Wrap(v.run(cmd.Context(), f, p, args), verb+" image", strings.Join(args, ", "))
		},
	}
	p.AddFlags(cmd)
	if v.flags != nil {
		v.flags(cmd)
	}
	return cmd
}

func (v change) run(ctx context.Context, f *factory.Factory, p *plan.Options, refs []string) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	var ids []string
	for _, ref := range refs { // all of them exist, or none is touched
		id, err := resolve.Image(ctx, c, ref)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		action, request, send, err := v.request(id, p.Flag())
		if err != nil {
			return err
		}
		err = send(ctx, c)
		if p.DryRun && plan.Passed(err) {
			if err := plan.Show(f.IO, action, request); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(f.IO.Out, id); err != nil {
			return err
		}
	}
	return nil
}

// sender makes a request's second half: send, without what it answers.
func sender[I, O any](in *I, send func(*client.Client, context.Context, *I) (*O, error)) func(context.Context, *client.Client) error {
	return func(ctx context.Context, c *client.Client) error {
		_, err := send(c, ctx, in)
		return err
	}
}

// newShareCommand returns "image share", or "image unshare", which takes back.
func newShareCommand(f *factory.Factory, unshare bool) *cobra.Command {
	var accounts []string
	public := false
	verb, operation, short := "share", ec2types.OperationTypeAdd, "Let other accounts launch images"
	long := `Let other accounts see images and launch instances of them; --public lets every
account. What instances write to their disks is never shared. To let others copy an
image, share its snapshots too: bundt snapshot share.`
	if unshare {
		verb, operation, short = "unshare", ec2types.OperationTypeRemove, "Let other accounts launch images no more"
		long = `Take back what bundt image share gave: from some accounts, with --public from
everybody; without either flag everything. Instances that were launched go on.`
	}
	return change{
		use: verb + " IMAGE…", short: short, long: long,
		example: "  bundt image " + verb + " web-v2 --with 123456789012\n  bundt image " + verb + " web-v2 --public",
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringSliceVar(&accounts, "with", nil, "`accounts`, by their twelve digits")
			cmd.Flags().BoolVar(&public, "public", false, "every account")
			_ = cmd.RegisterFlagCompletionFunc("with", cobra.NoFileCompletions)
		},
		request: func(id string, dry *bool) (string, any, func(context.Context, *client.Client) error, error) {
			if len(accounts) == 0 && !public {
				if !unshare {
					return "", nil, nil, failure.Usagef("--with or --public is required: who shall launch it")
				}
				in := &ec2types.ResetImageAttributeInput{ImageId: &id, Attribute: new(ec2types.ResetImageAttributeNameLaunchPermission), DryRun: dry}
				return "ResetImageAttribute", in, sender(in, (*client.Client).ResetImageAttribute), nil
			}
			in := &ec2types.ModifyImageAttributeInput{
				ImageId: &id, Attribute: new(ec2types.ImageAttributeNameLaunchPermission), OperationType: &operation, UserIds: accounts, DryRun: dry,
			}
			if public {
				in.UserGroups = []string{ec2types.PermissionGroupAll}
			}
			return "ModifyImageAttribute", in, sender(in, (*client.Client).ModifyImageAttribute), nil
		},
	}.command(f)
}

// newDeprecateCommand returns "image deprecate".
func newDeprecateCommand(f *factory.Factory) *cobra.Command {
	at := ""
	never := false
	return change{
		use: "deprecate IMAGE…", short: "Say from when on images are outdated",
		long: `Say from when on images are outdated: the other accounts that they are shared with
then find them no more by listing, but can still launch them by id. --at takes a date,
a time (RFC 3339) or a span from now; the default is now. --never takes it back.`,
		example: "  bundt image deprecate web-v1\n  bundt image deprecate web-v1 --at 2027-01-31\n  bundt image deprecate web-v1 --at 720h\n  bundt image deprecate web-v1 --never",
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&at, "at", "", "`time` from which on they are deprecated")
			cmd.Flags().BoolVar(&never, "never", false, "deprecate them no more")
			cmd.MarkFlagsMutuallyExclusive("at", "never")
			_ = cmd.RegisterFlagCompletionFunc("at", cobra.NoFileCompletions)
		},
		request: func(id string, dry *bool) (string, any, func(context.Context, *client.Client) error, error) {
			if never {
				in := &ec2types.DisableImageDeprecationInput{ImageId: &id, DryRun: dry}
				return "DisableImageDeprecation", in, sender(in, (*client.Client).DisableImageDeprecation), nil
			}
			when, err := parseTime(at, f.Now())
			if err != nil {
				return "", nil, nil, err
			}
			in := &ec2types.EnableImageDeprecationInput{ImageId: &id, DeprecateAt: &when, DryRun: dry}
			return "EnableImageDeprecation", in, sender(in, (*client.Client).EnableImageDeprecation), nil
		},
	}.command(f)
}

// parseTime reads a date, a time or a span from now; "" is the next minute, as
// EC2 takes no time that is over.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now.UTC().Truncate(time.Minute).Add(time.Minute), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.UTC().Add(d), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, failure.Usagef("--at %q: expect a date like 2027-01-31, a time like 2027-01-31T12:00:00Z, or a span like 72h", text)
}

func newProtectCommand(f *factory.Factory) *cobra.Command {
	cooldown := false
	return change{
		use: "protect IMAGE…", short: "Keep images from being deregistered",
		long: `Keep images from being deregistered until bundt image unprotect; with --cooldown
for 24 hours after that, too.`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&cooldown, "cooldown", false, "have the protection last for a day after it was ended")
		},
		request: func(id string, dry *bool) (string, any, func(context.Context, *client.Client) error, error) {
			in := &ec2types.EnableImageDeregistrationProtectionInput{ImageId: &id, WithCooldown: &cooldown, DryRun: dry}
			return "EnableImageDeregistrationProtection", in, sender(in, (*client.Client).EnableImageDeregistrationProtection), nil
		},
	}.command(f)
}

func newUnprotectCommand(f *factory.Factory) *cobra.Command {
	return change{
		use: "unprotect IMAGE…", short: "End the protection of images, or begin its cooldown",
		request: func(id string, dry *bool) (string, any, func(context.Context, *client.Client) error, error) {
			in := &ec2types.DisableImageDeregistrationProtectionInput{ImageId: &id, DryRun: dry}
			return "DisableImageDeregistrationProtection", in, sender(in, (*client.Client).DisableImageDeregistrationProtection), nil
		},
	}.command(f)
}

func newDisableCommand(f *factory.Factory) *cobra.Command {
	return change{
		use: "disable IMAGE…", short: "Forbid to launch images, and share them no more",
		long: `Forbid to launch images until bundt image enable, and take back all sharing.
Instances of them go on.`,
		request: func(id string, dry *bool) (string, any, func(context.Context, *client.Client) error, error) {
			in := &ec2types.DisableImageInput{ImageId: &id, DryRun: dry}
			return "DisableImage", in, sender(in, (*client.Client).DisableImage), nil
		},
	}.command(f)
}

func newEnableCommand(f *factory.Factory) *cobra.Command {
	return change{
		use: "enable IMAGE…", short: "Allow to launch disabled images again",
		request: func(id string, dry *bool) (string, any, func(context.Context, *client.Client) error, error) {
			in := &ec2types.EnableImageInput{ImageId: &id, DryRun: dry}
			return "EnableImage", in, sender(in, (*client.Client).EnableImage), nil
		},
	}.command(f)
}
