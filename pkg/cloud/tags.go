package cloud

import (
	"context"
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
			if strings.HasPrefix(strings.ToLower(k), "aws:") {
				return model.Errorf(model.CodeInvalidParameterValue, "Tag keys starting with 'aws:' are reserved: %q", k)
			}
		}
	}
	return nil
}

// EditTags changes the tags of resources in one transaction. edit gets a copy it
// may change.
func (c *Account) EditTags(ctx context.Context, ids []string, edit func(model.Tags)) error {
	if len(ids) == 0 {
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter ResourceId")
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			prefix, _, _ := strings.Cut(id, "-")
			kind, ok := taggable[model.IDPrefix(prefix)]
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

// retagger reads and changes the tags of one object of a kind.
type retagger struct {
	edit func(c *Account, tx *store.Tx, id string, edit func(model.Tags)) error
	// read returns the object and its tags, whoever's it is.
	read func(tx *store.Tx, id string) (model.Owned, model.Tags, error)
}

// taggable is how each kind of object is tagged.
var taggable = map[model.IDPrefix]retagger{
	model.InstancePrefix: retag(records.Instances, instanceNotFound, func(i *model.Instance) *model.Tags { return &i.Tags }),
	model.ImagePrefix:    retag(records.Images, imageNotFound, func(i *model.Image) *model.Tags { return &i.Tags }),
	model.SnapshotPrefix: retag(records.Snapshots, snapshotNotFound, func(s *model.Snapshot) *model.Tags { return &s.Tags }),
	model.VolumePrefix:   retag(records.Volumes, volumeNotFound, func(v *model.Volume) *model.Tags { return &v.Tags }),
	model.KeyPairPrefix:  retag(records.KeyPairs, keyPairNotFound, func(k *model.KeyPair) *model.Tags { return &k.Tags }),

	model.VPCPrefix:         retag(records.VPCs, vpcNotFound, func(v *model.VPC) *model.Tags { return &v.Tags }),
	model.SubnetPrefix:      retag(records.Subnets, subnetNotFound, func(s *model.Subnet) *model.Tags { return &s.Tags }),
	model.GroupPrefix:       retag(records.Groups, groupNotFound, func(g *model.SecurityGroup) *model.Tags { return &g.Tags }),
	model.RulePrefix:        {edit: retagRule, read: readRule},
	model.GatewayPrefix:     retag(records.Gateways, gatewayNotFound, func(g *model.InternetGateway) *model.Tags { return &g.Tags }),
	model.RouteTablePrefix:  retag(records.RouteTables, routeTableNotFound, func(t *model.RouteTable) *model.Tags { return &t.Tags }),
	model.ACLPrefix:         retag(records.NetworkACLs, aclNotFound, func(a *model.NetworkACL) *model.Tags { return &a.Tags }),
	model.DHCPOptionsPrefix: retag(records.DHCPOptions, dhcpOptionsNotFound, func(d *model.DHCPOptions) *model.Tags { return &d.Tags }),
	model.InterfacePrefix:   {edit: retagInterface, read: retag(records.Interfaces, interfaceNotFound, func(n *model.NetworkInterface) *model.Tags { return &n.Tags }).read},
	model.AllocationPrefix:  retag(records.ElasticAddresses, allocationNotFound, func(a *model.ElasticAddress) *model.Tags { return &a.Tags }),
}

func retag[T any, P object[T]](col store.Collection[T], notFound func(id string) *model.Error, tags func(*T) *model.Tags) retagger {
	edit := func(c *Account, tx *store.Tx, id string, edit func(model.Tags)) error {
		v, err := own[T, P](c, tx, col, id, notFound(id))
		if err != nil {
			return err
		}
		t := tags(&v)
		if *t == nil {
			*t = model.Tags{}
		}
		edit(*t)
		if err := checkTags(*t); err != nil {
			return err
		}
		return col.Put(tx, &v)
	}
	read := func(tx *store.Tx, id string) (model.Owned, model.Tags, error) {
		v, err := get(tx, col, id, notFound(id))
		return P(&v), *tags(&v), err
	}
	return retagger{edit, read}
}
