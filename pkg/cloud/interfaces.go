package cloud

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// MaxPrivateAddresses is the most private addresses of an interface.
const MaxPrivateAddresses = 50

// maxSecondary is how many of them can be secondary ones.
const maxSecondary = MaxPrivateAddresses - 1

// InterfaceSpec is what a new network interface is to be.
type InterfaceSpec struct {
	SubnetID       string // "" for the default subnet
	GroupIDs       []string
	GroupNames     []string // of the default VPC
	PrivateIP      string   // "" for any
	Secondary      []string // given secondary private addresses
	SecondaryCount int      // more of them, any
	IPv6           []string // given IPv6 addresses
	IPv6Count      *int     // so many of any; nil and no IPv6: as the subnet says
	Description    string
}

// name calls each with a function that fills in an interface's Names. Each group
// and VPC is looked up once, and no other is looked at.
func (c *Account) name(ctx context.Context, each func(name func(*model.NetworkInterface))) (err error) {
	groups, vpcs := lookup(ctx, c.groups, &err), lookup(ctx, c.vpcs, &err)
	each(func(n *model.NetworkInterface) {
		v := vpcs(n.VPCID)
		n.Names = model.InterfaceNames{Public: v.DNSHostnames && v.DNSSupport}
		for _, g := range n.Groups {
			n.Names.Groups = append(n.Names.Groups, groups(g).Name)
		}
	})
	return err
}

// lookup returns a function that reads objects of a mirror, each once. One that
// does not exist is empty; the first error is left in err.
func lookup[T any](ctx context.Context, m *store.Mirror[T], err *error) func(id string) *T {
	known := map[string]*T{}
	return func(id string) *T {
		if v := known[id]; v != nil {
			return v
		}
		v, e := m.Get(ctx, id)
		if e != nil && *err == nil {
			*err = e
		}
		if v == nil {
			v = new(T)
		}
		known[id] = v
		return v
	}
}

// nameInstances fills in the names of the instances' interfaces.
func (c *Account) nameInstances(ctx context.Context, insts []model.Instance) error {
	if len(insts) == 0 {
		return nil
	}
	return c.name(ctx, func(name func(*model.NetworkInterface)) {
		for i := range insts {
			name(&insts[i].Interface)
			insts[i].Others = slices.Clone(insts[i].Others) // they may be others' to read
			for k := range insts[i].Others {
				name(&insts[i].Others[k])
			}
		}
	})
}

// newInterface makes the record of an interface with its private addresses.
func (c *Account) newInterface(tx *store.Tx, s InterfaceSpec) (n model.NetworkInterface, subnet model.Subnet, err error) {
	if subnet, err = c.subnetOrDefault(tx, s.SubnetID); err != nil {
		return n, subnet, err
	}
	n = model.NetworkInterface{
		ID: model.NewID(model.InterfacePrefix), OwnerID: c.id, VPCID: subnet.VPCID, SubnetID: subnet.ID,
		Description: s.Description, Created: c.Now(),
	}
	n.MAC = macFor(n.ID)
	if n.Groups, err = c.interfaceGroups(tx, &subnet, s.GroupIDs, s.GroupNames); err != nil {
		return n, subnet, err
	}
	private, err := reservePrivate(tx, &subnet, s.PrivateIP, n.ID)
	if err != nil {
		return n, subnet, err
	}
	n.PrivateIP = private
	if err := addSecondary(tx, &n, &subnet, s.Secondary, s.SecondaryCount); err != nil {
		return n, subnet, err
	}
	more := 0
	switch {
	case s.IPv6Count != nil:
		more = *s.IPv6Count
	case len(s.IPv6) == 0 && subnet.AssignIPv6:
		more = 1
	}
	return n, subnet, addIPv6(tx, &n, &subnet, s.IPv6, more)
}

func (c *Account) subnetOrDefault(tx *store.Tx, id string) (model.Subnet, error) {
	if id != "" {
		return c.subnet(tx, id)
	}
	v, err := c.vpcOrDefault(tx, "")
	if err != nil {
		return model.Subnet{}, err
	}
	d, err := records.Defaults.Get(tx, c.id)
	if err != nil {
		return model.Subnet{}, err
	}
	if d.SubnetID == "" {
		return model.Subnet{}, model.Errorf("MissingInput", "No subnets found for the default VPC '%s'. Please specify a subnet.", v.ID)
	}
	return records.Subnets.Get(tx, d.SubnetID)
}

