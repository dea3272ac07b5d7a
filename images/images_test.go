package images

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/checksum"
	"github.com/bundt/bundt/pkg/recipe"
)

// TestKeys holds each recipe's keys to the fingerprints that it tells.
func TestKeys(t *testing.T) {
	signed := 0
	for _, name := range Names() {
		fsys, err := FS(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := recipe.Load(fsys)
		if err != nil {
			t.Fatal(err)
		}
		if r.Name != name {
			t.Errorf("the recipe in %s is called %s", name, r.Name)
		}
		if r.Source.Verification() != recipe.VerifiedSigned {
			continue
		}
		signed++
		c := r.Source.URL.Checksums
		keys(t, fsys, c)
	}
	if signed < 2 {
		t.Errorf("%d recipes are verified by signatures", signed)
	}
}

func keys(t *testing.T, fsys fs.FS, c *recipe.Checksums) *checksum.Keys {
	t.Helper()
	file, err := fs.ReadFile(fsys, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := checksum.ReadKeys(file, c.Fingerprints)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestFedora checks the signature of what Fedora has really published.
func TestFedora(t *testing.T) {
	fsys, err := FS("fedora-44")
	if err != nil {
		t.Fatal(err)
	}
	r, err := recipe.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	published, err := os.ReadFile("testdata/Fedora-Cloud-44-1.7-aarch64-CHECKSUM")
	if err != nil {
		t.Fatal(err)
	}
	u := r.Source.URL
	k := keys(t, fsys, u.Checksums)
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	text, signer, err := k.Clearsigned(published, now)
	if err != nil || signer != u.Checksums.Fingerprints[0] {
		t.Fatalf("signed by %q: %v", signer, err)
	}
	digest, err := checksum.Find(text, u.FileName("arm64"))
	if err != nil || digest != "sha256:55c60a3b80d3616a08705afd0459e75fe9f03c54aba7a46e4002a41a72fa0d5b" {
		t.Errorf("the image's digest is %q: %v", digest, err)
	}
	forged := strings.Replace(string(published), "55c60a3b", "55c60a3c", 1)
	if _, _, err := k.Clearsigned([]byte(forged), now); err == nil {
		t.Error("a forged digest passes")
	}
}
