package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (c *Console) networkRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"security-groups", c.page(groupList))
	mux.HandleFunc("GET "+Path+"security-groups/{id}", c.page(groupPage))
	mux.HandleFunc("POST "+Path+"security-groups/create", c.do(createGroup))
	mux.HandleFunc("POST "+Path+"security-groups/delete", c.do(deleteGroups))
	mux.HandleFunc("POST "+Path+"security-groups/allow", c.do(allow))
	mux.HandleFunc("POST "+Path+"security-groups/revoke", c.do(revoke))
	mux.HandleFunc("GET "+Path+"networks", c.page(networkList))
	mux.HandleFunc("GET "+Path+"networks/{id}", c.page(networkPage))
	mux.HandleFunc("GET "+Path+"addresses", c.page(addressList))
	mux.HandleFunc("POST "+Path+"addresses/allocate", c.do(allocateAddress))
	mux.HandleFunc("POST "+Path+"addresses/associate", c.do(associateAddress))
	mux.HandleFunc("POST "+Path+"addresses/release", c.do(releaseAddresses))
	mux.HandleFunc("GET "+Path+"reach/{id}", c.page(reachPage))
}

func securityGroups(ctx context.Context, r *request, ids ...string) ([]ec2types.SecurityGroup, error) {
	out, err := call[ec2types.DescribeSecurityGroupsOutput](ctx, r, "DescribeSecurityGroups", &ec2types.DescribeSecurityGroupsInput{GroupIds: ids})
	if err != nil {
		return nil, err
	}
	return out.SecurityGroups, nil
}

func vpcOptions(ctx context.Context, r *request) (options []option, err error) {
	out, err := call[ec2types.DescribeVpcsOutput](ctx, r, "DescribeVpcs", &ec2types.DescribeVpcsInput{})
	if err != nil {
		return nil, err
	}
	for _, v := range out.Vpcs {
		label := strings.TrimSpace(nameOf(v.Tags) + " " + ec2types.Value(v.VpcId) + " " + ec2types.Value(v.CidrBlock))
		if ec2types.Value(v.IsDefault) {
			label += ", the default"
		}
		options = append(options, option{Value: ec2types.Value(v.VpcId), Text: label, Selected: ec2types.Value(v.IsDefault)})
	}
	return options, nil
}

func groupList(ctx context.Context, r *request) (*view, error) {
	groups, err := securityGroups(ctx, r)
	if err != nil {
		return nil, err
	}
	vpcs, err := vpcOptions(ctx, r)
	if err != nil {
		return nil, err
	}
	t := table{
		ID: "groups", Title: "Security groups", Help: "A security group says who may connect to an instance. What it does not allow is refused; answers always pass.",
		Columns: []column{{Title: "Name"}, {Title: "Group"}, {Title: "Network", Wide: true}, {Title: "Rules in"}, {Title: "Rules out", Wide: true}, {Title: "Description", Wide: true}},
		Choose:  []button{{Text: "Delete", Action: Path + "security-groups/delete", Danger: "A group that an instance has cannot be deleted."}},
		Forms: []form{{Title: "Create security group", Action: Path + "security-groups/create", Submit: "Create", Fields: []field{
			{Name: "name", Label: "Name", Required: true}, {Name: "description", Label: "Description", Required: true}, {Name: "vpc", Label: "Network", Type: "select", Options: vpcs},
		}}},
	}
	for _, g := range groups {
		in, out := len(flattenRules(g.IpPermissions)), len(flattenRules(g.IpPermissionsEgress))
		t.Rows = append(t.Rows, row{ID: ec2types.Value(g.GroupId), Cells: []cell{
			{Text: ec2types.Value(g.GroupName), Href: pageOf(ec2types.Value(g.GroupId))}, link(g.GroupId), link(g.VpcId), number(new(int32(in)), ""), number(new(int32(out)), ""), text(g.Description),
		}})
	}
	return &view{Title: "Security groups", Section: "security-groups", Template: "table", Main: t}, nil
}

// rule is one of a security group, with one peer.
type rule struct {
	Protocol string
	From, To *int32
	Peer     string
	Note     string
	group    bool // Peer is a security group
}

