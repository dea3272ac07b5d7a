package cloud

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// EC2's error codes of security groups.
const (
	codeGroupNotFound = "InvalidGroup.NotFound"
	codeDependency    = "DependencyViolation"
)

// Quotas, where EC2 has them; docs/networking.md lists them.
const (
	maxGroups          = 2500 // of an account
	maxRules           = 1000 // of a group and direction: EC2's largest product of rules and groups
	maxInterfaceGroups = 16
)

// DefaultGroupName is the name of the group that every VPC begins with.
const DefaultGroupName = "default"

// groupText is what names and descriptions of groups in a VPC are made of.
var groupText = regexp.MustCompile(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}$`)

// GroupRef names a security group by its id or, in the default VPC, by its name.
type GroupRef struct{ ID, Name string }

// SecurityGroups returns the account's security groups.
func (c *Account) SecurityGroups(ctx context.Context) ([]model.SecurityGroup, error) {
	return networkObjects(ctx, c, records.Groups)
}

// CreateSecurityGroup makes a group that lets everything out and nothing in.
func (c *Account) CreateSecurityGroup(ctx context.Context, vpcID, name, description string, tags model.Tags) (g model.SecurityGroup, err error) {
	if err := checkTags(tags); err != nil {
		return g, err
	}
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		vpc, err := c.vpcOrDefault(tx, vpcID)
		if err != nil {
			return err
		}
		if err := checkGroup(name, description); err != nil {
			return err
		}
		all, err := records.Groups.List(tx)
		if err != nil {
			return err
		}
		if n := count(all, func(o model.SecurityGroup) bool { return o.OwnerID == c.id }); n >= maxGroups {
			return model.Errorf("SecurityGroupLimitExceeded", "The maximum number of security groups (%d) has been reached", maxGroups)
		}
		g = newGroup(model.NewID(model.GroupPrefix), &vpc, name, description, c.Now())
		g.Tags = tags
		return putNewGroup(tx, &g)
	})
	return g, err
}

func checkGroup(name, description string) error {
	switch {
	case !groupText.MatchString(name) || strings.TrimSpace(name) != name:
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter GroupName is invalid: it must have 1 to 255 letters, digits, spaces and ._-:/()#,@[]+=&;{}!$*", name)
	case strings.HasPrefix(name, "sg-"):
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*", name)
	case strings.EqualFold(name, DefaultGroupName):
		return model.Errorf(model.CodeInvalidParameterValue, "Cannot use reserved security group name: %s", name)
	case !groupText.MatchString(description):
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter GroupDescription is invalid. Character sets beyond ASCII are not supported; it must have 1 to 255 letters, digits, spaces and ._-:/()#,@[]+=&;{}!$*", description)
	}
	return nil
}

func newGroup(id string, vpc *model.VPC, name, description string, now time.Time) model.SecurityGroup {
	g := model.SecurityGroup{
		ID: id, OwnerID: vpc.OwnerID, VPCID: vpc.ID, Name: name, Description: description, Created: now,
		Rules: []model.SecurityGroupRule{{ID: model.NewID(model.RulePrefix), Egress: true, Protocol: "-1", FromPort: -1, ToPort: -1, CIDR: anywhere}},
	}
	if vpc.CIDRv6 != "" {
		g.Rules = append(g.Rules, allOutV6())
	}
	return g
}

// defaultGroup is a VPC's default group: its members reach each other.
func defaultGroup(id string, vpc *model.VPC, now time.Time) model.SecurityGroup {
	g := newGroup(id, vpc, DefaultGroupName, "default VPC security group", now)
	g.Rules = append(g.Rules, model.SecurityGroupRule{
		ID: model.NewID(model.RulePrefix), Protocol: "-1", FromPort: -1, ToPort: -1, GroupID: id,
	})
	return g
}

func putNewGroup(tx *store.Tx, g *model.SecurityGroup) error {
	taken, err := records.Names.Exists(tx, groupNameKey(g.VPCID, g.Name))
	if err != nil {
		return err
	}
	if taken {
		return model.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", g.Name, g.VPCID)
	}
	if err := records.Names.Put(tx, &records.Name{Kind: model.GroupPrefix, OwnerID: g.VPCID, Name: g.Name, ID: g.ID}); err != nil {
		return err
	}
	return records.Groups.Put(tx, g)
}

// groupNameKey reserves a group's name within its VPC.
func groupNameKey(vpcID, name string) string { return records.NameKey(model.GroupPrefix, vpcID, name) }

// DeleteSecurityGroup removes a group that nothing uses, and returns its id.
func (c *Account) DeleteSecurityGroup(ctx context.Context, ref GroupRef) (id string, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		g, err := c.group(tx, ref)
		if err != nil {
			return err
		}
		id = g.ID
		if g.Name == DefaultGroupName {
			return model.Errorf("CannotDelete", "the specified group: \"%s\" name: \"%s\" cannot be deleted by a user", g.ID, g.Name)
		}
		if err := groupUnused(tx, &g); err != nil {
			return err
		}
		return deleteGroup(tx, &g)
	})
	return id, err
}

func deleteGroup(tx *store.Tx, g *model.SecurityGroup) error {
	if err := records.Names.Delete(tx, groupNameKey(g.VPCID, g.Name)); err != nil {
		return err
	}
	return records.Groups.Delete(tx, g.ID)
}

// groupUnused refuses a group that an interface is in or another group's rule names.
func groupUnused(tx *store.Tx, g *model.SecurityGroup) error {
	nics, err := records.Interfaces.List(tx)
	if err != nil {
		return err
	}
	for _, n := range nics {
		if slices.Contains(n.Groups, g.ID) {
			return inUse(g.ID).WithHint("the network interface %s is in it", n.ID)
		}
	}
	others, err := records.Groups.List(tx)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ID != g.ID && slices.ContainsFunc(o.Rules, func(r model.SecurityGroupRule) bool { return r.GroupID == g.ID }) {
			return inUse(g.ID).WithHint("a rule of the group %s (%s) names it", o.ID, o.Name)
		}
	}
	return nil
}

func inUse(id string) *model.Error {
	return model.Errorf(codeDependency, "resource %s has a dependent object", id)
}

// group finds one of the account's groups.
func (c *Account) group(tx *store.Tx, ref GroupRef) (model.SecurityGroup, error) {
	if ref.ID != "" {
		return c.groupByID(tx, ref.ID)
	}
	if ref.Name == "" {
		return model.SecurityGroup{}, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter groupName or groupId")
	}
	vpc, err := c.vpcOrDefault(tx, "")
	if err != nil {
		return model.SecurityGroup{}, err
	}
	return c.groupByName(tx, vpc.ID, ref.Name)
}

func (c *Account) groupByID(tx *store.Tx, id string) (model.SecurityGroup, error) {
	if model.CheckID(model.GroupPrefix, id) != nil {
		return model.SecurityGroup{}, model.Errorf("InvalidGroupId.Malformed", "Invalid id: \"%s\" (expecting \"sg-...\")", id)
	}
	return own(c, tx, records.Groups, id, groupNotFound(id))
}

func (c *Account) groupByName(tx *store.Tx, vpcID, name string) (model.SecurityGroup, error) {
	notFound := model.Errorf(codeGroupNotFound, "The security group '%s' does not exist in VPC '%s'", name, vpcID)
	n, err := records.Names.Get(tx, groupNameKey(vpcID, name))
	if errors.Is(err, store.ErrNotFound) {
		return model.SecurityGroup{}, notFound
	}
	if err != nil {
		return model.SecurityGroup{}, err
	}
	return own(c, tx, records.Groups, n.ID, notFound)
}

func groupNotFound(id string) *model.Error {
	return model.Errorf(codeGroupNotFound, "The security group '%s' does not exist", id).
		WithHint("bundt security-group ls shows the groups there are")
}

func count[T any](all []T, is func(T) bool) (n int) {
	for _, v := range all {
		if is(v) {
			n++
		}
	}
	return n
}
