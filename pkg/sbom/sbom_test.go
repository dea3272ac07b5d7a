package sbom_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/package-url/packageurl-go"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/bundt/bundt/pkg/inventory"
	"github.com/bundt/bundt/pkg/sbom"
)

var update = flag.Bool("update", false, "write the golden files anew")

func image() *sbom.Image {
	return &sbom.Image{
		Arch: "x86_64", Created: time.Date(2026, 11, 1, 13, 0, 0, 7, time.FixedZone("", 3600)),
		Layers: []sbom.File{{Name: "1", Digest: "sha256:" + strings.Repeat("1", 64)}, {Name: "2", Digest: "sha256:" + strings.Repeat("2", 64)}},
		Boot:   []sbom.File{{Name: "kernel", Digest: "sha256:" + strings.Repeat("3", 64)}},
		Taken:  []sbom.Taken{{Name: "busybox-static", Version: "1:1.35.0-4", URL: "pkg:deb/debian/busybox-static@1:1.35.0-4?arch=amd64", Digest: "sha256:" + strings.Repeat("4", 64)}},
		Inventory: &inventory.Inventory{
			System: inventory.System{ID: "debian", VersionID: "12", PrettyName: "Debian GNU/Linux 12 (bookworm)"},
			Packages: []inventory.Package{
				{Manager: inventory.Apk, Name: "musl", Version: "1.2.5-r0", Arch: "x86_64", Source: "musl", SourceVersion: "1.2.5-r0", License: "MIT", Maintainer: "nobody"},
				{Manager: inventory.Dpkg, Name: "libstdc++6", Version: "12.2.0-14", Arch: "amd64", MultiArch: true, Source: "gcc-12", SourceVersion: "12.2.0-14", Maintainer: "Debian GCC Maintainers <debian-gcc@lists.debian.org>", Homepage: "http://gcc.gnu.org/", Summary: "GNU Standard C++ Library v3"},
				{Manager: inventory.Dpkg, Name: "libstdc++6", Version: "12.2.0-14", Arch: "i386", MultiArch: true, Source: "gcc-12", SourceVersion: "12.2.0-14"},
				{Manager: inventory.Dpkg, Name: "libgcc-s1", Version: "1:12.2.0", Arch: "amd64", Source: "gcc-12", SourceVersion: "12.2.0-14"},
				{Manager: inventory.RPM, Name: "openssl-libs", Version: "1:3.2.2-6.el9", Arch: "x86_64", Source: "openssl", SourceVersion: "3.2.2-6.el9", License: "Apache-2.0", Maintainer: "Rocky"},
				{Manager: inventory.Go, Name: "golang.org/x/sys", Version: "v0.49.0", Files: []string{"/sbin/init", "/bin/scp"}},
				{Manager: inventory.Go, Name: "stdlib", Version: "1.26.3", Files: []string{"/sbin/init"}},
				{Manager: inventory.Go, Name: "github.com/bundt/bundt", Version: "(devel)", Files: []string{"/sbin/init"}},
			},
		},
	}
}

func TestEncode(t *testing.T) {
	got, err := sbom.Encode(image())
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "image.spdx.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v: it is not %s:\n%s", err, golden, got)
	}
	if again, err := sbom.Encode(image()); err != nil || !bytes.Equal(got, again) {
		t.Errorf("the same image has another document: %v", err)
	}
	check(t, got)
	other := image()
	other.Inventory.Packages[0].Version = "1.2.5-r1"
	changed, err := sbom.Encode(other)
	if err != nil || namespace(t, changed) == namespace(t, got) {
		t.Errorf("another document has the same name: %v", err)
	}
	name, entries, err := sbom.Entries(got)
	if err != nil || name != "Debian GNU/Linux 12 (bookworm) x86_64" || len(entries) != 9 || entries[0].Name != "busybox-static" || entries[2].URL != "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14" {
		t.Errorf("%s: %+v, %v", name, entries, err)
	}
}

// TestEncodeLittle: of a system that says nothing of itself there is a document, too.
func TestEncodeLittle(t *testing.T) {
	got, err := sbom.Encode(&sbom.Image{Arch: "arm64", Created: time.Unix(0, 0), Inventory: &inventory.Inventory{Packages: []inventory.Package{{Manager: inventory.Dpkg, Name: "a b\"c\u2028<", Version: "1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, got)
}

func TestDecode(t *testing.T) {
	for _, text := range []string{"", "{}", `{"spdxVersion":"SPDX-2.2"}`, `[]`, "{\"spdxVersion\":\"SPDX-2.3\"", strings.Repeat(" ", sbom.MaxBytes+1)} {
		if d, err := sbom.Decode([]byte(text)); err == nil {
			t.Errorf("%.20q is a document: %+v", text, d)
		}
	}
}

// check holds a document against what the specification's own library reads, and
// against what it demands of each field that is written.
func check(t *testing.T, document []byte) {
	t.Helper()
	d, err := spdxjson.Read(bytes.NewReader(document))
	if err != nil {
		t.Fatalf("the library does not read it: %v", err)
	}
	if err := spdxlib.ValidateDocument(d); err != nil {
		t.Error(err)
	}
	described, err := spdxlib.GetDescribedPackageIDs(d)
	if err != nil || len(described) != 1 || described[0] != "Image" {
		t.Errorf("it describes %v, %v", described, err)
	}
	if u, err := url.Parse(d.DocumentNamespace); err != nil || !u.IsAbs() || u.Fragment != "" {
		t.Errorf("the namespace is %q, %v", d.DocumentNamespace, err)
	}
	if d.DataLicense != "CC0-1.0" || d.SPDXIdentifier != "DOCUMENT" || len(d.CreationInfo.Creators) == 0 {
		t.Errorf("%+v", d)
	}
	if _, err := time.Parse("2006-01-02T15:04:05Z", d.CreationInfo.Created); err != nil {
		t.Error(err)
	}
	id, seen := regexp.MustCompile(`^[A-Za-z0-9.-]+$`), map[string]bool{}
	for _, p := range d.Packages {
		if s := string(p.PackageSPDXIdentifier); seen[s] || !id.MatchString(s) {
			t.Errorf("the identifier %q is there twice, or wrong", s)
		}
		seen[string(p.PackageSPDXIdentifier)] = true
		if p.FilesAnalyzed || p.PackageName == "" || p.PackageDownloadLocation == "" {
			t.Errorf("%+v", p)
		}
		for _, r := range p.PackageExternalReferences {
			u, err := packageurl.FromString(r.Locator)
			if err != nil || u.ToString() != r.Locator {
				t.Errorf("%s: %v; it is written %s", r.Locator, err, u.ToString())
			}
		}
	}
}

func namespace(t *testing.T, document []byte) string {
	t.Helper()
	var d struct{ DocumentNamespace string }
	if err := json.Unmarshal(document, &d); err != nil || d.DocumentNamespace == "" {
		t.Fatalf("%v", err)
	}
	return d.DocumentNamespace
}
