package pipeline

import (
	"context"
	"crypto/rand"
	"regexp"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/image"
	"github.com/bundt/bundt/pkg/cli/transfer"
	"github.com/bundt/bundt/pkg/model"
)

// settings are the flags that create and update share.
type settings struct {
	flags       *pflag.FlagSet
	description string
	schedule    string
	timezone    string
	always      bool
	keep        int32

	imageName string
	tags      map[string]string
	with      []string
	public    bool
	push      []string
	regions   []string
	sign      bool
	login     transfer.Login
}

func (o *settings) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	o.flags = f
	f.StringVar(&o.description, "description", "", "`text` for people")
	f.StringVar(&o.schedule, "schedule", "", "`cron` expression of when it runs, MINUTE HOUR DAY MONTH WEEKDAY YEAR; empty for never by itself")
	f.StringVar(&o.timezone, "timezone", "", "time `zone` of the schedule, such as Europe/Berlin; default: UTC")
	f.BoolVar(&o.always, "always", false, "build at every time of the schedule, and not only if something has changed")
	f.Int32Var(&o.keep, "keep", 0, "`how many` of its newest images stay, beside those in use; 0 for all")
	f.StringVar(&o.imageName, "image-name", "", "`template` of the images' names; default: RECIPE-VERSION-ARCHITECTURE")
	f.StringToStringVar(&o.tags, "tag", nil, "`KEY=VALUE` of the images")
	f.StringSliceVar(&o.with, "with", nil, "`accounts` that may launch the images, by their twelve digits")
	f.BoolVar(&o.public, "public", false, "let every account launch the images")
	f.StringArrayVar(&o.push, "push", nil, "OCI `reference` that the images are sent to, HOST[:PORT]/PATH[:TAG]; may be repeated")
	f.StringSliceVar(&o.regions, "to-region", nil, "`region` that copies the images; may be repeated")
	f.BoolVar(&o.sign, "sign", false, "sign what is sent with the account's key")
	o.login.AddFlags(cmd)
	for _, name := range []string{"description", "schedule", "timezone", "keep", "image-name", "tag", "with", "push", "to-region"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

func (o *settings) changed(names ...string) bool { return slices.ContainsFunc(names, o.flags.Changed) }

// scheduleOn is the schedule that the flags say, as far as they do, and else what was.
func (o *settings) scheduleOn(was *bundttypes.PipelineSchedule) (*bundttypes.PipelineSchedule, error) {
	if !o.changed("schedule", "timezone", "always") {
		return nil, nil
	}
	out := bundttypes.PipelineSchedule{}
	if was != nil {
		out = *was
	}
	if o.changed("schedule") {
		out.ScheduleExpression = &o.schedule
	}
	if o.changed("timezone") {
		out.Timezone = command.Given(o.timezone)
	}
	if o.changed("always") {
		out.PipelineExecutionStartCondition = new(string(model.StartOnChanges))
		if o.always {
			out.PipelineExecutionStartCondition = new(string(model.StartAlways))
		}
	}
	if ec2types.Value(out.ScheduleExpression) == "" {
		if o.timezone != "" || o.always {
			return nil, failure.Usagef("--timezone and --always belong to a --schedule")
		}
		out = bundttypes.PipelineSchedule{ScheduleExpression: new("")}
	}
	return &out, nil
}

// template is what stands for something in a reference.
var template = regexp.MustCompile(`\{\{[^}]*\}\}`)

// distribution is what the flags say of what becomes of images; nil if they say nothing.
func (o *settings) distribution(ctx context.Context, f *factory.Factory) (*bundttypes.DistributionConfiguration, error) {
	if o.sign && len(o.push) == 0 {
		return nil, failure.Usagef("--sign belongs to --push")
	}
	if !o.changed("image-name", "tag", "with", "public", "push", "to-region") {
		return nil, nil
	}
	out := &bundttypes.DistributionConfiguration{Name: command.Given(o.imageName), Regions: o.regions}
	for key, value := range o.tags {
		out.AmiTags = append(out.AmiTags, ec2types.Tag{Key: &key, Value: &value})
	}
	if len(o.with) > 0 || o.public {
		out.LaunchPermission = &bundttypes.PipelineLaunchPermission{UserIds: o.with}
		if o.public {
			out.LaunchPermission.UserGroups = []string{ec2types.PermissionGroupAll}
		}
	}
	for _, reference := range o.push {
		a, err := o.login.Access(ctx, f.IO.In, template.ReplaceAllString(reference, "x"))
		if err != nil {
			return nil, err
		}
		out.Registries = append(out.Registries, bundttypes.RegistryDistribution{
			Reference: &reference, Username: a.Username, Password: a.Password, PlainHttp: a.Plain, Sign: command.Given(o.sign),
		})
	}
	return out, nil
}

const distributionHelp = `
Images are called by --image-name and sent to --push, in which {{ imagebuilder:buildVersion }},
{{ imagebuilder:buildDate }}, {{ bundt:recipe }} and {{ bundt:architecture }} stand for what they are. The password of a
registry is kept with the pipeline.`

func newCreateCommand(f *factory.Factory) *cobra.Command {
	o := &settings{}
	arch, disabled := "", false
	return command.Verb{
		Use: "create NAME RECIPE", Short: "Make a pipeline of a recipe", Object: "pipeline", Args: cobra.ExactArgs(2),
		Long: `Make a pipeline of a recipe: a directory with a recipe.yaml, or the name of one that is built in. What
is in the directory now is what it builds; bundt pipeline update NAME --recipe RECIPE takes it anew. Without --schedule it
runs when it is told to: bundt pipeline start. Prints the pipeline's id.

With a schedule it builds only if the recipe, its parent image or its distribution's packages have changed since
the last image, or with --always each time.
` + distributionHelp,
		Example: `  bundt pipeline create web ./web --schedule "0 3 * * ? *" --timezone Europe/Berlin --keep 3
  bundt pipeline create web ./web --schedule "0 3 ? * MON *" --always --with 123456789012
  bundt pipeline create web ./web --push registry.example.com/web:{{imagebuilder:buildVersion}} --sign`,
		Complete: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return f.Recipes.Names(), cobra.ShellCompDirectiveDefault
		},
		Flags: func(cmd *cobra.Command) {
			o.addFlags(cmd)
			cmd.Flags().StringVarP(&arch, "arch", "a", "", "`architecture` to build for; default: the recipe's only one")
			cmd.Flags().BoolVar(&disabled, "disabled", false, "have it run only when it is told to, for now")
			_ = cmd.RegisterFlagCompletionFunc("arch", cobra.NoFileCompletions)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			schedule, err := o.scheduleOn(nil)
			if err != nil {
				return err
			}
			distribution, err := o.distribution(ctx, f)
			if err != nil {
				return err
			}
			digest, _, err := image.UploadRecipe(ctx, f, s.Client, args[1])
			if err != nil {
				return err
			}
			in := &bundttypes.CreateImagePipelineInput{
				Name: &args[0], ContextDigest: &digest, Architecture: command.Given(arch), Description: command.Given(o.description), Schedule: schedule,
				Distribution: distribution, Keep: command.Given(o.keep), ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}
			if disabled {
				in.Status = new("DISABLED")
			}
			out, err := command.Send(ctx, s, "CreateImagePipeline", in, s.CreateImagePipeline)
			if err != nil || out == nil {
				return err
			}
			return s.Print(out.ImagePipeline.ImagePipelineId)
		},
	}.Command(f)
}

