// Package launchtemplate owns the commands on launch templates. It may import
// pkg/client, the API's types, pkg/model and its neighbours under pkg/cli only.
package launchtemplate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

// NewCommand returns the command "launch-template" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "launch-template VERB", Aliases: []string{"launch-templates", "lt"}, Short: "Manage launch templates: launches to repeat",
		Long: `Manage launch templates: what bundt run is told, kept under a name. A template has
versions, which never change; the default one counts where none is named. TEMPLATE is
an id (lt-…) or a name. VERSION is a number, $Latest or $Default.`,
		Example: `  bundt launch-template create web --image tiny --type b1.micro --key demo
  bundt run --launch-template web --name web-1`,
	}
	cmd.AddCommand(newListCommand(f), newVersionsCommand(f), newShowCommand(f), newCreateCommand(f), newAddVersionCommand(f),
		newSetDefaultCommand(f), newDeleteCommand(f))
	return cmd
}

func number(n *int64) string { return strconv.FormatInt(ec2types.Value(n), 10) }

func newListCommand(f *factory.Factory) *cobra.Command {
	type template = ec2types.LaunchTemplate
	return command.List[template]{
		What: "launch templates",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]template, error) {
			return resolve.LaunchTemplates(ctx, s.Client)
		},
		ID: func(t template) string { return ec2types.Value(t.LaunchTemplateId) },
		Columns: func(s *command.Session) []output.Column[template] {
			return []output.Column[template]{
				command.Text("NAME", func(t template) *string { return t.LaunchTemplateName }),
				command.Text("TEMPLATE", func(t template) *string { return t.LaunchTemplateId }),
				{Title: "DEFAULT", Text: func(t template) string { return number(t.DefaultVersionNumber) }},
				{Title: "LATEST", Text: func(t template) string { return number(t.LatestVersionNumber) }},
				command.Age(s, func(t template) *time.Time { return t.CreateTime }),
				command.Wide(command.Text("BY", func(t template) *string { return t.CreatedBy })),
			}
		},
	}.Command(f)
}

func newVersionsCommand(f *factory.Factory) *cobra.Command {
	type version = ec2types.LaunchTemplateVersion
	of := func(text func(*ec2types.ResponseLaunchTemplateData) *string) func(version) *string {
		return func(v version) *string {
			if v.LaunchTemplateData == nil {
				return nil
			}
			return text(v.LaunchTemplateData)
		}
	}
	return command.List[version]{
		What: "versions of launch template", Use: "versions TEMPLATE", Short: "List the versions of a launch template",
		Args: cobra.ExactArgs(1), Complete: complete.First(complete.LaunchTemplates(f)),
		All: func(ctx context.Context, s *command.Session, args []string) ([]version, error) {
			return resolve.LaunchTemplateVersions(ctx, s.Client, args[0])
		},
		ID: func(v version) string { return number(v.VersionNumber) },
		Columns: func(s *command.Session) []output.Column[version] {
			return []output.Column[version]{
				{Title: "VERSION", Text: func(v version) string { return number(v.VersionNumber) }},
				command.YesNo("DEFAULT", func(v version) *bool { return v.DefaultVersion }),
				command.Text("IMAGE", of(func(d *ec2types.ResponseLaunchTemplateData) *string { return d.ImageId })),
				command.Text("TYPE", of(func(d *ec2types.ResponseLaunchTemplateData) *string { return d.InstanceType })),
				command.Text("KEY", of(func(d *ec2types.ResponseLaunchTemplateData) *string { return d.KeyName })),
				command.Age(s, func(v version) *time.Time { return v.CreateTime }),
				command.Text("DESCRIPTION", func(v version) *string { return v.VersionDescription }),
				command.Wide(command.Text("BY", func(v version) *string { return v.CreatedBy })),
			}
		},
	}.Command(f)
}

