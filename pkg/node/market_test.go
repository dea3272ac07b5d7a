package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/market"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

const productsYAML = `
publisher: The Bakery
products:
  - id: web
    title: Web server
    terms: Use it well.
    versions:
      - {version: "1.0", image: IMAGE, released: 2026-11-01}
`

// signIndex makes the signed index of products in YAML, whose images are all one.
func (w *world) signIndex(text string, serial int64, found market.Found) []byte {
	w.t.Helper()
	source, err := market.ParseSource([]byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	index, err := source.Index(serial, func(string) (market.Found, error) { return found, nil })
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := json.Marshal(index)
	if err != nil {
		w.t.Fatal(err)
	}
	file, err := w.cloud.SignIndex(w.t.Context(), body)
	if err != nil {
		w.t.Fatal(err)
	}
	return file
}

// publisher waits until a publisher's index was looked at.
func (w *world) publisher(p model.Publisher, err error) model.Publisher {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the index is looked at", func() error {
		all, err := w.cloud.Publishers(w.t.Context())
		if err != nil {
			return err
		}
		p = all[slices.IndexFunc(all, func(q model.Publisher) bool { return q.ID == p.ID })]
		if p.State == model.PublisherPending {
			return fmt.Errorf("it is %s", p.State)
		}
		return nil
	})
	return p
}

