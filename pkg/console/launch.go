package console

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (c *Console) launchRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"launch", c.page(func(ctx context.Context, r *request) (*view, error) {
		if r.URL.Query().Get("image") == "" {
			return galleryPage(ctx, r, Path+"launch", true)
		}
		return launchPage(ctx, r)
	}))
	mux.HandleFunc("POST "+Path+"launch", c.do(launch))
	mux.HandleFunc("POST "+Path+"launch/preview", c.signedIn(preview))
}

// launchForm is the launch's second step, and what was filled in.
type launchForm struct {
	Image                        ec2types.Image
	Types                        []typeOption
	Keys, Networks, Subnets      []option
	Groups                       []option
	Values                       url.Values
	RootGiB                      int32
	User                         string
	Preview                      *commands
	SSHOnly, Everyone, NewKeyURL string
}

// typeOption is an instance type that fits.
type typeOption struct {
	Name     string
	VCPUs    int32
	Memory   string
	Selected bool
}

// newGroup stands for a security group that the launch makes.
const newGroup = "new"

func launchPage(ctx context.Context, r *request) (*view, error) {
	f, err := newLaunchForm(ctx, r, r.URL.Query())
	if err != nil {
		return nil, err
	}
	if f.Preview, err = previewOf(ctx, r, f.Values); err != nil {
		f.Preview = nil // what is missing yet is said when it is sent
	}
	return &view{Title: "Launch instances", Section: "launch", Template: "launch", Main: f}, nil
}

func newLaunchForm(ctx context.Context, r *request, values url.Values) (*launchForm, error) {
	id := values.Get("image")
	out, err := call[ec2types.DescribeImagesOutput](ctx, r, "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(out.Images) == 0 {
		return nil, errNoPage
	}
	f := &launchForm{Image: out.Images[0], Values: values}
	f.RootGiB = 1
	for _, b := range f.Image.BlockDeviceMappings {
		if b.Ebs != nil && ec2types.Value(b.DeviceName) == ec2types.Value(f.Image.RootDeviceName) {
			f.RootGiB = max(1, ec2types.Value(b.Ebs.VolumeSize))
		}
	}
	if f.Types, err = fittingTypes(ctx, r, ec2types.Value(f.Image.Architecture)); err != nil {
		return nil, err
	}
	keys, err := call[ec2types.DescribeKeyPairsOutput](ctx, r, "DescribeKeyPairs", &ec2types.DescribeKeyPairsInput{})
	if err != nil {
		return nil, err
	}
	for _, k := range keys.KeyPairs {
		f.Keys = append(f.Keys, option{Value: ec2types.Value(k.KeyName), Text: ec2types.Value(k.KeyName)})
	}
	subnets, err := call[ec2types.DescribeSubnetsOutput](ctx, r, "DescribeSubnets", &ec2types.DescribeSubnetsInput{})
	if err != nil {
		return nil, err
	}
	home := "" // the network that is chosen at first, whose groups fit
	for _, s := range subnets.Subnets {
		label := strings.TrimSpace(fmt.Sprintf("%s %s %s in %s", nameOf(s.Tags), ec2types.Value(s.SubnetId), ec2types.Value(s.CidrBlock), ec2types.Value(s.VpcId)))
		if ec2types.Value(s.DefaultForAz) {
			label += ", the default"
			home = ec2types.Value(s.VpcId)
		}
		f.Subnets = append(f.Subnets, option{Value: ec2types.Value(s.SubnetId), Text: label, Selected: ec2types.Value(s.DefaultForAz)})
	}
	groups, err := securityGroups(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		f.Groups = append(f.Groups, option{Value: ec2types.Value(g.GroupId), Text: fmt.Sprintf("%s (%s)", ec2types.Value(g.GroupName), ec2types.Value(g.VpcId)), Selected: ec2types.Value(g.GroupName) == "default" && ec2types.Value(g.VpcId) == home})
	}
	return f, nil
}

