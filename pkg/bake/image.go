package bake

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bundt/bundt/pkg/checksum"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/rootfs"
)

// Limits on what a distributor's server may send.
const (
	maxChecksums = 4 << 20
	maxSignature = 64 << 10
	maxImage     = 64 << 30
	maxImageDisk = 2 << 40
)

// partialFor is how long what has arrived of an image is kept when nobody goes on.
const partialFor = 7 * 24 * time.Hour

// imageSource is what a recipe says of a distributor's image, for one architecture.
type imageSource struct {
	*baker
	spec *recipe.URLSource
	url  string
}

// published is what checksums say of an image, and who says so.
type published struct {
	Digest    checksum.Digest `json:"digest"`
	Checksums string          `json:"checksums"`        // SHA-256 of the file
	Signer    string          `json:"signer,omitempty"` // the key's fingerprint
}

// arrived is what is kept beside an image in the cache.
type arrived struct {
	Modified time.Time `json:"modified"`
}

// fetchImage gets the recipe's disk image: its digest first, then, unless the cache has
// it, the file.
func (b *baker) fetchImage(ctx context.Context) error {
	spec := b.Recipe.Source.URL
	s := &imageSource{b, spec, spec.For(b.Arch, spec.URL)}
	what := published{Digest: checksum.Digest(spec.DigestFor(b.Arch))}
	if spec.Checksums != nil {
		err := b.step(ctx, "verify checksums", func() (detail string, _ bool, err error) {
			what, detail, err = s.readChecksums(ctx)
			return detail, false, err
		})
		if err != nil {
			return err
		}
	}
	name := spec.FileName(b.Arch)
	const step = "fetch image"
	err := b.step(ctx, step, func() (string, bool, error) {
		var info arrived
		var cached bool
		var err error
		b.image, info, cached, err = s.fetch(ctx, what.Digest, step)
		if err != nil {
			return "", false, s.explain(s.url, err)
		}
		of := ""
		if !info.Modified.IsZero() {
			of = " of " + info.Modified.Format(time.DateOnly)
		}
		sum := what.Digest.Sum()
		if what.Digest.Algorithm() != "sha256" { // by which inputs are known, whatever the distributor takes
			if sum, err = fileSHA256(b.image); err != nil {
				return "", false, err
			}
		}
		b.inputs = append(b.inputs, model.Input{Name: "disk image " + name + of, Digest: "sha256:" + sum, URI: s.url})
		return name + of, cached, nil
	})
	if err == nil && spec.Checksums != nil {
		b.inputs = append(b.inputs, s.checksumsInput(what))
	}
	return err
}

func (s *imageSource) checksumsInput(p published) model.Input {
	where := s.spec.For(s.Arch, s.spec.Checksums.URL)
	by := ", not signed"
	if p.Signer != "" {
		by = " signed by " + p.Signer
	} else if there, mirrored := s.Fetch.Where(where); mirrored {
		by += ", from the mirror " + hostOf(there)
	}
	return model.Input{Name: "checksums " + path.Base(where) + by, Digest: p.Checksums, URI: where}
}

// readChecksums returns what the distributor's checksums say now. Where its server
// cannot be reached, it is what they said when it last could, if that image is here.
func (s *imageSource) readChecksums(ctx context.Context) (published, string, error) {
	key, err := s.key()
	if err != nil {
		return published{}, "", err
	}
	before, known := s.recall(key)
	now, err := s.askChecksums(ctx)
	where := s.spec.For(s.Arch, s.spec.Checksums.URL)
	switch {
	case err == nil:
		if known && before.Digest != now.Digest {
			s.forget(before.Digest)
		}
		err := s.cache.createJSON(ctx, "image-state", key, now)
		if now.Signer == "" {
			there, _ := s.Fetch.Where(where)
			return now, "not signed: as " + hostOf(there) + " has them", err
		}
		return now, "signed by " + now.Signer, err
	case unreachable(err) && ctx.Err() == nil && known && s.has(before.Digest):
		return before, "as they last were, because now: " + err.Error(), nil
	}
	return published{}, "", s.explain(where, err)
}

// key names what was last known of the image: whatever decides whom to believe counts.
func (s *imageSource) key() (string, error) {
	asked, err := json.Marshal(s.spec)
	if err != nil {
		return "", err
	}
	var keys []byte
	if k := s.spec.Checksums.Key; k != "" {
		if keys, err = fs.ReadFile(s.Context, k); err != nil {
			return "", fmt.Errorf("reading the keys: %w", err)
		}
	}
	return hexDigest(fmt.Sprintf("image 1\n%s\n%s\n%x", asked, s.Arch, sha256.Sum256(keys))), nil
}

func (s *imageSource) recall(key string) (p published, ok bool) {
	if !s.cache.lookupJSON("image-state", key, &p) {
		return p, false
	}
	_, err := checksum.Parse(string(p.Digest))
	return p, err == nil
}

