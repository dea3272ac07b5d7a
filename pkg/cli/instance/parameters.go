package instance

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/key"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// AccelTag is the tag by which a launch asks for an accelerator: EC2's
// RunInstances has no parameter for what every EC2 host has.
const AccelTag = "bundt:accel"

// EC2's limit, before base64.
const maxUserData = 16 << 10

// Parameters are what instances are launched with, which "run" and launch
// templates have in common.
type Parameters struct {
	Image    string // id, name or recipe
	Type     string
	Key      string
	UserData string // file, "-" for standard input
	Name     string
	Tags     []string
	Accel    string
	Subnet   string
	Groups   []string // security groups
	Profile  string   // instance profile, by name or ARN
	Volumes  []string // DEVICE=GIB[,OPTION…]
}

// AddFlags gives cmd the flags for all but the image.
func (o *Parameters) AddFlags(f *factory.Factory, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&o.Type, "type", "t", "", "instance `type`; default: "+model.DefaultInstanceType)
	fl.StringVarP(&o.Key, "key", "k", "", "`name` of the key pair that may log in, or auto")
	fl.StringVarP(&o.UserData, "user-data", "u", "", "`file` that the guest finds as its user data, - for standard input")
	fl.StringVarP(&o.Name, "name", "n", "", "`name` of the instance: its tag Name")
	fl.StringArrayVar(&o.Tags, "tag", nil, "tag `KEY=VALUE` of the instances; may be repeated")
	fl.StringVar(&o.Accel, "accel", "", "`accelerator`: kvm or tcg; default: the best that works")
	fl.StringVar(&o.Subnet, "subnet", "", "`subnet` to launch in; default: the default VPC's")
	fl.StringSliceVarP(&o.Groups, "security-group", "g", nil, "security `groups` of the instances; may be repeated; default: the VPC's default group")
	fl.StringVar(&o.Profile, "instance-profile", "", "IAM instance `profile`, by name or ARN, whose role the guests get keys of")
	fl.StringArrayVar(&o.Volumes, "volume", nil, "volume `DEVICE=GIB[,OPTION…]`: another one, or the image's in another size; may be repeated")
	for flag, values := range map[string]cobra.CompletionFunc{
		"type": complete.InstanceTypes(f), "key": complete.Keys(f), "subnet": complete.Subnets(f), "security-group": complete.SecurityGroups(f),
		"instance-profile": complete.InstanceProfiles(f),
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, values)
	}
	command.FlagValues(cmd, "accel", "kvm", "tcg")
	command.FlagValues(cmd, "name")
	command.FlagValues(cmd, "tag")
	command.FlagValues(cmd, "volume")
}

// Request is the launch that the parameters ask for, without how many and how.
// A dry run imports no key.
func (o *Parameters) Request(ctx context.Context, f *factory.Factory, c *client.Client, dryRun bool) (*ec2types.RunInstancesInput, error) {
	if o.Accel != "" && o.Accel != "kvm" && o.Accel != "tcg" {
		return nil, failure.Usagef("--accel is kvm or tcg, not %q", o.Accel)
	}
	in := &ec2types.RunInstancesInput{InstanceType: command.Given(o.Type)}
	if o.Image != "" {
		image, err := resolve.Image(ctx, c, o.Image)
		if err != nil {
			return nil, err
		}
		in.ImageId = &image
	}
	switch {
	case strings.HasPrefix(o.Profile, "arn:"):
		in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Arn: &o.Profile}
	case o.Profile != "":
		in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: &o.Profile}
	}
	if err := o.placeInNetwork(ctx, c, in); err != nil {
		return nil, err
	}
	var err error
	if in.BlockDeviceMappings, err = o.volumes(); err != nil {
		return nil, err
	}
	if in.UserData, err = o.readUserData(f); err != nil {
		return nil, err
	}
	tags, err := o.tags()
	if err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: tags}}
	}
	name := o.Key
	if name == key.Auto && !dryRun {
		if name, err = key.ImportOwn(ctx, f, c); err != nil {
			return nil, err
		}
	}
	in.KeyName = command.Given(name)
	return in, nil
}

// placeInNetwork finds the subnet and the security groups, of the subnet's VPC,
// that the user means.
func (o *Parameters) placeInNetwork(ctx context.Context, c *client.Client, in *ec2types.RunInstancesInput) error {
	subnet := ""
	if o.Subnet != "" {
		var err error
		if subnet, err = resolve.Subnet(ctx, c, o.Subnet); err != nil {
			return err
		}
		in.SubnetId = &subnet
	}
	if len(o.Groups) == 0 {
		return nil
	}
	vpc, err := resolve.VPCOfSubnet(ctx, c, subnet)
	if err != nil {
		return err
	}
	for _, ref := range o.Groups {
		id, err := resolve.SecurityGroup(ctx, c, ref, vpc)
		if err != nil {
			return err
		}
		in.SecurityGroupIds = append(in.SecurityGroupIds, id)
	}
	return nil
}

func (o *Parameters) readUserData(f *factory.Factory) (*string, error) {
	if o.UserData == "" {
		return nil, nil
	}
	from := f.IO.In
	if o.UserData != "-" {
		file, err := os.Open(o.UserData)
		if err != nil {
			return nil, fmt.Errorf("reading user data: %w", err)
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, maxUserData+1))
	if err != nil {
		return nil, fmt.Errorf("reading user data: %w", err)
	}
	if len(data) > maxUserData {
		return nil, failure.WithHint(fmt.Errorf("user data %s is larger than %d bytes, EC2's limit", o.UserData, maxUserData),
			"let the user data fetch the rest, or bake it into an image")
	}
	return new(base64.StdEncoding.EncodeToString(data)), nil
}

func (o *Parameters) tags() ([]ec2types.Tag, error) {
	var tags []ec2types.Tag
	add := func(k, v string) { tags = append(tags, ec2types.Tag{Key: &k, Value: &v}) }
	if o.Name != "" {
		add("Name", o.Name)
	}
	for _, t := range o.Tags {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, failure.Usagef("tag %q is not of the form KEY=VALUE", t)
		}
		add(k, v)
	}
	if o.Accel != "" {
		add(AccelTag, o.Accel)
	}
	return tags, nil
}
