package authz_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// TestAccountGoesWithoutLeavingAnything makes one thing after another in an
// account, which then cannot be deleted, and takes it away again.
func TestAccountGoesWithoutLeavingAnything(t *testing.T) {
	w := newWorld(t)
	dev, _, _, err := w.auth.CreateAccount(t.Context(), "dev", nil)
	if err != nil {
		t.Fatal(err)
	}
	root := model.Identity{AccountID: dev.ID}
	do := func(action string, in any) any {
		t.Helper()
		out, err := w.call(t, root, action, in)
		if err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		return out
	}
	stays := func(why string) {
		t.Helper()
		err := w.auth.DeleteAccount(t.Context(), "dev", w.cloud.Release)
		if model.CodeOf(err) != auth.CodeDeleteConflict || !strings.Contains(err.Error(), why) {
			t.Errorf("with %s: %v", why, err)
		}
	}
	vpcs := do("DescribeVpcs", &ec2types.DescribeVpcsInput{}).(*ec2types.DescribeVpcsOutput).Vpcs
	subnets := do("DescribeSubnets", &ec2types.DescribeSubnetsInput{}).(*ec2types.DescribeSubnetsOutput).Subnets
	if len(vpcs) != 1 || len(subnets) != 1 {
		t.Fatalf("%d VPCs, %d subnets", len(vpcs), len(subnets))
	}

	address := do("AllocateAddress", &ec2types.AllocateAddressInput{}).(*ec2types.AllocateAddressOutput)
	stays("the elastic address " + *address.PublicIp)
	do("ReleaseAddress", &ec2types.ReleaseAddressInput{AllocationId: address.AllocationId})
	group := do("CreateSecurityGroup", &ec2types.CreateSecurityGroupInput{GroupName: new("web"), Description: new("web")}).(*ec2types.CreateSecurityGroupOutput)
	stays("the security group " + *group.GroupId)
	do("DeleteSecurityGroup", &ec2types.DeleteSecurityGroupInput{GroupId: group.GroupId})
	nic := do("CreateNetworkInterface", &ec2types.CreateNetworkInterfaceInput{SubnetId: subnets[0].SubnetId}).(*ec2types.CreateNetworkInterfaceOutput).NetworkInterface
	stays("the network interface " + *nic.NetworkInterfaceId)
	do("DeleteNetworkInterface", &ec2types.DeleteNetworkInterfaceInput{NetworkInterfaceId: nic.NetworkInterfaceId})
	vpc := do("CreateVpc", &ec2types.CreateVpcInput{CidrBlock: new("10.9.0.0/16")}).(*ec2types.CreateVpcOutput).Vpc
	stays("the vpc " + *vpc.VpcId)
	do("DeleteVpc", &ec2types.DeleteVpcInput{VpcId: vpc.VpcId})
	gateway := do("CreateInternetGateway", &ec2types.CreateInternetGatewayInput{}).(*ec2types.CreateInternetGatewayOutput).InternetGateway
	stays("the internet gateway " + *gateway.InternetGatewayId)
	do("DeleteInternetGateway", &ec2types.DeleteInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId})
	egress := do("CreateEgressOnlyInternetGateway", &ec2types.CreateEgressOnlyInternetGatewayInput{VpcId: vpcs[0].VpcId}).(*ec2types.CreateEgressOnlyInternetGatewayOutput).EgressOnlyInternetGateway
	stays("the egress-only internet gateway " + *egress.EgressOnlyInternetGatewayId)
	do("DeleteEgressOnlyInternetGateway", &ec2types.DeleteEgressOnlyInternetGatewayInput{EgressOnlyInternetGatewayId: egress.EgressOnlyInternetGatewayId})
	table := do("CreateRouteTable", &ec2types.CreateRouteTableInput{VpcId: vpcs[0].VpcId}).(*ec2types.CreateRouteTableOutput).RouteTable
	stays("the route table " + *table.RouteTableId)
	do("DeleteRouteTable", &ec2types.DeleteRouteTableInput{RouteTableId: table.RouteTableId})
	do("CreateKeyPair", &ec2types.CreateKeyPairInput{KeyName: new("k")})
	stays("the key pair k")
	do("DeleteKeyPair", &ec2types.DeleteKeyPairInput{KeyName: new("k")})
	binned := model.BinnedImage{Image: model.Image{ID: model.NewID(model.ImagePrefix), OwnerID: dev.ID}, Exits: time.Now().Add(time.Hour)}
	change := func(f func(tx *store.Tx) error) {
		t.Helper()
		if err := w.store.Update(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	change(func(tx *store.Tx) error { return records.BinImages.Put(tx, &binned) })
	stays("in the recycle bin the image " + binned.Image.ID)
	change(func(tx *store.Tx) error { return records.BinImages.Delete(tx, binned.Image.ID) })

	// Now there is its default network only, which goes with it.
	if err := w.auth.DeleteAccount(t.Context(), "dev", w.cloud.Release); err != nil {
		t.Fatal(err)
	}
	err = w.store.View(t.Context(), func(tx *store.Tx) error {
		left(t, tx, dev.ID, records.VPCs, func(v *model.VPC) string { return v.OwnerID })
		left(t, tx, dev.ID, records.Subnets, func(s *model.Subnet) string { return s.OwnerID })
		left(t, tx, dev.ID, records.Groups, func(g *model.SecurityGroup) string { return g.OwnerID })
		left(t, tx, dev.ID, records.Gateways, func(g *model.InternetGateway) string { return g.OwnerID })
		left(t, tx, dev.ID, records.RouteTables, func(r *model.RouteTable) string { return r.OwnerID })
		left(t, tx, dev.ID, records.NetworkACLs, func(a *model.NetworkACL) string { return a.OwnerID })
		left(t, tx, dev.ID, records.DHCPOptions, func(o *model.DHCPOptions) string { return o.OwnerID })
		left(t, tx, dev.ID, records.Defaults, func(d *records.Default) string { return d.AccountID })
		left(t, tx, dev.ID, records.Names, func(n *records.Name) string { return n.OwnerID })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left fails if an account has objects of a kind.
func left[T any](t *testing.T, tx *store.Tx, account string, col store.Collection[T], owner func(*T) string) {
	t.Helper()
	all, err := col.List(tx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if owner(&all[i]) == account {
			t.Errorf("left behind: %+v", all[i])
		}
	}
}

// TestAccountWithoutDefaultNetworkGoes deletes one that never had a network, and
// one that deleted its own.
func TestAccountWithoutDefaultNetworkGoes(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"new", "bare"} {
		a, _, _, err := w.auth.CreateAccount(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "bare" {
			c := w.cloud.Account(a.ID)
			vpc, err := c.DefaultVPC(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			root := model.Identity{AccountID: a.ID}
			gateways := must[any](t)(w.call(t, root, "DescribeInternetGateways", &ec2types.DescribeInternetGatewaysInput{})).(*ec2types.DescribeInternetGatewaysOutput).InternetGateways
			must[any](t)(w.call(t, root, "DetachInternetGateway", &ec2types.DetachInternetGatewayInput{InternetGatewayId: gateways[0].InternetGatewayId, VpcId: &vpc}))
			must[any](t)(w.call(t, root, "DeleteInternetGateway", &ec2types.DeleteInternetGatewayInput{InternetGatewayId: gateways[0].InternetGatewayId}))
			subnets := must[any](t)(w.call(t, root, "DescribeSubnets", &ec2types.DescribeSubnetsInput{})).(*ec2types.DescribeSubnetsOutput).Subnets
			must[any](t)(w.call(t, root, "DeleteSubnet", &ec2types.DeleteSubnetInput{SubnetId: subnets[0].SubnetId}))
			must[any](t)(w.call(t, root, "DeleteVpc", &ec2types.DeleteVpcInput{VpcId: &vpc}))
		}
		if err := w.auth.DeleteAccount(t.Context(), name, w.cloud.Release); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