// interfaceGroups resolves the groups that an interface is to be in; none given
// is the VPC's default group.
func (c *Account) interfaceGroups(tx *store.Tx, subnet *model.Subnet, ids, names []string) ([]string, error) {
	if len(ids)+len(names) == 0 {
		g, err := c.groupByName(tx, subnet.VPCID, DefaultGroupName)
		return []string{g.ID}, err
	}
	if len(names) > 0 {
		if d, err := records.Defaults.Get(tx, c.id); err != nil {
			return nil, err
		} else if d.VPCID != subnet.VPCID {
			return nil, model.Errorf(model.CodeInvalidParameterCombination, "The parameter groupName cannot be used with the parameter subnet")
		}
	}
	var out []string
	add := func(g model.SecurityGroup, err error) error {
		switch {
		case err != nil:
			return err
		case g.VPCID != subnet.VPCID:
			return model.Errorf("InvalidParameter", "Security group %s and subnet %s belong to different networks.", g.ID, subnet.ID)
		case !slices.Contains(out, g.ID):
			out = append(out, g.ID)
		}
		return nil
	}
	for _, id := range ids {
		if err := add(c.groupByID(tx, id)); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if err := add(c.groupByName(tx, subnet.VPCID, name)); err != nil {
			return nil, err
		}
	}
	if len(out) > maxInterfaceGroups {
		return nil, model.Errorf("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface (%d) has been reached", maxInterfaceGroups)
	}
	return out, nil
}

// reservePrivate takes an address of a subnet: this one, or any if it is "".
func reservePrivate(tx *store.Tx, subnet *model.Subnet, ip, interfaceID string) (string, error) {
	cidr, err := netip.ParsePrefix(subnet.CIDR)
	if err != nil {
		return "", err
	}
	if ip == "" {
		a, err := reserve(tx, subnet.ID, cidr, interfaceID)
		return a.String(), err
	}
	a, err := netip.ParseAddr(ip)
	switch {
	case err != nil || !a.Is4():
		return "", model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter address is invalid. Invalid IPv4 address", ip)
	case !cidr.Contains(a):
		return "", model.Errorf(model.CodeInvalidParameterValue, "Address %s does not fall within the subnet's address range", ip)
	case isReserved(cidr, a):
		return "", model.Errorf(model.CodeInvalidParameterValue, "Address %s is in subnet's reserved address range", ip)
	}
	taken, err := records.Addresses.Exists(tx, records.AddressKey(subnet.ID, ip))
	if err != nil {
		return "", err
	}
	if taken {
		return "", model.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", ip)
	}
	return ip, records.Addresses.Put(tx, &records.Address{Pool: subnet.ID, IP: ip, InterfaceID: interfaceID})
}

func isReserved(cidr netip.Prefix, a netip.Addr) bool {
	return a.Compare(addrAt(cidr, 4)) < 0 || !cidr.Contains(a.Next())
}

func addSecondary(tx *store.Tx, n *model.NetworkInterface, subnet *model.Subnet, given []string, more int) error {
	if len(n.Secondary)+len(given)+more > maxSecondary {
		return model.Errorf("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit of %d", MaxPrivateAddresses)
	}
	wanted := slices.Concat(given, make([]string, more))
	for _, ip := range wanted {
		got, err := reservePrivate(tx, subnet, ip, n.ID)
		if err != nil {
			return err
		}
		n.Secondary = append(n.Secondary, model.PrivateAddress{IP: got})
	}
	return nil
}

// assignPublic gives an interface that is to have one a public address.
func (c *Account) assignPublic(tx *store.Tx, n *model.NetworkInterface) error {
	if !n.AutoPublic || n.PublicIP != "" || !c.public.IsValid() {
		return nil
	}
	a, err := reserve(tx, records.PublicPool, c.public, n.ID)
	n.PublicIP = a.String()
	return err
}

func (c *Account) networkInterface(tx *store.Tx, id string) (model.NetworkInterface, error) {
	if model.CheckID(model.InterfacePrefix, id) != nil {
		return model.NetworkInterface{}, model.Errorf("InvalidNetworkInterfaceId.Malformed", "Invalid id: \"%s\" (expecting \"eni-...\")", id)
	}
	return own(c, tx, records.Interfaces, id, interfaceNotFound(id))
}

func interfaceNotFound(id string) *model.Error {
	return model.Errorf("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", id)
}

// startInterfaces gives an instance that starts again its public address.
func (c *Account) startInterfaces(tx *store.Tx, inst *model.Instance) error {
	n, err := records.Interfaces.Get(tx, inst.Interface.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.assignPublic(tx, &n); err != nil {
		return err
	}
	inst.SetInterface(n)
	return records.Interfaces.Put(tx, &n)
}

// retagInterface changes an interface's tags, and its instance's copy.
func retagInterface(c *Account, tx *store.Tx, id string, edit func(model.Tags)) error {
	n, err := c.networkInterface(tx, id)
	if err != nil {
		return err
	}
	if n.Tags == nil {
		n.Tags = model.Tags{}
	}
	edit(n.Tags)
	if err := checkTags(n.Tags); err != nil {
		return err
	}
	return records.PutInterface(tx, &n)
}
