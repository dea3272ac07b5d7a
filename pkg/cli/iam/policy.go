package iam

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/client"
)

// NewPolicyCommand returns the command "policy" with all its verbs.
func NewPolicyCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "policy VERB",
		Aliases: []string{"policies"},
		Short:   "Manage policies: what users and roles may do",
		Long: `Manage policies in IAM's JSON language, which say what users and roles may do. A
managed policy has a name of its own and is attached to as many as need it; those
that AWS has for everybody, like ReadOnlyAccess, are here too. An inline policy is
part of one user or role, which --of names: NAME for a user, role/NAME for a role.`,
	}
	cmd.AddCommand(NewPutPolicyCommand(f, nil), newListPoliciesCommand(f), NewShowPolicyCommand(f, nil), NewDeletePolicyCommand(f, nil),
		newAttachCommand(f, "attach", "Give users or roles a managed policy's permissions", target.attach),
		newAttachCommand(f, "detach", "Take a managed policy's permissions from users or roles", target.detach),
		NewSimulateCommand(f, nil))
	return cmd
}

// ofFlag gives cmd the flag --of.
func ofFlag(f *factory.Factory, cmd *cobra.Command, of *string) {
	cmd.Flags().StringVar(of, "of", "", "the inline policy of this `user`, or role/NAME")
	_ = cmd.RegisterFlagCompletionFunc("of", complete.Targets(f))
}

// PutPolicyOptions are the inputs of "policy put".
type PutPolicyOptions struct {
	Factory     *factory.Factory
	Name        string
	File        string
	Of          string
	Description string
}

// NewPutPolicyCommand returns the command "policy put".
func NewPutPolicyCommand(f *factory.Factory, run func(context.Context, *PutPolicyOptions) error) *cobra.Command {
	o := &PutPolicyOptions{Factory: f}
	if run == nil {
		run = putPolicy
	}
	cmd := &cobra.Command{
		Use:   "put NAME FILE",
		Short: "Make or change a policy from a file",
		Long: `Make a managed policy of a JSON file (- for standard input), or give the one of that
name another version, which is in force at once; a policy keeps its last five
versions. With --of, make or replace an inline policy of a user or role. Prints the
managed policy's ARN.`,
		Example: `  bundt policy put small-only policy.json
  bundt policy put no-terminate - --of alice < policy.json`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: complete.Each(complete.Policies(f, iamtypes.PolicyScopeTypeLocal), func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name, o.File = args[0], args[1]
			return failure.Wrap(run(cmd.Context(), o), "put policy", o.Name)
		},
	}
	ofFlag(f, cmd, &o.Of)
	cmd.Flags().StringVar(&o.Description, "description", "", "`text` about a managed policy that is made")
	return cmd
}

// maxVersions is how many versions IAM keeps of a policy.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const maxVersions = 5

func putPolicy(ctx context.Context, o *PutPolicyOptions) error {
	if o.Of != "" && o.Description != "" {
		return failure.Usagef("an inline policy has no --description")
	}
	document, err := readDocument(o.Factory, o.File)
	if err != nil {
		return err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	if o.Of != "" {
		of, err := parseTarget(o.Of)
		if err != nil {
			return err
		}
		return of.putInline(ctx, c, &o.Name, &document)
	}
	all, err := policies(ctx, c, iamtypes.PolicyScopeTypeLocal)
	if err != nil {
		return err
	}
	for _, p := range all {
		if value(p.PolicyName) == o.Name {
			return putVersion(ctx, o, c, p.Arn, &document)
		}
	}
	out, err := c.CreatePolicy(ctx, &iamtypes.CreatePolicyInput{PolicyName: &o.Name, PolicyDocument: &document, Description: command.Given(o.Description)})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, value(out.Policy.Arn))
	return err
}

// readDocument reads a policy from a file, or from standard input for "-".
func readDocument(f *factory.Factory, file string) (string, error) {
	if file == "-" {
		data, err := io.ReadAll(f.IO.In)
		if err != nil {
			return "", fmt.Errorf("reading the policy: %w", err)
		}
		return string(data), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the policy: %w", err)
	}
	return string(data), nil
}

// putVersion puts another version of a policy in force; the oldest makes room.
func putVersion(ctx context.Context, o *PutPolicyOptions, c *client.Client, arn, document *string) error {
	if o.Description != "" {
		return failure.Usagef("the policy %s exists, and its description cannot change", o.Name)
	}
	all, err := versions(ctx, c, arn)
	if err != nil {
		return err
	}
	if len(all) >= maxVersions {
		oldest := olderVersions(all)[0]
		if _, err := c.DeletePolicyVersion(ctx, &iamtypes.DeletePolicyVersionInput{PolicyArn: arn, VersionId: oldest.VersionId}); err != nil {
			return err
		}
	}
	if _, err := c.CreatePolicyVersion(ctx, &iamtypes.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: document, SetAsDefault: new(true)}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.Factory.IO.Out, *arn)
	return err
}