// fittingTypes are the instance types for an architecture, the smallest first.
func fittingTypes(ctx context.Context, r *request, arch string) ([]typeOption, error) {
	out, err := call[ec2types.DescribeInstanceTypesOutput](ctx, r, "DescribeInstanceTypes", &ec2types.DescribeInstanceTypesInput{})
	if err != nil {
		return nil, err
	}
	type sized struct {
		typeOption
		mib int64
	}
	var all []sized
	for _, t := range out.InstanceTypes {
		if t.ProcessorInfo == nil || t.MemoryInfo == nil || t.VCpuInfo == nil || !slices.Contains(t.ProcessorInfo.SupportedArchitectures, arch) {
			continue
		}
		mib := ec2types.Value(t.MemoryInfo.SizeInMiB)
		all = append(all, sized{typeOption{Name: ec2types.Value(t.InstanceType), VCPUs: ec2types.Value(t.VCpuInfo.DefaultVCpus), Memory: memory(mib)}, mib})
	}
	slices.SortFunc(all, func(a, b sized) int {
		return cmp.Or(cmp.Compare(a.mib, b.mib), cmp.Compare(a.VCPUs, b.VCPUs), cmp.Compare(a.Name, b.Name))
	})
	types := make([]typeOption, len(all))
	for i, t := range all {
		types[i] = t.typeOption
	}
	// The usual first one has 1 GiB; where none has, the smallest.
	i := slices.IndexFunc(all, func(t sized) bool { return t.mib >= 1024 })
	if len(types) > 0 {
		types[max(i, 0)].Selected = true
	}
	return types, nil
}

func memory(mib int64) string {
	if mib%1024 == 0 {
		return fmt.Sprintf("%d GiB", mib/1024)
	}
	return fmt.Sprintf("%d MiB", mib)
}

// ports are the openings that a new security group can have.
var ports = []struct {
	name, label string
	port        int32
}{{"ssh", "SSH", 22}, {"http", "HTTP", 80}, {"https", "HTTPS", 443}}

// runInput is what a form asks for. A security group that the launch is to make is
// named newGroup in it.
func runInput(values url.Values) (*ec2types.RunInstancesInput, error) {
	count, err := strconv.ParseInt(cmp.Or(strings.TrimSpace(values.Get("count")), "1"), 10, 32)
	if err != nil {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "%q is no number of instances", values.Get("count"))
	}
	in := &ec2types.RunInstancesInput{
		ImageId: filled(values.Get("image")), InstanceType: filled(values.Get("type")), KeyName: filled(values.Get("key")), SubnetId: filled(values.Get("subnet")),
		MinCount: new(int32(count)), MaxCount: new(int32(count)), SecurityGroupIds: values["group"], ClientToken: filled(values.Get("token")),
	}
	if values.Get("firewall") == newGroup {
		in.SecurityGroupIds = []string{newGroup}
	}
	if text := strings.ReplaceAll(values.Get("userdata"), "\r\n", "\n"); strings.TrimSpace(text) != "" {
		in.UserData = new(base64.StdEncoding.EncodeToString([]byte(text)))
	}
	if name := filled(values.Get("name")); name != nil {
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new(nameTag), Value: name}}}}
	}
	if root := strings.TrimSpace(values.Get("root")); root != "" && root != values.Get("image-root") {
		size, err := gib(root)
		if err != nil {
			return nil, err
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{DeviceName: filled(values.Get("root-device")), Ebs: &ec2types.EbsBlockDevice{VolumeSize: size}})
	}
	for i, text := range values["volume"] {
		if strings.TrimSpace(text) == "" {
			continue
		}
		size, err := gib(text)
		if err != nil {
			return nil, err
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, ec2types.BlockDeviceMapping{DeviceName: new(fmt.Sprintf("/dev/sd%c", 'f'+i)), Ebs: &ec2types.EbsBlockDevice{VolumeSize: size, VolumeType: new("gp3"), DeleteOnTermination: new(true)}})
	}
	return in, nil
}

func launch(ctx context.Context, r *request) (next, done string, err error) {
	in, err := runInput(r.Form)
	if err != nil {
		return "", "", err
	}
	if slices.Equal(in.SecurityGroupIds, []string{newGroup}) {
		if in.SecurityGroupIds, err = makeGroup(ctx, r, in); err != nil {
			return "", "", err
		}
	}
	out, err := call[ec2types.RunInstancesOutput](ctx, r, "RunInstances", in)
	if err != nil {
		if r.FormValue("firewall") == newGroup { // nobody has asked for it alone
			err = cleanUp(ctx, r, in.SecurityGroupIds, err)
		}
		return "", "", err
	}
	if len(out.Instances) == 1 {
		return pageOf(ec2types.Value(out.Instances[0].InstanceId)), "", nil
	}
	return Path + "instances", fmt.Sprintf("Launching %d instances", len(out.Instances)), nil
}

