package cloud

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// RuleSpec is a rule as a request gives it. Ports that it does not give are nil,
// and its peer may be a group by name.
type RuleSpec struct {
	Protocol         string
	FromPort, ToPort *int32
	CIDR, CIDRv6     string
	Group            GroupRef
	GroupOwner       string // "" for the caller's account
	GroupVPC         string // "" for the VPC of the rule's own group
	Description      string
}

const (
	codeRuleNotFound   = "InvalidPermission.NotFound"
	codeRuleIDNotFound = "InvalidSecurityGroupRuleId.NotFound"
)

// protocolNames are the protocols that EC2 shows by name.
var protocolNames = map[string]string{"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "all": "-1"}

// AuthorizeRules adds rules to a group, all or none, and returns them.
func (c *Account) AuthorizeRules(ctx context.Context, ref GroupRef, egress bool, specs []RuleSpec, tags model.Tags) (added []model.SecurityGroupRule, g model.SecurityGroup, err error) {
	if err := checkTags(tags); err != nil {
		return nil, g, err
	}
	g, err = c.editGroup(ctx, ref, func(tx *store.Tx, g *model.SecurityGroup) error {
		if len(specs) == 0 {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter IpPermissions")
		}
		rules, err := c.rules(tx, g, egress, specs)
		if err != nil {
			return err
		}
		for i := range rules {
			if findRule(g, &rules[i]) >= 0 {
				return duplicateRule(&rules[i])
			}
			rules[i].ID, rules[i].Tags = model.NewID(model.RulePrefix), tags
		}
		g.Rules = append(g.Rules, rules...)
		added = rules
		if n := count(g.Rules, func(r model.SecurityGroupRule) bool { return r.Egress == egress }); n > maxRules {
			return model.Errorf("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group (%d) has been reached", maxRules)
		}
		return nil
	})
	return added, g, err
}

// Revocation is what RevokeRules has done.
type Revocation struct {
	Revoked []model.SecurityGroupRule
	Unknown []model.SecurityGroupRule // given, but not in the group; in a default VPC alone, elsewhere an error
	Group   model.SecurityGroup
}

// RevokeRules removes rules from a group, by their ids or by what they allow.
func (c *Account) RevokeRules(ctx context.Context, ref GroupRef, egress bool, ids []string, specs []RuleSpec) (out Revocation, err error) {
	if len(specs) > 0 && len(ids) > 0 {
		return out, model.Errorf(model.CodeInvalidParameterCombination, "The parameter SecurityGroupRuleIds cannot be used together with IpPermissions")
	}
	g, err := c.editGroup(ctx, ref, func(tx *store.Tx, g *model.SecurityGroup) error {
		out = Revocation{}
		if len(specs) == 0 && len(ids) == 0 {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter IpPermissions or SecurityGroupRuleIds")
		}
		for _, id := range ids {
			i, err := ruleByID(g, id)
			if err != nil {
				return err
			}
			if g.Rules[i].Egress != egress {
				return model.Errorf(codeRuleIDNotFound, "The security group rule ID '%s' does not exist in this direction", id)
			}
			out.Revoked = append(out.Revoked, g.Rules[i])
			g.Rules = slices.Delete(g.Rules, i, i+1)
		}
		rules, err := c.rules(tx, g, egress, specs)
		if err != nil {
			return err
		}
		vpc, err := records.VPCs.Get(tx, g.VPCID)
		if err != nil {
			return err
		}
		for i := range rules {
			k := findRule(g, &rules[i])
			switch {
			case k >= 0:
				out.Revoked = append(out.Revoked, g.Rules[k])
				g.Rules = slices.Delete(g.Rules, k, k+1)
			case vpc.Default:
				out.Unknown = append(out.Unknown, rules[i])
			default:
				return model.Errorf(codeRuleNotFound, "The specified rule does not exist in this security group.")
			}
		}
		return nil
	})
	out.Group = g
	return out, err
}

// RuleChange replaces what the rule with this id allows.
type RuleChange struct {
	ID   string
	Spec RuleSpec
}

// ModifyRules changes rules of a group in place, all or none.
func (c *Account) ModifyRules(ctx context.Context, groupID string, changes []RuleChange) error {
	_, err := c.editGroup(ctx, GroupRef{ID: groupID}, func(tx *store.Tx, g *model.SecurityGroup) error {
		for _, ch := range changes {
			i, err := ruleByID(g, ch.ID)
			if err != nil {
				return err
			}
			old := g.Rules[i]
			r, err := c.rule(tx, g, old.Egress, ch.Spec)
			if err != nil {
				return err
			}
			r.ID, r.Tags = old.ID, old.Tags
			if k := findRule(g, &r); k >= 0 && k != i {
				return duplicateRule(&r)
			}
			g.Rules[i] = r
		}
		return nil
	})
	return err
}

// DescribeRules changes the descriptions of rules, found by id or by what they
// allow; an empty one removes it.
func (c *Account) DescribeRules(ctx context.Context, ref GroupRef, egress bool, byID map[string]string, specs []RuleSpec) error {
	_, err := c.editGroup(ctx, ref, func(tx *store.Tx, g *model.SecurityGroup) error {
		if len(byID) == 0 && len(specs) == 0 {
			return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter IpPermissions or SecurityGroupRuleDescriptions")
		}
		for id, text := range byID {
			i, err := ruleByID(g, id)
			if err != nil {
				return err
			}
			if err := checkRuleDescription(text); err != nil {
				return err
			}
			if g.Rules[i].Egress != egress {
				return model.Errorf(codeRuleIDNotFound, "The security group rule ID '%s' does not exist in this direction", id)
			}
			g.Rules[i].Description = text
		}
		rules, err := c.rules(tx, g, egress, specs)
		if err != nil {
			return err
		}
		for i := range rules {
			k := findRule(g, &rules[i])
			if k < 0 {
				return model.Errorf(codeRuleNotFound, "The specified rule does not exist in this security group.")
			}
			g.Rules[k].Description = rules[i].Description
		}
		return nil
	})
	return err
}

// editGroup changes one of the account's groups in a transaction.
func (c *Account) editGroup(ctx context.Context, ref GroupRef, edit func(*store.Tx, *model.SecurityGroup) error) (g model.SecurityGroup, err error) {
	err = c.updateNetwork(ctx, func(tx *store.Tx) error {
		if g, err = c.group(tx, ref); err != nil {
			return err
		}
		if err := edit(tx, &g); err != nil {
			return err
		}
		return records.Groups.Put(tx, &g)
	})
	return g, err
}

// rules checks specs and resolves the groups they name.
func (c *Account) rules(tx *store.Tx, g *model.SecurityGroup, egress bool, specs []RuleSpec) ([]model.SecurityGroupRule, error) {
	out := make([]model.SecurityGroupRule, 0, len(specs))
	for _, s := range specs {
		r, err := c.rule(tx, g, egress, s)
		if err != nil {
			return nil, err
		}
		for i := range out {
			if out[i].Allows(&r) {
				return nil, model.Errorf(model.CodeInvalidParameterValue, "The same permission must not appear multiple times")
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func (c *Account) rule(tx *store.Tx, g *model.SecurityGroup, egress bool, s RuleSpec) (model.SecurityGroupRule, error) {
	r := model.SecurityGroupRule{Egress: egress, Description: s.Description}
	if err := checkRuleDescription(s.Description); err != nil {
		return r, err
	}
	if err := setPorts(&r, s); err != nil {
		return r, err
	}
	var err error
	peers := 0
	if s.CIDR != "" {
		peers++
		if r.CIDR, err = canonicalCIDR(s.CIDR, true); err != nil {
			return r, err
		}
	}
	if s.CIDRv6 != "" {
		peers++
		if r.CIDRv6, err = canonicalCIDR(s.CIDRv6, false); err != nil {
			return r, err
		}
	}
	if s.Group.ID+s.Group.Name != "" {
		peers++
		if r.GroupID, err = c.peerGroup(tx, g, s); err != nil {
			return r, err
		}
	}
	if peers != 1 {
		return r, model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%d' for the number of peers of a rule: exactly one of an IPv4 CIDR, an IPv6 CIDR and a security group is needed", peers)
	}
	return r, nil
}

func (c *Account) peerGroup(tx *store.Tx, g *model.SecurityGroup, s RuleSpec) (string, error) {
	if s.GroupOwner != "" && s.GroupOwner != c.id {
		return "", model.Errorf(codeGroupNotFound, "The security group '%s' does not exist in account %s", s.Group.ID+s.Group.Name, s.GroupOwner)
	}
	if s.Group.ID == g.ID && s.GroupVPC == "" {
		return g.ID, nil
	}
	var peer model.SecurityGroup
	var err error
	if s.Group.ID != "" {
		peer, err = c.groupByID(tx, s.Group.ID)
	} else {
		peer, err = c.groupByName(tx, g.VPCID, s.Group.Name)
	}
	if err == nil && (peer.VPCID != g.VPCID || (s.GroupVPC != "" && s.GroupVPC != peer.VPCID)) {
		err = model.Errorf(codeGroupNotFound, "You have specified two resources that belong to different networks: %s and %s", g.ID, peer.ID)
	}
	return peer.ID, err
}

// setPorts checks a rule's protocol and ports.
func setPorts(r *model.SecurityGroupRule, s RuleSpec) error {
	p := strings.ToLower(s.Protocol)
	if name, ok := protocolNames[p]; ok {
		p = name
	}
	r.Protocol, r.FromPort, r.ToPort = p, -1, -1
	switch p {
	case "":
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter IpProtocol")
	case "tcp", "udp":
		if s.FromPort == nil || s.ToPort == nil {
			return model.Errorf(model.CodeInvalidParameterValue, "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		}
		r.FromPort, r.ToPort = int(*s.FromPort), int(*s.ToPort)
		if r.FromPort < 0 || r.ToPort > 65535 {
			return model.Errorf(model.CodeInvalidParameterValue, "TCP/UDP port (%d to %d) out of range", r.FromPort, r.ToPort)
		}
		if r.FromPort > r.ToPort {
			return model.Errorf(model.CodeInvalidParameterValue, "Invalid TCP/UDP port range (%d:%d)", r.FromPort, r.ToPort)
		}
	case "icmp", "icmpv6":
		return setICMP(r, s)
	case "-1":
	default:
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 255 {
			return model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%s' for IP protocol. Unknown protocol.", s.Protocol)
		}
	}
	return nil
}

func setICMP(r *model.SecurityGroupRule, s RuleSpec) error {
	if s.FromPort != nil {
		r.FromPort = int(*s.FromPort)
	}
	if s.ToPort != nil {
		r.ToPort = int(*s.ToPort)
	}
	switch {
	case r.FromPort < -1 || r.FromPort > 255:
		return model.Errorf(model.CodeInvalidParameterValue, "ICMP type (%d) out of range", r.FromPort)
	case r.ToPort < -1 || r.ToPort > 255:
		return model.Errorf(model.CodeInvalidParameterValue, "ICMP code (%d) out of range", r.ToPort)
	case r.FromPort == -1 && r.ToPort != -1:
		return model.Errorf(model.CodeInvalidParameterValue, "ICMP code (%d) with all ICMP types", r.ToPort)
	}
	return nil
}

// canonicalCIDR returns the range with its host bits cleared, as EC2 does.
func canonicalCIDR(s string, v4 bool) (string, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4() != v4 {
		return "", model.Errorf(model.CodeInvalidParameterValue, "CIDR block %s is malformed", s)
	}
	return p.Masked().String(), nil
}

func checkRuleDescription(s string) error {
	if utf8.RuneCountInString(s) > 255 || (s != "" && !groupText.MatchString(s)) {
		return model.Errorf(model.CodeInvalidParameterValue, "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*")
	}
	return nil
}

func findRule(g *model.SecurityGroup, r *model.SecurityGroupRule) int {
	return slices.IndexFunc(g.Rules, func(o model.SecurityGroupRule) bool { return o.Allows(r) })
}

func ruleByID(g *model.SecurityGroup, id string) (int, error) {
	if model.CheckID(model.RulePrefix, id) != nil {
		return 0, model.Errorf("InvalidSecurityGroupRuleId.Malformed", "Invalid id: \"%s\" (expecting \"sgr-...\")", id)
	}
	i := slices.IndexFunc(g.Rules, func(o model.SecurityGroupRule) bool { return o.ID == id })
	if i < 0 {
		return 0, ruleNotFound(id)
	}
	return i, nil
}

func ruleNotFound(id string) *model.Error {
	return model.Errorf(codeRuleIDNotFound, "The security group rule ID '%s' does not exist", id)
}

func duplicateRule(r *model.SecurityGroupRule) error {
	return model.Errorf("InvalidPermission.Duplicate", "the specified rule \"peer: %s%s%s, %s, from port: %d, to port: %d, ALLOW\" already exists",
		r.CIDR, r.CIDRv6, r.GroupID, strings.ToUpper(r.Protocol), r.FromPort, r.ToPort)
}

// ruleGroup returns the group that has a rule, and the rule's place in it.
func ruleGroup(tx *store.Tx, id string) (model.SecurityGroup, int, error) {
	all, err := records.Groups.List(tx)
	if err != nil {
		return model.SecurityGroup{}, 0, err
	}
	for _, g := range all {
		if i, err := ruleByID(&g, id); err == nil {
			return g, i, nil
		}
	}
	return model.SecurityGroup{}, 0, ruleNotFound(id)
}

// retagRule changes the tags of a rule, which is kept in its group.
func retagRule(c *Account, tx *store.Tx, id string, edit func(model.Tags)) error {
	g, i, err := ruleGroup(tx, id)
	if err == nil && g.OwnerID != c.id {
		err = ruleNotFound(id)
	}
	if err != nil {
		return err
	}
	if g.Rules[i].Tags == nil {
		g.Rules[i].Tags = model.Tags{}
	}
	edit(g.Rules[i].Tags)
	if err := checkTags(g.Rules[i].Tags); err != nil {
		return err
	}
	return records.Groups.Put(tx, &g)
}

func readRule(tx *store.Tx, id string) (model.Owned, model.Tags, error) {
	g, i, err := ruleGroup(tx, id)
	if err != nil {
		return nil, nil, err
	}
	return &g, g.Rules[i].Tags, nil
}