// olderVersions returns the versions that are not in force, oldest first.
func olderVersions(all []iamtypes.PolicyVersion) (older []iamtypes.PolicyVersion) {
	for _, v := range all {
		if !ec2types.Value(v.IsDefaultVersion) {
			older = append(older, v)
		}
	}
	return older
}

// versions returns the versions of a managed policy, oldest first.
func versions(ctx context.Context, c *client.Client, arn *string) (all []iamtypes.PolicyVersion, err error) {
	for page, err := range c.ListPolicyVersionsPages(ctx, &iamtypes.ListPolicyVersionsInput{PolicyArn: arn}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Versions...)
	}
	return all, nil
}

// policies returns the managed policies of a scope.
func policies(ctx context.Context, c *client.Client, scope string) (all []iamtypes.Policy, err error) {
	for page, err := range c.ListPoliciesPages(ctx, &iamtypes.ListPoliciesInput{Scope: &scope}) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.Policies...)
	}
	return all, nil
}

// findPolicy returns the managed policy of a name or ARN. The account's own come
// before those that everybody has.
func findPolicy(ctx context.Context, c *client.Client, ref string) (iamtypes.Policy, error) {
	for _, scope := range []string{iamtypes.PolicyScopeTypeLocal, iamtypes.PolicyScopeTypeAWS} {
		all, err := policies(ctx, c, scope)
		if err != nil {
			return iamtypes.Policy{}, err
		}
		for _, p := range all {
			if value(p.PolicyName) == ref || value(p.Arn) == ref {
				return p, nil
			}
		}
	}
	return iamtypes.Policy{}, failure.WithHint(failure.NotFoundf("no managed policy has the name or ARN %q", ref), "bundt policy ls --all shows those there are")
}

func newListPoliciesCommand(f *factory.Factory) *cobra.Command {
	var (
		everybodys bool
		of         string
	)
	return command.Verb{
		Use: "ls", Aliases: []string{"list"}, Short: "List policies", Object: "policies", Args: cobra.NoArgs, Shows: true,
		Long: "List the account's managed policies, or with --of all policies of a user or role.",
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&everybodys, "all", false, "also those that every account has")
			cmd.Flags().StringVar(&of, "of", "", "those of this `user`, or role/NAME, inline ones too")
			_ = cmd.RegisterFlagCompletionFunc("of", complete.Targets(f))
		},
		Run: func(ctx context.Context, s *command.Session, _ []string) error {
			switch {
			case everybodys && of != "":
				return failure.Usagef("--all and --of exclude each other")
			case of != "":
				return listPoliciesOf(ctx, s, of)
			case everybodys:
				return listPolicies(ctx, s, iamtypes.PolicyScopeTypeAll)
			}
			return listPolicies(ctx, s, iamtypes.PolicyScopeTypeLocal)
		},
	}.Command(f)
}

func listPolicies(ctx context.Context, s *command.Session, scope string) error {
	all, err := policies(ctx, s.Client, scope)
	if err != nil {
		return err
	}
	type policy = iamtypes.Policy
	return command.Print(s, all, "", func(p policy) string { return value(p.Arn) }, []output.Column[policy]{
		command.Text("NAME", func(p policy) *string { return p.PolicyName }),
		command.Text("VERSION", func(p policy) *string { return p.DefaultVersionId }),
		{Title: "ATTACHED", Text: func(p policy) string { return fmt.Sprint(ec2types.Value(p.AttachmentCount)) }},
		command.Age(s, func(p policy) *time.Time { return p.CreateDate }),
		command.Text("DESCRIPTION", func(p policy) *string { return p.Description }),
		command.Wide(command.Text("ARN", func(p policy) *string { return p.Arn })),
	})
}

// policyOf is a policy of a user or role; an inline one has no ARN.
type policyOf struct {
	PolicyName string
	PolicyArn  string `json:",omitempty"`
	Kind       string // "managed" or "inline"
}

func listPoliciesOf(ctx context.Context, s *command.Session, ref string) error {
	of, err := parseTarget(ref)
	if err != nil {
		return err
	}
	attached, err := of.attached(ctx, s.Client)
	if err != nil {
		return err
	}
	inline, err := of.inline(ctx, s.Client)
	if err != nil {
		return err
	}
	var all []policyOf
	for _, p := range attached {
		all = append(all, policyOf{value(p.PolicyName), value(p.PolicyArn), "managed"})
	}
	for _, name := range inline {
		all = append(all, policyOf{PolicyName: name, Kind: "inline"})
	}
	return command.Print(s, all, "", func(p policyOf) string { return p.PolicyName }, []output.Column[policyOf]{
		{Title: "NAME", Text: func(p policyOf) string { return p.PolicyName }},
		{Title: "KIND", Text: func(p policyOf) string { return p.Kind }},
		{Title: "ARN", Wide: true, Text: func(p policyOf) string { return p.PolicyArn }},
	})
}
