// Package command owns the shapes that commands share: a verb that does something
// to an object, and a list of objects. It may import pkg/client, the API's types
// and its neighbours under pkg/cli only.
package command

import (
	"cmp"
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
	"github.com/bundt/bundt/pkg/client"
)

// Verb is a command that does something to an object, which its first argument
// names.
type Verb struct {
	Use, Short, Long, Example string
	Aliases                   []string             // "delete" has "rm"
	Object                    string               // of errors: "security group"
	Doing                     string               // of errors; default: Use's first word
	Args                      cobra.PositionalArgs // default: any
	Complete                  cobra.CompletionFunc // default: nothing
	Flags                     func(*cobra.Command)
	// Shows gives it -o and --query instead of --dry-run: it changes nothing.
	Shows bool
	// NoDryRun leaves --dry-run out: of actions that know none, as IAM's do not.
	NoDryRun bool
	Run      func(ctx context.Context, s *Session, args []string) error
}

// Session is what a command that runs works with.
type Session struct {
	*client.Client
	Factory *factory.Factory
	Plan    plan.Options
	Output  output.Options
}

// Command makes the command.
func (v Verb) Command(f *factory.Factory) *cobra.Command {
	s := &Session{Factory: f}
	if v.Complete == nil {
		v.Complete = complete.None
	}
	name, _, _ := strings.Cut(v.Use, " ")
	cmd := &cobra.Command{
		Use: v.Use, Aliases: v.Aliases, Short: v.Short, Long: v.Long, Example: v.Example, Args: v.Args, ValidArgsFunction: v.Complete,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			object := v.Object
			if len(args) > 0 {
				object += " " + args[0]
			}
			if s.Client, err = f.Client(); err == nil {
				err = v.Run(cmd.Context(), s, args)
			}
			return failure.Wrap(err, cmp.Or(v.Doing, name), object)
		},
	}
	if name == "delete" {
		cmd.Aliases = append(cmd.Aliases, "rm")
	}
	switch {
	case v.Shows:
		s.Output.AddFlags(cmd)
	case !v.NoDryRun:
		s.Plan.AddFlags(cmd)
	}
	if v.Flags != nil {
		v.Flags(cmd)
	}
	return cmd
}

// Send makes a request. The answer is nil after a dry run that passed: the
// request is shown, and there is nothing more to do.
func Send[I, O any](ctx context.Context, s *Session, action string, in *I, call func(context.Context, *I) (*O, error)) (*O, error) {
	out, err := call(ctx, in)
	if s.Plan.DryRun && plan.Passed(err) {
		return nil, plan.Show(s.Factory.IO, action, in)
	}
	return out, err
}

// Change makes a request that changes the object of this id, and prints the id.
func Change[I, O any](ctx context.Context, s *Session, id, action string, in *I, call func(context.Context, *I) (*O, error)) error {
	out, err := Send(ctx, s, action, in, call)
	if err != nil || out == nil {
		return err
	}
	return s.Print(id)
}

// Print prints ids, one a line.
func (s *Session) Print(ids ...string) error {
	for _, id := range ids {
		if _, err := fmt.Fprintln(s.Factory.IO.Out, id); err != nil {
			return fmt.Errorf("writing output: %w", err)
		}
	}
	return nil
}

// NameFlag adds --name, the object's tag Name.
func NameFlag(cmd *cobra.Command, name *string, what string) {
	cmd.Flags().StringVarP(name, "name", "n", "", "`name` of the "+what+": its tag Name")
	_ = cmd.RegisterFlagCompletionFunc("name", complete.None)
}

// NameTag is the tag specification of --name, for objects of this kind.
func NameTag(kind, name string) []ec2types.TagSpecification {
	if name == "" {
		return nil
	}
	return []ec2types.TagSpecification{{ResourceType: &kind, Tags: []ec2types.Tag{{Key: new("Name"), Value: &name}}}}
}

// Given is nil for what was not given: the zero value.
func Given[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// FlagValues lets a flag complete to these values and no files; to nothing if
// there are none.
func FlagValues(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}
