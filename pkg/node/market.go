package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/market"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// lookEvery is how old a look at a publisher's index becomes.
const lookEvery = 6 * time.Hour

// reconcilePublisher looks at a publisher's index, if that was asked for or is due.
func (n *Node) reconcilePublisher(ctx context.Context, id string) (time.Duration, error) {
	var p model.Publisher
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		p, err = records.Publishers.Get(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Node != n.ID {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if due := lookEvery - n.Now().Sub(p.Looked); due > 0 && !p.Looked.Before(p.Wanted) {
		return due, nil
	}
	index, looked := n.index(ctx, &p)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if looked != nil {
		n.Logger.Warn("looking at a publisher's index failed", "publisher", p.Name, "error", looked)
	}
	return lookEvery, n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.Publishers.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now.Looked, now.State, now.Message = n.Now().UTC(), model.PublisherReady, ""
		if now.Looked.Before(now.Wanted) {
			now.Looked = now.Wanted
		}
		if looked != nil {
			now.State, now.Message = model.PublisherFailed, looked.Error()
		} else if err := putProducts(tx, &now, index); err != nil {
			return err
		}
		return records.Publishers.Put(tx, &now)
	})
}

// index gets a publisher's index and checks it.
func (n *Node) index(ctx context.Context, p *model.Publisher) (*market.Index, error) {
	key, err := signature.ParsePublicKey([]byte(p.PublicKey))
	if err != nil {
		return nil, err
	}
	file, err := n.indexFile(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("getting %s: %w", p.URL, err)
	}
	index, err := market.Open(file, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.URL, err)
	}
	if index.Serial < p.Serial {
		return nil, fmt.Errorf("reading %s: it has the serial number %d and is older than the one that was there, %d", p.URL, index.Serial, p.Serial)
	}
	return index, nil
}

func (n *Node) indexFile(ctx context.Context, p *model.Publisher) ([]byte, error) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "file":
		return n.indexInBucket(u.Path)
	case "oci":
		ref, err := artifact.ParseReference(p.URL)
		if err != nil {
			return nil, err
		}
		repo, err := registry.Open(ref, registry.Options{Client: n.Fetch.Client(), PlainHTTP: p.PlainHTTP, UserAgent: userAgent})
		if err != nil {
			return nil, err
		}
		return repo.File(ctx, signature.BundleType, market.MaxIndexBytes)
	}
	var file bytes.Buffer
	_, err = n.Fetch.Get(ctx, fetch.Download{URL: p.URL, MaxBytes: market.MaxIndexBytes, Progress: func(int64, int64) error { return nil }}, &file)
	return file.Bytes(), err
}

// indexInBucket reads a file of the admin account's buckets: /BUCKET/KEY.
func (n *Node) indexInBucket(name string) ([]byte, error) {
	root, err := n.buckets(n.Cloud.AccountID)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name = strings.TrimPrefix(path.Clean(name), "/")
	if info, err := root.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, market.MaxIndexBytes+1))
}

// putProducts keeps what an index offers in place of what the publisher's last one
// did. Images that are here stay what they are of.
func putProducts(tx *store.Tx, p *model.Publisher, index *market.Index) error {
	p.Title, p.Serial, p.Community = index.Publisher, index.Serial, index.Kind == market.Community
	old, err := records.Products.List(tx)
	if err != nil {
		return err
	}
	here := map[string]string{} // ids of images by reference
	gone := map[string]bool{}
	for _, product := range old {
		if product.PublisherID != p.ID {
			continue
		}
		gone[product.Code] = true
		for _, v := range product.Versions {
			here[v.Image] = v.ImageID
		}
	}
	for i := range index.Products {
		product := productOf(p, &index.Products[i])
		for v := range product.Versions {
			product.Versions[v].ImageID = here[product.Versions[v].Image]
		}
		delete(gone, product.Code)
		if err := records.Products.Put(tx, &product); err != nil {
			return err
		}
	}
	for code := range gone {
		if err := records.Products.Delete(tx, code); err != nil {
			return err
		}
	}
	return nil
}

func productOf(p *model.Publisher, in *market.Product) model.Product {
	out := model.Product{
		Code: market.Code(p.KeyID, in.ID), PublisherID: p.ID, Publisher: p.Name, ProductID: in.ID, Community: p.Community,
		Title: in.Title, Description: in.Description, Website: in.Website, Support: in.Support, Price: in.Price, Terms: in.Terms, TermsDigest: in.TermsDigest(),
	}
	for _, v := range in.Versions {
		out.Versions = append(out.Versions, model.ProductVersion{
			Version: v.Version, Arch: v.Architecture, Image: v.Image, SizeGiB: v.SizeGiB, Notes: v.Notes, Released: v.Released,
		})
	}
	return out
}
