package cloud

import (
	"errors"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Release takes from an account what every account has without asking for it, its
// default network, unless the account owns more: then it says what, and changes
// nothing. An account goes only without leaving anything behind.
func (c *Cloud) Release(tx *store.Tx, account string) (owns string, err error) {
	d, err := records.Defaults.Get(tx, account)
	none := errors.Is(err, store.ErrNotFound)
	if err != nil && !none {
		return "", err
	}
	for _, find := range slices.Concat(machinesOf(tx, account), networkOf(tx, account, &d)) {
		if owns, err := find(); owns != "" || err != nil {
			return owns, err
		}
	}
	if !none {
		if err := deleteDefaultNetwork(tx, account, &d); err != nil {
			return "", err
		}
	}
	trusted, err := records.TrustedBy(tx, account)
	if err != nil {
		return "", err
	}
	for _, k := range trusted {
		if err := records.TrustedKeys.Delete(tx, records.IAMKey(account, k.Name)); err != nil {
			return "", err
		}
	}
	if err := forgetCached(tx, account); err != nil {
		return "", err
	}
	subscriptions, err := records.Subscriptions.List(tx)
	if err != nil {
		return "", err
	}
	for _, sub := range subscriptions {
		if sub.OwnerID == account {
			if err := records.Subscriptions.Delete(tx, records.SubscriptionKey(account, sub.Code)); err != nil {
				return "", err
			}
		}
	}
	return "", errors.Join(records.ImageKeys.Delete(tx, account), records.ImageRules.Delete(tx, account), records.VolumeRules.Delete(tx, account))
}

// machinesOf names instances of an account and what they are made of.
func machinesOf(tx *store.Tx, account string) []func() (string, error) {
	return []func() (string, error){
		owns(tx, records.Instances, account, "the instance", func(i *model.Instance) string {
			if i.State == model.InstanceTerminated {
				return "" // shown for an hour, and gone
			}
			return i.ID
		}),
		owns(tx, records.Images, account, "the image", func(i *model.Image) string { return i.ID }),
		owns(tx, records.BinImages, account, "in the recycle bin the image", func(b *model.BinnedImage) string { return b.Image.ID }),
		owns(tx, records.BinSnapshots, account, "in the recycle bin the snapshot", func(b *model.BinnedSnapshot) string { return b.Snapshot.ID }),
		owns(tx, records.Snapshots, account, "the snapshot", func(s *model.Snapshot) string { return s.ID }),
		owns(tx, records.Volumes, account, "the volume", func(v *model.Volume) string { return v.ID }),
		owns(tx, records.KeyPairs, account, "the key pair", func(k *model.KeyPair) string { return k.Name }),
		owns(tx, records.LaunchTemplates, account, "the launch template", func(t *model.LaunchTemplate) string { return t.Name }),
		owns(tx, records.Builds, account, "the build", func(b *model.Build) string {
			if b.State.Over() {
				return ""
			}
			return b.ID
		}),
		owns(tx, records.Pipelines, account, "the image pipeline", func(p *model.Pipeline) string { return p.Name }),
		owns(tx, records.Imports, account, "the import", func(t *model.ImportTask) string { return underWay(t.ID, t.State) }),
		owns(tx, records.RegistryTasks, account, "the registry task", func(t *model.RegistryTask) string { return underWay(t.ID, t.State) }),
		owns(tx, records.Exports, account, "the export", func(t *model.ExportTask) string { return underWay(t.ID, t.State) }),
	}
}

// networkOf names what an account has beside its default network d.
func networkOf(tx *store.Tx, account string, d *records.Default) []func() (string, error) {
	beside := func(id, own string) string {
		if id == own {
			return ""
		}
		return id
	}
	return []func() (string, error){
		owns(tx, records.ElasticAddresses, account, "the elastic address", func(a *model.ElasticAddress) string { return a.PublicIP }),
		owns(tx, records.Interfaces, account, "the network interface", func(n *model.NetworkInterface) string { return n.ID }),
		owns(tx, records.VPCs, account, "the vpc", func(v *model.VPC) string { return beside(v.ID, d.VPCID) }),
		owns(tx, records.Subnets, account, "the subnet", func(s *model.Subnet) string { return beside(s.ID, d.SubnetID) }),
		owns(tx, records.Groups, account, "the security group", func(g *model.SecurityGroup) string {
			if g.Name == DefaultGroupName && g.VPCID == d.VPCID {
				return ""
			}
			return g.ID
		}),
		owns(tx, records.Gateways, account, "the internet gateway", func(g *model.InternetGateway) string {
			if g.VPCID == d.VPCID && g.VPCID != "" {
				return ""
			}
			return g.ID
		}),
		owns(tx, records.EgressOnlyGateways, account, "the egress-only internet gateway", func(g *model.EgressOnlyGateway) string { return g.ID }),
		owns(tx, records.RouteTables, account, "the route table", func(t *model.RouteTable) string {
			if t.Main() && t.VPCID == d.VPCID {
				return ""
			}
			return t.ID
		}),
		owns(tx, records.DHCPOptions, account, "the DHCP options", func(o *model.DHCPOptions) string { return beside(o.ID, d.DHCPOptionsID) }),
	}
}

// underWay is a task's id until it is over.
func underWay(id string, state model.TaskState) string {
	if state.Over() {
		return ""
	}
	return id
}

// deleteDefaultNetwork deletes an account's default network, in which there is
// nothing else.
func deleteDefaultNetwork(tx *store.Tx, account string, d *records.Default) error {
	gateways, err := records.Gateways.List(tx)
	if err != nil {
		return err
	}
	for _, g := range gateways {
		if g.OwnerID == account {
			if err := records.Gateways.Delete(tx, g.ID); err != nil {
				return err
			}
		}
	}
	if d.SubnetID != "" {
		if err := records.Subnets.Delete(tx, d.SubnetID); err != nil {
			return err
		}
	}
	if d.VPCID != "" {
		v, err := records.VPCs.Get(tx, d.VPCID)
		if err != nil {
			return err
		}
		if err := deleteVPCParts(tx, &v); err != nil {
			return err
		}
		if err := records.VPCs.Delete(tx, v.ID); err != nil {
			return err
		}
	}
	return errors.Join(records.DHCPOptions.Delete(tx, d.DHCPOptionsID), records.Defaults.Delete(tx, account))
}

// owns finds the first of an account's objects for which name is not empty.
func owns[T any, P object[T]](tx *store.Tx, col store.Collection[T], account, what string, name func(*T) string) func() (string, error) {
	return func() (string, error) {
		all, err := col.List(tx)
		for i := range all {
			if n := name(&all[i]); n != "" && P(&all[i]).Owner() == account {
				return what + " " + n, nil
			}
		}
		return "", err
	}
}
