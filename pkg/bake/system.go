package bake

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/recipe"
)

// systemTool installs distributions: https://manpages.debian.org/mmdebstrap
const systemTool = "mmdebstrap"

// documentation is what a system is installed without, except for the licenses.
var documentation = []string{
	"path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*",
	"path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright",
}

// addSystem installs a distribution and puts it into the tree. That takes minutes,
// so it is cached by what is asked for and by the pins or the state of the archive.
func (b *baker) addSystem(ctx context.Context, tree *disk.Tree, s *recipe.System) error {
	m, err := chooseMirror(b.PackageMirror)
	if err != nil {
		return err
	}
	in := &installation{baker: b, mirror: m, spec: s}
	file, err := in.install(ctx)
	if err != nil {
		return err
	}
	return b.step(ctx, "unpack "+s.Distribution, func() (string, bool, error) {
		n, err := b.addSystemTar(ctx, tree, file)
		return fmt.Sprintf("%d paths", n), false, err
	})
}

// install returns the installed system as a file of the cache, and takes down what it
// is made of as inputs and pins.
func (in *installation) install(ctx context.Context) (file string, err error) {
	key, err := in.prepare(ctx)
	if err != nil {
		return "", err
	}
	err = in.step(ctx, "install "+in.spec.Distribution, func() (string, bool, error) {
		var cached bool
		if file, cached = in.cache.lookup("system", key); !cached {
			if err := in.usePins(); err != nil {
				return "", false, err
			}
			if file, err = in.cache.create(ctx, "system", key, func(f *os.File) error { return in.run(ctx, f) }); err != nil {
				return "", false, err
			}
		}
		if err := in.takePins(ctx, key, file); err != nil {
			return "", false, err
		}
		return fmt.Sprintf("%s with %d packages and what they need, %d in all", in.spec.Suite, len(in.spec.For(in.Arch)), len(in.pins)), cached, nil
	})
	if err != nil {
		return "", err
	}
	// By what it is made of: the host keys in it, which are left out, are always others.
	in.addInput("system "+in.spec.Distribution+" "+in.spec.Suite, "sha256:"+key)
	for _, p := range in.pins {
		in.addInput("package "+p.Package+" "+p.Version, "sha256:"+p.SHA256)
	}
	return file, nil
}

// prepare finds out what to install, and returns its key in the cache.
func (in *installation) prepare(ctx context.Context) (key string, err error) {
	note := ""
	if in.locked = in.Recipe.Lock.For(in.Arch); len(in.locked) > 0 {
		if key, err = in.pinnedKey(); err != nil {
			return "", err
		}
		err := in.step(ctx, "fetch packages", func() (string, bool, error) { return in.fetchPins(ctx, key) })
		switch {
		case err == nil:
			return key, nil
		case !errors.Is(err, errGone):
			return "", err
		case in.Recipe.Lock.Strict:
			return "", fmt.Errorf("%w: %w", ErrLockDrift, err)
		}
		note = fmt.Sprintf("; recipe.lock is not used, as the mirror has not all of it: %v", err)
		in.locked = nil
	} else if l := in.Recipe.Lock; l != nil && l.Strict {
		return "", fmt.Errorf("recipe.lock has no packages for %s, and is strict: %w", in.Arch, ErrLockDrift)
	}
	err = in.step(ctx, "read "+in.spec.Suite, func() (string, bool, error) {
		var detail string
		var err error
		key, detail, err = in.readArchive(ctx)
		return detail + note, false, err
	})
	return key, err
}

// installation is one system on its way.
type installation struct {
	*baker
	mirror mirror
	spec   *recipe.System
	suites []suiteState // those that the mirror has
	locked []recipe.LockedPackage
	repo   string // directory with the archive of what is locked, "" for the mirror
}

// suiteState is a suite as it was when it was read.
type suiteState struct {
	Name  string `json:"name"`
	Index string `json:"index"` // SHA-256 of its list of packages, as the distribution signed it
	Size  int64  `json:"size"`  // of that list
}

