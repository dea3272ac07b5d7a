// Package records owns the schema of the store: which objects are kept, in which
// collection, under which key. The API side (pkg/cloud) and the node side
// (pkg/node) meet here and nowhere else. It imports pkg/model and pkg/store only.
package records

import (
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// The collections. Each key is the object's id unless said otherwise.
var (
	Clouds        = store.NewCollection("clouds", func(c *Cloud) string { return c.Name })
	Nodes         = store.NewCollection("nodes", func(n *model.Node) string { return n.ID })
	Images        = store.NewCollection("images", func(i *model.Image) string { return i.ID })
	Snapshots     = store.NewCollection("snapshots", func(s *model.Snapshot) string { return s.ID })
	Volumes       = store.NewCollection("volumes", func(v *model.Volume) string { return v.ID })
	DataKeys      = store.NewCollection("data-keys", func(k *model.DataKey) string { return k.ID })
	VolumeRules   = store.NewCollection("volume-rules", func(s *model.VolumeSettings) string { return s.OwnerID })
	Layers        = store.NewCollection("layers", func(l *model.Layer) string { return l.ID })
	Instances     = store.NewCollection("instances", func(i *model.Instance) string { return i.ID })
	Builds        = store.NewCollection("builds", func(b *model.Build) string { return b.ID })
	CachedBuilds  = store.NewCollection("cached-builds", func(c *model.CachedBuild) string { return CachedKey(c.OwnerID, c.Key) })
	Pipelines     = store.NewCollection("pipelines", func(p *model.Pipeline) string { return p.ID })
	PipelineRuns  = store.NewCollection("pipeline-runs", func(r *model.PipelineRun) string { return r.ID })
	Lineages      = store.NewCollection("lineage", func(l *model.Lineage) string { return l.ID })
	KeyPairs      = store.NewCollection("keypairs", func(k *model.KeyPair) string { return k.ID })
	Names         = store.NewCollection("names", func(n *Name) string { return NameKey(n.Kind, n.OwnerID, n.Name) })
	Addresses     = store.NewCollection("addresses", func(a *Address) string { return AddressKey(a.Pool, a.IP) })
	Accounts      = store.NewCollection("accounts", func(a *model.Account) string { return a.ID })
	Users         = store.NewCollection("users", func(u *model.User) string { return IAMKey(u.AccountID, u.Name) })
	AccessKeys    = store.NewCollection("access-keys", func(k *model.AccessKey) string { return k.ID })
	KeyUses       = store.NewCollection("access-key-uses", func(u *model.AccessKeyUse) string { return u.ID })
	Policies      = store.NewCollection("policies", func(p *model.ManagedPolicy) string { return IAMKey(p.AccountID, p.Name) })
	Roles         = store.NewCollection("roles", func(r *model.Role) string { return IAMKey(r.AccountID, r.Name) })
	Profiles      = store.NewCollection("instance-profiles", func(p *model.InstanceProfile) string { return IAMKey(p.AccountID, p.Name) })
	BinImages     = store.NewCollection("binned-images", func(b *model.BinnedImage) string { return b.Image.ID })
	BinSnapshots  = store.NewCollection("binned-snapshots", func(b *model.BinnedSnapshot) string { return b.Snapshot.ID })
	GoneImages    = store.NewCollection("gone-images", func(g *model.GoneImage) string { return g.ID })
	ImageRules    = store.NewCollection("image-rules", func(r *model.ImageRetention) string { return r.OwnerID })
	Imports       = store.NewCollection("imports", func(t *model.ImportTask) string { return t.ID })
	Exports       = store.NewCollection("exports", func(t *model.ExportTask) string { return t.ID })
	RegistryTasks = store.NewCollection("registry-tasks", func(t *model.RegistryTask) string { return t.ID })
	ImageKeys     = store.NewCollection("image-keys", func(k *model.ImageKey) string { return k.OwnerID })
	TrustedKeys   = store.NewCollection("trusted-keys", func(k *model.TrustedKey) string { return IAMKey(k.OwnerID, k.Name) })
	Publishers    = store.NewCollection("publishers", func(p *model.Publisher) string { return p.ID })
	Products      = store.NewCollection("products", func(p *model.Product) string { return p.Code })
	Subscriptions = store.NewCollection("subscriptions", func(s *model.Subscription) string { return SubscriptionKey(s.OwnerID, s.Code) })
	Idempotent    = store.NewCollection("tokens", func(t *Token) string { return TokenKey(t.OwnerID, t.Action, t.Token) })

	VPCs               = store.NewCollection("vpcs", func(v *model.VPC) string { return v.ID })
	Subnets            = store.NewCollection("subnets", func(s *model.Subnet) string { return s.ID })
	Groups             = store.NewCollection("securitygroups", func(g *model.SecurityGroup) string { return g.ID })
	Gateways           = store.NewCollection("internetgateways", func(g *model.InternetGateway) string { return g.ID })
	EgressOnlyGateways = store.NewCollection("egressonlygateways", func(g *model.EgressOnlyGateway) string { return g.ID })
	RouteTables        = store.NewCollection("routetables", func(t *model.RouteTable) string { return t.ID })
	NetworkACLs        = store.NewCollection("networkacls", func(a *model.NetworkACL) string { return a.ID })
	DHCPOptions        = store.NewCollection("dhcpoptions", func(d *model.DHCPOptions) string { return d.ID })
	Interfaces         = store.NewCollection("interfaces", func(n *model.NetworkInterface) string { return n.ID })
	ElasticAddresses   = store.NewCollection("elasticaddresses", func(a *model.ElasticAddress) string { return a.ID })
	LANs               = store.NewCollection("lans", func(l *model.LAN) string { return l.ID })
	SigningKeys        = store.NewCollection("signingkeys", func(*model.SigningKey) string { return TheCloud })
	Defaults           = store.NewCollection("defaultnetworks", func(d *Default) string { return d.AccountID })

	LaunchTemplates        = store.NewCollection("launchtemplates", func(t *model.LaunchTemplate) string { return t.ID })
	LaunchTemplateVersions = store.NewCollection("launchtemplateversions", func(v *model.LaunchTemplateVersion) string { return TemplateVersionKey(v.TemplateID, v.Number) })
)

// TheCloud is the key of the one Cloud record, and of its one signing key.
const TheCloud = "cloud"

// Cloud is what the whole cloud shares. It is made when the store is new.
type Cloud struct {
	Name      string    `json:"name"` // TheCloud
	Region    string    `json:"region"`
	AccountID string    `json:"accountID"` // the admin account's twelve digits
	Secret    []byte    `json:"secret"`    // keys page tokens
	VPCID     string    `json:"vpcID"`     // the default VPC and what is in it
	SubnetID  string    `json:"subnetID"`
	GroupID   string    `json:"groupID"`
	Created   time.Time `json:"created"`
}

// Name reserves a name that must be unique among objects of one kind and owner.
type Name struct {
	Kind    model.IDPrefix `json:"kind"`
	OwnerID string         `json:"ownerID"`
	Name    string         `json:"name"`
	ID      string         `json:"id"`
}

// Address reserves an IP address of a pool ("public", a subnet's id, or PoolV6 of it).
type Address struct {
	Pool        string `json:"pool"`
	IP          string `json:"ip"`
	InterfaceID string `json:"interfaceID"` // or the elastic address's allocation
}

// Default is what an account has got as its default network, once.
type Default struct {
	AccountID     string `json:"accountID"`
	VPCID         string `json:"vpcID,omitempty"`    // none after it was deleted
	SubnetID      string `json:"subnetID,omitempty"` // none after it was deleted
	DHCPOptionsID string `json:"dhcpOptionsID"`      // of VPCs that are given none
}

// Token remembers the outcome of a call that carried a ClientToken.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
type Token struct {
	OwnerID    string    `json:"ownerID"`
	Action     string    `json:"action"`
	Token      string    `json:"token"`
	ParamsHash string    `json:"paramsHash"`
	IDs        []string  `json:"ids"`
	Created    time.Time `json:"created"`
}

// PublicPool is the Address.Pool of public addresses.
const PublicPool = "public"

// PoolV6 is the Address.Pool of a subnet's IPv6 addresses.
func PoolV6(subnetID string) string { return subnetID + "-ipv6" }

// SubscriptionKey is the key of a Subscription.
func SubscriptionKey(account, code string) string { return account + "/" + code }
