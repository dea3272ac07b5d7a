package iam

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

// NewInstanceProfileCommand returns the command "instance-profile" with all its verbs.
func NewInstanceProfileCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "instance-profile VERB", Aliases: []string{"instance-profiles"}, Short: "Manage instance profiles: the roles of instances",
		Long: `Manage instance profiles. A profile holds one role at most, for the instances that are
launched with it.`,
	}
	cmd.AddCommand(newCreateProfileCommand(f), newListProfilesCommand(f), newShowProfileCommand(f),
		newProfileRoleCommand(f, true), newProfileRoleCommand(f, false),
		newAttachProfileCommand(f), newDetachProfileCommand(f), newDeleteProfileCommand(f))
	return cmd
}

func newListProfilesCommand(f *factory.Factory) *cobra.Command {
	type profile = iamtypes.InstanceProfile
	return command.List[profile]{
		What: "the account's instance profiles", All: profiles,
		ID: func(p profile) string { return value(p.InstanceProfileName) },
		Columns: func(s *command.Session) []output.Column[profile] {
			return []output.Column[profile]{
				command.Text("NAME", func(p profile) *string { return p.InstanceProfileName }),
				command.Text("PROFILE", func(p profile) *string { return p.InstanceProfileId }),
				{Title: "ROLE", Text: roleNames},
				command.Age(s, func(p profile) *time.Time { return p.CreateDate }),
				command.Wide(command.Text("ARN", func(p profile) *string { return p.Arn })),
			}
		},
	}.Command(f)
}

func profiles(ctx context.Context, s *command.Session, _ []string) (all []iamtypes.InstanceProfile, err error) {
	for page, err := range s.ListInstanceProfilesPages(ctx, nil) {
		if err != nil {
			return nil, err
		}
		all = append(all, page.InstanceProfiles...)
	}
	return all, nil
}

func newShowProfileCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "show NAME", Short: "Print an instance profile with its role", Object: "instance profile", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.InstanceProfiles(f)), Shows: true,
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			out, err := s.GetInstanceProfile(ctx, &iamtypes.GetInstanceProfileInput{InstanceProfileName: &args[0]})
			if err != nil {
				return err
			}
			return output.One(f.IO, &s.Output, args[0], out.InstanceProfile)
		},
	}.Command(f)
}

func newCreateProfileCommand(f *factory.Factory) *cobra.Command {
	var (
		role, path string
		tags       []string
	)
	return command.Verb{
		Use: "create NAME", Short: "Make an instance profile", Object: "instance profile", Args: cobra.ExactArgs(1), NoDryRun: true,
		Long:    "Make an instance profile, with --role one that holds the role, and print its ARN.",
		Example: "  bundt instance-profile create web --role web",
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&role, "role", "", "`role` that it holds")
			cmd.Flags().StringVar(&path, "path", "", "`path` of the profile's ARN, like /team/; default: /")
			cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag `KEY=VALUE` of the profile; may be repeated")
			_ = cmd.RegisterFlagCompletionFunc("role", complete.Roles(f))
			command.FlagValues(cmd, "path")
			command.FlagValues(cmd, "tag")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			in := &iamtypes.CreateInstanceProfileInput{InstanceProfileName: &args[0], Path: command.Given(path)}
			var err error
			if in.Tags, err = parseTags(tags); err != nil {
				return err
			}
			if role != "" { // before there is a profile without it
				if _, err := s.GetRole(ctx, &iamtypes.GetRoleInput{RoleName: &role}); err != nil {
					return err
				}
			}
			out, err := s.CreateInstanceProfile(ctx, in)
			if err != nil {
				return err
			}
			if role != "" {
				if _, err := s.AddRoleToInstanceProfile(ctx, &iamtypes.AddRoleToInstanceProfileInput{InstanceProfileName: &args[0], RoleName: &role}); err != nil {
					return failure.WithHint(err, "the instance profile %s was made, and holds no role", args[0])
				}
			}
			return s.Print(value(out.InstanceProfile.Arn))
		},
	}.Command(f)
}

// profileAssociation is an instance's with an instance profile; nil if it has none.
func profileAssociation(ctx context.Context, s *command.Session, instance string) (*string, error) {
	out, err := s.DescribeIamInstanceProfileAssociations(ctx, &ec2types.DescribeIamInstanceProfileAssociationsInput{
		Filters: []ec2types.Filter{resolve.Filter("instance-id", instance)},
	})
	if err != nil || len(out.IamInstanceProfileAssociations) == 0 {
		return nil, err
	}
	return out.IamInstanceProfileAssociations[0].AssociationId, nil
}

func newAttachProfileCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "attach PROFILE INSTANCE", Short: "Give an instance an instance profile's role", Object: "instance profile", Args: cobra.ExactArgs(2), NoDryRun: true,
		Complete: complete.Each(complete.InstanceProfiles(f), complete.Instances(f)),
		Long: `Give an instance an instance profile, in place of the one that it has. Its guest finds
keys of the profile's role by the metadata service. Prints the association's id.`,
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.Instance(ctx, s.Client, args[1])
			if err != nil {
				return err
			}
			has, err := profileAssociation(ctx, s, id)
			if err != nil {
				return err
			}
			profile := &ec2types.IamInstanceProfileSpecification{Name: &args[0]}
			if has != nil {
				out, err := s.ReplaceIamInstanceProfileAssociation(ctx, &ec2types.ReplaceIamInstanceProfileAssociationInput{AssociationId: has, IamInstanceProfile: profile})
				if err != nil {
					return err
				}
				return s.Print(value(out.IamInstanceProfileAssociation.AssociationId))
			}
			out, err := s.AssociateIamInstanceProfile(ctx, &ec2types.AssociateIamInstanceProfileInput{InstanceId: &id, IamInstanceProfile: profile})
			if err != nil {
				return err
			}
			return s.Print(value(out.IamInstanceProfileAssociation.AssociationId))
		},
	}.Command(f)
}

func newDetachProfileCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "detach INSTANCE", Short: "Take its instance profile from an instance", Object: "instance profile from", Args: cobra.ExactArgs(1), NoDryRun: true,
		Complete: complete.First(complete.Instances(f)),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.Instance(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			has, err := profileAssociation(ctx, s, id)
			switch {
			case err != nil:
				return err
			case has == nil:
				return failure.NotFoundf("it has none")
			}
			if _, err := s.DisassociateIamInstanceProfile(ctx, &ec2types.DisassociateIamInstanceProfileInput{AssociationId: has}); err != nil {
				return err
			}
			return s.Print(id)
		},
	}.Command(f)
}

// newProfileRoleCommand returns "instance-profile add-role" or "remove-role".
func newProfileRoleCommand(f *factory.Factory, add bool) *cobra.Command {
	v := command.Verb{
		Use: "remove-role PROFILE ROLE", Short: "Take a role out of an instance profile", Object: "role of instance profile",
		Args: cobra.ExactArgs(2), NoDryRun: true, Complete: complete.Each(complete.InstanceProfiles(f), complete.Roles(f)),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			_, err := s.RemoveRoleFromInstanceProfile(ctx, &iamtypes.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &args[0], RoleName: &args[1]})
			return err
		},
	}
	if add {
		v.Use, v.Short = "add-role PROFILE ROLE", "Put a role into an instance profile that holds none"
		v.Run = func(ctx context.Context, s *command.Session, args []string) error {
			_, err := s.AddRoleToInstanceProfile(ctx, &iamtypes.AddRoleToInstanceProfileInput{InstanceProfileName: &args[0], RoleName: &args[1]})
			return err
		}
	}
	return v.Command(f)
}

func newDeleteProfileCommand(f *factory.Factory) *cobra.Command {
	force := false
	return command.Verb{
		Use: "delete NAME…", Short: "Delete instance profiles", Object: "instance profile", Args: cobra.MinimumNArgs(1), NoDryRun: true,
		Complete: complete.InstanceProfiles(f),
		Long:     "Delete instance profiles that hold no role; with --force, take their roles out before.\nThe roles stay.",
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&force, "force", false, "take their roles out before")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			for _, name := range args {
				if force {
					if err := emptyProfile(ctx, s, name); err != nil {
						return err
					}
				}
				if _, err := s.DeleteInstanceProfile(ctx, &iamtypes.DeleteInstanceProfileInput{InstanceProfileName: &name}); err != nil {
					return failure.WithHint(err, "bundt instance-profile delete --force %s takes its role out first", name)
				}
				if err := s.Print(name); err != nil {
					return err
				}
			}
			return nil
		},
	}.Command(f)
}

func emptyProfile(ctx context.Context, s *command.Session, name string) error {
	out, err := s.GetInstanceProfile(ctx, &iamtypes.GetInstanceProfileInput{InstanceProfileName: &name})
	if err != nil {
		return err
	}
	for _, r := range out.InstanceProfile.Roles {
		if _, err := s.RemoveRoleFromInstanceProfile(ctx, &iamtypes.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &name, RoleName: r.RoleName}); err != nil {
			return err
		}
	}
	return nil
}