func newUpdateCommand(f *factory.Factory) *cobra.Command {
	o := &settings{}
	recipe := ""
	return command.Verb{
		Use: "update PIPELINE", Short: "Change a pipeline", Object: "pipeline", Args: cobra.ExactArgs(1), Complete: completePipelines(f),
		Long: `Change a pipeline: what no flag names stays. The flags of names, tags, sharing and sending belong together: one of
them replaces all of them. A run that is under way goes on as it was begun.
` + distributionHelp,
		Example: "  bundt pipeline update web --recipe ./web\n  bundt pipeline update web --schedule \"0 4 * * ? *\" --keep 5\n  bundt pipeline update web --schedule \"\"",
		Flags: func(cmd *cobra.Command) {
			o.addFlags(cmd)
			cmd.Flags().StringVar(&recipe, "recipe", "", "`recipe` that it builds from now on, or the same one as it is now")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			all, err := pipelines(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			in := &bundttypes.UpdateImagePipelineInput{ImagePipeline: &args[0], DryRun: s.Plan.Flag()}
			if in.Schedule, err = o.scheduleOn(all[0].Schedule); err != nil {
				return err
			}
			if in.Distribution, err = o.distribution(ctx, f); err != nil {
				return err
			}
			if o.changed("description") {
				in.Description = &o.description
			}
			if o.changed("keep") {
				in.Keep = &o.keep
			}
			if recipe != "" {
				digest, _, err := image.UploadRecipe(ctx, f, s.Client, recipe)
				if err != nil {
					return err
				}
				in.ContextDigest = &digest
			}
			if in.Schedule == nil && in.Distribution == nil && in.Description == nil && in.Keep == nil && in.ContextDigest == nil {
				return failure.Usagef("nothing is to be changed: give a flag that says what")
			}
			return command.Change(ctx, s, all[0].ImagePipelineId, "UpdateImagePipeline", in, s.UpdateImagePipeline)
		},
	}.Command(f)
}
