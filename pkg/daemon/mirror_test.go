package daemon_test

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/hack/daemontest"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/disk"
)

// emptyDisk is a qcow2 file as distributors publish them, of nothing.
func emptyDisk(t *testing.T) []byte {
	t.Helper()
	raw, image := filepath.Join(t.TempDir(), "raw"), filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(raw, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.Convert(t.Context(), raw, "raw", image, disk.ConvertOptions{Compress: true}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestImageMirror bakes debian-12 as it comes with bundt, from a mirror of its owner;
// what it says of the download, and that it says where to go when there is none.
func TestImageMirror(t *testing.T) {
	image := emptyDisk(t)
	const dir = "/images/cloud/bookworm/latest/"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content := map[string][]byte{
			dir + "SHA512SUMS":                         fmt.Appendf(nil, "%x  debian-12-genericcloud-amd64.qcow2\n", sha512.Sum512(image)),
			dir + "debian-12-genericcloud-amd64.qcow2": image,
		}[r.URL.Path]
		if content == nil {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), bytes.NewReader(content))
	}))
	defer server.Close()
	cfg := config(t)
	cfg.ImageMirrors = []string{"https://cloud.debian.org=" + server.URL}
	c := cloudWith(t, cfg, daemon.Parts{})
	fsys, err := images.FS("debian-12")
	c.must(err)
	b, err := c.build(c.upload(fsys), nil)
	c.must(err)
	if b.State != "available" {
		t.Fatalf("%s: %+v", b.State, b.StateReason)
	}
	var steps []string
	for _, s := range b.Steps {
		steps = append(steps, s.Name+" "+s.Detail)
	}
	for _, want := range []string{"verify checksums not signed: as 127.0.0.1:", "fetch image debian-12-genericcloud-amd64.qcow2 of 2026-10-01"} {
		if !strings.Contains(strings.Join(steps, "|"), want) {
			t.Errorf("the steps were %q, want %q", steps, want)
		}
	}
	found, err := c.DescribeImages(t.Context(), &ec2types.DescribeImagesInput{ImageIds: []string{b.ImageId}})
	c.must(err)
	if got := *found.Images[0].BlockDeviceMappings[0].Ebs.VolumeSize; got != 8 {
		t.Errorf("the root volume has %d GiB, want the recipe's 8", got)
	}
	// Another recipe's server is away, and no mirror stands for it.
	server.Close()
	fsys, err = images.FS("debian-13")
	c.must(err)
	b, err = daemontest.Build(t, c.Client, &bundttypes.BuildImageInput{ContextDigest: c.upload(fsys), Architecture: new("arm64")})
	if err != nil || b.StateReason == nil || !strings.Contains(b.StateReason.Message, "this host cannot reach cloud.debian.org") {
		t.Errorf("%+v, %v", b, err)
	}

	cfg.ImageMirrors = []string{"cloud.debian.org"}
	if _, err := daemon.New(t.Context(), cfg, nil, daemon.Parts{}); err == nil || !strings.Contains(err.Error(), "--image-mirror") {
		t.Errorf("with a mirror that is none: %v", err)
	}
}
