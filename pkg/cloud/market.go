package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/market"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const maxPublishers = 100

// PublisherRequest is what AddPublisher asks for.
type PublisherRequest struct {
	Name      string
	URL       string // https:// or http://, oci:// or file:///BUCKET/KEY
	PlainHTTP bool   // of oci://
	PublicKey string // PKIX, PEM
}

// AddPublisher has the cloud show what a publisher's index offers, once its key has
// proved to have signed it.
func (c *Account) AddPublisher(ctx context.Context, r PublisherRequest) (p model.Publisher, err error) {
	if !trustedName.MatchString(r.Name) {
		return p, model.Errorf(model.CodeInvalidParameterValue, "Name %q: 1 to 128 letters, digits and . _ @ - are allowed", r.Name)
	}
	key, err := signature.ParsePublicKey([]byte(r.PublicKey))
	if err != nil {
		return p, model.Errorf(model.CodeInvalidParameterValue, "PublicKey: %v", err)
	}
	if err := checkIndexURL(r.URL); err != nil {
		return p, err
	}
	now := c.Now()
	p = model.Publisher{
		ID: model.NewID(model.PublisherPrefix), Name: r.Name, URL: r.URL, PlainHTTP: r.PlainHTTP, PublicKey: string(key.PEM()), KeyID: key.ID(),
		State: model.PublisherPending, Wanted: now, Created: now,
	}
	return p, c.store.Update(ctx, func(tx *store.Tx) error {
		all, err := records.Publishers.List(tx)
		if err != nil {
			return err
		}
		for _, old := range all {
			if strings.EqualFold(old.Name, r.Name) || old.KeyID == p.KeyID {
				return model.Errorf("Publisher.Duplicate", "The publisher %s has this name or this key", old.Name).WithHint("bundt market remove-publisher %s", old.Name)
			}
		}
		if len(all) >= maxPublishers {
			return model.Errorf(codeResourceLimit, "A cloud can have %d publishers", maxPublishers)
		}
		if p.Node, err = c.bakery(tx); err != nil {
			return err
		}
		return records.Publishers.Put(tx, &p)
	})
}

func checkIndexURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return model.Errorf(model.CodeInvalidParameterValue, "Url: %v", err)
	}
	switch u.Scheme {
	case "https", "http":
		if u.Host != "" && u.User == nil {
			return nil
		}
	case "oci":
		_, err := artifact.ParseReference(text)
		if err == nil {
			return nil
		}
		return model.Errorf(model.CodeInvalidParameterValue, "Url: %v", err)
	case "file":
		if u.Host == "" && strings.Count(u.Path, "/") >= 2 {
			return nil
		}
	}
	return model.Errorf(model.CodeInvalidParameterValue, "Url %q: https://HOST/PATH, http://HOST/PATH, oci://HOST/PATH:TAG or file:///BUCKET/KEY is needed", text)
}

// Publishers returns the publishers, by name.
func (c *Account) Publishers(ctx context.Context) ([]model.Publisher, error) {
	all, err := list(ctx, c.store, records.Publishers)
	slices.SortFunc(all, func(a, b model.Publisher) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// publisher finds a publisher by name.
func publisher(tx *store.Tx, name string) (model.Publisher, error) {
	all, err := records.Publishers.List(tx)
	if err != nil {
		return model.Publisher{}, err
	}
	for _, p := range all {
		if strings.EqualFold(p.Name, name) {
			return p, nil
		}
	}
	return model.Publisher{}, model.Errorf("Publisher.NotFound", "There is no publisher '%s'", name).WithHint("bundt market publishers lists them")
}

// RefreshPublisher has a publisher's index looked at now.
func (c *Account) RefreshPublisher(ctx context.Context, name string) (p model.Publisher, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if p, err = publisher(tx, name); err != nil {
			return err
		}
		p.Wanted, p.State, p.Message = c.Now(), model.PublisherPending, ""
		return records.Publishers.Put(tx, &p)
	})
	return p, err
}

