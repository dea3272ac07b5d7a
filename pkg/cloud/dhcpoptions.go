package cloud

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// maxDHCPServers is the most servers that one DHCP option names.
const maxDHCPServers = 4

var domainName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?$`)

// DHCPOptions returns the account's DHCP option sets.
func (c *Account) DHCPOptions(ctx context.Context) ([]model.DHCPOptions, error) {
	return networkObjects(ctx, c, records.DHCPOptions)
}

// CreateDHCPOptions makes a set of DHCP options.
func (c *Account) CreateDHCPOptions(ctx context.Context, options []model.DHCPOption, tags model.Tags) (d model.DHCPOptions, err error) {
	seen := map[string]bool{}
	for i := range options {
		o := &options[i]
		if seen[o.Key] {
			return d, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter option is invalid: it is given twice", o.Key)
		}
		seen[o.Key] = true
		if err := checkDHCPOption(o); err != nil {
			return d, err
		}
	}
	if err := checkTags(tags); err != nil {
		return d, err
	}
	d = model.DHCPOptions{ID: model.NewID(model.DHCPOptionsPrefix), OwnerID: c.id, Options: options, Tags: tags}
	return d, c.updateNetwork(ctx, func(tx *store.Tx) error { return records.DHCPOptions.Put(tx, &d) })
}

func checkDHCPOption(o *model.DHCPOption) error {
	bad := func(v string) error {
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter value is invalid for DHCP option %s", v, o.Key)
	}
	switch o.Key {
	case "domain-name":
		if len(o.Values) != 1 || !domainName.MatchString(o.Values[0]) {
			return bad(strings.Join(o.Values, ","))
		}
	case "domain-name-servers", "ntp-servers":
		// EC2 accepts a list in one value too.
		o.Values = strings.Split(strings.ReplaceAll(strings.Join(o.Values, ","), " ", ""), ",")
		if len(o.Values) > maxDHCPServers {
			return bad(strings.Join(o.Values, ","))
		}
		for _, v := range o.Values {
			a, err := netip.ParseAddr(v)
			if (err != nil || a.Zone() != "" || (a.Is6() && o.Key != "domain-name-servers")) && (v != amazonDNS || o.Key != "domain-name-servers") {
				return bad(v)
			}
		}
	case "netbios-name-servers", "netbios-node-type", "ipv6-address-preferred-lease-time":
		return model.Errorf(model.CodeUnsupportedOperation, "The DHCP option %s is not supported", o.Key)
	default:
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter option is invalid: it must be domain-name, domain-name-servers or ntp-servers", o.Key)
	}
	return nil
}

// AssociateDHCPOptions gives a VPC other DHCP options; guests get them when they
// renew their lease. "default" is for none.
func (c *Account) AssociateDHCPOptions(ctx context.Context, id, vpcID string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		if id != NoDHCPOptions {
			if err := c.checkDHCPOptions(tx, id); err != nil {
				return err
			}
		}
		v, err := c.vpc(tx, vpcID)
		if err != nil {
			return err
		}
		v.DHCPOptionsID = id
		return records.VPCs.Put(tx, &v)
	})
}

// NoDHCPOptions is the id that stands for no DHCP options.
const NoDHCPOptions = "default"

// DeleteDHCPOptions removes a set of options that no VPC has.
func (c *Account) DeleteDHCPOptions(ctx context.Context, id string) error {
	return c.updateNetwork(ctx, func(tx *store.Tx) error {
		if err := c.checkDHCPOptions(tx, id); err != nil {
			return err
		}
		vpcs, err := records.VPCs.List(tx)
		if err != nil {
			return err
		}
		d, err := records.Defaults.Get(tx, c.id)
		if err != nil {
			return err
		}
		if d.DHCPOptionsID == id || slices.ContainsFunc(vpcs, func(v model.VPC) bool { return v.DHCPOptionsID == id }) {
			return model.Errorf(codeDependency, "The dhcpOptions '%s' has dependencies and cannot be deleted.", id)
		}
		return records.DHCPOptions.Delete(tx, id)
	})
}

// checkDHCPOptions fails if the account has no DHCP options of that id.
func (c *Account) checkDHCPOptions(tx *store.Tx, id string) error {
	if model.CheckID(model.DHCPOptionsPrefix, id) != nil {
		return model.Errorf("InvalidDhcpOptionsId.Malformed", "Invalid id: \"%s\" (expecting \"dopt-...\")", id)
	}
	_, err := own(c, tx, records.DHCPOptions, id, dhcpOptionsNotFound(id))
	return err
}

func dhcpOptionsNotFound(id string) *model.Error {
	return model.Errorf("InvalidDhcpOptionID.NotFound", "The dhcpOption ID '%s' does not exist", id)
}

func aclNotFound(id string) *model.Error {
	return model.Errorf("InvalidNetworkAclID.NotFound", "The networkAcl ID '%s' does not exist", id)
}

func allocationNotFound(id string) *model.Error {
	return model.Errorf("InvalidAllocationID.NotFound", "The allocation ID '%s' does not exist", id)
}
