package console

import (
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (c *Console) instanceRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"instances", c.page(instanceList))
	mux.HandleFunc("GET "+Path+"instances/{id}", c.page(instancePage))
	mux.HandleFunc("GET "+Path+"instances/{id}/screenshot.png", c.signedIn(screenshot))
	for _, op := range instanceOps {
		mux.HandleFunc("POST "+Path+"instances/"+op.name, c.do(op.do))
	}
	mux.HandleFunc("POST "+Path+"instances/protect", c.do(protect))
	mux.HandleFunc("POST "+Path+"instances/type", c.do(changeType))
	mux.HandleFunc("POST "+Path+"instances/groups", c.do(changeGroups))
	mux.HandleFunc("POST "+Path+"instances/image", c.do(createImage))
	mux.HandleFunc("POST "+Path+"tags", c.do(setTag))
	mux.HandleFunc("POST "+Path+"tags/delete", c.do(deleteTag))
}

// instanceOp changes the state of instances.
type instanceOp struct {
	name, title, done, ask string
	call                   func(ctx context.Context, r *request, ids []string) error
	fits                   func(state string) bool
}

var instanceOps = []instanceOp{
	{"start", "Start", "Starting", "", func(ctx context.Context, r *request, ids []string) error {
		return act(ctx, r, "StartInstances", &ec2types.StartInstancesInput{InstanceIds: ids})
	}, func(s string) bool { return s == "stopped" }},
	{"stop", "Stop", "Stopping", "", func(ctx context.Context, r *request, ids []string) error {
		return act(ctx, r, "StopInstances", &ec2types.StopInstancesInput{InstanceIds: ids})
	}, func(s string) bool { return s == "running" || s == "pending" }},
	{"reboot", "Reboot", "Rebooting", "", func(ctx context.Context, r *request, ids []string) error {
		return act(ctx, r, "RebootInstances", &ec2types.RebootInstancesInput{InstanceIds: ids})
	}, func(s string) bool { return s == "running" }},
	{"terminate", "Terminate", "Terminating", "Terminated machines are gone for good, and with them every disk that is not to be kept.", func(ctx context.Context, r *request, ids []string) error {
		return act(ctx, r, "TerminateInstances", &ec2types.TerminateInstancesInput{InstanceIds: ids})
	}, func(s string) bool { return s != "terminated" && s != "shutting-down" }},
}

func (op instanceOp) do(ctx context.Context, r *request) (next, done string, err error) {
	ids := r.Form["id"]
	if len(ids) == 0 {
		return "", "", missing("which instances: choose some in the table")
	}
	return back(r), op.done + " " + strings.Join(ids, ", "), op.call(ctx, r, ids)
}

func (op instanceOp) button() button {
	return button{Text: op.title, Action: Path + "instances/" + op.name, Danger: op.ask}
}

func instancesOf(out *ec2types.DescribeInstancesOutput) (all []ec2types.Instance) {
	for _, r := range out.Reservations {
		all = append(all, r.Instances...)
	}
	slices.SortStableFunc(all, func(a, b ec2types.Instance) int {
		return ec2types.Value(b.LaunchTime).Compare(ec2types.Value(a.LaunchTime))
	})
	return all
}

func stateOf(i *ec2types.Instance) string {
	if i.State == nil {
		return ""
	}
	return ec2types.Value(i.State.Name)
}

func instanceTable() table {
	t := table{
		ID: "instances", Title: "Instances", Help: "An instance is a virtual machine: the cake that was baked from an AMI.",
		Columns: []column{{Title: "Name"}, {Title: "Instance"}, {Title: "State"}, {Title: "Type", Wide: true}, {Title: "Public address"}, {Title: "Image", Wide: true}, {Title: "Launched", Wide: true}, {Title: "Tags", Wide: true}},
		Links:   []button{{Text: "Launch instances", Action: Path + "launch", Primary: true}},
		Empty:   "No instances yet. Choose a recipe, bake a cake: an AMI becomes a running machine in seconds.",
		EmptyTo: &button{Text: "Launch an instance", Action: Path + "launch"},
	}
	for _, op := range instanceOps {
		t.Choose = append(t.Choose, op.button())
	}
	return t
}

