// Package trust owns the commands on the keys that images are signed with: the
// account's own, and those of others that it trusts. It may import pkg/client, the
// API's types and its neighbours under pkg/cli only.
package trust

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
)

// maxKeyBytes bounds the files of keys.
const maxKeyBytes = 16 << 10

// NewCommand returns the command "trust" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "trust VERB", Short: "Manage whose signatures on images are trusted",
		Long: `Manage the public keys whose signatures on images this account trusts. Nobody's are
trusted from the start.`,
	}
	cmd.AddCommand(newAddCommand(f), newListCommand(f), newDeleteCommand(f))
	return cmd
}

func newAddCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "add NAME FILE", Short: "Trust what a key signs", Object: "key", Doing: "trust", Args: cobra.ExactArgs(2),
		Long: `Trust what a key signs. FILE is the public key in PEM, as bundt signing-key show and cosign
print it; - is standard input. Prints the name.`,
		Example: "  bundt trust add bakery bakery.pub",
		Complete: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			key, err := readKey(f.IO.In, args[1])
			if err != nil {
				return err
			}
			return command.Change(ctx, s, args[0], "TrustKey", &bundttypes.TrustKeyInput{Name: &args[0], PublicKey: &key, DryRun: s.Plan.Flag()}, s.TrustKey)
		},
	}.Command(f)
}

// readKey reads a file, or standard input if it is called "-".
func readKey(in io.Reader, file string) (string, error) {
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("opening the key: %w", err)
		}
		defer opened.Close()
		in = opened
	}
	b, err := io.ReadAll(io.LimitReader(in, maxKeyBytes))
	if err != nil {
		return "", fmt.Errorf("reading the key: %w", err)
	}
	return string(b), nil
}

func newListCommand(f *factory.Factory) *cobra.Command {
	type key = bundttypes.TrustedKey
	return command.List[key]{
		What:  "trusted keys",
		Empty: "no key is trusted; bundt trust add NAME FILE trusts one",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]key, error) {
			out, err := s.DescribeTrustedKeys(ctx, &bundttypes.DescribeTrustedKeysInput{})
			if err != nil {
				return nil, err
			}
			return out.Keys, nil
		},
		ID: func(k key) string { return k.Name },
		Columns: func(s *command.Session) []output.Column[key] {
			return []output.Column[key]{
				{Title: "NAME", Text: func(k key) string { return k.Name }, Style: func(key) iostreams.Style { return iostreams.Mark }},
				{Title: "KEY", Text: func(k key) string { return k.KeyId }},
				command.Age(s, func(k key) *time.Time { return &k.CreatedAt }),
			}
		},
	}.Command(f)
}

func newDeleteCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "delete NAME", Short: "Trust a key no more", Object: "key", Doing: "distrust", Args: cobra.ExactArgs(1),
		Long: "Trust a key no more. Images that were got while it was trusted stay. Prints the name.",
		Complete: complete.First(func(cmd *cobra.Command, _ []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			c, err := f.Client()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			if out, err := c.DescribeTrustedKeys(cmd.Context(), &bundttypes.DescribeTrustedKeysInput{}); err == nil {
				for _, k := range out.Keys {
					names = append(names, k.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		}),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return command.Change(ctx, s, args[0], "DistrustKey", &bundttypes.DistrustKeyInput{Name: &args[0], DryRun: s.Plan.Flag()}, s.DistrustKey)
		},
	}.Command(f)
}

// NewSigningKeyCommand returns the command "signing-key" with all its verbs.
func NewSigningKeyCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "signing-key VERB", Short: "Manage the key that this account signs images with",
		Long: `Manage the key that this account signs images with (bundt image push --sign). The cloud
keeps it, and makes one when it is first needed.`,
	}
	show := command.Verb{
		Use: "show", Short: "Print the public key", Object: "signing key", Args: cobra.NoArgs, NoDryRun: true,
		Long:    "Print the public key, in PEM: what others trust (bundt trust add) who want this account's images.",
		Example: "  bundt signing-key show > bakery.pub",
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			out, err := s.GetImageSigningKey(ctx, &bundttypes.GetImageSigningKeyInput{})
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(f.IO.Out, out.PublicKey)
			return err
		},
	}
	load := command.Verb{
		Use: "import FILE", Short: "Sign images with another key", Object: "signing key", Args: cobra.ExactArgs(1),
		Long: `Sign images with another key from now on: ECDSA on P-256 or Ed25519, in PEM, without a
password; - is standard input. The cloud forgets the key that it had. Prints the new key's id.`,
		Complete: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			key, err := readKey(f.IO.In, args[0])
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "ImportImageSigningKey", &bundttypes.ImportImageSigningKeyInput{KeyMaterial: &key, DryRun: s.Plan.Flag()}, s.ImportImageSigningKey)
			if err != nil || out == nil {
				return err
			}
			return s.Print(out.KeyId)
		},
	}
	cmd.AddCommand(show.Command(f), load.Command(f))
	return cmd
}