// RemovePublisher has the cloud show a publisher's products no more, and deregisters
// their images. Instances of them go on, and so do subscriptions.
func (c *Account) RemovePublisher(ctx context.Context, name string) error {
	var images []string
	err := c.store.Update(ctx, func(tx *store.Tx) error {
		images = nil
		p, err := publisher(tx, name)
		if err != nil {
			return err
		}
		if err := forgetProducts(tx, p.ID); err != nil {
			return err
		}
		all, err := records.Images.List(tx)
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.Origin != nil && i.Origin.PublisherID == p.ID && i.OwnerID == model.MarketAccount {
				images = append(images, i.ID)
			}
		}
		return records.Publishers.Delete(tx, p.ID)
	})
	if err != nil {
		return err
	}
	market := c.Account(model.MarketAccount)
	for _, id := range images {
		if _, err := market.DeregisterImage(ctx, id, true); err != nil {
			return fmt.Errorf("deregistering %s: %w", id, err)
		}
	}
	return nil
}

func forgetProducts(tx *store.Tx, publisherID string) error {
	products, err := records.Products.List(tx)
	if err != nil {
		return err
	}
	for _, p := range products {
		if p.PublisherID == publisherID {
			if err := records.Products.Delete(tx, p.Code); err != nil {
				return err
			}
		}
	}
	return nil
}

// OfferedProduct is a product and what the account has to do with it.
type OfferedProduct struct {
	model.Product
	Subscription *model.Subscription // nil: none
}

// Products returns what the publishers offer, by title.
func (c *Account) Products(ctx context.Context) (all []OfferedProduct, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		all = nil
		products, err := records.Products.List(tx)
		if err != nil {
			return err
		}
		for _, p := range products {
			o := OfferedProduct{Product: p}
			s, err := records.Subscriptions.Get(tx, records.SubscriptionKey(c.id, p.Code))
			if err == nil {
				o.Subscription = &s
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
			all = append(all, o)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b OfferedProduct) int {
		return cmp.Or(cmp.Compare(a.Title, b.Title), cmp.Compare(a.Code, b.Code))
	})
	return all, err
}

func product(tx *store.Tx, code string) (model.Product, error) {
	return get(tx, records.Products, code, model.Errorf("Product.NotFound", "There is no product with the code '%s'", code).WithHint("bundt market ls lists the products"))
}

// Subscribe accepts a product's terms: those with this digest, which whoever accepts
// them has read.
func (c *Account) Subscribe(ctx context.Context, code, terms string) (s model.Subscription, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		p, err := product(tx, code)
		switch {
		case err != nil:
			return err
		case p.Community:
			return model.Errorf(model.CodeInvalidParameterValue, "The product %s has no terms: everybody may launch it", p.ProductID)
		case terms != p.TermsDigest:
			return model.Errorf("TermsChanged", "The terms of %s are %s, not %s", p.ProductID, p.TermsDigest, terms).WithHint("read them: bundt market show %s", p.ProductID)
		}
		s = model.Subscription{OwnerID: c.id, Code: code, TermsDigest: terms, Accepted: c.Now()}
		return records.Subscriptions.Put(tx, &s)
	})
	return s, err
}

// Unsubscribe ends a subscription: nothing more is launched of the product. What runs
// goes on.
func (c *Account) Unsubscribe(ctx context.Context, code string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		key := records.SubscriptionKey(c.id, code)
		if _, err := get(tx, records.Subscriptions, key, model.Errorf("Subscription.NotFound", "The account has not subscribed to '%s'", code)); err != nil {
			return err
		}
		return records.Subscriptions.Delete(tx, key)
	})
}

// ProductImageRequest is what PullProductImage asks for.
type ProductImageRequest struct {
	Code    string
	Version string     // "" for the newest
	Arch    model.Arch // "" for the one that the version has
}

// PullProductImage has a product's image be here, for everybody. It returns the
// image's id, and the task that gets it, unless it is here.
func (c *Account) PullProductImage(ctx context.Context, r ProductImageRequest) (image string, task *model.RegistryTask, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		image, task = "", nil
		p, v, err := productVersion(tx, r)
		if err != nil {
			return err
		}
		if !p.Community {
			if err := c.optedIn(tx, []string{p.Code}); err != nil {
				return err
			}
		}
		if v.ImageID != "" {
			image = v.ImageID
			return nil
		}
		task, err = c.productTask(tx, &p, &v)
		if err == nil {
			image = task.ImageID
		}
		return err
	})
	return image, task, err
}

// productVersion finds the version that a request means.
func productVersion(tx *store.Tx, r ProductImageRequest) (p model.Product, v model.ProductVersion, err error) {
	if p, err = product(tx, r.Code); err != nil {
		return p, v, err
	}
	fits := func(v model.ProductVersion) bool {
		return (r.Version == "" || v.Version == r.Version) && (r.Arch == "" || v.Arch == r.Arch)
	}
	i := slices.IndexFunc(p.Versions, fits)
	if i < 0 {
		return p, v, model.Errorf("ProductVersion.NotFound", "The product %s has no version %s %s", p.ProductID, r.Version, r.Arch).
			WithHint("bundt market show %s lists its versions", p.ProductID)
	}
	return p, p.Versions[i], nil
}

