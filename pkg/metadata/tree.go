package metadata

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"
)

// node is a file or a directory of the tree that a guest browses. A directory
// has children and no body.
type node struct {
	children map[string]*node
	body     []byte
	// make, if set, makes the body when it is asked for.
	make func() ([]byte, error)
	// listing, if set, replaces the generated listing (public-keys has its own form).
	listing string
	// bare directories are listed without a trailing slash, as EC2 does at the
	// top of a version.
	bare bool
}

func dir() *node { return &node{children: map[string]*node{}} }

func (n *node) isDir() bool { return n.children != nil }

// at returns the directory at the slash-separated path below n, making it if need be.
func (n *node) at(path string) *node {
	for _, name := range strings.Split(path, "/") {
		child := n.children[name]
		if child == nil {
			child = dir()
			n.children[name] = child
		}
		n = child
	}
	return n
}

// set puts a file at path; an empty value puts nothing, since EC2 has no empty entries.
func (n *node) set(path, value string) {
	if value == "" {
		return
	}
	name := path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		n, name = n.at(path[:i]), path[i+1:]
	}
	n.children[name] = &node{body: []byte(value)}
}

// list is the directory's listing: names in order, directories with a trailing
// slash, no newline at the end.
func (n *node) list() string {
	if n.listing != "" {
		return n.listing
	}
	names := make([]string, 0, len(n.children))
	for name, child := range n.children {
		if child.isDir() && !child.bare {
			name += "/"
		}
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, "\n")
}

// lookup walks path, whose empty elements (as of a trailing slash) are ignored.
func (n *node) lookup(path string) *node {
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			continue
		}
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	return n
}

// content is a file's body.
func (n *node) content() ([]byte, error) {
	if n.make != nil {
		return n.make()
	}
	return n.body, nil
}

// tree is what one version shows of an instance. A nil signer leaves its
// identity unsigned.
func tree(d Document, signer *Signer) *node {
	root := dir()
	meta, dynamic := root.at("meta-data"), root.at("dynamic")
	meta.bare, dynamic.bare = true, true
	instanceTree(meta, d)
	for i := range d.Interfaces {
		interfaceTree(meta.at("network/interfaces/macs/"+strings.ToLower(d.Interfaces[i].MAC)), d.AccountID, &d.Interfaces[i])
	}
	placementTree(meta, d)
	keyTree(meta, d)
	tagTree(meta, d.Tags)
	iamTree(meta, d.Profile)
	identityTree(dynamic, d, signer)
	dynamic.set("fws/instance-monitoring", monitoring(d))
	if len(d.UserData) > 0 {
		root.children["user-data"] = &node{body: d.UserData}
	}
	return root
}

func instanceTree(meta *node, d Document) {
	meta.set("ami-id", d.ImageID)
	meta.set("ami-launch-index", fmt.Sprint(d.LaunchIndex))
	meta.set("ami-manifest-path", "(unknown)")
	if len(d.ProductCodes) > 0 {
		meta.set("product-codes", strings.Join(d.ProductCodes, "\n"))
	}
	meta.set("block-device-mapping/root", d.RootDevice)
	for name, device := range d.BlockDevices {
		if listable(name) {
			meta.set("block-device-mapping/"+name, device)
		}
	}
	if d.BlockDevices["ami"] == "" {
		meta.set("block-device-mapping/ami", d.RootDevice)
	}
	meta.set("events/maintenance/history", "[]") // nobody maintains the host under its guests
	meta.set("events/maintenance/scheduled", "[]")
	meta.set("hostname", d.Hostname)
	meta.set("instance-action", "none")
	meta.set("instance-id", d.InstanceID)
	meta.set("instance-life-cycle", "on-demand")
	meta.set("instance-type", d.InstanceType)
	for _, i := range d.Interfaces {
		if i.DeviceIndex == 0 && len(i.IPv6s) > 0 {
			meta.set("ipv6", i.IPv6s[0])
		}
	}
	meta.set("local-hostname", d.Hostname)
	meta.set("local-ipv4", d.PrivateIP)
	meta.set("mac", strings.ToLower(d.MAC))
	meta.set("metrics/vhostmd", `<?xml version="1.0" encoding="UTF-8"?>`)
	meta.set("profile", "default-hvm")
	meta.set("public-hostname", d.PublicHostname)
	meta.set("public-ipv4", d.PublicIP)
	meta.set("reservation-id", d.ReservationID)
	meta.set("security-groups", groups(d.SecurityGroups, func(g NamedID) string { return g.Name }))
	meta.set("services/domain", "amazonaws.com")
	meta.set("services/partition", "aws")
	meta.set("system", "nitro")
}

