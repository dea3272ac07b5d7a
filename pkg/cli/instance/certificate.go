package instance

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
)

// CertificateOptions are the inputs of "instance identity-certificate".
type CertificateOptions struct {
	Factory *factory.Factory
}

// NewCertificateCommand returns the command "instance identity-certificate".
func NewCertificateCommand(f *factory.Factory, run func(context.Context, *CertificateOptions) error) *cobra.Command {
	o := &CertificateOptions{Factory: f}
	if run == nil {
		run = certificate
	}
	return &cobra.Command{
		Use:   "identity-certificate",
		Short: "Print the certificate that instances' identity documents are verified with",
		Long: `Print the certificate that instances' identity documents are verified with, in
PEM. A guest finds its document and the signatures in the metadata service, under
/latest/dynamic/instance-identity/.`,
		Example: `  bundt instance identity-certificate >cloud.pem
  openssl smime -verify -inform PEM -in rsa2048.pem -certfile cloud.pem -noverify`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "show", "the certificate of identity documents")
		},
	}
}

func certificate(ctx context.Context, o *CertificateOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	out, err := c.GetInstanceIdentityCertificate(ctx, &bundttypes.GetInstanceIdentityCertificateInput{})
	if err != nil {
		return err
	}
	fmt.Fprint(o.Factory.IO.Out, out.Certificate)
	return nil
}
