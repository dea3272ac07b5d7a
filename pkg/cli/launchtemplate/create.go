package launchtemplate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/instance"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

// contents are where a version's launch parameters come from. What is further
// down replaces what is above.
type contents struct {
	from        string // instance
	file        string // of RequestLaunchTemplateData in JSON; "-" for standard input
	parameters  instance.Parameters
	description string
}

const contentsHelp = `The flags are those of bundt run, and --image. --file has what there are no flags for:
EC2's RequestLaunchTemplateData in JSON. --from takes what an instance was launched
with. What flags say replaces what the file says, and that what the instance has.
Nothing is launched, so most mistakes show at the launch.`

func (o *contents) addFlags(f *factory.Factory, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.parameters.Image, "image", "i", "", "`image` to launch")
	cmd.Flags().StringVar(&o.from, "from", "", "take the parameters of this `instance`")
	cmd.Flags().StringVar(&o.file, "file", "", "take the parameters in this `file`, - for standard input")
	cmd.Flags().StringVar(&o.description, "description", "", "`text` about the version")
	_ = cmd.RegisterFlagCompletionFunc("image", complete.Images(f))
	_ = cmd.RegisterFlagCompletionFunc("from", complete.Instances(f))
	command.FlagValues(cmd, "description")
	o.parameters.AddFlags(f, cmd)
}

// data is the version's launch parameters.
func (o *contents) data(ctx context.Context, s *command.Session) (*ec2types.RequestLaunchTemplateData, error) {
	data := new(ec2types.RequestLaunchTemplateData)
	if o.from != "" {
		id, err := resolve.Instance(ctx, s.Client, o.from)
		if err != nil {
			return nil, err
		}
		out, err := s.GetLaunchTemplateData(ctx, &ec2types.GetLaunchTemplateDataInput{InstanceId: &id})
		if err != nil {
			return nil, err
		}
		if err := lay(data, out.LaunchTemplateData); err != nil {
			return nil, err
		}
	}
	if o.file != "" {
		if err := o.read(s.Factory, data); err != nil {
			return nil, err
		}
	}
	flags, err := o.parameters.Request(ctx, s.Factory, s.Client, s.Plan.DryRun)
	if err != nil {
		return nil, err
	}
	if subnet := flags.SubnetId; subnet != nil {
		// A template has no subnet but that of an interface.
		nic := ec2types.InstanceNetworkInterfaceSpecification{DeviceIndex: new(int32(0)), SubnetId: subnet, Groups: flags.SecurityGroupIds}
		flags.SubnetId, flags.SecurityGroupIds = nil, nil
		flags.NetworkInterfaces = []ec2types.InstanceNetworkInterfaceSpecification{nic}
	}
	return data, lay(data, flags)
}

func (o *contents) read(f *factory.Factory, data *ec2types.RequestLaunchTemplateData) error {
	in := f.IO.In
	if o.file != "-" {
		file, err := os.Open(o.file)
		if err != nil {
			return fmt.Errorf("reading launch parameters: %w", err)
		}
		defer file.Close()
		in = file
	}
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(data); err != nil {
		return failure.Usagef("%s is no RequestLaunchTemplateData: %w", o.file, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return failure.Usagef("%s has more than one RequestLaunchTemplateData", o.file)
	}
	return nil
}

// lay lays launch parameters over others: those of instances, templates and
// launches name their members alike.
func lay(data *ec2types.RequestLaunchTemplateData, over any) error {
	b, err := json.Marshal(over)
	if err == nil {
		err = json.Unmarshal(b, data)
	}
	if err != nil {
		return fmt.Errorf("taking over launch parameters: %w", err)
	}
	return nil
}

func newCreateCommand(f *factory.Factory) *cobra.Command {
	var o contents
	return command.Verb{
		Use: "create NAME", Short: "Make a launch template with its first version", Object: "launch template", Args: cobra.ExactArgs(1),
		Long: "Make a launch template with its first version, and print its id.\n\n" + contentsHelp,
		Example: `  bundt launch-template create web --image tiny --type b1.micro --key demo --tag role=web
  bundt launch-template create again --from web-1
  bundt launch-template create strict --image tiny --file tokens-required.json`,
		Flags: func(cmd *cobra.Command) { o.addFlags(f, cmd) },
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			data, err := o.data(ctx, s)
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "CreateLaunchTemplate", &ec2types.CreateLaunchTemplateInput{
				LaunchTemplateName: &args[0], LaunchTemplateData: data, VersionDescription: command.Given(o.description),
				ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}, s.CreateLaunchTemplate)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.LaunchTemplate.LaunchTemplateId))
		},
	}.Command(f)
}

func newAddVersionCommand(f *factory.Factory) *cobra.Command {
	var (
		o      contents
		source string
	)
	return command.Verb{
		Use: "add-version TEMPLATE", Short: "Add a version to a launch template", Object: "launch template", Args: cobra.ExactArgs(1),
		Complete: complete.First(complete.LaunchTemplates(f)),
		Long:     "Add a version to a launch template, and print its number. With --source it has what that\nversion has, apart from what is given here.\n\n" + contentsHelp,
		Example: `  bundt launch-template add-version web --source 1 --type b1.small
  bundt launch-template set-default web 2`,
		Flags: func(cmd *cobra.Command) {
			o.addFlags(f, cmd)
			cmd.Flags().StringVar(&source, "source", "", "begin with this `version`")
			command.FlagValues(cmd, "source", "$Default", "$Latest")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			data, err := o.data(ctx, s)
			if err != nil {
				return err
			}
			in := &ec2types.CreateLaunchTemplateVersionInput{
				LaunchTemplateData: data, SourceVersion: command.Given(source), VersionDescription: command.Given(o.description),
				ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}
			in.LaunchTemplateId, in.LaunchTemplateName = resolve.LaunchTemplate(args[0])
			out, err := command.Send(ctx, s, "CreateLaunchTemplateVersion", in, s.CreateLaunchTemplateVersion)
			if err != nil || out == nil {
				return err
			}
			return s.Print(number(out.LaunchTemplateVersion.VersionNumber))
		},
	}.Command(f)
}