func interfaceTree(eni *node, owner string, i *Interface) {
	var private, public []string
	for _, p := range i.PrivateIPs {
		private = append(private, p.IP)
		if p.Public != "" {
			public = append(public, p.Public)
			eni.set("ipv4-associations/"+p.Public, p.IP)
		}
	}
	eni.set("ipv6s", strings.Join(i.IPv6s, "\n"))
	eni.set("vpc-ipv6-cidr-blocks", strings.Join(i.VPCCIDRsV6, "\n"))
	eni.set("subnet-ipv6-cidr-blocks", strings.Join(i.SubnetCIDRsV6, "\n"))
	eni.set("device-number", fmt.Sprint(i.DeviceIndex))
	eni.set("interface-id", i.ID)
	eni.set("local-hostname", i.Hostname)
	eni.set("local-ipv4s", strings.Join(private, "\n"))
	eni.set("mac", strings.ToLower(i.MAC))
	eni.set("owner-id", owner)
	eni.set("public-hostname", i.PublicHostname)
	eni.set("public-ipv4s", strings.Join(public, "\n"))
	eni.set("security-group-ids", groups(i.SecurityGroups, func(g NamedID) string { return g.ID }))
	eni.set("security-groups", groups(i.SecurityGroups, func(g NamedID) string { return g.Name }))
	eni.set("subnet-id", i.SubnetID)
	eni.set("subnet-ipv4-cidr-block", i.SubnetCIDR)
	eni.set("vpc-id", i.VPCID)
	eni.set("vpc-ipv4-cidr-block", i.VPCCIDR)
	eni.set("vpc-ipv4-cidr-blocks", strings.Join(append([]string{i.VPCCIDR}, i.MoreVPCCIDRs...), "\n"))
}

func placementTree(meta *node, d Document) {
	meta.set("placement/availability-zone", d.AvailabilityZone)
	meta.set("placement/availability-zone-id", d.ZoneID)
	meta.set("placement/region", d.Region)
}

// keyTree makes public-keys, which EC2 lists as index=name although the entry
// below it is the index alone.
func keyTree(meta *node, d Document) {
	if d.PublicKey == "" {
		return
	}
	name := d.KeyName
	if name == "" {
		name = d.InstanceID
	}
	meta.set("public-keys/0/openssh-key", strings.TrimRight(d.PublicKey, "\n")+"\n")
	meta.at("public-keys").listing = "0=" + name
}

func tagTree(meta *node, tags map[string]string) {
	for key, value := range tags {
		if listable(key) {
			meta.at("tags/instance").children[key] = &node{body: []byte(value)}
		}
	}
}

// listable says if a name can stand in a listing and be asked for again. EC2
// refuses other tag keys when tags are exposed to the instance.
func listable(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\n\r")
}

func groups(all []NamedID, field func(NamedID) string) string {
	values := make([]string, len(all))
	for i, g := range all {
		values[i] = field(g)
	}
	return strings.Join(values, "\n")
}

func monitoring(d Document) string {
	if d.Monitoring {
		return "enabled"
	}
	return "disabled"
}

// identityTree makes the identity document and its signatures. EC2 signs pkcs7
// by DSA and rsa2048 by RSA; here one key and certificate are for all.
func identityTree(dynamic *node, d Document, s *Signer) {
	document := identityDocument(d)
	dynamic.set("instance-identity/document", document)
	if s == nil {
		return
	}
	files := dynamic.at("instance-identity").children
	for name, sign := range map[string]func([]byte) ([]byte, error){"pkcs7": s.PKCS7, "rsa2048": s.PKCS7, "signature": s.Signature} {
		files[name] = &node{make: func() ([]byte, error) { return sign([]byte(document)) }}
	}
}

// identityDocument has the fields and order of EC2's instance identity document.
func identityDocument(d Document) string {
	doc := struct {
		AccountID        string    `json:"accountId"`
		Architecture     string    `json:"architecture"`
		AvailabilityZone string    `json:"availabilityZone"`
		BillingProducts  *[]string `json:"billingProducts"`
		DevpayCodes      *[]string `json:"devpayProductCodes"`
		MarketplaceCodes *[]string `json:"marketplaceProductCodes"`
		ImageID          string    `json:"imageId"`
		InstanceID       string    `json:"instanceId"`
		InstanceType     string    `json:"instanceType"`
		KernelID         *string   `json:"kernelId"`
		PendingTime      string    `json:"pendingTime"`
		PrivateIP        string    `json:"privateIp"`
		RamdiskID        *string   `json:"ramdiskId"`
		Region           string    `json:"region"`
		Version          string    `json:"version"`
	}{
		AccountID: d.AccountID, Architecture: d.Architecture, AvailabilityZone: d.AvailabilityZone,
		ImageID: d.ImageID, InstanceID: d.InstanceID, InstanceType: d.InstanceType,
		PendingTime: d.PendingTime.UTC().Format(time.RFC3339),
		PrivateIP:   d.PrivateIP, Region: d.Region, Version: "2017-09-30",
	}
	if len(d.ProductCodes) > 0 {
		doc.MarketplaceCodes = &d.ProductCodes
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil { // strings and nulls only: cannot happen
		return ""
	}
	return string(b)
}
