package image

import (
	"context"
	"fmt"
	"os"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/attestation"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/transfer"
	"github.com/bundt/bundt/pkg/sbom"
)

// maxBundleBytes bounds a signature.
const maxBundleBytes = 1 << 20

func newVerifyCommand(f *factory.Factory) *cobra.Command {
	var l transfer.Login
	var files []string
	attested := false
	return command.Verb{
		Use: "verify REFERENCE", Short: "Check who signed an image in a registry", Object: "image", Args: cobra.ExactArgs(1), NoDryRun: true,
		Long: `Check who signed an image in a registry: one of the keys that the account trusts (bundt trust
ls), or of those in files. Prints the image's digest and the key's name, and fails if none has signed
it. Then it prints what that key says besides: how the image was made (its provenance), and which bill
of materials is of it, which has to be there. With --attested both are demanded. The registry is asked
from here; nothing else is.`,
		Example: "  bundt image verify registry.example.com/images/web:2\n  bundt image verify registry.example.com/images/web:2 --key bakery.pub",
		Flags: func(cmd *cobra.Command) {
			l.AddFlags(cmd)
			cmd.Flags().StringArrayVar(&files, "key", nil, "`file` of a public key in PEM, in place of the trusted ones; may be repeated")
			cmd.Flags().BoolVar(&attested, "attested", false, "fail also if the same key does not say how it was made and what is in it")
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
			v := &verified{f: f, repo: repo, about: about, name: names[i]}
			if err := v.attested(ctx, signature.Claims(bundles, about.Digest.String(), keys[i:i+1]), attested); err != nil {
				return err
			}
			return v.print()
		},
	}.Command(f)
}

// verified is an image in a registry that somebody signed.
type verified struct {
	f     *factory.Factory
	repo  *registry.Repository
	about ocispec.Descriptor
	name  string // of the key
	lines []string
}

// attested reads what the key says of the image besides. What it signed has to be true.
func (v *verified) attested(ctx context.Context, claims []signature.Claim, demanded bool) error {
	said, err := attestation.Read(claims, sbom.MediaType)
	if err != nil {
		return err
	}
	if said.Provenance != nil {
		v.lines = append(v.lines, "provenance: "+attestation.Summary(said.Provenance))
	} else if demanded {
		return fmt.Errorf("%w: %s does not say how %s was made", signature.ErrUntrusted, v.name, v.about.Digest)
	}
	if len(said.Materials) == 0 {
		if demanded {
			return fmt.Errorf("%w: %s does not say what is in %s", signature.ErrUntrusted, v.name, v.about.Digest)
		}
		return nil
	}
	documents, err := v.repo.Attached(ctx, v.about, sbom.MediaType, sbom.MaxBytes)
	if err != nil {
		return err
	}
	for _, d := range documents {
		digest := artifact.Digest(d)
		if !slices.Contains(said.Materials, digest) {
			continue
		}
		name, entries, err := sbom.Entries(d)
		if err != nil {
			return err
		}
		v.lines = append(v.lines, fmt.Sprintf("sbom: %s, %d packages (%s)", name, len(entries), digest))
		return nil
	}
	return fmt.Errorf("%w: of %d bills of materials none is the one that %s has signed", signature.ErrUntrusted, len(documents), v.name)
}

func (v *verified) print() error {
	if _, err := fmt.Fprintln(v.f.IO.Out, v.about.Digest, v.name); err != nil {
		return err
	}
	for _, l := range v.lines {
		if _, err := fmt.Fprintln(v.f.IO.Out, output.Clean(l)); err != nil {
			return err
		}
	}
	return nil
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
