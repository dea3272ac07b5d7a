package recipe

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
)

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	versionPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,62}$`)
	suitePattern   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	modulePattern  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	devicePattern  = regexp.MustCompile(`^/dev/[a-z0-9]+$`)
	digestPattern  = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
	printPattern   = regexp.MustCompile(`^([0-9A-F]{40}|[0-9A-F]{64})$`)
	userPattern    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
)

// Parse reads a recipe file. name is used in error messages. The error is an
// ErrorList with every defect, each with its line and column.
func Parse(name string, data []byte) (*Recipe, error) {
	r, _, errs := parse(name, data)
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	return r, nil
}

func parse(name string, data []byte) (*Recipe, *decoder, ErrorList) {
	d := &decoder{file: name}
	r := &Recipe{}
	if !d.decodeYAML(data, r) {
		return nil, d, d.errs
	}
	d.checkRecipe(r)
	errs := d.errs
	d.errs = nil
	return r, d, errs
}

// match reports a value that was written but does not look as it must.
func (d *decoder) match(path, value string, p *regexp.Regexp, want string) {
	if _, written := d.pos[path]; written && !p.MatchString(value) && !d.failedAt(path) {
		d.at(path, "%s: %q is not %s", path, clip(value), want)
	}
}

// failedAt reports whether the value at path already has an error.
func (d *decoder) failedAt(path string) bool {
	p := d.pos[path]
	return slices.ContainsFunc(d.errs, func(e *Error) bool { return e.Line == p.line && e.Column == p.column })
}

func (d *decoder) checkRecipe(r *Recipe) {
	d.match("name", r.Name, namePattern, "a name of lower-case letters, digits, '.', '_' and '-' (at most 63)")
	d.match("version", r.Version, versionPattern, "a version such as \"1.0.0\"")
	d.match("metadata.loginUser", r.Metadata.LoginUser, userPattern, "a user name")
	if _, written := d.pos["architectures"]; written && len(r.Architectures) == 0 && !d.failedAt("architectures") {
		d.at("architectures", "architectures is empty: name one of x86_64, arm64, i386")
	}
	for i, a := range r.Architectures {
		if slices.Contains(r.Architectures[:i], a) {
			d.at(fmt.Sprintf("architectures[%d]", i), "architecture %s is listed twice", a)
		}
	}
	d.checkSource(r)
	if r.Source.Image != "" {
		d.checkParent(r)
	} else {
		d.require("boot", "blockDevices")
		d.checkBoot(r)
	}
	for i, f := range r.Files {
		d.checkFile(fmt.Sprintf("files[%d]", i), f)
	}
	if r.Initramfs != nil {
		d.imagePath("initramfs.path", r.Initramfs.Path)
		d.contextPath("initramfs.init", r.Initramfs.Init)
		for i, m := range r.Initramfs.Modules {
			d.match(fmt.Sprintf("initramfs.modules[%d]", i), m, modulePattern, "a kernel module's name")
		}
	}
	d.checkComponents(r)
	d.checkBlockDevices(r)
	if k := r.Source.Kind(); (k == "disk" || k == "url") && (len(r.Files) > 0 || r.Initramfs != nil) {
		d.at("source."+k, "a ready disk takes no files and no initramfs: its content is what it is; let steps of components change it")
	}
}

func (d *decoder) checkSource(r *Recipe) {
	if _, written := d.pos["source"]; !written || d.failedAt("source") {
		return
	}
	switch kinds := r.Source.kinds(); {
	case len(kinds) == 0:
		d.at("source", "source is empty: give one of packages, system, tree, disk, url, image, oci")
	case len(kinds) > 1:
		d.at("source", "source has %s: give exactly one", strings.Join(kinds, " and "))
	}
	s := r.Source
	if s.Tree != "" {
		d.contextPath("source.tree", s.Tree)
	}
	if s.Packages != nil {
		d.checkPackages(s.Packages)
	}
	if s.System != nil {
		d.checkSystem(s.System)
	}
	if s.Disk != nil {
		d.checkDisk(s.Disk, r)
	}
	if s.URL != nil {
		d.checkURL(s.URL, r)
	}
}

// require reports top-level keys that were not written.
func (d *decoder) require(keys ...string) {
	for _, k := range keys {
		if _, written := d.pos[k]; !written {
			d.at("", "%s lacks the key %q", describePath(""), k)
		}
	}
}

// checkParent refuses what a recipe on a parent image cannot say: how it starts
// and what disks it has come with the parent, whose bytes are not touched.
func (d *decoder) checkParent(r *Recipe) {
	for _, k := range []string{"boot", "blockDevices", "initramfs", "files"} {
		if _, written := d.pos[k]; !written {
			continue
		}
		switch k {
		case "files":
			d.at(k, "files cannot be put into a parent image: let a step of a component make them (action CreateFile)")
		default:
			d.at(k, "%s comes from the parent image: leave it out", k)
		}
	}
	if ref, ok := strings.CutPrefix(r.Source.Image, RecipePrefix); ok && !namePattern.MatchString(ref) {
		d.at("source.image", "source.image: %q is not a recipe's name", clip(ref))
	}
}

func (d *decoder) checkPackages(p *Packages) {
	const at = "source.packages"
	d.match(at+".suite", p.Suite, suitePattern, "a suite such as \"bookworm\"")
	d.match(at+".component", p.Component, suitePattern, "a component such as \"main\"")
	if p.Keyring != "" {
		d.contextPath(at+".keyring", p.Keyring)
	}
	if _, written := d.pos[at+".install"]; written && len(p.Install) == 0 {
		d.at(at+".install", "install is empty: name at least one package")
	}
	for i, pk := range p.Install {
		here := fmt.Sprintf("%s.install[%d]", at, i)
		d.match(here+".name", pk.Name, packagePattern, "a package name")
		for j, t := range pk.Take {
			d.pattern(fmt.Sprintf("%s.take[%d].from", here, j), t.From)
			if t.To != "" {
				d.imagePath(fmt.Sprintf("%s.take[%d].to", here, j), strings.TrimSuffix(t.To, "/"))
			}
		}
		if pk.Follow != "" {
			d.pattern(here+".follow", pk.Follow)
		}
		for j, m := range pk.Modules {
			d.match(fmt.Sprintf("%s.modules[%d]", here, j), m, modulePattern, "a kernel module's name")
		}
		if len(pk.Take) == 0 && len(pk.Modules) == 0 {
			d.at(here, "package %s: nothing is taken out of it; give take or modules", pk.Name)
		}
	}
}

func (d *decoder) checkSystem(s *System) {
	const at = "source.system"
	d.match(at+".suite", s.Suite, suitePattern, "a suite such as \"bookworm\"")
	if s.Keyring != "" {
		d.contextPath(at+".keyring", s.Keyring)
	}
	if _, written := d.pos[at+".install"]; written && len(s.Install) == 0 {
		d.at(at+".install", "install is empty: name at least one package")
	}
	for i, p := range s.Install {
		d.match(fmt.Sprintf("%s.install[%d].name", at, i), p.Name, packagePattern, "a package name")
	}
}

func (d *decoder) pattern(at, p string) {
	if _, err := path.Match(p, ""); err != nil || p == "" || strings.HasPrefix(p, "/") || strings.Contains(p, "..") {
		d.at(at, "%s: %q is not a pattern such as \"bin/*\" (relative, with * ? [ ])", at, clip(p))
	}
}

func (d *decoder) checkDisk(k *Disk, r *Recipe) {
	if (k.File == "") == (k.Hex == "") {
		d.at("source.disk", "source.disk needs exactly one of file and hex")
		return
	}
	if k.File != "" {
		d.contextPath("source.disk.file", k.File)
		return
	}
	b, err := k.Bytes()
	switch {
	case err != nil:
		d.at("source.disk.hex", "source.disk.hex: %v", err)
	case len(r.BlockDevices) > 0 && int64(len(b)) > int64(r.BlockDevices[0].Size):
		d.at("source.disk.hex", "source.disk.hex holds %d bytes, more than the root disk", len(b))
	}
}

// Bytes decodes Hex.
func (k *Disk) Bytes() ([]byte, error) {
	var digits strings.Builder
	for line := range strings.Lines(k.Hex) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		return nil, fmt.Errorf("decoding hexadecimal digits: %w", err)
	}
	return b, nil
}

func (d *decoder) checkBoot(r *Recipe) {
	for a := range r.Boot.Overrides {
		if !slices.Contains(r.Architectures, a) {
			d.at("boot.overrides."+string(a), "boot.overrides: %q is not one of the recipe's architectures", a)
		}
	}
	for _, a := range r.Architectures {
		if !a.Valid() {
			continue
		}
		at := "boot"
		if _, ok := r.Boot.Overrides[a]; ok {
			at = "boot.overrides." + string(a)
		}
		d.checkBootOptions(at, a, r.BootFor(a), r.Source.Kind())
	}
}

func (d *decoder) checkBootOptions(at string, a model.Arch, b BootOptions, source string) {
	if d.failedAt(at) {
		return // told once, not once per architecture
	}
	switch {
	case b.Firmware == "":
		d.at(at, "boot of %s lacks the key %q", a, "firmware")
	case b.Firmware == model.FirmwareNone && b.Kernel == "":
		d.at(at, "boot of %s: firmware none needs a kernel", a)
	case b.Firmware == model.FirmwareBIOS && a == model.ARM64:
		d.at(at, "boot of arm64: there is no BIOS for arm64; use uefi, or none with a kernel")
	case b.Kernel == "" && (b.Initrd != "" || b.Cmdline != ""):
		d.at(at, "boot of %s: initrd and cmdline need a kernel; without one the boot loader on the disk decides", a)
	case source == "disk" && b.Kernel != "":
		d.at(at, "boot of %s: a ready disk has no tree to take a kernel from", a)
	}
	if b.Kernel != "" {
		d.imagePath(at+".kernel", b.Kernel)
	}
	if b.Initrd != "" {
		d.imagePath(at+".initrd", b.Initrd)
	}
}

func (d *decoder) checkFile(at string, f File) {
	n := 0
	for _, set := range []bool{f.From != "", f.Content != nil, f.Symlink != "", f.Directory} {
		if set {
			n++
		}
	}
	if n != 1 && !d.failedAt(at) {
		d.at(at, "%s needs exactly one of from, content, symlink and directory", at)
	}
	if len(f.AllPaths()) == 0 {
		d.at(at, "%s lacks path or paths", at)
	}
	if f.Path != "" {
		d.imagePath(at+".path", f.Path)
	}
	for i, p := range f.Paths {
		d.imagePath(fmt.Sprintf("%s.paths[%d]", at, i), p)
	}
	if f.From != "" {
		d.contextPath(at+".from", f.From)
	}
	for key, id := range map[string]int64{".uid": f.UID, ".gid": f.GID} {
		if id < 0 || id > 65534 {
			d.at(at+key, "%s%s: %d is not between 0 and 65534", at, key, id)
		}
	}
}

func (d *decoder) checkBlockDevices(r *Recipe) {
	if _, written := d.pos["blockDevices"]; written && len(r.BlockDevices) == 0 && !d.failedAt("blockDevices") {
		d.at("blockDevices", "blockDevices is empty: an image needs a root disk")
	}
	for i, b := range r.BlockDevices {
		at := fmt.Sprintf("blockDevices[%d].device", i)
		d.match(at, b.Device, devicePattern, "a device such as \"/dev/sda1\"")
		if slices.ContainsFunc(r.BlockDevices[:i], func(o BlockDevice) bool { return o.Device == b.Device }) {
			d.at(at, "device %s is listed twice", b.Device)
		}
	}
}

// imagePath checks an absolute path of the image.
func (d *decoder) imagePath(at, p string) {
	if d.failedAt(at) {
		return
	}
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsAny(p, "\"\n\r\x00") {
		d.at(at, "%s: %q is not a clean absolute path", at, clip(p))
	}
}

// contextPath checks a path of the recipe's directory.
func (d *decoder) contextPath(at, p string) {
	if d.failedAt(at) {
		return
	}
	if !fs.ValidPath(p) {
		d.at(at, "%s: %q is not a path inside the recipe's directory (relative, without \"..\")", at, clip(p))
	}
}

// checkContext reports files that the recipe refers to and the context lacks.
func checkContext(r *Recipe, d *decoder, fsys fs.FS) ErrorList {
	d.errs = nil
	exists := func(at, name string, dir bool) {
		if !fs.ValidPath(name) {
			return // reported already
		}
		fi, err := fs.Stat(fsys, name)
		switch {
		case isNotExist(err):
			d.at(at, "%s: there is no %s in the recipe's directory", at, name)
		case err != nil:
			d.at(at, "%s: %v", at, err)
		case dir && !fi.IsDir():
			d.at(at, "%s: %s is not a directory", at, name)
		}
	}
	for i, f := range r.Files {
		// What is compiled per architecture may not be built for all of them:
		// the bake of an architecture asks for its own.
		if f.From != "" && !strings.Contains(f.From, "{arch}") {
			exists(fmt.Sprintf("files[%d].from", i), f.From, false)
		}
	}
	if r.Initramfs != nil && !strings.Contains(r.Initramfs.Init, "{arch}") {
		exists("initramfs.init", r.Initramfs.Init, false)
	}
	if r.Source.Tree != "" && !strings.Contains(r.Source.Tree, "{arch}") {
		exists("source.tree", r.Source.Tree, true)
	}
	if r.Source.Disk != nil && r.Source.Disk.File != "" {
		exists("source.disk.file", r.Source.Disk.File, false)
	}
	for i, c := range r.Components {
		if c.Document != "" {
			exists(fmt.Sprintf("components[%d].document", i), c.Document, false)
		}
	}
	for at, name := range keyrings(r) {
		exists(at, name, false)
	}
	return d.errs
}

// keyrings are the files of keys that a recipe names, by where it does.
func keyrings(r *Recipe) map[string]string {
	out := map[string]string{}
	if u := r.Source.URL; u != nil && u.Checksums != nil && u.Checksums.Key != "" {
		out["source.url.checksums.key"] = u.Checksums.Key
	}
	if r.Source.Packages != nil && r.Source.Packages.Keyring != "" {
		out["source.packages.keyring"] = r.Source.Packages.Keyring
	}
	if r.Source.System != nil && r.Source.System.Keyring != "" {
		out["source.system.keyring"] = r.Source.System.Keyring
	}
	return out
}
