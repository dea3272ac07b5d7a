package image

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/transfer"
)

// maxBundleBytes bounds a signature.
const maxBundleBytes = 1 << 20

func newVerifyCommand(f *factory.Factory) *cobra.Command {
	var l transfer.Login
	var files []string
	return command.Verb{
		Use: "verify REFERENCE", Short: "Check who signed an image in a registry", Object: "image", Args: cobra.ExactArgs(1), NoDryRun: true,
		Long: `Check who signed an image in a registry: one of the keys that the account trusts (bundt trust
ls), or of those in files. Prints the image's digest and the key's name, and fails if none has signed
it. The registry is asked from here; nothing else is.`,
		Example: "  bundt image verify registry.example.com/images/web:2\n  bundt image verify registry.example.com/images/web:2 --key bakery.pub",
		Flags: func(cmd *cobra.Command) {
			l.AddFlags(cmd)
			cmd.Flags().StringArrayVar(&files, "key", nil, "`file` of a public key in PEM, in place of the trusted ones; may be repeated")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			names, keys, err := verifiers(ctx, s, files)
			if err != nil {
				return err
			}
			repo, err := l.Open(ctx, f.IO.In, args[0])
			if err != nil {
				return err
			}
			about, _, err := repo.Manifest(ctx)
			if err != nil {
				return err
			}
			bundles, err := repo.Attached(ctx, about, signature.BundleType, maxBundleBytes)
			if err != nil {
				return err
			}
			i := signature.Signer(bundles, about.Digest.String(), keys)
			if i < 0 {
				return fmt.Errorf("%w: %s has %d signatures, and none is of one of %d keys", signature.ErrUntrusted, about.Digest, len(bundles), len(keys))
			}
			_, err = fmt.Fprintln(f.IO.Out, about.Digest, names[i])
			return err
		},
	}.Command(f)
}

// verifiers are the keys of files, or those that the account trusts.
func verifiers(ctx context.Context, s *command.Session, files []string) (names []string, keys []*signature.PublicKey, err error) {
	texts := map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the key: %w", err)
		}
		names, texts[file] = append(names, file), string(b)
	}
	if len(files) == 0 {
		out, err := s.DescribeTrustedKeys(ctx, &bundttypes.DescribeTrustedKeysInput{})
		if err != nil {
			return nil, nil, err
		}
		for _, k := range out.Keys {
			names, texts[k.Name] = append(names, k.Name), k.PublicKey
		}
	}
	if len(names) == 0 {
		return nil, nil, failure.WithHint(failure.Usagef("no key is trusted"), "bundt trust add NAME FILE, or --key FILE")
	}
	for _, name := range names {
		k, err := signature.ParsePublicKey([]byte(texts[name]))
		if err != nil {
			return nil, nil, fmt.Errorf("the key %s: %w", name, err)
		}
		keys = append(keys, k)
	}
	return names, keys, nil
}