func (w *world) offered(account *cloud.Account) []cloud.OfferedProduct {
	w.t.Helper()
	all, err := account.Products(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// TestMarket takes a product from a publisher's index, in all the places where an
// index can be, to an instance, and back.
func TestMarket(t *testing.T) {
	w, shelf := withRegistry(t)
	img := w.build()
	sent := w.push(shelf.host+"/images/web:1", img, false)
	found := market.Found{Image: shelf.host + "/images/web@" + sent.Digest, Architecture: model.X8664, SizeGiB: 1}
	var served []byte
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(served) }))
	t.Cleanup(web.Close)
	served = w.signIndex(productsYAML, 5, found)
	key, err := w.cloud.ImageKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	bucket := filepath.Join(w.buckets, w.cloud.ID(), "market")
	if err := os.MkdirAll(bucket, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bucket, "index"), served, 0o600); err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.ParseReference(shelf.host + "/index:latest")
	if err != nil {
		t.Fatal(err)
	}
	repo, err := registry.Open(ref, registry.Options{Client: http.DefaultClient, PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.PushFile(t.Context(), signature.BundleType, served); err != nil {
		t.Fatal(err)
	}
	add := func(url string) model.Publisher {
		return w.publisher(w.cloud.AddPublisher(t.Context(), cloud.PublisherRequest{Name: "bakery", URL: url, PlainHTTP: true, PublicKey: key.PublicKey}))
	}
	for _, url := range []string{"oci://" + ref.String(), "file:///market/index", web.URL + "/index"} {
		if p := add(url); p.State != model.PublisherReady || p.Title != "The Bakery" || p.Serial != 5 {
			t.Fatalf("%s: %+v", url, p)
		}
		if len(w.offered(w.cloud)) != 1 {
			t.Fatalf("%s offers %+v", url, w.offered(w.cloud))
		}
		if url != web.URL+"/index" {
			if err := w.cloud.RemovePublisher(t.Context(), "bakery"); err != nil {
				t.Fatal(err)
			}
			if len(w.offered(w.cloud)) != 0 {
				t.Error("a removed publisher's products stay")
			}
		}
	}

	// Without a subscription there is neither an image nor a launch.
	buyer, stranger := w.region.Account("999988887777"), w.region.Account("111122223333")
	offer := w.offered(buyer)[0]
	if _, _, err := buyer.PullProductImage(t.Context(), cloud.ProductImageRequest{Code: offer.Code}); model.CodeOf(err) != model.CodeOptInRequired {
		t.Errorf("pulling without a subscription: %v", err)
	}
	if _, err := buyer.Subscribe(t.Context(), offer.Code, "sha256:other"); model.CodeOf(err) != "TermsChanged" {
		t.Errorf("accepting other terms: %v", err)
	}
	if _, err := buyer.Subscribe(t.Context(), offer.Code, offer.TermsDigest); err != nil {
		t.Fatal(err)
	}
	id, task, err := buyer.PullProductImage(t.Context(), cloud.ProductImageRequest{Code: offer.Code, Arch: model.X8664})
	if err != nil || task == nil {
		t.Fatalf("%v, %v", task, err)
	}
	if got := w.over(buyer, *task, nil); got.State != model.TaskCompleted || got.SignedBy != "bakery" {
		t.Fatalf("%+v", got)
	}
	if again, task, err := stranger.PullProductImage(t.Context(), cloud.ProductImageRequest{Code: offer.Code}); model.CodeOf(err) != model.CodeOptInRequired {
		t.Errorf("pulled by a stranger: %s, %v, %v", again, task, err)
	}
	if again, task, err := buyer.PullProductImage(t.Context(), cloud.ProductImageRequest{Code: offer.Code}); again != id || task != nil || err != nil {
		t.Errorf("pulled again: %s, %v, %v", again, task, err)
	}
	product := w.imageOf(stranger, id)
	if product.OwnerID != model.MarketAccount || !slices.Equal(product.ProductCodes, []string{offer.Code}) || !product.Launch.Public {
		t.Errorf("%+v", product)
	}
	if _, err := stranger.Run(t.Context(), launchOf(id)); model.CodeOf(err) != model.CodeOptInRequired {
		t.Errorf("launched by a stranger: %v", err)
	}
	if _, err := stranger.CopyImage(t.Context(), cloud.ImageCopy{SourceImageID: id, SourceRegion: w.cloud.Info().Region, Name: "mine"}); err == nil {
		t.Error("copied by a stranger")
	}
	w.codesTravel(buyer, stranger, id, offer.Code)

	// An index that is older, or another's, changes nothing.
	served = w.signIndex(strings.ReplaceAll(productsYAML, "Web server", "Old"), 4, found)
	if p := w.publisher(w.cloud.RefreshPublisher(t.Context(), "bakery")); p.State != model.PublisherFailed || !strings.Contains(p.Message, "older") || w.offered(w.cloud)[0].Title != "Web server" {
		t.Errorf("%+v", p)
	}
	served = []byte(strings.Replace(string(w.signIndex(productsYAML, 6, found)), "payload\":\"", "payload\":\"AAAA", 1))
	if p := w.publisher(w.cloud.RefreshPublisher(t.Context(), "bakery")); p.State != model.PublisherFailed || !strings.Contains(p.Message, "not signed by a trusted key") {
		t.Errorf("%+v", p)
	}
	served = w.signIndex(strings.ReplaceAll(productsYAML, "Web server", "New"), 6, found)
	if p := w.publisher(w.cloud.RefreshPublisher(t.Context(), "bakery")); p.State != model.PublisherReady || w.offered(w.cloud)[0].Title != "New" || w.offered(w.cloud)[0].Versions[0].ImageID != id {
		t.Errorf("%+v: %+v", p, w.offered(w.cloud))
	}
	if err := w.cloud.RemovePublisher(t.Context(), "bakery"); err != nil {
		t.Fatal(err)
	}
	if all, err := stranger.FindImages(t.Context(), nil); err != nil || len(all) != 0 {
		t.Errorf("images of a removed publisher: %v, %v", all, err)
	}
}

func launchOf(image string) cloud.Launch {
	return cloud.Launch{ImageID: image, Type: "b1.nano", MinCount: 1, MaxCount: 1, Metadata: model.MetadataOptions{HTTPTokens: "optional", HopLimit: 1}}
}

// codesTravel follows a product's code from its image to an instance, its volume, a
// snapshot of that and images of both.
func (w *world) codesTravel(buyer, stranger *cloud.Account, image, code string) {
	t := w.t
	t.Helper()
	all, err := buyer.Run(t.Context(), launchOf(image))
	if err != nil {
		t.Fatal(err)
	}
	inst := all[0]
	w.eventually("it runs", func() error {
		i, err := buyer.Instance(t.Context(), inst.ID)
		if err == nil && i.State != model.InstanceRunning {
			err = fmt.Errorf("it is %s", i.State)
		}
		return err
	})
	codes := []string{code}
	if !slices.Equal(inst.ProductCodes, codes) {
		t.Errorf("the instance has %v", inst.ProductCodes)
	}
	vol, err := buyer.Volume(t.Context(), inst.Volumes[0].VolumeID)
	if err != nil || !slices.Equal(vol.ProductCodes, codes) {
		t.Errorf("its volume has %v, %v", vol.ProductCodes, err)
	}
	made, err := buyer.CreateImage(t.Context(), cloud.ImageRequest{InstanceID: inst.ID, Name: "derived", NoReboot: true})
	if err != nil || !slices.Equal(made.ProductCodes, codes) {
		t.Fatalf("its image has %v, %v", made.ProductCodes, err)
	}
	w.eventually("the image is there", func() error {
		if i := w.imageOf(buyer, made.ID); i.State != model.ImageAvailable {
			return fmt.Errorf("it is %s", i.State)
		}
		return nil
	})
	registered, err := buyer.RegisterImage(t.Context(), cloud.Registration{
		Name: "washed", Arch: model.X8664, RootDevice: "/dev/sda1", Firmware: model.FirmwareBIOS,
		Mappings: []cloud.BlockDeviceOverride{{Device: "/dev/sda1", SnapshotID: made.BlockDevices[0].SnapshotID}},
	})
	if err != nil || !slices.Equal(registered.ProductCodes, codes) {
		t.Errorf("an image of its snapshot has %v, %v", registered.ProductCodes, err)
	}
	for what, err := range map[string]error{
		"export": second(buyer.ExportImage(t.Context(), cloud.ImageExport{ImageID: made.ID, Format: model.FormatRaw, Bucket: "out"})),
		"push":   second(buyer.PushImage(t.Context(), cloud.ImagePush{RegistryRequest: plain("localhost:5000/x"), ImageID: made.ID})),
	} {
		if model.CodeOf(err) != model.CodeUnsupportedOperation {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Who shares such an image shares no subscription.
	if err := buyer.ShareImage(t.Context(), made.ID, cloud.ShareChange{Add: model.Sharing{Accounts: []string{stranger.ID()}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Run(t.Context(), launchOf(made.ID)); model.CodeOf(err) != model.CodeOptInRequired {
		t.Errorf("launched by a stranger: %v", err)
	}
	if err := buyer.Unsubscribe(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	if _, err := buyer.Run(t.Context(), launchOf(made.ID)); model.CodeOf(err) != model.CodeOptInRequired {
		t.Errorf("launched after the subscription's end: %v", err)
	}
	for _, id := range []string{made.ID, registered.ID} {
		if _, err := buyer.DeregisterImage(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
