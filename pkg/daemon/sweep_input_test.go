package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/ec2types"
	usecases "github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/rundir"
)

// action is one of EC2's actions as the daemon serves it.
type action struct {
	*api.Info
	op     ec2types.Operation
	input  reflect.Type
	limits map[string][]string // parameters of which only some values are acted on
}

// servedActions are EC2's actions in the daemon's table.
func servedActions(t *testing.T) []action {
	t.Helper()
	table := api.NewTable()
	actions.Register(table, new(usecases.Cloud), nil)
	var all []action
	for _, info := range table.Actions() {
		op, ok := ec2types.OperationByName(info.Name)
		if !ok {
			continue
		}
		a := action{info, op, reflect.TypeOf(op.NewInput()).Elem(), map[string][]string{}}
		for _, p := range info.Parameters() {
			if p.Values != nil {
				a.limits[p.Path] = p.Values
			}
		}
		all = append(all, a)
	}
	return all
}

// object is a request's structure, or an answer's, as JSON has it.
type object = map[string]any

// caller makes calls of any action with any input.
type caller struct {
	http *http.Client
	// ids are those of objects that there are, by the name of their member.
	ids map[string]string
}

func newCaller(c *cloud) *caller {
	socket := filepath.Join(c.cfg.RunDir, rundir.Socket)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &caller{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, ids: map[string]string{}}
}

// call returns the answer; errors are *model.Error.
func (c *caller) call(t *testing.T, action string, in object) (object, error) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://bundt/api/"+action, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := object{}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	if resp.StatusCode == http.StatusOK {
		return out, nil
	}
	e := new(model.Error)
	if b, err := json.Marshal(out["Error"]); err != nil || json.Unmarshal(b, e) != nil {
		t.Fatalf("%s answers with status %d: %v", action, resp.StatusCode, out)
	}
	return nil, e
}

// learn remembers the first id of each kind in an answer.
func (c *caller) learn(answer any) {
	switch v := answer.(type) {
	case object:
		for name, inner := range v {
			if id, ok := inner.(string); ok && c.ids[name] == "" && id != "" {
				c.ids[name] = id
			}
			c.learn(inner)
		}
	case []any:
		for _, inner := range v {
			c.learn(inner)
		}
	}
}

// idPrefixes are those of the ids in members of these names. Members of one kind
// have several names in EC2's API.
var idPrefixes = map[string]string{
	"AllocationId": "eipalloc", "AllocationIds": "eipalloc", "DhcpOptionsIds": "dopt", "EgressOnlyInternetGatewayId": "eigw", "EgressOnlyInternetGatewayIds": "eigw", "GroupIds": "sg", "GroupId": "sg",
	"ImageId": "ami", "ImageIds": "ami", "InstanceId": "i", "InstanceIds": "i", "InternetGatewayId": "igw", "InternetGatewayIds": "igw",
	"KeyPairIds": "key", "LaunchTemplateId": "lt", "LaunchTemplateIds": "lt", "NetworkAclId": "acl", "NetworkAclIds": "acl",
	"NetworkInterfaceId": "eni", "NetworkInterfaceIds": "eni", "RouteTableId": "rtb", "RouteTableIds": "rtb",
	"SecurityGroupRuleIds": "sgr", "SnapshotId": "snap", "SnapshotIds": "snap", "SourceSnapshotId": "snap", "SourceImageId": "ami",
	"SubnetId": "subnet", "SubnetIds": "subnet", "VolumeId": "vol", "VolumeIds": "vol", "VpcId": "vpc", "VpcIds": "vpc",
}

// existing is the id of an object for the member, "" if none is known.
func (c *caller) existing(member string) string {
	member = strings.TrimPrefix(strings.TrimSuffix(member, "s"), "Source")
	return c.ids[member]
}

// alsoRequired are members that an action needs although the model does not say
// so, because there is another way to give them.
var alsoRequired = map[string][]string{
	"ModifyImageAttribute": {"Description"}, // or another attribute
	"RunInstances":         {"ImageId"},     // or a launch template

	"AssociateAddress":           {"AllocationId"}, // or the address
	"AssociateRouteTable":        {"SubnetId"},     // or a gateway
	"CreateSubnet":               {"CidrBlock"},    // or an IPv6 one
	"CreateNetworkAclEntry":      {"CidrBlock"},
	"ReplaceNetworkAclEntry":     {"CidrBlock"},
	"AssociateSubnetCidrBlock":   {"Ipv6CidrBlock"},
	"AssociateVpcCidrBlock":      {"AmazonProvidedIpv6CidrBlock"},
	"CreateRoute":                {"DestinationCidrBlock", "GatewayId"}, // or other destinations and targets
	"ReplaceRoute":               {"DestinationCidrBlock", "GatewayId"},
	"DeleteRoute":                {"DestinationCidrBlock"},
	"ModifyAddressAttribute":     {"DomainName"},
	"RevokeSecurityGroupIngress": {"GroupId"}, // or a group's name

	"CreateLaunchTemplateVersion":    {"LaunchTemplateId"}, // or its name
	"DeleteLaunchTemplate":           {"LaunchTemplateId"},
	"DeleteLaunchTemplateVersions":   {"LaunchTemplateId"},
	"DescribeLaunchTemplateVersions": {"LaunchTemplateId"},
	"ModifyLaunchTemplate":           {"LaunchTemplateId", "DefaultVersion"},
}