func flattenRules(permissions []ec2types.IpPermission) (rules []rule) {
	for _, p := range permissions {
		base := rule{Protocol: ec2types.Value(p.IpProtocol), From: p.FromPort, To: p.ToPort}
		add := func(peer, note *string, group bool) {
			one := base
			one.Peer, one.Note, one.group = ec2types.Value(peer), ec2types.Value(note), group
			rules = append(rules, one)
		}
		for _, x := range p.IpRanges {
			add(x.CidrIp, x.Description, false)
		}
		for _, x := range p.Ipv6Ranges {
			add(x.CidrIpv6, x.Description, false)
		}
		for _, x := range p.UserIdGroupPairs {
			add(x.GroupId, x.Description, true)
		}
	}
	return rules
}

// Traffic is what a rule lets through, for people.
func (r rule) Traffic() string {
	if r.Protocol == "-1" {
		return "everything"
	}
	ports := ""
	switch {
	case r.From == nil || r.Protocol == "icmp" || r.Protocol == "icmpv6":
	case ec2types.Value(r.From) == ec2types.Value(r.To):
		ports = fmt.Sprintf(" port %d", *r.From)
		if name := wellKnown[*r.From]; name != "" {
			ports += " (" + name + ")"
		}
	case ec2types.Value(r.From) == 0 && ec2types.Value(r.To) == 65535:
		ports = ", all ports"
	default:
		ports = fmt.Sprintf(" ports %d to %d", *r.From, ec2types.Value(r.To))
	}
	return strings.ToUpper(r.Protocol) + ports
}

var wellKnown = map[int32]string{22: "SSH", 53: "DNS", 80: "HTTP", 443: "HTTPS", 3306: "MySQL", 3389: "RDP", 5432: "PostgreSQL", 6379: "Redis"}

// permission is the rule as the API has it.
func (r rule) permission() ec2types.IpPermission {
	p := ec2types.IpPermission{IpProtocol: &r.Protocol, FromPort: r.From, ToPort: r.To}
	switch {
	case r.group:
		p.UserIdGroupPairs = []ec2types.UserIdGroupPair{{GroupId: &r.Peer, Description: filled(r.Note)}}
	case strings.Contains(r.Peer, ":"):
		p.Ipv6Ranges = []ec2types.Ipv6Range{{CidrIpv6: &r.Peer, Description: filled(r.Note)}}
	default:
		p.IpRanges = []ec2types.IpRange{{CidrIp: &r.Peer, Description: filled(r.Note)}}
	}
	return p
}

// fields are the rule in a form, by which it is revoked.
func (r rule) fields(id, direction string) map[string]string {
	m := map[string]string{"id": id, "direction": direction, "protocol": r.Protocol, "peer": r.Peer}
	if r.From != nil {
		m["from"], m["to"] = fmt.Sprint(*r.From), fmt.Sprint(ec2types.Value(r.To))
	}
	return m
}

// ruleOf reads a rule from a form.
func ruleOf(r *request) (rule, error) {
	made := rule{Protocol: cmp.Or(r.FormValue("protocol"), "tcp"), Peer: strings.TrimSpace(r.FormValue("peer")), Note: r.FormValue("note")}
	if made.Peer == "" {
		return made, missing("who may connect: a range of addresses, or another security group")
	}
	if made.group = strings.HasPrefix(made.Peer, "sg-"); !made.group {
		if a, err := netip.ParseAddr(made.Peer); err == nil { // one address is a range, too
			made.Peer = netip.PrefixFrom(a, a.BitLen()).String()
		}
	}
	for name, to := range map[string]**int32{"from": &made.From, "to": &made.To} {
		text := strings.TrimSpace(r.FormValue(name))
		if text == "" || made.Protocol == "-1" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return made, model.Errorf(model.CodeInvalidParameterValue, "The port %q is no number", text)
		}
		*to = new(int32(n))
	}
	switch {
	case made.From != nil && made.To == nil:
		made.To = made.From
	case made.From == nil && (made.Protocol == "icmp" || made.Protocol == "icmpv6"):
		made.From, made.To = new(int32(-1)), new(int32(-1))
	case made.From == nil && made.Protocol != "-1":
		return made, missing("which port")
	}
	return made, nil
}

