// Package key owns the commands on key pairs and the private keys that this user
// made with them, which are kept on this side only. It may import pkg/client, the
// API's types, pkg/model and its neighbours under pkg/cli only.
package key

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// NewCommand returns the command "key" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key VERB",
		Aliases: []string{"keys", "key-pair"},
		Short:   "Manage key pairs: who may log in",
		Long: `Manage key pairs, whose owners may log in to the instances that are launched with
them. The cloud keeps public keys only.`,
	}
	cmd.AddCommand(NewCreateCommand(f, nil), NewImportCommand(f, nil), newListCommand(f), NewDeleteCommand(f, nil))
	return cmd
}

// CreateOptions are the inputs of "key create".
type CreateOptions struct {
	Factory *factory.Factory
	Plan    plan.Options
	Name    string
	Type    string
	File    string
}

// NewCreateCommand returns the command "key create".
func NewCreateCommand(f *factory.Factory, run func(context.Context, *CreateOptions) error) *cobra.Command {
	o := &CreateOptions{Factory: f}
	if run == nil {
		run = create
	}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a key pair and keep its private key here",
		Long: `Make a key pair. Its private key is written to the user's data directory
(~/.local/share/bundt/keys/NAME), where bundt ssh finds it, or to --file. Prints
the file's name. The cloud forgets the private key: this is its only copy.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return failure.Wrap(run(cmd.Context(), o), "create key pair", o.Name)
		},
	}
	o.Plan.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Type, "type", "t", "ed25519", "`type`: ed25519 or rsa")
	cmd.Flags().StringVar(&o.File, "file", "", "where to write the private key; the `file` must not exist")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]cobra.Completion{"ed25519", "rsa"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func create(ctx context.Context, o *CreateOptions) error {
	if o.Type != "ed25519" && o.Type != "rsa" {
		return failure.Usagef("--type is ed25519 or rsa, not %q", o.Type)
	}
	file := cmp.Or(o.File, o.Factory.KeyFile(o.Name))
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	request := &ec2types.CreateKeyPairInput{KeyName: &o.Name, KeyType: &o.Type, DryRun: o.Plan.Flag()}
	if o.Plan.DryRun {
		if _, err := c.CreateKeyPair(ctx, request); !plan.Passed(err) {
			return err
		}
		return plan.Show(o.Factory.IO, "CreateKeyPair", request)
	}
	// The file first: a key pair whose private key could not be kept is lost.
	w, err := newPrivateFile(file)
	if err != nil {
		return err
	}
	out, err := c.CreateKeyPair(ctx, request)
	if err == nil {
		_, err = w.WriteString(ec2types.Value(out.KeyMaterial))
	}
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, file)
	return err
}

func newPrivateFile(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of private keys: %w", err)
	}
	w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, failure.WithHint(fmt.Errorf("%s exists: a private key of that name, perhaps of another cloud", file),
			"choose another name, write elsewhere with --file, or remove it if nothing needs it")
	}
	if err != nil {
		return nil, fmt.Errorf("making the file for the private key: %w", err)
	}
	return w, nil
}

func newListCommand(f *factory.Factory) *cobra.Command {
	type pair = ec2types.KeyPairInfo
	return command.List[pair]{
		What: "key pairs", Long: "List key pairs, and where their private keys are if they are kept here.",
		Empty: "no key pairs; bundt key create makes one, bundt key import takes your own",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]pair, error) {
			out, err := s.DescribeKeyPairs(ctx, &ec2types.DescribeKeyPairsInput{IncludePublicKey: new(true)})
			if err != nil {
				return nil, err
			}
			slices.SortFunc(out.KeyPairs, func(a, b pair) int {
				return strings.Compare(ec2types.Value(a.KeyName), ec2types.Value(b.KeyName))
			})
			return out.KeyPairs, nil
		},
		ID: func(k pair) string { return ec2types.Value(k.KeyPairId) },
		Columns: func(s *command.Session) []output.Column[pair] {
			return []output.Column[pair]{
				command.Text("NAME", func(k pair) *string { return k.KeyName }),
				command.Text("KEY", func(k pair) *string { return k.KeyPairId }),
				command.Text("TYPE", func(k pair) *string { return k.KeyType }),
				{Title: "PRIVATE KEY", Text: func(k pair) string {
					return PrivateKey(f, ec2types.Value(k.KeyName), ec2types.Value(k.PublicKey))
				}},
				command.Age(s, func(k pair) *time.Time { return k.CreateTime }),
				command.Wide(command.Text("FINGERPRINT", func(k pair) *string { return k.KeyFingerprint })),
			}
		},
	}.Command(f)
}

// DeleteOptions are the inputs of "key delete".
type DeleteOptions struct {
	Factory *factory.Factory
	Plan    plan.Options
	Names   []string
}

// NewDeleteCommand returns the command "key delete".
func NewDeleteCommand(f *factory.Factory, run func(context.Context, *DeleteOptions) error) *cobra.Command {
	o := &DeleteOptions{Factory: f}
	if run == nil {
		run = deleteKeys
	}
	cmd := &cobra.Command{
		Use:     "delete NAME…",
		Aliases: []string{"rm"},
		Short:   "Delete key pairs, and their private keys if they are kept here",
		Long: `Delete key pairs, given by name or id (key-…), and their private keys if bundt key
create put them into the user's data directory. Instances that were launched with
them keep letting their owners in.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.Keys(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Names = args
			return failure.Wrap(run(cmd.Context(), o), "delete key pair", strings.Join(args, ", "))
		},
	}
	o.Plan.AddFlags(cmd)
	return cmd
}

func deleteKeys(ctx context.Context, o *DeleteOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	for _, ref := range o.Names {
		pair, err := find(ctx, c, ref)
		if err != nil {
			return err
		}
		request := &ec2types.DeleteKeyPairInput{KeyPairId: pair.KeyPairId, DryRun: o.Plan.Flag()}
		_, err = c.DeleteKeyPair(ctx, request)
		if o.Plan.DryRun && plan.Passed(err) {
			err = plan.Show(o.Factory.IO, "DeleteKeyPair", request)
		}
		if err != nil || o.Plan.DryRun {
			return err
		}
		if file := PrivateKey(o.Factory, ec2types.Value(pair.KeyName), ec2types.Value(pair.PublicKey)); file != "" {
			if err := os.Remove(file); err != nil {
				return fmt.Errorf("removing the private key: %w", err)
			}
		}
		fmt.Fprintln(o.Factory.IO.Out, ec2types.Value(pair.KeyPairId))
	}
	return nil
}

// find returns the key pair of that name or id.
func find(ctx context.Context, c *client.Client, ref string) (ec2types.KeyPairInfo, error) {
	in := &ec2types.DescribeKeyPairsInput{IncludePublicKey: new(true)}
	if model.CheckID(model.KeyPairPrefix, ref) == nil {
		in.KeyPairIds = []string{ref}
	} else {
		in.KeyNames = []string{ref}
	}
	out, err := c.DescribeKeyPairs(ctx, in)
	if err != nil {
		return ec2types.KeyPairInfo{}, err
	}
	if len(out.KeyPairs) != 1 {
		return ec2types.KeyPairInfo{}, failure.NotFoundf("no key pair has the id or name %q", ref)
	}
	return out.KeyPairs[0], nil
}
