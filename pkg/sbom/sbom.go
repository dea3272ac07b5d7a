// Package sbom owns the form in which what is in an image is written down: a software
// bill of materials in SPDX 2.3, JSON. The same image has the same bytes. It may import
// pkg/inventory only.
//
// https://spdx.github.io/spdx-spec/v2.3/
package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/package-url/packageurl-go"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/bundt/bundt/pkg/inventory"
)

// MediaType is that of a document.
const MediaType = "application/spdx+json"

// MaxBytes is the longest document that is made or read.
const MaxBytes = 16 << 20

const (
	// form is raised with every change of what is written for the same image: a
	// document is compared with others by its bytes.
	form      = "bundt-sbom-1"
	namespace = "https://bundt.dev/spdx/"
	image     = common.ElementID("Image")
	noneKnown = "NOASSERTION"
)

// File is a file that the image is made of.
type File struct {
	Name   string
	Digest string // "sha256:…"
}

// Image is what a document is about.
type Image struct {
	Arch    string
	Created time.Time
	Layers  []File // of the root disk, the lowest first
	Boot    []File // kernel and initial RAM disk
	// Taken are the packages that files were taken of, which are in no package
	// manager's database.
	Taken     []Taken
	Inventory *inventory.Inventory
}

// Taken is a package that a recipe has taken files of.
type Taken struct {
	Name, Version string
	URL           string // package URL, "" if not known
	Digest        string // of the package, "sha256:…"
}

// Encode returns the document about an image.
func Encode(i *Image) ([]byte, error) {
	system := i.Inventory.System
	d := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: cmp.Or(system.PrettyName, "image") + " " + i.Arch,
		CreationInfo: &v2_3.CreationInfo{Creators: []common.Creator{{CreatorType: "Tool", Creator: form}}, Created: i.Created.UTC().Format(time.RFC3339)},
	}
	root := newPackage(image, cmp.Or(system.ID, "image"), system.VersionID, "OPERATING-SYSTEM")
	root.PackageSummary = "Machine image for " + i.Arch
	d.Packages = append(d.Packages, root)
	relate(d, "DOCUMENT", common.TypeRelationshipDescribe, image)
	w := &writer{Document: d, system: system, used: map[common.ElementID]int{}}
	w.files("Layer", "layer", i.Layers)
	w.files("Boot", "", i.Boot)
	for _, t := range i.Taken {
		w.taken(&t)
	}
	for _, p := range i.Inventory.Packages {
		w.installed(&p)
	}
	// Of one name are equal bytes: the name comes from them.
	body, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encoding an SPDX document: %w", err)
	}
	sum := sha256.Sum256(body)
	d.DocumentNamespace = namespace + hex.EncodeToString(sum[:])
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("encoding an SPDX document: %w", err)
	}
	if out.Len() > MaxBytes {
		return nil, fmt.Errorf("encoding an SPDX document: it has %d bytes; %d are the most", out.Len(), MaxBytes)
	}
	return out.Bytes(), nil
}

type writer struct {
	*v2_3.Document
	system inventory.System
	used   map[common.ElementID]int
}

// files are packages of one file each.
func (w *writer) files(id, name string, files []File) {
	for n, f := range files {
		p := newPackage(common.ElementID(fmt.Sprintf("%s-%d", id, n+1)), strings.TrimSpace(name+" "+f.Name), "", "FILE")
		p.PackageChecksums = checksums(f.Digest)
		w.contained(p)
	}
}

func (w *writer) taken(t *Taken) {
	p := newPackage(w.id("Recipe", t.Name), t.Name, t.Version, "")
	p.PackageChecksums = checksums(t.Digest)
	p.PackageComment = "The recipe takes files of it."
	p.PackageExternalReferences = purls(t.URL)
	w.contained(p)
}

func (w *writer) installed(i *inventory.Package) {
	p := newPackage(w.id(string(i.Manager), i.Name), i.Name, i.Version, "")
	p.PackageHomePage, p.PackageSummary = i.Homepage, i.Summary
	if who := person(i.Maintainer); who != "" {
		p.PackageSupplier = &common.Supplier{SupplierType: "Person", Supplier: who}
	}
	if i.Source != "" {
		p.PackageSourceInfo = "built from the source package " + i.Source + " " + i.SourceVersion
	}
	if i.License != "" {
		p.PackageLicenseComments = "The package manager says: " + i.License
	}
	if i.Manager == inventory.Go {
		p.PackageComment = "Compiled into " + strings.Join(i.Files, ", ")
	}
	p.PackageExternalReferences = purls(URL(w.system, i))
	w.contained(p)
}

func (w *writer) contained(p *v2_3.Package) {
	w.Packages = append(w.Packages, p)
	relate(w.Document, image, common.TypeRelationshipContains, p.PackageSPDXIdentifier)
}

// id is an identifier that is used once: letters, digits, "." and "-" are allowed.
func (w *writer) id(kind, name string) common.ElementID {
	id := common.ElementID(kind + "-" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, name))
	for {
		if w.used[id]++; w.used[id] == 1 {
			return id
		}
		id = common.ElementID(fmt.Sprintf("%s-%d", id, w.used[id]))
	}
}