func groupPage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	groups, err := securityGroups(ctx, r, id)
	if err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return nil, errNoPage
	}
	g := groups[0]
	d := detail{Kind: "Security group", Parent: button{Text: "Security groups", Action: Path + "security-groups"}, ID: id, Name: ec2types.Value(g.GroupName), Tags: g.Tags, Tagged: true}
	d.Facts = present(fact{"Description", text(g.Description)}, fact{"Network", link(g.VpcId)}, fact{"Owner", code(g.OwnerId)})
	d.Buttons = []button{{Text: "Delete", Action: Path + "security-groups/delete", Hidden: map[string]string{"id": id}, Danger: "A group that an instance has cannot be deleted."}}
	protocols := []option{{Value: "tcp", Text: "TCP"}, {Value: "udp", Text: "UDP"}, {Value: "icmp", Text: "ICMP (ping)"}, {Value: "-1", Text: "Everything"}}
	for _, direction := range []struct{ id, title, peer string }{{"in", "Allow in", "From"}, {"out", "Allow out", "To"}} {
		d.Forms = append(d.Forms, form{Title: direction.title, Action: Path + "security-groups/allow?id=" + url.QueryEscape(id) + "&direction=" + direction.id, Submit: "Add the rule", Fields: []field{
			{Name: "protocol", Label: "Protocol", Type: "select", Options: protocols}, {Name: "from", Label: "Port", Type: "number", Min: "0", Max: "65535"}, {Name: "to", Label: "Up to port", Type: "number", Min: "0", Max: "65535", Help: "nothing for one port"},
			{Name: "peer", Label: direction.peer, Value: "0.0.0.0/0", Required: true, Help: "addresses like 10.0.0.0/8, one address, or a security group"}, {Name: "note", Label: "Description"},
		}})
	}
	d.Tables = []table{ruleTable("Rules in", "in", id, g.IpPermissions), ruleTable("Rules out", "out", id, g.IpPermissionsEgress)}
	return &view{Title: cmp.Or(d.Name, id), Section: "security-groups", Template: "detail", Main: d}, nil
}

func ruleTable(title, direction, id string, permissions []ec2types.IpPermission) table {
	t := table{ID: "rules-" + direction, Title: title, Columns: []column{{Title: "Traffic"}, {Title: map[string]string{"in": "From", "out": "To"}[direction]}, {Title: "Description", Wide: true}}}
	if direction == "in" {
		t.Empty = "Nobody may connect."
	} else {
		t.Empty = "The instances may connect to nobody."
	}
	for _, one := range flattenRules(permissions) {
		peer := cell{Kind: codeText, Text: one.Peer, Href: pageOf(one.Peer)}
		if one.Peer == "0.0.0.0/0" || one.Peer == "::/0" {
			peer.More = []cell{peer, {Kind: mutedText, Text: "anybody"}}
		}
		t.Rows = append(t.Rows, row{Cells: []cell{{Text: one.Traffic()}, peer, {Text: one.Note}}, Buttons: []button{{Text: "Revoke", Action: Path + "security-groups/revoke", Hidden: one.fields(id, direction)}}})
	}
	return t
}