// askChecksums fetches the checksums, checks who signed them, and finds the image.
func (s *imageSource) askChecksums(ctx context.Context) (published, error) {
	c := s.spec.Checksums
	text, err := s.small(ctx, c.URL, maxChecksums)
	if err != nil {
		return published{}, err
	}
	p := published{Checksums: "sha256:" + hexDigest(string(text))}
	if c.Key != "" {
		if text, p.Signer, err = s.verify(ctx, text); err != nil {
			return p, fmt.Errorf("verifying the signature of %s: %w", s.spec.For(s.Arch, c.URL), err)
		}
	}
	p.Digest, err = checksum.Find(text, s.spec.FileName(s.Arch))
	if err != nil {
		err = fmt.Errorf("%s: %w", s.spec.For(s.Arch, c.URL), err)
	}
	return p, err
}

// verify returns what of the text is signed by one of the recipe's keys.
func (s *imageSource) verify(ctx context.Context, text []byte) ([]byte, string, error) {
	c := s.spec.Checksums
	file, err := fs.ReadFile(s.Context, c.Key)
	if err != nil {
		return nil, "", fmt.Errorf("reading the keys: %w", err)
	}
	keys, err := checksum.ReadKeys(file, c.Fingerprints)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.Key, err)
	}
	if c.Signature == "" {
		return keys.Clearsigned(text, time.Now())
	}
	signature, err := s.small(ctx, c.Signature, maxSignature)
	if err != nil {
		return nil, "", err
	}
	signer, err := keys.Detached(text, signature, time.Now())
	return text, signer, err
}

// small fetches a file that fits into memory.
func (s *imageSource) small(ctx context.Context, raw string, limit int64) ([]byte, error) {
	var out bytes.Buffer
	u := s.spec.For(s.Arch, raw)
	if _, err := s.Fetch.Get(ctx, fetch.Download{URL: u, MaxBytes: limit, Signed: s.spec.Checksums.Key != ""}, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", u, err)
	}
	return out.Bytes(), nil
}

func imageState(ctx context.Context, req Request) (string, error) {
	if req.Fetch == nil {
		req.Fetch = fetch.New(fetch.Options{})
	}
	spec := req.Recipe.Source.URL
	s := &imageSource{&baker{Request: req, cache: cache{req.CacheDir}}, spec, spec.For(req.Arch, spec.URL)}
	p, err := s.askChecksums(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the checksums: %w", err)
	}
	return string(p.Digest), nil
}

func (s *imageSource) has(d checksum.Digest) bool {
	_, ok := s.cache.lookup(d.Algorithm(), d.Sum())
	return ok
}

// forget removes an image that another has taken the place of. One that was used
// today may be in use still.
func (s *imageSource) forget(d checksum.Digest) {
	name, ok := s.cache.lookup(d.Algorithm(), d.Sum())
	if !ok {
		return
	}
	if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
		_ = os.Remove(name)
		_ = os.Remove(s.cache.path("image-info", d.Algorithm()+"-"+d.Sum()))
	}
}

// fetch returns the file with this digest from the cache, else downloads it there. What
// arrives is kept if the download is interrupted, even by the end of the daemon.
func (s *imageSource) fetch(ctx context.Context, d checksum.Digest, step string) (string, arrived, bool, error) {
	final := s.cache.path(d.Algorithm(), d.Sum())
	key := d.Algorithm() + "-" + d.Sum()
	if ok, err := s.cached(final, d); ok || err != nil {
		return final, s.info(key), ok, err
	}
	s.sweepPartials()
	file, err := s.openPartial(ctx, key)
	if err != nil {
		return "", arrived{}, false, err
	}
	defer file.Close()
	// Whoever had the file may have finished it.
	if ok, err := s.cached(final, d); ok || err != nil {
		_ = os.Remove(file.Name())
		return final, s.info(key), ok, err
	}
	got, err := s.Fetch.GetFile(ctx, fetch.Download{URL: s.url, Digest: d, MaxBytes: maxImage, Progress: func(done, total int64) error {
		detail := fmt.Sprintf("%d MiB", done>>20)
		if total > 0 {
			detail = fmt.Sprintf("%d of %d MiB", done>>20, total>>20)
		}
		s.progress(Event{Step: step, Detail: detail})
		if s.CheckSpace != nil {
			return s.CheckSpace()
		}
		return nil
	}}, file)
	if errors.Is(err, fetch.ErrDigest) || errors.Is(err, fetch.ErrTooLarge) {
		_ = os.Remove(file.Name())
	}
	if err != nil {
		return "", arrived{}, false, err
	}
	info := arrived{got.Modified}
	err = s.cache.createJSON(ctx, "image-info", key, info)
	if err := errors.Join(err, file.Sync(), os.MkdirAll(filepath.Dir(final), 0o755)); err != nil {
		return "", info, false, fmt.Errorf("writing to the cache: %w", err)
	}
	return final, info, false, os.Rename(file.Name(), final)
}

