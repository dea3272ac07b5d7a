package instance

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/key"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/plan"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

// AccelTag is the tag by which a launch asks for an accelerator: EC2's
// RunInstances has no parameter for what every EC2 host has.
const AccelTag = "bundt:accel"

// EC2's limit, before base64.
const maxUserData = 16 << 10

// RunOptions are the inputs of "run".
type RunOptions struct {
	Factory   *factory.Factory
	Output    output.Options
	Plan      plan.Options
	Wait      wait.Options
	Condition string

	Image    string
	Type     string
	Key      string
	UserData string // file, "-" for standard input
	Name     string
	Tags     []string
	Count    int32
	Accel    string
	Subnet   string
	Groups   []string // security groups
}

// NewRunCommand returns the command "run".
func NewRunCommand(f *factory.Factory, run func(context.Context, *RunOptions) error) *cobra.Command {
	o := &RunOptions{Factory: f}
	if run == nil {
		run = runInstances
	}
	cmd := &cobra.Command{
		Use:   "run IMAGE",
		Short: "Launch instances of an image",
		Long: `Launch instances of an image, given by its id (ami-…) or name, and wait until
their guests answer. Prints their ids.

--key names the key pair whose owner may log in. With --key auto your own SSH key
(~/.ssh/id_ed25519.pub or id_rsa.pub) is imported if the cloud does not have it
yet. Without --key, as on EC2, nobody may log in with a key.

--accel kvm|tcg sets what executes the guest: the processor itself or software
emulation. Without it the node takes the best that works; bundt doctor explains
which. It is passed as the tag ` + AccelTag + `, so that any EC2 client can give it.`,
		Example: `  bundt run tiny --key demo --name web
  bundt run ami-0123456789abcdef0 --type t3.small --user-data setup.sh --count 3
  bundt run tiny --subnet lab-1 --security-group web
  id=$(bundt run tiny --no-wait)`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: complete.First(complete.Images(f)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Image = args[0]
			return failure.Wrap(run(cmd.Context(), o), "run", o.Image)
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *RunOptions) addFlags(cmd *cobra.Command) {
	f := o.Factory
	o.Output.AddFlags(cmd)
	o.Plan.AddFlags(cmd)
	o.Wait.AddFlags(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&o.Type, "type", "t", "", "instance `type`; default: "+model.DefaultInstanceType)
	fl.StringVarP(&o.Key, "key", "k", "", "`name` of the key pair that may log in, or auto")
	fl.StringVarP(&o.UserData, "user-data", "u", "", "`file` that the guest finds as its user data, - for standard input")
	fl.StringVarP(&o.Name, "name", "n", "", "`name` of the instance: its tag Name")
	fl.StringArrayVar(&o.Tags, "tag", nil, "tag `KEY=VALUE` of the instances; may be repeated")
	fl.Int32VarP(&o.Count, "count", "c", 1, "`number` of instances; all or none are launched")
	fl.StringVar(&o.Accel, "accel", "", "`accelerator`: kvm or tcg; default: the best that works")
	fl.StringVar(&o.Subnet, "subnet", "", "`subnet` to launch in; default: the default VPC's")
	fl.StringSliceVarP(&o.Groups, "security-group", "g", nil, "security `groups` of the instances; may be repeated; default: the VPC's default group")
	fl.StringVar(&o.Condition, "wait", wait.Reachable, "what to wait for: running or reachable")
	cmd.MarkFlagsMutuallyExclusive("wait", "no-wait")
	for flag, values := range map[string]cobra.CompletionFunc{
		"type":   complete.InstanceTypes(f),
		"key":    complete.Keys(f),
		"accel":  cobra.FixedCompletions([]cobra.Completion{"kvm", "tcg"}, cobra.ShellCompDirectiveNoFileComp),
		"wait":   cobra.FixedCompletions([]cobra.Completion{string(model.InstanceRunning), wait.Reachable}, cobra.ShellCompDirectiveNoFileComp),
		"subnet": complete.Subnets(f), "security-group": complete.SecurityGroups(f),
		"name": complete.None, "tag": complete.None, "count": complete.None,
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, values)
	}
}

func (o *RunOptions) check() error {
	switch {
	case o.Accel != "" && o.Accel != "kvm" && o.Accel != "tcg":
		return failure.Usagef("--accel is kvm or tcg, not %q", o.Accel)
	case o.Condition != wait.Reachable && o.Condition != string(model.InstanceRunning):
		return failure.Usagef("--wait is running or reachable, not %q", o.Condition)
	case o.Count < 1:
		return failure.Usagef("--count is %d: at least one instance", o.Count)
	}
	return nil
}

func runInstances(ctx context.Context, o *RunOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	request, err := o.request(ctx, c)
	if err != nil {
		return err
	}
	out, err := c.RunInstances(ctx, request)
	if o.Plan.DryRun && plan.Passed(err) {
		return plan.Show(o.Factory.IO, "RunInstances", request)
	}
	if err != nil {
		return withLaunchHint(err, o)
	}
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, instanceID(i))
	}
	// Ids come out at once, so that whoever interrupts the waiting has them.
	if o.Output.ForPeople() || o.Output.Format == output.Name {
		if err := printIDs(o.Factory, ids); err != nil {
			return err
		}
	}
	if !o.Wait.NoWait {
		if err := awaitLaunch(ctx, c, o, ids); err != nil {
			return err
		}
	}
	if o.Output.ForPeople() || o.Output.Format == output.Name {
		return nil
	}
	launched, err := resolve.InstancesByID(ctx, c, ids)
	if err != nil {
		return err
	}
	return output.Data(o.Factory.IO, &o.Output, launched)
}