func newPackage(id common.ElementID, name, version, purpose string) *v2_3.Package {
	return &v2_3.Package{
		PackageSPDXIdentifier: id, PackageName: name, PackageVersion: version, PrimaryPackagePurpose: purpose,
		PackageDownloadLocation: noneKnown, PackageSupplier: &common.Supplier{Supplier: noneKnown},
		PackageLicenseConcluded: noneKnown, PackageLicenseDeclared: noneKnown, PackageCopyrightText: noneKnown,
	}
}

func relate(d *v2_3.Document, a common.ElementID, how string, b common.ElementID) {
	d.Relationships = append(d.Relationships, &v2_3.Relationship{RefA: common.MakeDocElementID("", string(a)), Relationship: how, RefB: common.MakeDocElementID("", string(b))})
}

func checksums(digest string) []common.Checksum {
	value, ok := strings.CutPrefix(digest, "sha256:")
	if !ok {
		return nil
	}
	return []common.Checksum{{Algorithm: common.SHA256, Value: value}}
}

// person is a name with its address as SPDX has them: "Name (address)".
func person(maintainer string) string {
	a, err := mail.ParseAddress(maintainer)
	if err != nil {
		return strings.TrimSpace(strings.NewReplacer("<", "(", ">", ")").Replace(maintainer))
	}
	if a.Name == "" {
		return a.Address
	}
	return a.Name + " (" + a.Address + ")"
}

func purls(url string) []*v2_3.PackageExternalReference {
	if url == "" {
		return nil
	}
	return []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: url}}
}

// URL is the package URL of what is installed in a system.
// https://github.com/package-url/purl-spec
func URL(system inventory.System, p *inventory.Package) string {
	var q packageurl.Qualifiers
	add := func(key, value string) {
		if value != "" {
			q = append(q, packageurl.Qualifier{Key: key, Value: value})
		}
	}
	switch p.Manager {
	case inventory.Dpkg:
		add("arch", p.Arch)
		add("distro", distro(system))
		if p.Source != p.Name || p.SourceVersion != p.Version {
			add("upstream", p.Source+"@"+p.SourceVersion)
		}
		return packageurl.NewPackageURL(packageurl.TypeDebian, cmp.Or(system.ID, "debian"), p.Name, p.Version, q, "").ToString()
	case inventory.Apk:
		add("arch", p.Arch)
		add("distro", distro(system))
		if p.Source != p.Name {
			add("upstream", p.Source)
		}
		return packageurl.NewPackageURL(packageurl.TypeApk, cmp.Or(system.ID, "alpine"), p.Name, p.Version, q, "").ToString()
	case inventory.RPM:
		version := p.Version
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			add("epoch", epoch)
			version = rest
		}
		add("arch", p.Arch)
		add("distro", distro(system))
		if p.Source != "" && p.Source != p.Name {
			add("upstream", p.Source)
		}
		return packageurl.NewPackageURL(packageurl.TypeRPM, system.ID, p.Name, version, q, "").ToString()
	case inventory.Go:
		parts := strings.Split(p.Name, "/")
		last := len(parts) - 1
		version := p.Version
		if version == "(devel)" { // which names nothing
			version = ""
		}
		return packageurl.NewPackageURL(packageurl.TypeGolang, strings.Join(parts[:last], "/"), parts[last], version, nil, "").ToString()
	}
	return ""
}

func distro(s inventory.System) string {
	return strings.Trim(s.ID+"-"+s.VersionID, "-")
}

// Entry is one line of a document for people.
type Entry struct {
	Name, Version, URL, Comment string
}

// Entries reads a document and lists the packages in it, without those that are
// files that the image is made of.
func Entries(document []byte) (name string, out []Entry, err error) {
	d, err := Decode(document)
	if err != nil {
		return "", nil, err
	}
	for _, p := range d.Packages {
		if p.PackageSPDXIdentifier == image || p.PrimaryPackagePurpose == "FILE" {
			continue
		}
		e := Entry{Name: p.PackageName, Version: p.PackageVersion, Comment: p.PackageComment}
		if i := slices.IndexFunc(p.PackageExternalReferences, func(r *v2_3.PackageExternalReference) bool { return r.RefType == common.TypePackageManagerPURL }); i >= 0 {
			e.URL = p.PackageExternalReferences[i].Locator
		}
		out = append(out, e)
	}
	return d.DocumentName, out, nil
}

// Decode reads a document of SPDX 2.3.
func Decode(document []byte) (*v2_3.Document, error) {
	if len(document) > MaxBytes {
		return nil, fmt.Errorf("reading an SPDX document: it has %d bytes; %d are the most", len(document), MaxBytes)
	}
	var d v2_3.Document
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, fmt.Errorf("reading an SPDX document: %w", err)
	}
	if d.SPDXVersion != v2_3.Version {
		return nil, fmt.Errorf("reading an SPDX document: its version is %q, not %s", d.SPDXVersion, v2_3.Version)
	}
	return &d, nil
}
