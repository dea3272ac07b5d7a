package network

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

// verb is a command that changes something.
type verb struct {
	use, short, long, example string
	object                    string // of errors: "security group"
	args                      cobra.PositionalArgs
	complete                  cobra.CompletionFunc
	flags                     func(*cobra.Command)
	run                       func(ctx context.Context, s *session, args []string) error
}

// session is what a verb that runs works with.
type session struct {
	*client.Client
	f    *factory.Factory
	plan plan.Options
}

func (v verb) command(f *factory.Factory) *cobra.Command {
	s := &session{f: f}
	if v.complete == nil {
		v.complete = complete.None
	}
	name, _, _ := strings.Cut(v.use, " ")
	cmd := &cobra.Command{
		Use: v.use, Short: v.short, Long: v.long, Example: v.example, Args: v.args, ValidArgsFunction: v.complete,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			object := v.object
			if len(args) > 0 {
				object += " " + args[0]
			}
			if s.Client, err = f.Client(); err == nil {
				err = v.run(cmd.Context(), s, args)
			}
			return failure.Wrap(err, name, object)
		},
	}
	if name == "delete" {
		cmd.Aliases = []string{"rm"}
	}
	s.plan.AddFlags(cmd)
	if v.flags != nil {
		v.flags(cmd)
	}
	return cmd
}

// send makes a request. The answer is nil after a dry run that passed: the
// request is shown, and there is nothing more to do.
func send[I, O any](ctx context.Context, s *session, action string, in *I, call func(context.Context, *I) (*O, error)) (*O, error) {
	out, err := call(ctx, in)
	if s.plan.DryRun && plan.Passed(err) {
		return nil, plan.Show(s.f.IO, action, in)
	}
	return out, err
}

// change makes a request that changes the object of this id, and prints the id.
func change[I, O any](ctx context.Context, s *session, id, action string, in *I, call func(context.Context, *I) (*O, error)) error {
	out, err := send(ctx, s, action, in, call)
	if err != nil || out == nil {
		return err
	}
	return s.print(id)
}

func (s *session) print(ids ...string) error {
	for _, id := range ids {
		if _, err := fmt.Fprintln(s.f.IO.Out, id); err != nil {
			return fmt.Errorf("writing output: %w", err)
		}
	}
	return nil
}

// nameFlag adds --name, the object's tag Name.
func nameFlag(cmd *cobra.Command, name *string, what string) {
	cmd.Flags().StringVarP(name, "name", "n", "", "`name` of the "+what+": its tag Name")
	_ = cmd.RegisterFlagCompletionFunc("name", complete.None)
}

// vpcFlag adds --vpc.
func vpcFlag(f *factory.Factory, cmd *cobra.Command, vpc *string, usage string) {
	cmd.Flags().StringVar(vpc, "vpc", *vpc, usage)
	_ = cmd.RegisterFlagCompletionFunc("vpc", complete.VPCs(f))
}

// nameTag is the tag specification of --name.
func nameTag(kind, name string) []ec2types.TagSpecification {
	if name == "" {
		return nil
	}
	return []ec2types.TagSpecification{{ResourceType: &kind, Tags: []ec2types.Tag{{Key: new("Name"), Value: &name}}}}
}

// lister is a command that lists objects T.
type lister[T any] struct {
	what    string // in the plural
	vpc     bool   // has --vpc
	all     func(context.Context, *client.Client, ...ec2types.Filter) ([]T, error)
	id      func(T) *string
	columns []output.Column[T]
}

func (l lister[T]) command(f *factory.Factory) *cobra.Command {
	var (
		o   output.Options
		vpc string
	)
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List " + l.what, Args: cobra.NoArgs, ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(l.run(cmd.Context(), f, &o, vpc), "list", l.what)
		},
	}
	o.AddFlags(cmd)
	if l.vpc {
		vpcFlag(f, cmd, &vpc, "only those of this `VPC`")
	}
	return cmd
}

func (l lister[T]) run(ctx context.Context, f *factory.Factory, o *output.Options, vpc string) error {
	c, err := f.Client()
	if err != nil {
		return err
	}
	var filters []ec2types.Filter
	if vpc != "" {
		id, err := resolve.VPC(ctx, c, vpc)
		if err != nil {
			return err
		}
		filters = append(filters, resolve.Filter("vpc-id", id))
	}
	all, err := l.all(ctx, c, filters...)
	if err != nil {
		return err
	}
	return output.List(f.IO, o, all, func(item T) string { return ec2types.Value(l.id(item)) }, l.columns)
}

// column is a column of strings that may be missing.
func column[T any](title string, text func(T) *string) output.Column[T] {
	return output.Column[T]{Title: title, Text: func(item T) string { return ec2types.Value(text(item)) }}
}

func wide[T any](c output.Column[T]) output.Column[T] {
	c.Wide = true
	return c
}

// tagColumn is the column of names.
func tagColumn[T any](tags func(T) []ec2types.Tag) output.Column[T] {
	return output.Column[T]{Title: "NAME", Text: func(item T) string { return resolve.Tag(tags(item), "Name") }}
}

func yesNo(v *bool) string {
	if ec2types.Value(v) {
		return "yes"
	}
	return "no"
}