// makeGroup makes the security group of a launch.
func makeGroup(ctx context.Context, r *request, in *ec2types.RunInstancesInput) ([]string, error) {
	dry := *in
	dry.SecurityGroupIds, dry.DryRun = nil, new(true)
	if err := act(ctx, r, "RunInstances", &dry); err != nil && model.CodeOf(err) != model.CodeDryRunOperation {
		return nil, err // before anything is made
	}
	vpc, err := vpcOf(ctx, r, in.SubnetId)
	if err != nil {
		return nil, err
	}
	out, err := call[ec2types.CreateSecurityGroupOutput](ctx, r, "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{
		GroupName: new("launch-" + strings.ToLower(newName())), Description: new(firewallDescription), VpcId: vpc,
	})
	if err != nil {
		return nil, err
	}
	ids := []string{ec2types.Value(out.GroupId)}
	var open []ec2types.IpPermission
	for _, one := range opened(r.Form) {
		open = append(open, one.permission())
	}
	if len(open) > 0 {
		if err := act(ctx, r, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{GroupId: out.GroupId, IpPermissions: open}); err != nil {
			return nil, cleanUp(ctx, r, ids, err)
		}
	}
	return ids, nil
}

// opened are the rules of the security group that a form asks for.
func opened(values url.Values) (rules []rule) {
	for _, p := range ports {
		if values.Get("open-"+p.name) != "" {
			rules = append(rules, rule{Protocol: "tcp", From: new(p.port), To: new(p.port), Peer: cmp.Or(strings.TrimSpace(values.Get("from")), "0.0.0.0/0"), Note: p.label})
		}
	}
	return rules
}

// cleanUp removes groups of a launch that failed.
func cleanUp(ctx context.Context, r *request, groups []string, cause error) error {
	for _, id := range groups {
		if err := act(ctx, r, "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: &id}); err != nil {
			r.console.options.Log.Warn("removing the security group of a launch that failed", "group", id, "error", err)
		}
	}
	return cause
}

// vpcOf is the network of a subnet; nil for the default one.
func vpcOf(ctx context.Context, r *request, subnet *string) (*string, error) {
	if subnet == nil {
		return nil, nil
	}
	out, err := call[ec2types.DescribeSubnetsOutput](ctx, r, "DescribeSubnets", &ec2types.DescribeSubnetsInput{SubnetIds: []string{*subnet}})
	if err != nil {
		return nil, err
	}
	return out.Subnets[0].VpcId, nil
}

// commands are what does the same elsewhere.
type commands struct {
	Bundt, AWS, Terraform string
	Error                 string
}

// preview answers with the commands of a form as it is now.
func preview(w http.ResponseWriter, r *request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form is too large, or none.", http.StatusBadRequest)
		return
	}
	c, err := previewOf(r.Context(), r, r.Form)
	if err != nil {
		c = &commands{Error: r.console.public(err).Message}
	}
	body, err := render("launch", "commands", &view{Main: c})
	if err != nil {
		r.console.options.Log.Error("rendering a preview", "error", err)
		http.Error(w, "The commands cannot be shown; the daemon's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body) // an error means that the browser is gone
}

func previewOf(ctx context.Context, r *request, values url.Values) (*commands, error) {
	in, err := runInput(values)
	if err != nil {
		return nil, err
	}
	if values.Get("firewall") != newGroup {
		return commandsOf(in, nil), nil
	}
	vpc, err := vpcOf(ctx, r, in.SubnetId)
	if err != nil {
		return nil, err
	}
	return commandsOf(in, &firewall{vpc, opened(values)}), nil
}

func commandsOf(in *ec2types.RunInstancesInput, f *firewall) *commands {
	return &commands{Bundt: f.bundt() + bundtCommand(in), AWS: f.aws() + awsCommand(in), Terraform: f.terraform() + terraform(in)}
}

// words are a command's, a new line for each option.
type words []string

func (w *words) add(option string, values ...string) {
	line := option
	for _, v := range values {
		line += " " + quoted(v)
	}
	*w = append(*w, line)
}

func (w *words) maybe(option string, value *string) {
	if value != nil {
		w.add(option, *value)
	}
}

func (w words) String() string { return strings.Join(w, " \\\n    ") }

// quoted is a word for a POSIX shell.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func launchName(in *ec2types.RunInstancesInput) *string {
	if len(in.TagSpecifications) == 0 {
		return nil
	}
	return in.TagSpecifications[0].Tags[0].Value
}

func userData(in *ec2types.RunInstancesInput) string {
	raw, err := base64.StdEncoding.DecodeString(ec2types.Value(in.UserData))
	if err != nil {
		return ""
	}
	return string(raw)
}