// readArchive returns the key of what would be installed now, and something for
// people. Where the mirror cannot be reached, it is what would have been installed
// when it last could: that may be in the cache.
func (in *installation) readArchive(ctx context.Context) (key, detail string, err error) {
	asked, err := json.Marshal(in.spec)
	if err != nil {
		return "", "", err
	}
	what := fmt.Sprintf("system 2\n%s\n%s\n", asked, in.Arch)
	last := hexDigest(what + in.mirror.base + "\n" + in.mirror.security)
	in.suites, err = in.readSuites(ctx)
	var unreachable *url.Error
	switch {
	case err == nil:
		err = in.cache.createJSON(ctx, "system-state", last, in.suites)
		detail = fmt.Sprintf("%d suites", len(in.suites))
	case errors.As(err, &unreachable) && ctx.Err() == nil && in.cache.lookupJSON("system-state", last, &in.suites) && len(in.suites) > 0:
		detail = "as it last was, because now: " + err.Error()
		err = nil
	}
	if err != nil {
		return "", "", err
	}
	for _, s := range in.suites {
		in.addInput("index "+s.Name, "sha256:"+s.Index)
		what += s.Name + " " + s.Index + "\n"
	}
	return hexDigest(what), detail, nil
}

// readSuites fetches and verifies the state of the suites.
func (in *installation) readSuites(ctx context.Context) ([]suiteState, error) {
	keys, err := in.keyring(in.spec.Keyring)
	if err != nil {
		return nil, err
	}
	var out []suiteState
	for i, suite := range suitesOf(in.spec.Suite) {
		release, err := in.fetchRelease(ctx, in.mirror.archive(suite)+"/dists/"+suite, keys)
		if i > 0 && errors.Is(err, errGone) {
			continue // old releases have no updates
		}
		if err != nil {
			return nil, fmt.Errorf("suite %s: %w", suite, err)
		}
		sum, size, err := releaseDigest(release, in.indexName("main"))
		if err != nil {
			return nil, fmt.Errorf("suite %s: %w", suite, err)
		}
		out = append(out, suiteState{suite, sum, size})
	}
	return out, nil
}

// ArchiveState identifies what a recipe would find in its distribution's archive now:
// the digest of the suites' lists of packages, or that of the distributor's image, as
// checksums have it; signatures are checked. It is "" for a recipe that takes nothing
// from there, or what it pins. Only the recipe, its context, the architecture and where
// to get things from are needed of the request.
func ArchiveState(ctx context.Context, req Request) (string, error) {
	if u := req.Recipe.Source.URL; u != nil && u.Checksums != nil {
		return imageState(ctx, req)
	}
	spec := req.Recipe.Source.System
	if len(req.Recipe.Lock.For(req.Arch)) > 0 {
		return "", nil
	}
	if p := req.Recipe.Source.Packages; p != nil {
		spec = &recipe.System{Distribution: p.Distribution, Suite: p.Suite, Keyring: p.Keyring}
	}
	if spec == nil {
		return "", nil
	}
	m, err := chooseMirror(req.PackageMirror)
	if err != nil {
		return "", err
	}
	in := &installation{baker: &baker{Request: req, cache: cache{req.CacheDir}}, mirror: m, spec: spec}
	suites, err := in.readSuites(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the state of %s %s: %w", spec.Distribution, spec.Suite, err)
	}
	text, err := json.Marshal(suites)
	if err != nil {
		return "", err
	}
	return "sha256:" + hexDigest(string(text)), nil
}

func hexDigest(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// run installs the system and writes it as a tar. Packages' scripts run in a root of
// their own; where this process is not root, in a user namespace.
func (in *installation) run(ctx context.Context, out *os.File) error {
	program, err := exec.LookPath(systemTool)
	if err != nil {
		return fmt.Errorf("%s, which installs distributions, is not there: install the package %s (with uidmap, unless the daemon runs as root): %w", systemTool, systemTool, err)
	}
	how, err := executionOf(in.Arch)
	if err != nil {
		return err
	}
	args, err := in.arguments(how)
	if err != nil {
		return err
	}
	cmd := how.command(ctx, program, args...)
	cmd.Dir = in.WorkDir
	// It takes nothing from this host's settings, its proxy apart.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG") || strings.HasPrefix(v, "TMPDIR=")
	}), "LC_ALL=C.UTF-8", "TMPDIR="+in.WorkDir, "SOURCE_DATE_EPOCH="+strconv.FormatInt(buildTime.Unix(), 10), "DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	// It has children to end and mounts to undo.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Run(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("%s: %w: %s", systemTool, how.explain(err), lastLines(stderr.String(), 12)))
	}
	return nil
}

