// Package cloud owns the use cases of the API: run, stop, create image, build,
// and the rest. Each validates, writes the wished-for state in one transaction,
// and returns; making it real is the node's work. It imports pkg/store,
// pkg/records, pkg/recipe and pkg/model, and never a hypervisor, a network or a
// disk: nothing here touches the host.
package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// The default VPC, as EC2 makes it in every account.
// https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc-components.html
var (
	DefaultVPCCIDR    = netip.MustParsePrefix("172.31.0.0/16")
	DefaultSubnetCIDR = netip.MustParsePrefix("172.31.0.0/20")
)

// Blobs reads what clients uploaded.
type Blobs interface {
	OpenBlob(digest string) (io.ReadCloser, error)
}

// Options configure a Cloud.
type Options struct {
	Store  *store.Store
	Blobs  Blobs
	Region string
	// PublicPool is where public addresses come from: loopback addresses in user mode.
	PublicPool netip.Prefix
	// HostAddresses are further ones, which are given to who asks for one of them.
	HostAddresses []netip.Addr
	// NewSigningKey makes the key of instance identity documents for a region.
	NewSigningKey func(region string, now time.Time) (model.SigningKey, error)
	// Keys are of encrypted volumes; without them no volume is encrypted.
	Keys VolumeKeys
	// Regions are the others; nil is none.
	Regions Regions
	// Version is what images say that made them.
	Version string
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Cloud is one region's control plane.
type Cloud struct {
	store  *store.Store
	blobs  Blobs
	public netip.Prefix
	host   []netip.Addr // see Options.HostAddresses
	now    func() time.Time
	info   records.Cloud
	keys   VolumeKeys
	// regions are the others; nil is none.
	regions Regions
	// version is bundt's, for the provenance of images.
	version string

	newSigningKey func(string, time.Time) (model.SigningKey, error)
	groups    *store.Mirror[model.SecurityGroup]
	vpcs      *store.Mirror[model.VPC]
	views     views
	admission *admission
	bounded   sync.Mutex // see Account.inTurn
}

// New opens the cloud kept in o.Store, and founds it if the store is new.
func New(ctx context.Context, o Options) (*Cloud, error) {
	c := &Cloud{store: o.Store, blobs: o.Blobs, public: o.PublicPool, host: o.HostAddresses, now: o.Now, newSigningKey: o.NewSigningKey, keys: o.Keys, regions: o.Regions, version: o.Version}
	if c.now == nil {
		c.now = time.Now
	}
	err := o.Store.Update(ctx, func(tx *store.Tx) error {
		got, err := records.Clouds.Get(tx, records.TheCloud)
		if errors.Is(err, store.ErrNotFound) {
			got, err = found(o.Region, c.now())
			if err == nil {
				err = records.Clouds.Put(tx, &got)
			}
			if err == nil {
				_, err = ensureDefaultNetwork(tx, got.Region, got.AccountID, got, got.Created)
			}
		}
		if err != nil {
			return err
		}
		if got.Region != o.Region {
			return fmt.Errorf("this data directory belongs to region %q, not %q: ids are unique per region; use another --data-dir or --region %s", got.Region, o.Region, got.Region)
		}
		c.info = got
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the cloud's record: %w", err)
	}
	c.views = newViews(o.Store)
	c.groups = store.NewMirror(o.Store, records.Groups)
	c.vpcs = store.NewMirror(o.Store, records.VPCs)
	c.admission = newAdmission(c.views.instances.mirror)
	return c, nil
}

func found(region string, now time.Time) (records.Cloud, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000_000_000))
	if err != nil {
		return records.Cloud{}, fmt.Errorf("choosing an account number: %w", err)
	}
	return records.Cloud{
		Name:      records.TheCloud,
		Region:    region,
		AccountID: fmt.Sprintf("%012d", n),
		Secret:    secret,
		VPCID:     model.NewID(model.VPCPrefix),
		SubnetID:  model.NewID(model.SubnetPrefix),
		GroupID:   model.NewID(model.GroupPrefix),
		Created:   now.UTC(),
	}, nil
}

// Info returns what the whole cloud shares.
func (c *Cloud) Info() records.Cloud { return c.info }

// Zone is the cloud's one availability zone.
func (c *Cloud) Zone() string { return c.info.Region + "a" }

// Now is the cloud's clock, in UTC.
func (c *Cloud) Now() time.Time { return c.now().UTC() }
