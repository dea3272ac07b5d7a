package market

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/catalog/artifact"
	index "github.com/bundt/bundt/pkg/catalog/market"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/transfer"
)

func newPublishCommand(f *factory.Factory) *cobra.Command {
	p := &publisher{factory: f}
	return command.Verb{
		Use: "publish FILE DESTINATION", Short: "Sign an index of products and put it where others find it", Object: "index", Args: cobra.ExactArgs(2), NoDryRun: true,
		Long: `Make an index of the products in FILE, sign it with the account's key (bundt signing-key show
prints the public one, which others need), and write it to the file DESTINATION, for a web server or a
bucket, or send it to oci://HOST/PATH:TAG. Prints DESTINATION.

FILE is YAML: publisher, kind (market or community), and products with id, title, description,
website, support, price, terms and versions, newest first, each with version, image, released and notes.
Of each image, which bundt image push has sent, the registry is asked for its digest.`,
		Example: "  bundt market publish products.yaml oci://registry.example.com/bakery/index:latest",
		Complete: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
		Flags: p.login.AddFlags,
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return p.publish(ctx, s, args[0], args[1])
		},
	}.Command(f)
}

type publisher struct {
	factory *factory.Factory
	login   transfer.Login
}

func (p *publisher) publish(ctx context.Context, s *command.Session, file, destination string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the products: %w", err)
	}
	source, err := index.ParseSource(text)
	if err != nil {
		return failure.UsageError(fmt.Errorf("%s: %w", file, err))
	}
	made, err := source.Index(time.Now().Unix(), func(reference string) (index.Found, error) { return p.find(ctx, reference) })
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	body, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("encoding the index: %w", err)
	}
	out, err := s.SignIndex(ctx, &bundttypes.SignIndexInput{Index: new(string(body))})
	if err != nil {
		return err
	}
	if err := p.put(ctx, destination, []byte(out.Bundle)); err != nil {
		return err
	}
	return s.Print(destination)
}

func (p *publisher) put(ctx context.Context, destination string, bundle []byte) error {
	if !strings.HasPrefix(destination, artifact.Scheme) {
		if err := os.WriteFile(destination, bundle, 0o644); err != nil { //nolint:gosec // it is for everybody
			return fmt.Errorf("writing the index: %w", err)
		}
		return nil
	}
	repo, err := p.login.Open(ctx, p.factory.IO.In, destination)
	if err != nil {
		return err
	}
	_, err = repo.PushFile(ctx, signature.BundleType, bundle)
	return err
}

// find asks a registry what it has under a reference.
func (p *publisher) find(ctx context.Context, reference string) (found index.Found, err error) {
	repo, err := p.login.Open(ctx, p.factory.IO.In, reference)
	if err != nil {
		return found, err
	}
	d, manifest, err := repo.Manifest(ctx)
	if err != nil {
		return found, err
	}
	about, err := artifact.ConfigOf(manifest)
	if err != nil {
		return found, err
	}
	config, err := repo.Blob(ctx, about, artifact.MaxConfigBytes)
	if err != nil {
		return found, err
	}
	img, err := artifact.Decode(manifest, config)
	if err != nil {
		return found, err
	}
	ref, err := artifact.ParseReference(reference)
	if err != nil {
		return found, err
	}
	ref.Tag, ref.Digest = "", d.Digest.String()
	found.Image, found.Architecture = ref.String(), img.Config.Architecture
	for _, disk := range img.Config.Disks {
		found.SizeGiB += disk.SizeGiB
	}
	return found, nil
}
