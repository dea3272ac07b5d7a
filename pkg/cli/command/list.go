package command

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

// List is a command that lists objects T.
type List[T any] struct {
	What                      string // in the plural, of errors: "security groups"
	Use, Short, Long, Example string // default: ls, List + What
	Aliases                   []string
	Args                      cobra.PositionalArgs // default: none
	Complete                  cobra.CompletionFunc // default: nothing
	Flags                     func(*cobra.Command)
	// All returns the objects in the order to show them in.
	All func(ctx context.Context, s *Session, args []string) ([]T, error)
	// ID gives what -o name prints.
	ID      func(T) string
	Columns func(s *Session) []output.Column[T]
	// Empty is what a person is told instead of an empty table: why, and what to do.
	Empty string
}

// Command makes the command.
func (l List[T]) Command(f *factory.Factory) *cobra.Command {
	s := &Session{Factory: f}
	if l.Args == nil {
		l.Args = cobra.NoArgs
	}
	if l.Complete == nil {
		l.Complete = complete.None
	}
	cmd := &cobra.Command{
		Use: cmp.Or(l.Use, "ls"), Short: cmp.Or(l.Short, "List "+l.What), Long: l.Long, Example: l.Example,
		Aliases: l.Aliases, Args: l.Args, ValidArgsFunction: l.Complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			return failure.Wrap(l.run(cmd.Context(), s, args), "list", l.What)
		},
	}
	if name, _, _ := strings.Cut(cmd.Use, " "); name == "ls" {
		cmd.Aliases = append([]string{"list"}, cmd.Aliases...)
	}
	s.Output.AddFlags(cmd)
	if l.Flags != nil {
		l.Flags(cmd)
	}
	return cmd
}

func (l List[T]) run(ctx context.Context, s *Session, args []string) (err error) {
	if s.Client, err = s.Factory.Client(); err != nil {
		return err
	}
	all, err := l.All(ctx, s, args)
	if err != nil {
		return err
	}
	return Print(s, all, l.Empty, l.ID, l.Columns(s))
}

// Print prints objects as the user chose; to a person who would see an empty
// table it says empty, if there is such a text.
func Print[T any](s *Session, all []T, empty string, id func(T) string, columns []output.Column[T]) error {
	if len(all) == 0 && empty != "" && s.Output.ForPeople() && s.Factory.IO.ErrIsTerminal() {
		fmt.Fprintln(s.Factory.IO.Err, empty)
		return nil
	}
	return output.List(s.Factory.IO, &s.Output, all, id, columns)
}

// Text is a column of strings that may be missing.
func Text[T any](title string, text func(T) *string) output.Column[T] {
	return output.Column[T]{Title: title, Text: func(item T) string { return ec2types.Value(text(item)) }}
}

// Wide makes a column one that only -o wide shows.
func Wide[T any](c output.Column[T]) output.Column[T] {
	c.Wide = true
	return c
}

// Age is the column of how long ago objects were made.
func Age[T any](s *Session, made func(T) *time.Time) output.Column[T] {
	now := s.Factory.Now()
	return output.Column[T]{Title: "AGE", Text: func(item T) string { return output.Age(now, ec2types.Value(made(item))) }}
}

// Name is the column of names: the tags Name.
func Name[T any](tags func(T) []ec2types.Tag) output.Column[T] {
	return output.Column[T]{Title: "NAME", Text: func(item T) string { return resolve.Tag(tags(item), "Name") }}
}

// YesNo is a column of truths.
func YesNo[T any](title string, truth func(T) *bool) output.Column[T] {
	return output.Column[T]{Title: title, Text: func(item T) string {
		if ec2types.Value(truth(item)) {
			return "yes"
		}
		return "no"
	}}
}