func bundtCommand(in *ec2types.RunInstancesInput) string {
	w := words{"bundt run " + ec2types.Value(in.ImageId)}
	w.maybe("--name", launchName(in))
	w.maybe("--type", in.InstanceType)
	w.maybe("--key", in.KeyName)
	w.maybe("--subnet", in.SubnetId)
	for _, g := range in.SecurityGroupIds {
		if g == newGroup {
			g = firewallName
		}
		w.add("--security-group", g)
	}
	if n := ec2types.Value(in.MaxCount); n > 1 {
		w.add("--count", fmt.Sprint(n))
	}
	for _, b := range in.BlockDeviceMappings {
		w.add("--volume", fmt.Sprintf("%s=%d", ec2types.Value(b.DeviceName), ec2types.Value(b.Ebs.VolumeSize)))
	}
	if text := userData(in); text != "" {
		end := "EOF"
		for strings.Contains(text, end) {
			end += "F"
		}
		w.add("--user-data", "-")
		return w.String() + " <<'" + end + "'\n" + strings.TrimSuffix(text, "\n") + "\n" + end
	}
	return w.String()
}

func awsCommand(in *ec2types.RunInstancesInput) string {
	w := words{"aws ec2 run-instances --image-id " + ec2types.Value(in.ImageId)}
	w.maybe("--instance-type", in.InstanceType)
	w.maybe("--key-name", in.KeyName)
	w.maybe("--subnet-id", in.SubnetId)
	if slices.Contains(in.SecurityGroupIds, newGroup) {
		w = append(w, `--security-group-ids "$group"`)
	} else if len(in.SecurityGroupIds) > 0 {
		w.add("--security-group-ids", in.SecurityGroupIds...)
	}
	if n := ec2types.Value(in.MaxCount); n > 1 {
		w.add("--count", fmt.Sprint(n))
	}
	if len(in.BlockDeviceMappings) > 0 {
		var all []string
		for _, b := range in.BlockDeviceMappings {
			all = append(all, fmt.Sprintf("DeviceName=%s,Ebs={VolumeSize=%d}", ec2types.Value(b.DeviceName), ec2types.Value(b.Ebs.VolumeSize)))
		}
		w.add("--block-device-mappings", all...)
	}
	if text := userData(in); text != "" {
		w.add("--user-data", text)
	}
	if name := launchName(in); name != nil {
		w.add("--tag-specifications", fmt.Sprintf(`[{"ResourceType":"instance","Tags":[{"Key":"Name","Value":%s}]}]`, strconv.Quote(*name)))
	}
	return w.String()
}

func terraform(in *ec2types.RunInstancesInput) string {
	var b strings.Builder
	b.WriteString("resource \"aws_instance\" \"this\" {\n")
	line := func(name string, value *string) {
		if value != nil {
			fmt.Fprintf(&b, "  %-22s = %s\n", name, hcl(*value))
		}
	}
	if n := ec2types.Value(in.MaxCount); n > 1 {
		fmt.Fprintf(&b, "  %-22s = %d\n", "count", n)
	}
	line("ami", in.ImageId)
	line("instance_type", in.InstanceType)
	line("key_name", in.KeyName)
	line("subnet_id", in.SubnetId)
	if len(in.SecurityGroupIds) > 0 {
		var all []string
		for _, g := range in.SecurityGroupIds {
			if g == newGroup {
				all = append(all, "aws_security_group.this.id")
			} else {
				all = append(all, hcl(g))
			}
		}
		fmt.Fprintf(&b, "  %-22s = [%s]\n", "vpc_security_group_ids", strings.Join(all, ", "))
	}
	if text := userData(in); text != "" {
		line("user_data", &text)
	}
	for _, d := range in.BlockDeviceMappings {
		if d.Ebs.VolumeType == nil {
			fmt.Fprintf(&b, "  root_block_device {\n    volume_size = %d\n  }\n", ec2types.Value(d.Ebs.VolumeSize))
			continue
		}
		fmt.Fprintf(&b, "  ebs_block_device {\n    device_name = %s\n    volume_size = %d\n  }\n", hcl(ec2types.Value(d.DeviceName)), ec2types.Value(d.Ebs.VolumeSize))
	}
	if name := launchName(in); name != nil {
		fmt.Fprintf(&b, "  tags = {\n    Name = %s\n  }\n", hcl(*name))
	}
	b.WriteString("}\n")
	return b.String()
}

// hcl is a text in Terraform's language, in which ${ and %{ begin templates.
func hcl(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s))
}
