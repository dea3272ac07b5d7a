package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/ststypes"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/client"
)

// EnvOptions are the inputs of "env".
type EnvOptions struct {
	Factory *factory.Factory
}

// NewEnvCommand returns the command "env".
func NewEnvCommand(f *factory.Factory, run func(context.Context, *EnvOptions) error) *cobra.Command {
	o := &EnvOptions{Factory: f}
	if run == nil {
		run = printEnv
	}
	return &cobra.Command{
		Use:   "env",
		Short: "Print the environment that points programs at this cloud",
		Long: `Print shell commands that point programs started from this shell at this cloud:
BUNDT_SOCKET for bundt itself, and for AWS's tools and SDKs AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and AWS_REGION. The
keys are the admin's, from the file credentials of the daemon's data directory,
which its owner alone can read. Whoever has an access key of their own and sets it
keeps it: where the file cannot be read, the keys are not printed.

With --account or --user (or BUNDT_ACCOUNT or BUNDT_USER), the keys are temporary
ones of that account's root, for an hour, or of that user, for twelve hours; a
message says until when. AWS_SESSION_TOKEN is set, and BUNDT_ACCOUNT and BUNDT_USER,
so that bundt acts there too.`,
		Example: `  eval "$(bundt env)"
  aws ec2 describe-instances
  eval "$(bundt env --account dev --user alice)"`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "print", "the environment")
		},
	}
}

// variable is one of the environment's; with unset, it must not be there.
type variable struct {
	name, value string
	unset       bool
}

// environment returns what points programs at the cloud, and why it is not all
// that they need.
func environment(ctx context.Context, f *factory.Factory) (vars []variable, lacks error, err error) {
	c, err := f.Client()
	if err != nil {
		return nil, nil, err
	}
	vars = []variable{{name: "BUNDT_SOCKET", value: f.Endpoint()}}
	e, err := c.DescribeEndpoint(ctx, &bundttypes.DescribeEndpointInput{})
	if err != nil {
		return nil, nil, err
	}
	if e.Url == "" {
		return vars, errors.New("the daemon has no endpoint for AWS's tools: it was started with --listen ''"), nil
	}
	vars = append(vars,
		variable{name: "AWS_ENDPOINT_URL", value: e.Url},
		variable{name: "AWS_DEFAULT_REGION", value: e.Region},
		variable{name: "AWS_REGION", value: e.Region},
		// A tool that finds no keys must not ask the metadata service of a real cloud.
		variable{name: "AWS_EC2_METADATA_DISABLED", value: "true"},
	)
	if e.CertificateFile != "" {
		vars = append(vars, variable{name: "AWS_CA_BUNDLE", value: e.CertificateFile})
	}
	if f.Account() != "" || f.User() != "" {
		temporary, err := temporaryKeys(ctx, f, c)
		return append(vars, temporary...), nil, err
	}
	key, err := client.ReadAccessKey(e.CredentialsFile)
	if err != nil {
		return vars, failure.WithHint(fmt.Errorf("the admin's access key is not yours to use: %w", err),
			"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to an access key of your own"), nil
	}
	return append(vars,
		variable{name: "AWS_ACCESS_KEY_ID", value: key.ID},
		variable{name: "AWS_SECRET_ACCESS_KEY", value: key.Secret},
		variable{name: "AWS_SESSION_TOKEN", unset: true},
		variable{name: "AWS_PROFILE", unset: true},
		variable{name: "AWS_DEFAULT_PROFILE", unset: true},
	), nil, nil
}

// temporaryKeys returns what points programs at the account and user that
// commands act as.
func temporaryKeys(ctx context.Context, f *factory.Factory, c *client.Client) ([]variable, error) {
	out, err := c.GetSessionToken(ctx, &ststypes.GetSessionTokenInput{})
	if err != nil {
		return nil, err
	}
	k, value := out.Credentials, ec2types.Value[string]
	fmt.Fprintf(f.IO.Err, "temporary keys, until %s\n", ec2types.Value(k.Expiration).Local().Format(time.DateTime))
	return []variable{
		{name: "BUNDT_ACCOUNT", value: f.Account(), unset: f.Account() == ""},
		{name: "BUNDT_USER", value: f.User(), unset: f.User() == ""},
		{name: "AWS_ACCESS_KEY_ID", value: value(k.AccessKeyId)},
		{name: "AWS_SECRET_ACCESS_KEY", value: value(k.SecretAccessKey)},
		{name: "AWS_SESSION_TOKEN", value: value(k.SessionToken)},
		{name: "AWS_PROFILE", unset: true},
		{name: "AWS_DEFAULT_PROFILE", unset: true},
	}, nil
}

func printEnv(ctx context.Context, o *EnvOptions) error {
	vars, lacks, err := environment(ctx, o.Factory)
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, v := range vars {
		if v.unset {
			fmt.Fprintf(&out, "unset %s\n", v.name)
			continue
		}
		fmt.Fprintf(&out, "export %s='%s'\n", v.name, strings.ReplaceAll(v.value, "'", `'\''`))
	}
	if lacks != nil {
		fmt.Fprintf(o.Factory.IO.Err, "bundt env: %v\n", lacks)
	}
	_, err = fmt.Fprint(o.Factory.IO.Out, out.String())
	return err
}

// AWSOptions are the inputs of "aws".
type AWSOptions struct {
	Factory *factory.Factory
	Args    []string
}

// NewAWSCommand returns the command "aws".
func NewAWSCommand(f *factory.Factory, run func(context.Context, *AWSOptions) error) *cobra.Command {
	o := &AWSOptions{Factory: f}
	if run == nil {
		run = execAWS
	}
	return &cobra.Command{
		Use:   "aws ARGUMENT...",
		Short: "Run the AWS CLI against this cloud",
		Long: `Run the AWS CLI, which must be installed, with the environment that "bundt env"
prints. All arguments are the AWS CLI's. Flags of bundt go before "aws".`,
		Example: `  bundt aws ec2 describe-instances
  bundt aws sts get-caller-identity`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Args = args
			return failure.Wrap(run(cmd.Context(), o), "run", "the AWS CLI")
		},
	}
}

func execAWS(ctx context.Context, o *AWSOptions) error {
	path, err := exec.LookPath("aws")
	if err != nil {
		return failure.WithHint(err, "install the AWS CLI: the package awscli (Debian, Ubuntu up to 22.04) or awscli2 (Fedora), or see https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html")
	}
	vars, lacks, err := environment(ctx, o.Factory)
	if err != nil {
		return err
	}
	if lacks != nil && o.Factory.Getenv("AWS_ACCESS_KEY_ID") == "" {
		return lacks
	}
	// Versions before 2.13 do not read AWS_ENDPOINT_URL.
	argv := []string{"aws"}
	if i := slices.IndexFunc(vars, func(v variable) bool { return v.name == "AWS_ENDPOINT_URL" }); i >= 0 {
		argv = append(argv, "--endpoint-url", vars[i].value)
	}
	return o.Factory.Exec(path, append(argv, o.Args...), merge(os.Environ(), vars))
}

// merge returns env with the variables set or unset.
func merge(env []string, vars []variable) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(vars, func(v variable) bool { return v.name == name })
	})
	for _, v := range vars {
		if !v.unset {
			env = append(env, v.name+"="+v.value)
		}
	}
	return env
}