func (o *RunOptions) request(ctx context.Context, c *client.Client) (*ec2types.RunInstancesInput, error) {
	image, err := resolve.Image(ctx, c, o.Image)
	if err != nil {
		return nil, err
	}
	in := &ec2types.RunInstancesInput{
		ImageId: &image, MinCount: &o.Count, MaxCount: &o.Count,
		ClientToken: new(rand.Text()), DryRun: o.Plan.Flag(),
	}
	if o.Type != "" {
		in.InstanceType = &o.Type
	}
	if err := o.placeInNetwork(ctx, c, in); err != nil {
		return nil, err
	}
	if in.UserData, err = o.readUserData(); err != nil {
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
	if name == key.Auto && !o.Plan.DryRun {
		if name, err = key.ImportOwn(ctx, o.Factory, c); err != nil {
			return nil, err
		}
	}
	if name != "" {
		in.KeyName = &name
	}
	return in, nil
}

// placeInNetwork finds the subnet and the security groups, of the subnet's VPC,
// that the user means.
func (o *RunOptions) placeInNetwork(ctx context.Context, c *client.Client, in *ec2types.RunInstancesInput) error {
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

func (o *RunOptions) readUserData() (*string, error) {
	if o.UserData == "" {
		return nil, nil
	}
	from := o.Factory.IO.In
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

func (o *RunOptions) tags() ([]ec2types.Tag, error) {
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

func awaitLaunch(ctx context.Context, c *client.Client, o *RunOptions, ids []string) error {
	names := strings.Join(ids, ", ")
	p := o.Factory.IO.StartProgress("launching " + names)
	if err := o.Wait.Until(ctx, p, wait.Instances(c, ids, o.Condition)); err != nil {
		p.Stop()
		return err
	}
	p.Done(names + " " + o.Condition)
	if o.Factory.IO.ErrIsTerminal() && len(ids) == 1 {
		tell(o, ids[0])
	}
	return nil
}

// tell says what one can do with the new instance.
func tell(o *RunOptions, id string) {
	ref := id
	if o.Name != "" {
		ref = o.Name
	}
	if o.Key == "" {
		fmt.Fprintln(o.Factory.IO.Err, "  launched without --key: see what it says with: bundt logs "+ref)
		return
	}
	fmt.Fprintln(o.Factory.IO.Err, "  log in with: bundt ssh "+ref)
}

func withLaunchHint(err error, o *RunOptions) error {
	switch {
	case errors.Is(err, &model.Error{Code: model.CodeKeyPairNotFound}):
		return failure.WithHint(err, "make one with: bundt key create %s (or use your own SSH key: --key auto)", o.Key)
	case errors.Is(err, &model.Error{Code: model.CodeInvalidInstanceType}):
		return failure.WithHint(err, "bundt type ls lists the instance types")
	}
	return err
}
