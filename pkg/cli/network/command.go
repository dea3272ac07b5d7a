package network

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

// vpcFlag adds --vpc.
func vpcFlag(f *factory.Factory, cmd *cobra.Command, vpc *string, usage string) {
	cmd.Flags().StringVar(vpc, "vpc", *vpc, usage)
	_ = cmd.RegisterFlagCompletionFunc("vpc", complete.VPCs(f))
}

// lister is a command that lists objects T.
type lister[T any] struct {
	what    string // in the plural
	vpc     string // filter by which --vpc finds those of a VPC; "" if there is no such flag
	all     func(context.Context, *client.Client, ...ec2types.Filter) ([]T, error)
	id      func(T) *string
	columns []output.Column[T]
}

func (l lister[T]) Command(f *factory.Factory) *cobra.Command {
	var vpc string
	return command.List[T]{
		What: l.what, ID: func(item T) string { return ec2types.Value(l.id(item)) },
		Columns: func(*command.Session) []output.Column[T] { return l.columns },
		Flags: func(cmd *cobra.Command) {
			if l.vpc != "" {
				vpcFlag(f, cmd, &vpc, "only those of this `VPC`")
			}
		},
		All: func(ctx context.Context, s *command.Session, _ []string) ([]T, error) {
			if vpc == "" {
				return l.all(ctx, s.Client)
			}
			id, err := resolve.VPC(ctx, s.Client, vpc)
			if err != nil {
				return nil, err
			}
			return l.all(ctx, s.Client, resolve.Filter(l.vpc, id))
		},
	}.Command(f)
}

// remover is a command that deletes an object which its argument names.
type remover[I, O any] struct {
	use, short, object string
	complete           cobra.CompletionFunc
	find               func(ctx context.Context, c *client.Client, ref string) (id string, err error)
	action             string
	request            func(id string, dryRun *bool) *I
	send               func(*client.Client, context.Context, *I) (*O, error)
}

func (r remover[I, O]) Command(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: r.use, Short: r.short, Object: r.object, Args: cobra.ExactArgs(1), Complete: complete.First(r.complete),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := r.find(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			return command.Change(ctx, s, id, r.action, r.request(id, s.Plan.Flag()), func(ctx context.Context, in *I) (*O, error) { return r.send(s.Client, ctx, in) })
		},
	}.Command(f)
}