func instanceRow(i *ec2types.Instance) row {
	return row{ID: ec2types.Value(i.InstanceId), Cells: []cell{
		named(i.InstanceId, i.Tags), link(i.InstanceId), {Kind: stateText, Text: stateOf(i)}, text(i.InstanceType), code(i.PublicIpAddress), link(i.ImageId), when(i.LaunchTime), tags(i.Tags),
	}}
}

func instanceList(ctx context.Context, r *request) (*view, error) {
	l := listed(r, model.InstancePrefix, "instance-id")
	out, err := call[ec2types.DescribeInstancesOutput](ctx, r, "DescribeInstances", &ec2types.DescribeInstancesInput{Filters: l.filters, MaxResults: new(int32(pageSize)), NextToken: l.token})
	if err != nil {
		return nil, err
	}
	t := instanceTable()
	for _, i := range instancesOf(out) {
		t.Rows = append(t.Rows, instanceRow(&i))
	}
	l.page(&t, out.NextToken)
	return &view{Title: "Instances", Section: "instances", Template: "table", Main: t}, nil
}

// instance is the page of one.
type instance struct {
	detail
	Instance *ec2types.Instance
	Details  bundttypes.InstanceDetails
	SSH      string
	Web      []string
	Console  string
	Shot     bool
	Steps    []step
	UserData string
}

// step is one on the way from the launch to a machine that can be used.
type step struct {
	Text  string
	State string // done, busy, "" (not yet), failed
}

func findInstance(ctx context.Context, r *request, id string) (*ec2types.Instance, error) {
	out, err := call[ec2types.DescribeInstancesOutput](ctx, r, "DescribeInstances", &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return nil, err
	}
	all := instancesOf(out)
	if len(all) == 0 {
		return nil, errNoPage
	}
	return &all[0], nil
}

func instancePage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	i, err := findInstance(ctx, r, id)
	if err != nil {
		return nil, err
	}
	p := instance{Instance: i}
	p.detail = detail{
		Kind: "Instance", Parent: button{Text: "Instances", Action: Path + "instances"}, ID: id, Name: nameOf(i.Tags), State: stateOf(i), Tags: i.Tags, Tagged: true,
	}
	details, err := call[bundttypes.DescribeInstanceDetailsOutput](ctx, r, "DescribeInstanceDetails", &bundttypes.DescribeInstanceDetailsInput{InstanceIds: []string{id}})
	if err == nil && len(details.InstanceDetails) > 0 {
		p.Details = details.InstanceDetails[0]
		p.Notes = p.Details.Problems
	}
	if p.State == "running" {
		p.Buttons = append(p.Buttons, button{Text: "Serial console", Action: Path + "instances/" + url.PathEscape(id) + "/terminal"})
	}
	for _, op := range instanceOps {
		if op.fits(p.State) {
			b := op.button()
			b.Hidden = map[string]string{"id": id}
			p.Buttons = append(p.Buttons, b)
		}
	}
	if p.State == "running" || p.State == "stopped" {
		p.Forms = append(p.Forms, imageForm(id))
	}
	p.Facts = instanceFacts(i, &p.Details)
	p.Tables = []table{instanceVolumes(i), instanceInterfaces(i)}
	if p.State == "running" {
		p.Graphs = chartsOf(ctx, r, "InstanceId", id, instanceCharts())
	}
	p.connect()
	p.progress()
	if p.State != "terminated" && p.State != "shutting-down" {
		if err := p.settings(ctx, r); err != nil {
			return nil, err
		}
	}
	if p.State != "terminated" {
		out, err := call[ec2types.GetConsoleOutputOutput](ctx, r, "GetConsoleOutput", &ec2types.GetConsoleOutputInput{InstanceId: &id, Latest: new(true)})
		if err == nil {
			p.Console = printable(ec2types.Value(out.Output))
		}
		p.Shot = p.State == "running"
	}
	return &view{Title: cmp.Or(p.Name, id), Section: "instances", Template: "instance", Main: p}, nil
}