// productTask is the task that gets a product's image: one that was begun already, or
// a new one.
func (c *Account) productTask(tx *store.Tx, p *model.Product, v *model.ProductVersion) (*model.RegistryTask, error) {
	all, err := records.RegistryTasks.List(tx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.Product == nil || t.State.Over() || t.Product.Code != p.Code || t.Reference != v.Image {
			continue
		}
		if t.OwnerID != c.id {
			return nil, model.Errorf(model.CodeIncorrectState, "Another account is getting the image of %s", p.ProductID).WithHint("try again in a moment")
		}
		return &t, nil
	}
	node, err := c.bakery(tx)
	if err != nil {
		return nil, err
	}
	source, err := records.Publishers.Get(tx, p.PublisherID)
	if err != nil {
		return nil, err
	}
	t := &model.RegistryTask{
		ID: model.NewID(model.RegistryTaskPrefix), OwnerID: c.id, Node: node, State: model.TaskActive, Message: "pending", Reference: v.Image,
		PlainHTTP: source.PlainHTTP, ImageID: model.NewID(model.ImagePrefix), ImageName: productImageName(p, v), Created: c.Now(),
		Product: &model.ProductImage{Code: p.Code, PublisherID: p.PublisherID, Publisher: p.Publisher, Version: v.Version, Arch: v.Arch, Community: p.Community},
	}
	if err := records.TakeImageName(tx, model.MarketAccount, t.ImageName, t.ImageID); err != nil {
		return nil, err
	}
	return t, records.RegistryTasks.Put(tx, t)
}

// productImageName tells images apart of which publishers say that they are the same.
func productImageName(p *model.Product, v *model.ProductVersion) string {
	_, digest, _ := strings.Cut(v.Image, "@sha256:")
	return fmt.Sprintf("%.40s/%s %s %s %.12s", p.Publisher, p.ProductID, v.Version, v.Arch, digest)
}

// optedIn refuses an account that has not subscribed to these products. Who has stays
// subscribed on the terms that were accepted, though they change.
func (c *Account) optedIn(tx *store.Tx, codes []string) error {
	for _, code := range codes {
		_, err := records.Subscriptions.Get(tx, records.SubscriptionKey(c.id, code))
		if errors.Is(err, store.ErrNotFound) {
			name := code
			if p, err := records.Products.Get(tx, code); err == nil {
				name = p.ProductID
			}
			return model.Errorf(model.CodeOptInRequired, "In order to use this AWS Marketplace product you need to accept terms and subscribe: the product %s", name).
				WithHint("read the terms and accept them: bundt market show %s; bundt market subscribe %s", name, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// productCodes are those of the snapshots of an image's disks.
func productCodes(tx *store.Tx, disks []model.BlockDevice) (codes []string, err error) {
	for _, d := range disks {
		if d.SnapshotID == "" {
			continue
		}
		snap, err := get(tx, records.Snapshots, d.SnapshotID, snapshotNotFound(d.SnapshotID))
		if err != nil {
			return nil, err
		}
		codes = append(codes, snap.ProductCodes...)
	}
	slices.Sort(codes)
	return slices.Compact(codes), nil
}

// mayLeave refuses to let an image out of the cloud that has product codes: what its
// terms allow is known here only.
func mayLeave(img *model.Image, done string) error {
	if len(img.ProductCodes) == 0 {
		return nil
	}
	return model.Errorf(model.CodeUnsupportedOperation, "The image %s has the product codes %s and cannot be %s", img.ID, strings.Join(img.ProductCodes, ", "), done)
}

// SignIndex signs a publisher's index with the account's key: see market.Open.
func (c *Account) SignIndex(ctx context.Context, index []byte) ([]byte, error) {
	i, err := market.Decode(index)
	if err != nil {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Index: %v", err)
	}
	if _, err := c.ImageKey(ctx); err != nil { // there is one from now on
		return nil, err
	}
	var key *signature.Key
	err = c.store.View(ctx, func(tx *store.Tx) error {
		rec, err := records.ImageKeys.Get(tx, c.id)
		if err == nil {
			key, err = signature.ParseKey(rec.Key)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return market.Sign(key, i)
}