func createGroup(ctx context.Context, r *request) (next, done string, err error) {
	out, err := call[ec2types.CreateSecurityGroupOutput](ctx, r, "CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{GroupName: filled(r.FormValue("name")), Description: filled(r.FormValue("description")), VpcId: filled(r.FormValue("vpc"))})
	if err != nil {
		return "", "", err
	}
	return pageOf(ec2types.Value(out.GroupId)), "", nil
}

func deleteGroups(ctx context.Context, r *request) (next, done string, err error) {
	ids := r.Form["id"]
	if len(ids) == 0 {
		return "", "", missing("which groups: choose some in the table")
	}
	for _, id := range ids {
		if err := act(ctx, r, "DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: &id}); err != nil {
			return "", "", err
		}
	}
	return Path + "security-groups", "Deleted " + strings.Join(ids, ", "), nil
}

func allow(ctx context.Context, r *request) (next, done string, err error) {
	made, err := ruleOf(r)
	if err != nil {
		return "", "", err
	}
	id, permissions := filled(r.FormValue("id")), []ec2types.IpPermission{made.permission()}
	if r.FormValue("direction") == "out" {
		err = act(ctx, r, "AuthorizeSecurityGroupEgress", &ec2types.AuthorizeSecurityGroupEgressInput{GroupId: id, IpPermissions: permissions})
	} else {
		err = act(ctx, r, "AuthorizeSecurityGroupIngress", &ec2types.AuthorizeSecurityGroupIngressInput{GroupId: id, IpPermissions: permissions})
	}
	return back(r), "Allowed " + made.Traffic() + ", " + made.Peer, err
}

func revoke(ctx context.Context, r *request) (next, done string, err error) {
	gone, err := ruleOf(r)
	if err != nil {
		return "", "", err
	}
	id, permissions := filled(r.FormValue("id")), []ec2types.IpPermission{gone.permission()}
	if r.FormValue("direction") == "out" {
		err = act(ctx, r, "RevokeSecurityGroupEgress", &ec2types.RevokeSecurityGroupEgressInput{GroupId: id, IpPermissions: permissions})
	} else {
		err = act(ctx, r, "RevokeSecurityGroupIngress", &ec2types.RevokeSecurityGroupIngressInput{GroupId: id, IpPermissions: permissions})
	}
	return back(r), "Revoked " + gone.Traffic() + ", " + gone.Peer, err
}

func networkList(ctx context.Context, r *request) (*view, error) {
	out, err := call[ec2types.DescribeVpcsOutput](ctx, r, "DescribeVpcs", &ec2types.DescribeVpcsInput{})
	if err != nil {
		return nil, err
	}
	t := table{ID: "networks", Title: "Networks", Help: "A VPC is a network of its own: instances of two VPCs never meet, even with the same addresses.", Columns: []column{{Title: "Name"}, {Title: "Network"}, {Title: "State"}, {Title: "Addresses"}, {Title: "Default", Wide: true}}}
	for _, v := range out.Vpcs {
		t.Rows = append(t.Rows, row{ID: ec2types.Value(v.VpcId), Cells: []cell{named(v.VpcId, v.Tags), link(v.VpcId), state(v.State), code(v.CidrBlock), yes(v.IsDefault)}})
	}
	return &view{Title: "Networks", Section: "networks", Template: "table", Main: t}, nil
}

func networkPage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	out, err := call[ec2types.DescribeVpcsOutput](ctx, r, "DescribeVpcs", &ec2types.DescribeVpcsInput{VpcIds: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(out.Vpcs) == 0 {
		return nil, errNoPage
	}
	v, in := out.Vpcs[0], []ec2types.Filter{{Name: new("vpc-id"), Values: []string{id}}}
	d := detail{Kind: "Network", Parent: button{Text: "Networks", Action: Path + "networks"}, ID: id, Name: nameOf(v.Tags), State: ec2types.Value(v.State), Tags: v.Tags, Tagged: true}
	d.Facts = present(fact{"Addresses", code(v.CidrBlock)}, fact{"Default", yes(v.IsDefault)}, fact{"DHCP options", code(v.DhcpOptionsId)})
	subnets, err := call[ec2types.DescribeSubnetsOutput](ctx, r, "DescribeSubnets", &ec2types.DescribeSubnetsInput{Filters: in})
	if err != nil {
		return nil, err
	}
	t := table{ID: "subnets", Title: "Subnets", Columns: []column{{Title: "Name"}, {Title: "Subnet"}, {Title: "State"}, {Title: "Addresses"}, {Title: "Free", Wide: true}, {Title: "Public addresses", Wide: true}}, Empty: "No subnets: instances need one."}
	for _, s := range subnets.Subnets {
		t.Rows = append(t.Rows, row{Cells: []cell{named(nil, s.Tags), code(s.SubnetId), state(s.State), code(s.CidrBlock), number(s.AvailableIpAddressCount, ""), yes(s.MapPublicIpOnLaunch)}})
	}
	routes, err := call[ec2types.DescribeRouteTablesOutput](ctx, r, "DescribeRouteTables", &ec2types.DescribeRouteTablesInput{Filters: in})
	if err != nil {
		return nil, err
	}
	rt := table{ID: "routes", Title: "Routes", Columns: []column{{Title: "Route table"}, {Title: "Destination"}, {Title: "By way of"}, {Title: "State"}}}
	for _, one := range routes.RouteTables {
		for _, way := range one.Routes {
			by := cmp.Or(ec2types.Value(way.GatewayId), ec2types.Value(way.NetworkInterfaceId), ec2types.Value(way.InstanceId), ec2types.Value(way.EgressOnlyInternetGatewayId))
			rt.Rows = append(rt.Rows, row{Cells: []cell{code(one.RouteTableId), {Kind: codeText, Text: cmp.Or(ec2types.Value(way.DestinationCidrBlock), ec2types.Value(way.DestinationIpv6CidrBlock))}, {Kind: codeText, Text: by}, state(way.State)}})
		}
	}
	d.Tables = []table{t, rt}
	return &view{Title: cmp.Or(d.Name, id), Section: "networks", Template: "detail", Main: d}, nil
}

func addressList(ctx context.Context, r *request) (*view, error) {
	out, err := call[ec2types.DescribeAddressesOutput](ctx, r, "DescribeAddresses", &ec2types.DescribeAddressesInput{})
	if err != nil {
		return nil, err
	}
	instances, err := attachable(ctx, r)
	if err != nil {
		return nil, err
	}
	t := table{
		ID: "addresses", Title: "Elastic addresses", Help: "A public address that stays yours, and can move from one instance to another.",
		Columns: []column{{Title: "Address"}, {Title: "Allocation"}, {Title: "Instance"}, {Title: "Private address", Wide: true}, {Title: "Tags", Wide: true}},
		Choose:  []button{{Text: "Release", Action: Path + "addresses/release", Danger: "A released address is somebody else's next."}},
		Forms:   []form{{Title: "Allocate address", Action: Path + "addresses/allocate", Submit: "Allocate"}},
		Empty:   "No addresses of your own. Instances have one for as long as they run.",
	}
	var free []option
	for _, a := range out.Addresses {
		if a.AssociationId == nil {
			free = append(free, option{Value: ec2types.Value(a.AllocationId), Text: ec2types.Value(a.PublicIp)})
		}
		t.Rows = append(t.Rows, row{ID: ec2types.Value(a.AllocationId), Cells: []cell{code(a.PublicIp), code(a.AllocationId), link(a.InstanceId), code(a.PrivateIpAddress), tags(a.Tags)}})
	}
	if len(free) > 0 && len(instances) > 0 {
		t.Forms = append(t.Forms, form{Title: "Associate address", Action: Path + "addresses/associate", Submit: "Associate", Fields: []field{
			{Name: "allocation", Label: "Address", Type: "select", Options: free}, {Name: "instance", Label: "Instance", Type: "select", Options: instances},
		}})
	}
	return &view{Title: "Addresses", Section: "addresses", Template: "table", Main: t}, nil
}

func allocateAddress(ctx context.Context, r *request) (next, done string, err error) {
	out, err := call[ec2types.AllocateAddressOutput](ctx, r, "AllocateAddress", &ec2types.AllocateAddressInput{Domain: new("vpc")})
	if err != nil {
		return "", "", err
	}
	return back(r), ec2types.Value(out.PublicIp) + " is yours", nil
}

func associateAddress(ctx context.Context, r *request) (next, done string, err error) {
	return back(r), "", act(ctx, r, "AssociateAddress", &ec2types.AssociateAddressInput{AllocationId: filled(r.FormValue("allocation")), InstanceId: filled(r.FormValue("instance"))})
}

func releaseAddresses(ctx context.Context, r *request) (next, done string, err error) {
	for _, id := range r.Form["id"] {
		if err := act(ctx, r, "ReleaseAddress", &ec2types.ReleaseAddressInput{AllocationId: &id}); err != nil {
			return "", "", err
		}
	}
	return back(r), "Released", nil
}

// reach says why an instance's port is reached, or not.
type reach struct {
	ID, Port string
	Checks   []bundttypes.HostCheck
	Ports    []string
}

func reachPage(ctx context.Context, r *request) (*view, error) {
	p := reach{ID: r.PathValue("id"), Port: cmp.Or(r.URL.Query().Get("port"), "22"), Ports: []string{"22", "80", "443"}}
	if !slices.Contains(p.Ports, p.Port) {
		p.Ports = append(p.Ports, p.Port)
	}
	port, err := strconv.ParseInt(p.Port, 10, 32)
	if err != nil {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "The port %q is no number", p.Port)
	}
	out, err := call[bundttypes.GetInstanceDiagnosisOutput](ctx, r, "GetInstanceDiagnosis", &bundttypes.GetInstanceDiagnosisInput{InstanceId: &p.ID, Port: new(int32(port))})
	if err != nil {
		return nil, err
	}
	p.Checks = out.Checks
	return &view{Title: "Why is it unreachable?", Section: "instances", Template: "reach", Main: p}, nil
}
