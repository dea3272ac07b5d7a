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
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bundt/bundt/pkg/recipe"
)

// pinnedKey is the key of what is installed of the pins alone.
func (in *installation) pinnedKey() (string, error) {
	asked, err := json.Marshal(in.spec)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "pinned system 1\n%s\n%s\n", asked, in.Arch)
	for _, p := range in.locked {
		fmt.Fprintf(h, "%s %s %s\n", p.Package, p.Version, p.SHA256)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// downloads is how many packages are fetched at a time.
const downloads = 4

// fetchPins fetches the locked packages, unless what is installed of them is there, by its key.
func (in *installation) fetchPins(ctx context.Context, key string) (detail string, cached bool, err error) {
	detail = fmt.Sprintf("%d, as recipe.lock says", len(in.locked))
	if _, installed := in.cache.lookup("system", key); installed {
		return detail, true, nil
	}
	src := &packageSource{baker: in.baker, mirror: in.mirror}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	for _, p := range in.locked {
		group.Go(func() error {
			_, _, err := src.fetchPin(ctx, p)
			if err != nil {
				err = fmt.Errorf("package %s %s: %w", p.Package, p.Version, err)
			}
			return err
		})
	}
	return detail, false, group.Wait()
}

// usePins makes an archive of the locked packages alone, so that nothing else can be
// installed; it does nothing if none are locked.
// https://wiki.debian.org/DebianRepository/Format
func (in *installation) usePins() error {
	if len(in.locked) == 0 {
		return nil
	}
	in.repo = filepath.Join(in.WorkDir, "repository")
	dist := filepath.Join(in.repo, "dists", in.spec.Suite)
	name := strings.TrimSuffix(in.indexName("main"), ".xz")
	if err := os.MkdirAll(filepath.Join(dist, filepath.Dir(name)), 0o755); err != nil {
		return fmt.Errorf("making an archive of the locked packages: %w", err)
	}
	var packages bytes.Buffer
	for _, p := range in.locked {
		file := in.cache.path("sha256", p.SHA256)
		control, err := debControl(file)
		if err != nil {
			return fmt.Errorf("package %s %s: %w", p.Package, p.Version, err)
		}
		fmt.Fprintf(&packages, "%s\nFilename: %s.deb\nSize: %d\nSHA256: %s\n\n", bytes.TrimSpace(control), p.SHA256, p.Size, p.SHA256)
		if err := os.Symlink(file, filepath.Join(in.repo, p.SHA256+".deb")); err != nil {
			return fmt.Errorf("making an archive of the locked packages: %w", err)
		}
	}
	release := fmt.Sprintf("Suite: %s\nCodename: %s\nDate: %s\nArchitectures: %s\nComponents: main\nSHA256:\n %x %d %s\n", in.spec.Suite, in.spec.Suite,
		buildTime.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"), debArch(in.Arch), sha256.Sum256(packages.Bytes()), packages.Len(), name)
	err := errors.Join(os.WriteFile(filepath.Join(dist, name), packages.Bytes(), 0o644), os.WriteFile(filepath.Join(dist, "Release"), []byte(release), 0o644))
	if err != nil {
		return fmt.Errorf("making an archive of the locked packages: %w", err)
	}
	return nil
}

// takePins takes down which package files the system in file was installed of.
func (in *installation) takePins(ctx context.Context, key, file string) error {
	if len(in.locked) > 0 {
		in.pins = in.locked
		return nil
	}
	if in.cache.lookupJSON("system-pins", key, &in.pins) {
		return nil
	}
	pins, err := in.findPins(ctx, file)
	if err != nil {
		return fmt.Errorf("finding out which packages were installed: %w", err)
	}
	in.pins = pins
	return in.cache.createJSON(ctx, "system-pins", key, pins)
}

// findPins looks the system's packages up in the lists that they were chosen from.
func (in *installation) findPins(ctx context.Context, file string) ([]recipe.LockedPackage, error) {
	installed, err := installedPackages(file)
	if err != nil {
		return nil, err
	}
	idx := index{}
	for _, s := range in.suites {
		if err := in.loadPackages(ctx, in.mirror.archive(s.Name)+"/dists/"+s.Name, in.indexName("main"), s, idx); err != nil {
			return nil, fmt.Errorf("suite %s: %w", s.Name, err)
		}
	}
	var pins []recipe.LockedPackage
	for _, p := range installed {
		c := idx[p.Package]
		if c.Version != p.Version {
			return nil, fmt.Errorf("the distribution's lists have no package %s %s", p.Package, p.Version)
		}
		pin, err := c.pin(p.Package)
		if err != nil {
			return nil, err
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

// maxStatus bounds dpkg's database.
const maxStatus = 64 << 20

// installedPackages reads dpkg's database in an installed system, in its order.
func installedPackages(file string) (found []candidate, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it has no database of packages (/var/lib/dpkg/status)")
		}
		if err != nil {
			return nil, fmt.Errorf("reading the installed system: %w", err)
		}
		if rel, err := packagePath(h.Name); err != nil || rel != "var/lib/dpkg/status" {
			continue
		}
		err = eachCandidate(io.LimitReader(t, maxStatus), "", func(c candidate) { found = append(found, c) })
		return found, err
	}
}