// arguments are the installer's.
func (in *installation) arguments(how execution) ([]string, error) {
	mode := "auto"
	if how.register != "" {
		mode = "root" // of namespaces that are there already
	}
	args := []string{
		"--mode=" + mode, "--variant=minbase", "--format=tar", "--skip=output/dev",
		"--skip=check/qemu", // for other architectures than dpkg's, i386 too, it would want one more program, to try
		"--architectures=" + debArch(in.Arch), "--include=" + strings.Join(in.spec.For(in.Arch), ","),
		"--aptopt=Apt::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io",
	}
	for _, d := range documentation {
		args = append(args, "--dpkgopt="+d)
	}
	if in.repo != "" {
		return append(args, in.spec.Suite, "-", fmt.Sprintf("deb [trusted=yes] copy:%s %s main", in.repo, in.spec.Suite)), nil
	}
	keyring, err := in.keyringFile()
	if err != nil {
		return nil, err
	}
	args = append(args, "--keyring="+keyring, in.spec.Suite, "-")
	for _, suite := range in.suites {
		archive := in.mirror.archive(suite.Name)
		if p, ok := strings.CutPrefix(archive, "file:"); ok {
			archive = "copy:" + p // apt would leave "file:" packages where the new root does not see them
		}
		args = append(args, fmt.Sprintf("deb %s %s main", archive, suite.Name))
	}
	return args, nil
}

// keyringFile returns the path of the keyring on this host.
func (in *installation) keyringFile() (string, error) {
	if in.spec.Keyring == "" {
		return hostKeyring, nil
	}
	data, err := fs.ReadFile(in.Context, in.spec.Keyring)
	if err != nil {
		return "", fmt.Errorf("reading the keyring: %w", err)
	}
	ext := ".gpg"
	if bytes.HasPrefix(data, []byte("-----")) {
		ext = ".asc" // apt goes by the name
	}
	name := filepath.Join(in.WorkDir, "keyring"+ext)
	return name, os.WriteFile(name, data, 0o644)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// ofOneMachine are paths that packages' scripts make and no two machines may share,
// or that tell of the host that baked.
var ofOneMachine = []string{
	"/etc/ssh/ssh_host_*", "/etc/hostname", "/etc/resolv.conf", "/etc/machine-id", "/var/lib/dbus/machine-id",
	"/var/lib/systemd/random-seed", "/var/log/*", "/var/log/apt/*", "/var/cache/ldconfig/*",
}

// addSystemTar puts an installed system into the tree, and returns how many paths.
func (b *baker) addSystemTar(ctx context.Context, tree *disk.Tree, name string) (int, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return 0, fmt.Errorf("reading the installed system: %w", err)
		}
		if err := b.putSystemEntry(tree, h, t); err != nil {
			return 0, err
		}
	}
	// What the kernel's file systems are mounted on is left out with the devices.
	for _, dir := range []string{"/dev", "/proc", "/run", "/sys"} {
		if _, there := tree.Lookup(dir); there {
			continue
		}
		if err := tree.Put(dir, disk.Entry{Mode: fs.ModeDir | 0o755}); err != nil {
			return 0, err
		}
	}
	// Empty, so that systemd makes each machine an id of its own.
	empty, err := b.writeFile(strings.NewReader(""))
	if err != nil {
		return 0, err
	}
	return len(tree.Paths()), tree.Put("/etc/machine-id", disk.Entry{Mode: 0o444, File: empty})
}

func (b *baker) putSystemEntry(tree *disk.Tree, h *tar.Header, content io.Reader) error {
	rel, err := packagePath(h.Name)
	if err != nil {
		return err
	}
	h.Name = path.Join("/", rel)
	one := slices.ContainsFunc(ofOneMachine, func(p string) bool { ok, _ := path.Match(p, h.Name); return ok })
	switch h.Typeflag {
	case tar.TypeDir:
		return tree.Put(h.Name, disk.Entry{Mode: h.FileInfo().Mode(), UID: h.Uid, GID: h.Gid})
	case tar.TypeReg, tar.TypeSymlink:
		if one {
			return nil
		}
		return b.putTarEntry(tree, h, content)
	case tar.TypeLink: // a file twice: trees have no hard links
		to, err := packagePath(h.Linkname)
		if err != nil {
			return err
		}
		e, ok := tree.Lookup(path.Join("/", to))
		if !ok {
			return fmt.Errorf("the installed system links %s to %s, which it lacks", h.Name, h.Linkname)
		}
		return tree.Put(h.Name, e)
	}
	return nil // devices and sockets are made at each boot
}
