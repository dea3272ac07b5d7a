package cloud

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// amazonDNS stands for the VPC's own name server in DHCP options.
const amazonDNS = "AmazonProvidedDNS"

// anywhere is the range of all IPv4 addresses.
const anywhere = "0.0.0.0/0"

// defaultPorts are open from anywhere in the default VPC's default group: a
// first instance is reached by SSH and its web server by a browser. See
// docs/adr/0004-the-default-security-group-lets-ssh-and-web-in.md.
var defaultPorts = []int{22, 80, 443, 8080}

// ensureDefaultNetwork gives an account its default VPC with all that belongs to
// it, once: what the account deletes later stays deleted. ids, if not zero, are
// those that were handed out before.
func ensureDefaultNetwork(tx *store.Tx, region, account string, ids records.Cloud, now time.Time) (records.Default, error) {
	d, err := records.Defaults.Get(tx, account)
	if !errors.Is(err, store.ErrNotFound) {
		return d, err
	}
	options := model.DHCPOptions{ID: model.NewID(model.DHCPOptionsPrefix), OwnerID: account, Options: []model.DHCPOption{
		{Key: "domain-name", Values: []string{model.PrivateDomain(region)}},
		{Key: "domain-name-servers", Values: []string{amazonDNS}},
	}}
	if err := records.DHCPOptions.Put(tx, &options); err != nil {
		return d, err
	}
	d = records.Default{AccountID: account, DHCPOptionsID: options.ID}
	if err := makeDefaultVPC(tx, &d, ids, now); err != nil {
		return d, err
	}
	return d, records.Defaults.Put(tx, &d)
}

// makeDefaultVPC makes a default VPC as EC2 has it and notes its ids in d.
// https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc-components.html
func makeDefaultVPC(tx *store.Tx, d *records.Default, ids records.Cloud, now time.Time) error {
	vpc := model.VPC{
		ID: orNew(ids.VPCID, model.VPCPrefix), OwnerID: d.AccountID, CIDR: DefaultVPCCIDR.String(), CIDRAssocID: model.NewID(model.CIDRAssocPrefix),
		Default: true, DHCPOptionsID: d.DHCPOptionsID, DNSSupport: true, DNSHostnames: true, Created: now,
	}
	group := defaultGroup(orNew(ids.GroupID, model.GroupPrefix), &vpc, now)
	for _, port := range defaultPorts {
		group.Rules = append(group.Rules, model.SecurityGroupRule{
			ID: model.NewID(model.RulePrefix), Protocol: "tcp", FromPort: port, ToPort: port, CIDR: anywhere,
		})
	}
	group.Rules = append(group.Rules, model.SecurityGroupRule{
		ID: model.NewID(model.RulePrefix), Protocol: "icmp", FromPort: -1, ToPort: -1, CIDR: anywhere,
	})
	gateway := model.InternetGateway{ID: model.NewID(model.GatewayPrefix), OwnerID: d.AccountID, VPCID: vpc.ID}
	if err := records.Gateways.Put(tx, &gateway); err != nil {
		return err
	}
	if err := putVPC(tx, &vpc, &group, []model.Route{{CIDR: anywhere, GatewayID: gateway.ID}}); err != nil {
		return err
	}
	subnet := newDefaultSubnet(orNew(ids.SubnetID, model.SubnetPrefix), &vpc, now)
	d.VPCID, d.SubnetID = vpc.ID, subnet.ID
	return records.Subnets.Put(tx, &subnet)
}

func newDefaultSubnet(id string, vpc *model.VPC, now time.Time) model.Subnet {
	return model.Subnet{
		ID: id, OwnerID: vpc.OwnerID, VPCID: vpc.ID, CIDR: DefaultSubnetCIDR.String(), Default: true, MapPublicIP: true,
		ACLAssocID: model.NewID(model.ACLAssocPrefix), Created: now,
	}
}

// putVPC writes a new VPC with what every VPC has: a default security group, a
// main route table with these routes, and a network ACL.
func putVPC(tx *store.Tx, vpc *model.VPC, group *model.SecurityGroup, routes []model.Route) error {
	if err := records.VPCs.Put(tx, vpc); err != nil {
		return err
	}
	if err := putNewGroup(tx, group); err != nil {
		return err
	}
	table := model.RouteTable{
		ID: model.NewID(model.RouteTablePrefix), OwnerID: vpc.OwnerID, VPCID: vpc.ID, Routes: routes, Created: vpc.Created,
		Associations: []model.RouteAssociation{{ID: model.NewID(model.RouteAssocPrefix)}},
	}
	if err := records.RouteTables.Put(tx, &table); err != nil {
		return err
	}
	return records.NetworkACLs.Put(tx, &model.NetworkACL{ID: model.NewID(model.ACLPrefix), OwnerID: vpc.OwnerID, VPCID: vpc.ID})
}

func orNew(id string, p model.IDPrefix) string {
	if id == "" {
		return model.NewID(p)
	}
	return id
}

// Migrations lead the data of older versions to the present format, in order.
func Migrations() []store.Migration {
	return []store.Migration{{Name: "networks are objects", Apply: migrateNetworks}}
}

// migrateNetworks makes the admin account's default network under the ids that
// instances name already, and a record of each instance's interface.
func migrateNetworks(tx *store.Tx) error {
	info, err := records.Clouds.Get(tx, records.TheCloud)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := ensureDefaultNetwork(tx, info.Region, info.AccountID, info, info.Created); err != nil {
		return fmt.Errorf("making the default network: %w", err)
	}
	insts, err := records.Instances.List(tx)
	if err != nil {
		return err
	}
	for i := range insts {
		inst := &insts[i]
		n := &inst.Interface
		if n.PrivateIP == "" {
			continue // it was terminated
		}
		n.OwnerID, n.Created, n.AutoPublic = inst.OwnerID, inst.LaunchTime, n.PublicIP != ""
		n.Attachment = &model.InterfaceAttachment{
			ID: model.NewID(model.AttachmentPrefix), InstanceID: inst.ID, DeleteOnTermination: true, Attached: inst.LaunchTime,
		}
		if err := records.Interfaces.Put(tx, n); err != nil {
			return err
		}
		if err := records.Instances.Put(tx, inst); err != nil {
			return err
		}
	}
	return nil
}

// defaults returns the account's default network, which it gets at its first use.
func (c *Account) defaults(ctx context.Context) (d records.Default, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		d, err = records.Defaults.Get(tx, c.id)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return d, err
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		d, err = ensureDefaultNetwork(tx, c.info.Region, c.id, records.Cloud{}, c.Now())
		return err
	})
	return d, err
}

// updateNetwork changes the account's network in one transaction.
func (c *Account) updateNetwork(ctx context.Context, fn func(tx *store.Tx) error) error {
	if _, err := c.defaults(ctx); err != nil {
		return err
	}
	return c.store.Update(ctx, fn)
}

// networkObjects returns the account's objects of one kind.
func networkObjects[T any, P object[T]](ctx context.Context, c *Account, col store.Collection[T]) ([]T, error) {
	if _, err := c.defaults(ctx); err != nil {
		return nil, err
	}
	return owned[T, P](ctx, c, col)
}

// DefaultVPC is the id of the account's default VPC, "" if it has none.
func (c *Account) DefaultVPC(ctx context.Context) (string, error) {
	d, err := c.defaults(ctx)
	return d.VPCID, err
}
