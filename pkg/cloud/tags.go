package cloud

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// EC2's limits of tags.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

func checkTags(sets ...model.Tags) error {
	for _, tags := range sets {
		if len(tags) > maxTags {
			return model.Errorf(model.CodeTagLimitExceeded, "The maximum number of tags per resource is %d; this has %d", maxTags, len(tags))
		}
		for k, v := range tags {
			if k == "" || utf8.RuneCountInString(k) > maxTagKey {
				return model.Errorf(model.CodeInvalidParameterValue, "Tag key %q must have 1 to %d characters", k, maxTagKey)
			}
			if utf8.RuneCountInString(v) > maxTagValue {
				return model.Errorf(model.CodeInvalidParameterValue, "Tag value for %q exceeds the maximum length of %d characters", k, maxTagValue)
			}
			if reservedTag(k) {
				return model.Errorf(model.CodeInvalidParameterValue, "Tag keys starting with 'aws:' are reserved: %q", k)
			}
		}
	}
	return nil
}

// EditTags changes the tags of resources in one transaction. edit gets a copy it
// may change, without EC2's own tags.
func (c *Account) EditTags(ctx context.Context, ids []string, edit func(model.Tags)) error {
	if len(ids) == 0 {
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter ResourceId")
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			kind, ok := taggable[model.IDPrefix(id[:max(strings.LastIndexByte(id, '-'), 0)])]
			if !ok {
				return model.Errorf(model.CodeInvalidID, "The ID '%s' is not valid", id)
			}
			if err := kind.edit(c, tx, id, edit); err != nil {
				return err
			}
		}
		return nil
	})
}

// Tag is one tag of one of the account's resources.
type Tag struct {
	ResourceID, ResourceType string
	Key, Value               string
}