// cached reports whether the file is there and still what its digest says, and removes
// it if it is not.
func (s *imageSource) cached(name string, d checksum.Digest) (bool, error) {
	f, err := os.Open(name)
	if isNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	got, err := d.Of(f)
	if err != nil {
		return false, fmt.Errorf("reading the cache: %w", err)
	}
	if got != d {
		return false, os.Remove(name)
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // used today: see forget
	return true, nil
}

func (s *imageSource) info(key string) (a arrived) {
	s.cache.lookupJSON("image-info", key, &a)
	return a
}

const partialKind = "partial"

// openPartial opens the file of what has arrived, which only one process at a time
// writes to: the lock ends with the process.
func (s *imageSource) openPartial(ctx context.Context, key string) (*os.File, error) {
	name := s.cache.path(partialKind, key)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("writing to the cache: %w", err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && sameFile(f, name) {
			return f, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking the cache's %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// sameFile reports whether the name still is that of f.
func sameFile(f *os.File, name string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(name)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// sweepPartials removes what nobody goes on with.
func (s *imageSource) sweepPartials() {
	names, _ := filepath.Glob(s.cache.path(partialKind, "*"))
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > partialFor {
			_ = os.Remove(name)
		}
	}
}

// convertImage makes a flat qcow2 file of the image, at least size bytes large, and
// returns how large it is. The file is a stranger's: it is inspected before QEMU sees it.
func (b *baker) convertImage(ctx context.Context, dst string, size int64) (int64, error) {
	format := cmp.Or(b.Recipe.Source.URL.Format, disk.FormatQcow2)
	err := disk.Convert(ctx, b.image, format, dst, disk.ConvertOptions{MaxBytes: maxImageDisk, Packed: true, Unpacking: func(int64) error {
		if b.CheckSpace != nil {
			return b.CheckSpace()
		}
		return nil
	}})
	if err != nil {
		return 0, err
	}
	h, err := disk.ReadHeader(dst)
	if err != nil {
		return 0, err
	}
	if h.SizeBytes >= size {
		return h.SizeBytes, nil
	}
	return size, disk.Grow(ctx, disk.ChainFile{Path: dst}, size)
}

// maxBootFile is how large a kernel or an initial RAM file system may be.
const maxBootFile = 1 << 30

// takeBootFilesOfDisk copies the kernel and the initial RAM file system that the recipe
// names out of the image's root file system.
func (b *baker) takeBootFilesOfDisk(boot recipe.BootOptions, res *Result) error {
	if boot.Kernel == "" {
		return nil
	}
	root := res.Disks[0]
	d, err := disk.OpenChain([]disk.ChainFile{{Path: root.Path}})
	if err != nil {
		return err
	}
	defer d.Close()
	files, err := rootfs.Open(d, d.Size())
	if err != nil {
		return fmt.Errorf("looking for boot.kernel in the image: %w", err)
	}
	for _, t := range []struct {
		name, path string
		to         *string
	}{{"kernel", boot.Kernel, &res.Kernel}, {"initrd", boot.Initrd, &res.Initrd}} {
		if t.path == "" {
			continue
		}
		*t.to = filepath.Join(b.WorkDir, t.name)
		if err := copyFileOfDisk(files, t.path, *t.to); err != nil {
			return fmt.Errorf("boot.%s: %w", t.name, err)
		}
	}
	return nil
}

func copyFileOfDisk(files *rootfs.FS, from, to string) error {
	e, err := files.Follow(from)
	if err != nil {
		return err
	}
	if e == nil || !e.Mode.IsRegular() || e.Size > maxBootFile {
		return fmt.Errorf("there is no file %s in the image, or it is too large to be one to boot from", from)
	}
	content, err := files.Content(e)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("taking %s out of the image: %w", from, err)
	}
	return nil
}

// unreachable reports whether an error is one of the way to a server, not of what it said.
func unreachable(err error) bool {
	var way *url.Error
	var network net.Error
	return !errors.Is(err, fetch.ErrRefused) && (errors.As(err, &way) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF))
}

// explain says what to do about a server that is not to be reached, or that is not let
// be asked.
func (s *imageSource) explain(where string, err error) error {
	u, parsed := url.Parse(where)
	if parsed != nil {
		return err
	}
	server := u.Scheme + "://" + u.Host
	switch {
	case unreachable(err):
		return fmt.Errorf("%w; this host cannot reach %s: connect it and build again (what has arrived is kept), have the daemon use a mirror (bundtd --image-mirror %s=URL), or take what needs no more than Debian's packages (bundt run debian-12-offline)", err, u.Host, server)
	case errors.Is(err, fetch.ErrRefused):
		return fmt.Errorf("%w; if %s is yours to use, have the daemon take it for a mirror (bundtd --image-mirror %s=%s)", err, u.Host, server, server)
	case errors.Is(err, fetch.ErrNotFound):
		return fmt.Errorf("%w; the distributor may have moved it, or replaced it by a newer one: see %s for what is there, and correct the recipe", err, strings.TrimSuffix(where, path.Base(where)))
	case errors.Is(err, fetch.ErrDigest):
		return fmt.Errorf("%w; the distributor may be replacing it just now, or the server or mirror has something else: nothing of it is used; build again later", err)
	}
	return err
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return u.Host
}
