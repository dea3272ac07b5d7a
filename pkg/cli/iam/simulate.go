package iam

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
)

// SimulateOptions are the inputs of "policy simulate".
type SimulateOptions struct {
	Factory   *factory.Factory
	Output    output.Options
	Of        string
	Actions   []string
	Resources []string
	Context   []string
	Files     []string
}

// NewSimulateCommand returns the command "policy simulate".
func NewSimulateCommand(f *factory.Factory, run func(context.Context, *SimulateOptions) error) *cobra.Command {
	o := &SimulateOptions{Factory: f}
	if run == nil {
		run = simulate
	}
	cmd := &cobra.Command{
		Use:   "simulate USER ACTION…",
		Short: "Say what a user's or role's policies decide",
		Long: `Say what the policies of a user, or of role/NAME, decide about actions on
resources, and which statement of which policy decides: at LINE:COLUMN of its
document. Nothing is done. Condition keys that the policies ask for and that --context
does not give are missing: a condition on them is then not met.`,
		Example: `  bundt policy simulate alice ec2:RunInstances --context ec2:InstanceType=b1.micro
  bundt policy simulate alice ec2:TerminateInstances --with draft.json`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: complete.First(complete.Targets(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Of, o.Actions = args[0], args[1:]
			return failure.Wrap(run(cmd.Context(), o), "simulate policies of", o.Of)
		},
	}
	o.Output.AddFlags(cmd)
	cmd.Flags().StringArrayVar(&o.Resources, "resource", nil, "`ARN` that the actions are on; may be repeated; default: *")
	cmd.Flags().StringArrayVar(&o.Context, "context", nil, "condition key `KEY=VALUE`; may be repeated, also for one key's values")
	cmd.Flags().StringArrayVar(&o.Files, "with", nil, "also the policy in this `file`; may be repeated")
	return cmd
}

func simulate(ctx context.Context, o *SimulateOptions) error {
	of, err := parseTarget(o.Of)
	if err != nil {
		return err
	}
	in := &iamtypes.SimulatePrincipalPolicyInput{ActionNames: o.Actions, ResourceArns: o.Resources}
	if in.ContextEntries, err = contextEntries(o.Context); err != nil {
		return err
	}
	for _, file := range o.Files {
		document, err := readDocument(o.Factory, file)
		if err != nil {
			return err
		}
		in.PolicyInputList = append(in.PolicyInputList, document)
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	if in.PolicySourceArn, err = of.arn(ctx, c); err != nil {
		return err
	}
	var all []iamtypes.EvaluationResult
	for page, err := range c.SimulatePrincipalPolicyPages(ctx, in) {
		if err != nil {
			return err
		}
		all = append(all, page.EvaluationResults...)
	}
	return output.List(o.Factory.IO, &o.Output, all,
		func(r iamtypes.EvaluationResult) string { return value(r.EvalDecision) },
		[]output.Column[iamtypes.EvaluationResult]{
			{Title: "ACTION", Text: func(r iamtypes.EvaluationResult) string { return value(r.EvalActionName) }},
			{Title: "RESOURCE", Text: func(r iamtypes.EvaluationResult) string { return value(r.EvalResourceName) }},
			{Title: "DECISION", Text: func(r iamtypes.EvaluationResult) string { return value(r.EvalDecision) }},
			{Title: "BY", Text: func(r iamtypes.EvaluationResult) string { return statements(r.MatchedStatements) }},
			{Title: "MISSING", Wide: true, Text: func(r iamtypes.EvaluationResult) string { return strings.Join(r.MissingContextValues, " ") }},
		})
}

// contextEntries gathers KEY=VALUE by key, in the order of their first values.
func contextEntries(texts []string) (entries []iamtypes.ContextEntry, err error) {
	index := map[string]int{}
	for _, text := range texts {
		key, v, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, failure.Usagef("%q is no condition key: KEY=VALUE", text)
		}
		i, known := index[key]
		if !known {
			i = len(entries)
			index[key] = i
			entries = append(entries, iamtypes.ContextEntry{ContextKeyName: &key, ContextKeyType: new(iamtypes.ContextKeyTypeEnumStringList)})
		}
		entries[i].ContextKeyValues = append(entries[i].ContextKeyValues, v)
	}
	return entries, nil
}

// statements says which statements decided: POLICY at LINE:COLUMN.
func statements(matched []iamtypes.Statement) string {
	var texts []string
	for _, s := range matched {
		name := value(s.SourcePolicyId)
		name = name[strings.LastIndexByte(name, '/')+1:]
		if at := s.StartPosition; at != nil && at.Line != nil && at.Column != nil {
			name += fmt.Sprintf(" at %d:%d", *at.Line, *at.Column)
		}
		texts = append(texts, name)
	}
	return cmp.Or(strings.Join(texts, ", "), "no statement")
}
