package iam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// ShowPolicyOptions are the inputs of "policy show".
type ShowPolicyOptions struct {
	Factory  *factory.Factory
	Output   output.Options
	Policy   string
	Of       string
	Version  string
	Document bool
}

// NewShowPolicyCommand returns the command "policy show".
func NewShowPolicyCommand(f *factory.Factory, run func(context.Context, *ShowPolicyOptions) error) *cobra.Command {
	o := &ShowPolicyOptions{Factory: f}
	if run == nil {
		run = showPolicy
	}
	cmd := &cobra.Command{
		Use:   "show POLICY",
		Short: "Print a policy with its document",
		Long: `Print a managed policy, given by name or ARN, with its versions and the document that
is in force; or with --of an inline policy of a user or role. With --document, print
the document alone, as it was put.`,
		Example:           `  bundt policy show small-only --document > policy.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Policies(f, iamtypes.PolicyScopeTypeAll)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Policy = args[0]
			return failure.Wrap(run(cmd.Context(), o), "show policy", o.Policy)
		},
	}
	o.Output.AddFlags(cmd)
	ofFlag(f, cmd, &o.Of)
	cmd.Flags().StringVar(&o.Version, "version", "", "the document of this `version` of a managed policy, like v1")
	cmd.Flags().BoolVar(&o.Document, "document", false, "print the document alone")
	return cmd
}

// shownPolicy is what "policy show" prints; of an inline policy it has no Policy.
type shownPolicy struct {
	Policy     *iamtypes.Policy         `json:",omitempty"`
	PolicyName string                   `json:",omitempty"`
	Versions   []iamtypes.PolicyVersion `json:",omitempty"`
	VersionId  string                   `json:",omitempty"`
	Document   json.RawMessage
}

func showPolicy(ctx context.Context, o *ShowPolicyOptions) error {
	if o.Of != "" && o.Version != "" {
		return failure.Usagef("an inline policy has no versions")
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	var shown shownPolicy
	if o.Of != "" {
		shown, err = inlinePolicy(ctx, c, o.Of, o.Policy)
	} else {
		shown, err = managedPolicy(ctx, c, o.Policy, o.Version)
	}
	if err != nil {
		return err
	}
	if o.Document {
		_, err = fmt.Fprintln(o.Factory.IO.Out, strings.TrimSpace(string(shown.Document)))
		return err
	}
	return output.One(o.Factory.IO, &o.Output, o.Policy, shown)
}

func inlinePolicy(ctx context.Context, c *client.Client, of, name string) (shownPolicy, error) {
	t, err := parseTarget(of)
	if err != nil {
		return shownPolicy{}, err
	}
	escaped, err := t.document(ctx, c, &name)
	if err != nil {
		return shownPolicy{}, err
	}
	document, err := decoded(escaped)
	return shownPolicy{PolicyName: name, Document: document}, err
}

func managedPolicy(ctx context.Context, c *client.Client, ref, version string) (shownPolicy, error) {
	p, err := findPolicy(ctx, c, ref)
	if err != nil {
		return shownPolicy{}, err
	}
	shown := shownPolicy{Policy: &p, VersionId: version}
	if version == "" {
		shown.VersionId = value(p.DefaultVersionId)
	}
	if shown.Versions, err = versions(ctx, c, p.Arn); err != nil {
		return shown, err
	}
	got, err := c.GetPolicyVersion(ctx, &iamtypes.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: &shown.VersionId})
	if err != nil {
		return shown, err
	}
	shown.Document, err = decoded(got.PolicyVersion.Document)
	return shown, err
}

// decoded is a document as it was put: IAM answers with it percent-encoded.
func decoded(escaped *string) (json.RawMessage, error) {
	text, err := url.PathUnescape(value(escaped))
	if err != nil {
		return nil, fmt.Errorf("decoding the policy: %w", err)
	}
	return json.RawMessage(text), nil
}

// DeletePolicyOptions are the inputs of "policy delete".
type DeletePolicyOptions struct {
	Factory  *factory.Factory
	Policies []string
	Of       string
}

// NewDeletePolicyCommand returns the command "policy delete".
func NewDeletePolicyCommand(f *factory.Factory, run func(context.Context, *DeletePolicyOptions) error) *cobra.Command {
	o := &DeletePolicyOptions{Factory: f}
	if run == nil {
		run = deletePolicies
	}
	cmd := &cobra.Command{
		Use:               "delete POLICY…",
		Aliases:           []string{"rm"},
		Short:             "Delete policies that nobody is attached to",
		Long:              "Delete managed policies with all their versions, or with --of inline policies of a user\nor role.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.Policies(f, iamtypes.PolicyScopeTypeLocal),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Policies = args
			return failure.Wrap(run(cmd.Context(), o), "delete policy", strings.Join(args, ", "))
		},
	}
	ofFlag(f, cmd, &o.Of)
	return cmd
}

func deletePolicies(ctx context.Context, o *DeletePolicyOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	for _, ref := range o.Policies {
		if o.Of != "" {
			err = deleteInline(ctx, c, o.Of, ref)
		} else {
			err = deleteManaged(ctx, c, ref)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(o.Factory.IO.Out, ref)
	}
	return nil
}

func deleteInline(ctx context.Context, c *client.Client, of, name string) error {
	t, err := parseTarget(of)
	if err != nil {
		return err
	}
	return t.deleteInline(ctx, c, &name)
}

func deleteManaged(ctx context.Context, c *client.Client, ref string) error {
	p, err := findPolicy(ctx, c, ref)
	if err != nil {
		return err
	}
	if n := p.AttachmentCount; n != nil && *n > 0 {
		// Before any version goes: the policy is to stay whole.
		return model.Errorf("DeleteConflict", "%d users or roles are attached to it", *n).WithHint("bundt policy detach %s USER takes it from one", ref)
	}
	all, err := versions(ctx, c, p.Arn)
	if err != nil {
		return err
	}
	for _, v := range olderVersions(all) {
		if _, err := c.DeletePolicyVersion(ctx, &iamtypes.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: v.VersionId}); err != nil {
			return err
		}
	}
	_, err = c.DeletePolicy(ctx, &iamtypes.DeletePolicyInput{PolicyArn: p.Arn})
	return err
}

// AttachOptions are the inputs of "policy attach" and "policy detach".
type AttachOptions struct {
	Factory *factory.Factory
	Policy  string
	Targets []string
}

func newAttachCommand(f *factory.Factory, verb, short string, do func(target, context.Context, *client.Client, *string) error) *cobra.Command {
	o := &AttachOptions{Factory: f}
	targets := complete.Targets(f)
	policies := complete.Policies(f, iamtypes.PolicyScopeTypeAll)
	return &cobra.Command{
		Use:     verb + " POLICY USER…",
		Short:   short,
		Long:    short + ". The policy is given by\nname or ARN, a role as role/NAME.",
		Example: "  bundt policy " + verb + " ReadOnlyAccess alice role/reader",
		Args:    cobra.MinimumNArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return policies(cmd, args, toComplete)
			}
			return targets(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Policy, o.Targets = args[0], args[1:]
			return failure.Wrap(attach(cmd.Context(), o, do), verb+" policy", o.Policy)
		},
	}
}

func attach(ctx context.Context, o *AttachOptions, do func(target, context.Context, *client.Client, *string) error) error {
	targets := make([]target, len(o.Targets))
	for i, text := range o.Targets {
		var err error
		if targets[i], err = parseTarget(text); err != nil {
			return err
		}
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	p, err := findPolicy(ctx, c, o.Policy)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := do(t, ctx, c, p.Arn); err != nil {
			return err
		}
	}
	return nil
}