// Tags returns every tag of the account's resources, by resource id and key.
func (c *Account) Tags(ctx context.Context) (out []Tag, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		out = out[:0]
		for prefix, kind := range taggable {
			err := kind.each(c, tx, func(id string, tags model.Tags) {
				for k, v := range tags {
					out = append(out, Tag{ResourceID: id, ResourceType: prefix.ResourceType(), Key: k, Value: v})
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Tag) int {
		return cmp.Or(strings.Compare(a.ResourceID, b.ResourceID), strings.Compare(a.Key, b.Key))
	})
	return out, err
}

// tagger knows the tags of one kind of object.
type tagger struct {
	edit func(c *Account, tx *store.Tx, id string, edit func(model.Tags)) error
	each func(c *Account, tx *store.Tx, show func(id string, tags model.Tags)) error
	// read returns the object and its tags, whoever's it is.
	read func(tx *store.Tx, id string) (model.Owned, model.Tags, error)
}

// taggable is how each kind of object is tagged. What is in it CreateTags,
// DeleteTags and DescribeTags know.
var taggable = map[model.IDPrefix]tagger{
	model.InstancePrefix: retag(records.Instances, instanceNotFound, func(i *model.Instance) *model.Tags { return &i.Tags }),
	model.ImagePrefix:    retag(records.Images, imageNotFound, func(i *model.Image) *model.Tags { return &i.Tags }),
	model.SnapshotPrefix: retag(records.Snapshots, snapshotNotFound, func(s *model.Snapshot) *model.Tags { return &s.Tags }),
	model.VolumePrefix:   retag(records.Volumes, volumeNotFound, func(v *model.Volume) *model.Tags { return &v.Tags }),
	model.KeyPairPrefix:  retag(records.KeyPairs, keyPairNotFound, func(k *model.KeyPair) *model.Tags { return &k.Tags }),

	model.VPCPrefix:           retag(records.VPCs, vpcNotFound, func(v *model.VPC) *model.Tags { return &v.Tags }),
	model.SubnetPrefix:        retag(records.Subnets, subnetNotFound, func(s *model.Subnet) *model.Tags { return &s.Tags }),
	model.GroupPrefix:         retag(records.Groups, groupNotFound, func(g *model.SecurityGroup) *model.Tags { return &g.Tags }),
	model.RulePrefix:          {edit: retagRule, read: readRule, each: eachRule},
	model.GatewayPrefix:       retag(records.Gateways, gatewayNotFound, func(g *model.InternetGateway) *model.Tags { return &g.Tags }),
	model.EgressGatewayPrefix: retag(records.EgressOnlyGateways, egressGatewayNotFound, func(g *model.EgressOnlyGateway) *model.Tags { return &g.Tags }),
	model.RouteTablePrefix:    retag(records.RouteTables, routeTableNotFound, func(t *model.RouteTable) *model.Tags { return &t.Tags }),
	model.ACLPrefix:           retag(records.NetworkACLs, aclNotFound, func(a *model.NetworkACL) *model.Tags { return &a.Tags }),
	model.DHCPOptionsPrefix:   retag(records.DHCPOptions, dhcpOptionsNotFound, func(d *model.DHCPOptions) *model.Tags { return &d.Tags }),
	model.InterfacePrefix:     retag(records.Interfaces, interfaceNotFound, func(n *model.NetworkInterface) *model.Tags { return &n.Tags }).with(retagInterface),
	model.AllocationPrefix:    retag(records.ElasticAddresses, allocationNotFound, func(a *model.ElasticAddress) *model.Tags { return &a.Tags }),

	model.LaunchTemplatePrefix: retag(records.LaunchTemplates, templateNotFound, func(t *model.LaunchTemplate) *model.Tags { return &t.Tags }),
}

// retag makes the tagger of a collection.
func retag[T any, P object[T]](col store.Collection[T], notFound func(id string) *model.Error, tags func(*T) *model.Tags) tagger {
	return tagger{
		edit: func(c *Account, tx *store.Tx, id string, edit func(model.Tags)) error {
			v, err := own[T, P](c, tx, col, id, notFound(id))
			if err != nil {
				return err
			}
			t := tags(&v)
			system, own := splitTags(*t)
			edit(own)
			if err := checkTags(own); err != nil {
				return err
			}
			*t = withTags(own, system)
			return col.Put(tx, &v)
		},
		each: func(c *Account, tx *store.Tx, show func(string, model.Tags)) error {
			all, err := col.List(tx)
			for i := range all {
				if P(&all[i]).Owner() == c.id {
					show(col.Key(&all[i]), *tags(&all[i]))
				}
			}
			return err
		},
		read: func(tx *store.Tx, id string) (model.Owned, model.Tags, error) {
			v, err := get(tx, col, id, notFound(id))
			return P(&v), *tags(&v), err
		},
	}
}

// with returns the tagger with another way to change tags.
func (t tagger) with(edit func(c *Account, tx *store.Tx, id string, edit func(model.Tags)) error) tagger {
	t.edit = edit
	return t
}

// eachRule shows the tags of security groups' rules, which are kept in their groups.
func eachRule(c *Account, tx *store.Tx, show func(id string, tags model.Tags)) error {
	groups, err := records.Groups.List(tx)
	for _, g := range groups {
		for _, r := range g.Rules {
			if g.OwnerID == c.id {
				show(r.ID, r.Tags)
			}
		}
	}
	return err
}

// splitTags separates EC2's own tags from the user's.
func splitTags(all model.Tags) (system, own model.Tags) {
	system, own = model.Tags{}, model.Tags{}
	for k, v := range all {
		if reservedTag(k) {
			system[k] = v
		} else {
			own[k] = v
		}
	}
	return system, own
}

// reservedTag reports whether only EC2 itself sets tags of this key.
func reservedTag(key string) bool { return strings.HasPrefix(strings.ToLower(key), "aws:") }

// withTags returns tags with more added.
func withTags(tags, more model.Tags) model.Tags {
	out := maps.Clone(tags)
	if out == nil {
		out = model.Tags{}
	}
	maps.Copy(out, more)
	return out
}