// printable is what a machine wrote on its serial port, without what would move a
// terminal's cursor or ring its bell.
func printable(encoded string) string {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	var b strings.Builder
	text := strings.ToValidUTF8(string(raw), "�")
	for len(text) > 0 {
		if rest, ok := strings.CutPrefix(text, "\x1b"); ok {
			text = afterEscape(rest)
			continue
		}
		c, n := utf8.DecodeRuneInString(text)
		text = text[n:]
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// afterEscape is what comes after an escape sequence (ECMA-48), of which the escape
// character has been read.
func afterEscape(s string) string {
	switch {
	case s == "":
		return ""
	case s[0] == '[': // a control sequence ends with a letter or one of @[\]^_`{|}~
		for i := 1; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return s[i+1:]
			}
		}
		return ""
	case s[0] == ']': // an operating system command ends with a bell or a string terminator
		if i := strings.IndexAny(s, "\a\x1b"); i >= 0 {
			return strings.TrimPrefix(s[i+1:], `\`)
		}
		return ""
	}
	return s[1:]
}

// connect says how to get in.
func (p *instance) connect() {
	user := cmp.Or(p.Details.LoginUser, "root")
	if p.Instance.PublicIpAddress == nil || p.State != "running" {
		return
	}
	p.SSH = "bundt ssh " + p.ID + "\nssh " + user + "@" + *p.Instance.PublicIpAddress
	for _, at := range p.Details.Listening {
		if strings.HasSuffix(at, ":80") || strings.HasSuffix(at, ":8080") {
			p.Web = append(p.Web, "http://"+strings.TrimSuffix(at, ":80")+"/")
		}
	}
}

// progress shows how far the instance is on its way.
func (p *instance) progress() {
	reach := p.Details.Reachability
	switch p.State {
	case "pending":
		p.Steps = []step{{"Root volume made of the AMI", "busy"}, {"Machine started", ""}, {"System booted", ""}, {"Reachable", ""}}
	case "running":
		if reach == string(model.ReachabilityPassed) {
			return
		}
		p.Steps = []step{{"Root volume made of the AMI", "done"}, {"Machine started", "done"}, {"System booted", "busy"}, {"Reachable", ""}}
	}
}

func imageForm(id string) form {
	return form{
		Title: "Create image", Action: Path + "instances/image?id=" + url.QueryEscape(id), Submit: "Create image",
		Help: "Writes the recipe of this cake down: its disks as they are now become an AMI, of which twins can be launched. The machine goes on meanwhile.",
		Fields: []field{
			{Name: "name", Label: "Name", Required: true, Help: "3 to 128 letters, digits and ()[]./-'@_ and spaces"},
			{Name: "description", Label: "Description"},
			{Name: "reboot", Label: "Consistency", Type: "select", Options: []option{{Value: "", Text: "Without a reboot: as it is at this moment"}, {Value: "yes", Text: "Reboot: programs write everything first"}}},
		},
	}
}

func createImage(ctx context.Context, r *request) (next, done string, err error) {
	id := r.FormValue("id")
	out, err := call[ec2types.CreateImageOutput](ctx, r, "CreateImage", &ec2types.CreateImageInput{
		InstanceId: &id, Name: filled(r.FormValue("name")), Description: filled(r.FormValue("description")), NoReboot: new(r.FormValue("reboot") == ""),
	})
	if err != nil {
		return "", "", err
	}
	return pageOf(ec2types.Value(out.ImageId)), "The image is being made of " + id, nil
}

func instanceFacts(i *ec2types.Instance, d *bundttypes.InstanceDetails) []fact {
	var groups cell
	for _, g := range i.SecurityGroups {
		groups.More = append(groups.More, cell{Text: ec2types.Value(g.GroupName), Href: pageOf(ec2types.Value(g.GroupId))})
	}
	zone := ""
	if i.Placement != nil {
		zone = ec2types.Value(i.Placement.AvailabilityZone)
	}
	why := cell{}
	if i.StateReason != nil {
		why = text(i.StateReason.Message)
	}
	return present(
		fact{"Image", link(i.ImageId)}, fact{"Type", text(i.InstanceType)}, fact{"Architecture", text(i.Architecture)},
		fact{"Public address", code(i.PublicIpAddress)}, fact{"Private address", code(i.PrivateIpAddress)}, fact{"IPv6 address", code(i.Ipv6Address)},
		fact{"Network", link(i.VpcId)}, fact{"Subnet", code(i.SubnetId)}, fact{"Security groups", groups}, fact{"Key pair", text(i.KeyName)},
		fact{"Zone", cell{Text: zone}}, fact{"Launched", when(i.LaunchTime)}, fact{"Boot mode", text(i.CurrentInstanceBootMode)},
		fact{"Accelerator", cell{Text: strings.TrimSuffix(d.Accelerator+": "+d.AcceleratorReason, ": ")}},
		fact{"Reachability", cell{Kind: stateText, Text: d.Reachability}}, fact{"Why", cell{Text: d.ReachabilityReason}},
		fact{"Reason of the state", why},
	)
}

// present leaves out what is not known.
func present(all ...fact) []fact {
	return slices.DeleteFunc(all, func(f fact) bool { return f.Cell.Text == "" && len(f.Cell.More) == 0 || f.Cell.Text == ": " })
}

func instanceVolumes(i *ec2types.Instance) table {
	t := table{ID: "instance-volumes", Title: "Volumes", Columns: []column{{Title: "Device"}, {Title: "Volume"}, {Title: "State"}, {Title: "Goes with the instance", Wide: true}}}
	for _, b := range i.BlockDeviceMappings {
		if b.Ebs == nil {
			continue
		}
		t.Rows = append(t.Rows, row{ID: ec2types.Value(b.Ebs.VolumeId), Cells: []cell{code(b.DeviceName), link(b.Ebs.VolumeId), state(b.Ebs.Status), yes(b.Ebs.DeleteOnTermination)}})
	}
	return t
}

func instanceInterfaces(i *ec2types.Instance) table {
	t := table{ID: "instance-interfaces", Title: "Network interfaces", Columns: []column{{Title: "Interface"}, {Title: "Subnet", Wide: true}, {Title: "Private address"}, {Title: "MAC address", Wide: true}, {Title: "State"}}}
	for _, n := range i.NetworkInterfaces {
		t.Rows = append(t.Rows, row{ID: ec2types.Value(n.NetworkInterfaceId), Cells: []cell{code(n.NetworkInterfaceId), code(n.SubnetId), code(n.PrivateIpAddress), code(n.MacAddress), state(n.Status)}})
	}
	return t
}

func screenshot(w http.ResponseWriter, r *request) {
	id := r.PathValue("id")
	out, err := call[ec2types.GetConsoleScreenshotOutput](r.Context(), r, "GetConsoleScreenshot", &ec2types.GetConsoleScreenshotInput{InstanceId: &id})
	if err != nil {
		http.Error(w, r.console.public(err).Message, http.StatusNotFound)
		return
	}
	picture, err := base64.StdEncoding.DecodeString(ec2types.Value(out.ImageData))
	if err != nil {
		http.Error(w, "no picture", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", http.DetectContentType(picture))
	_, _ = w.Write(picture) // an error means that the browser is gone
}

func setTag(ctx context.Context, r *request) (next, done string, err error) {
	id, key := r.FormValue("id"), r.FormValue("key")
	err = act(ctx, r, "CreateTags", &ec2types.CreateTagsInput{
		Resources: []string{id}, Tags: []ec2types.Tag{{Key: filled(key), Value: new(r.FormValue("value"))}},
	})
	return back(r), "", err
}

func deleteTag(ctx context.Context, r *request) (next, done string, err error) {
	err = act(ctx, r, "DeleteTags", &ec2types.DeleteTagsInput{
		Resources: []string{r.FormValue("id")}, Tags: []ec2types.Tag{{Key: new(r.FormValue("key"))}},
	})
	return back(r), "", err
}
