package console

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

// settings are what can be changed of an instance after its launch.
func (p *instance) settings(ctx context.Context, r *request) error {
	attribute := func(name string) (*ec2types.DescribeInstanceAttributeOutput, error) {
		return call[ec2types.DescribeInstanceAttributeOutput](ctx, r, "DescribeInstanceAttribute", &ec2types.DescribeInstanceAttributeInput{InstanceId: &p.ID, Attribute: &name})
	}
	protected, err := attribute(ec2types.InstanceAttributeNameDisableApiTermination)
	if forbidden(err) {
		return nil // who may not read them still sees the rest
	}
	if err != nil {
		return err
	}
	on := protected.DisableApiTermination != nil && ec2types.Value(protected.DisableApiTermination.Value)
	toggle := button{Text: "Protect", Action: Path + "instances/protect", Hidden: map[string]string{"id": p.ID, "on": "yes"}}
	shown := cell{Text: "can be terminated"}
	if on {
		toggle.Text, shown.Text = "Take the protection away", "protected"
		delete(toggle.Hidden, "on")
	}
	p.Facts = append(p.Facts, fact{"Termination", shown})
	p.Buttons = append([]button{toggle}, p.Buttons...)
	if err := p.groupsForm(ctx, r); err != nil {
		return err
	}
	if p.State == "stopped" {
		types, err := fittingTypes(ctx, r, ec2types.Value(p.Instance.Architecture))
		if err != nil {
			return err
		}
		f := field{Name: "type", Label: "Type", Type: "select", Required: true}
		for _, t := range types {
			f.Options = append(f.Options, option{Value: t.Name, Text: fmt.Sprintf("%s, %d vCPU, %s", t.Name, t.VCPUs, t.Memory), Selected: t.Name == ec2types.Value(p.Instance.InstanceType)})
		}
		p.Forms = append(p.Forms, form{Title: "Change type", Action: Path + "instances/type?id=" + p.ID, Submit: "Change type", Help: "The machine has it from its next start.", Fields: []field{f}})
	}
	data, err := attribute(ec2types.InstanceAttributeNameUserData)
	if err != nil {
		return err
	}
	if data.UserData != nil {
		p.UserData = readable(ec2types.Value(data.UserData.Value))
	}
	return nil
}

// groupsForm is for the security groups that are around the instance.
func (p *instance) groupsForm(ctx context.Context, r *request) error {
	all, err := securityGroups(ctx, r)
	if err != nil && !forbidden(err) {
		return err
	}
	f := field{Name: "group", Label: "Of its network", Type: "checks", Required: true}
	for _, g := range all {
		if ec2types.Value(g.VpcId) != ec2types.Value(p.Instance.VpcId) {
			continue
		}
		in := slices.ContainsFunc(p.Instance.SecurityGroups, func(has ec2types.GroupIdentifier) bool {
			return ec2types.Value(has.GroupId) == ec2types.Value(g.GroupId)
		})
		f.Options = append(f.Options, option{Value: ec2types.Value(g.GroupId), Text: ec2types.Value(g.GroupName), Selected: in})
	}
	if len(f.Options) > 0 {
		p.Forms = append(p.Forms, form{Title: "Security groups", Action: Path + "instances/groups?id=" + p.ID, Submit: "Change", Help: "The machine's traffic is held to the new ones at once.", Fields: []field{f}})
	}
	return nil
}

func changeGroups(ctx context.Context, r *request) (next, done string, err error) {
	groups := r.Form["group"]
	if len(groups) == 0 {
		return "", "", missing("which security groups: an instance has one at least")
	}
	return back(r), "", act(ctx, r, "ModifyInstanceAttribute", &ec2types.ModifyInstanceAttributeInput{InstanceId: filled(r.FormValue("id")), Groups: groups})
}

// readable is user data as it was written; what is no text is only named.
func readable(encoded string) string {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !utf8.Valid(raw) {
		return fmt.Sprintf("%d bytes that are no text", len(raw))
	}
	return string(raw)
}

func protect(ctx context.Context, r *request) (next, done string, err error) {
	return back(r), "", act(ctx, r, "ModifyInstanceAttribute", &ec2types.ModifyInstanceAttributeInput{
		InstanceId: filled(r.FormValue("id")), DisableApiTermination: &ec2types.AttributeBooleanValue{Value: new(r.FormValue("on") != "")},
	})
}

func changeType(ctx context.Context, r *request) (next, done string, err error) {
	return back(r), "", act(ctx, r, "ModifyInstanceAttribute", &ec2types.ModifyInstanceAttributeInput{
		InstanceId: filled(r.FormValue("id")), InstanceType: &ec2types.AttributeValue{Value: filled(r.FormValue("type"))},
	})
}