// insteadOf are the members that one replaces, with which it cannot be given.
var insteadOf = map[string][]string{
	"EgressOnlyInternetGatewayId": {"GatewayId"}, "NetworkInterfaceId": {"GatewayId"}, "InstanceId": {"GatewayId"}, "DestinationIpv6CidrBlock": {"DestinationCidrBlock"},
}

// minimal is a request with what is required, and nothing else.
func (c *caller) minimal(a action) object { return c.structure(a, a.input, "", nil) }

// full is a request that would be done, with no more than that takes.
func (c *caller) full(a action) object {
	in := c.minimal(a)
	for _, p := range alsoRequired[a.Name] {
		maps.Copy(in, c.structure(a, a.input, "", strings.Split(p, ".")))
	}
	return in
}

// with is a request that would be done but for the member at a path.
func (c *caller) with(a action, path string) object {
	in := object{}
	for _, p := range append(slices.Clone(alsoRequired[a.Name]), path) {
		if p != path && slices.Contains(insteadOf[path], p) {
			continue
		}
		maps.Copy(in, c.structure(a, a.input, "", strings.Split(p, ".")))
	}
	return in
}

// structure fills required members, and that which extra leads to.
func (c *caller) structure(a action, t reflect.Type, prefix string, extra []string) object {
	o := object{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		var rest []string
		wanted := len(extra) > 0 && extra[0] == name
		if wanted {
			rest = extra[1:]
		}
		if wanted || f.Tag.Get("required") == "true" {
			o[name] = c.value(a, f, f.Type, prefix+name, name, rest)
		}
	}
	return o
}

// value is one that a member could have.
func (c *caller) value(a action, f reflect.StructField, t reflect.Type, path, name string, extra []string) any {
	if values := a.limits[path]; values != nil && t.Kind() != reflect.Slice {
		return parsed(values[0], t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return c.value(a, f, t.Elem(), path, name, extra)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return []byte("c3dlZXA=")
		}
		return []any{c.value(a, f, t.Elem(), path, name, extra)}
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return time.Now().Add(24 * time.Hour)
		}
		inner := c.structure(a, t, path+".", extra)
		if len(inner) == 0 && t.NumField() > 0 { // an empty one would be absent
			first, _, _ := strings.Cut(t.Field(0).Tag.Get("json"), ",")
			inner[first] = c.value(a, t.Field(0), t.Field(0).Type, path+"."+first, first, nil)
		}
		return inner
	case reflect.Map:
		return object{}
	case reflect.Bool:
		return true
	case reflect.String:
		return c.text(f, name)
	}
	if low := f.Tag.Get("min"); low != "" {
		return json.Number(low)
	}
	return 1
}

func (c *caller) text(f reflect.StructField, name string) string {
	if values := ec2types.EnumValues(f.Tag.Get("enum")); len(values) > 0 {
		return values[0]
	}
	if id := c.existing(name); id != "" {
		return id
	}
	switch {
	case strings.HasSuffix(name, "Region"):
		return daemon.DefaultConfig().Region
	case strings.Contains(name, "Cidr"):
		return "10.9.0.0/24"
	case name == "Protocol":
		return "-1"
	case strings.HasSuffix(name, "ublicIp") || strings.HasSuffix(name, "IpAddress"):
		return "10.9.0.7"
	}
	return "sweep"
}

// parsed is a limited value as JSON has it.
func parsed(value string, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return value
	case reflect.Bool:
		return value == "true"
	}
	return json.Number(value)
}

// leaf finds the field at a path of a request.
func leaf(t reflect.Type, path string) reflect.StructField {
	var f reflect.StructField
	for name := range strings.SplitSeq(path, ".") {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		for i := range t.NumField() {
			if n, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); n == name {
				f = t.Field(i)
			}
		}
		t = f.Type
	}
	return f
}

// set changes the value at a path through structures and lists' first items.
func set(o object, path string, value any) {
	for {
		name, rest, deeper := strings.Cut(path, ".")
		if !deeper {
			if _, list := o[name].([]any); list {
				value = []any{value}
			}
			o[name] = value
			return
		}
		switch inner := o[name].(type) {
		case object:
			o = inner
		case []any:
			o = inner[0].(object)
		default:
			panic(fmt.Sprintf("%s is no structure: %T", name, inner))
		}
		path = rest
	}
}