func newShowCommand(f *factory.Factory) *cobra.Command {
	version := "$Default"
	return command.Verb{
		Use: "show TEMPLATE", Short: "Print a version of a launch template: what it launches with", Object: "launch template",
		Args: cobra.ExactArgs(1), Complete: complete.First(complete.LaunchTemplates(f)), Shows: true,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&version, "version", version, "`version` to print")
			command.FlagValues(cmd, "version", "$Default", "$Latest")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			found, err := resolve.LaunchTemplateVersions(ctx, s.Client, args[0], version)
			if err != nil {
				return err
			}
			if len(found) != 1 {
				return failure.NotFoundf("it has no version %s", version)
			}
			return output.One(f.IO, &s.Output, ec2types.Value(found[0].LaunchTemplateId), found[0])
		},
	}.Command(f)
}

func newSetDefaultCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "set-default TEMPLATE VERSION", Short: "Choose the version that counts where none is named", Object: "version of launch template",
		Args: cobra.ExactArgs(2), Complete: complete.First(complete.LaunchTemplates(f)),
		Example: "  bundt launch-template set-default web 2",
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			in := &ec2types.ModifyLaunchTemplateInput{DefaultVersion: &args[1], DryRun: s.Plan.Flag()}
			in.LaunchTemplateId, in.LaunchTemplateName = resolve.LaunchTemplate(args[0])
			out, err := command.Send(ctx, s, "ModifyLaunchTemplate", in, s.ModifyLaunchTemplate)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.LaunchTemplate.LaunchTemplateId))
		},
	}.Command(f)
}

func newDeleteCommand(f *factory.Factory) *cobra.Command {
	var versions []string
	return command.Verb{
		Use: "delete TEMPLATE", Short: "Delete a launch template, or some of its versions", Object: "launch template",
		Args: cobra.ExactArgs(1), Complete: complete.First(complete.LaunchTemplates(f)),
		Long: `Delete a launch template with all its versions and print its id; or with --version
some of its versions, and print their numbers. The default version can only go with
the template. Instances that it launched are left as they are.`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringSliceVar(&versions, "version", nil, "delete these `versions` only; may be repeated")
			command.FlagValues(cmd, "version")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if len(versions) > 0 {
				return deleteVersions(ctx, s, args[0], versions)
			}
			in := &ec2types.DeleteLaunchTemplateInput{DryRun: s.Plan.Flag()}
			in.LaunchTemplateId, in.LaunchTemplateName = resolve.LaunchTemplate(args[0])
			out, err := command.Send(ctx, s, "DeleteLaunchTemplate", in, s.DeleteLaunchTemplate)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.LaunchTemplate.LaunchTemplateId))
		},
	}.Command(f)
}

// deleteVersions prints the versions that it deletes, and fails with the first
// that could not be.
func deleteVersions(ctx context.Context, s *command.Session, ref string, versions []string) error {
	in := &ec2types.DeleteLaunchTemplateVersionsInput{Versions: versions, DryRun: s.Plan.Flag()}
	in.LaunchTemplateId, in.LaunchTemplateName = resolve.LaunchTemplate(ref)
	out, err := command.Send(ctx, s, "DeleteLaunchTemplateVersions", in, s.DeleteLaunchTemplateVersions)
	if err != nil || out == nil {
		return err
	}
	for _, d := range out.SuccessfullyDeletedLaunchTemplateVersions {
		if err := s.Print(number(d.VersionNumber)); err != nil {
			return err
		}
	}
	if len(out.UnsuccessfullyDeletedLaunchTemplateVersions) == 0 {
		return nil
	}
	r := out.UnsuccessfullyDeletedLaunchTemplateVersions[0]
	err = fmt.Errorf("version %s: %s", number(r.VersionNumber), ec2types.Value(r.ResponseError.Message))
	if ec2types.Value(r.ResponseError.Code) == ec2types.LaunchTemplateErrorCodeLaunchTemplateVersionDoesNotExist {
		return failure.NotFoundf("%w", err)
	}
	return err
}
