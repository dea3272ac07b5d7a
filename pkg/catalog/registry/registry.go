// Package registry owns the conversation with OCI registries: which blobs one has,
// sending and fetching them, and the manifests that name them. It knows nothing of
// what is in them. Of our packages it imports pkg/catalog/artifact only, for references.
//
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/bundt/bundt/pkg/catalog/artifact"
)

// Errors of registries (test with errors.Is).
var (
	// ErrNotFound: the registry has nothing of that name or digest, or does not let
	// this user know.
	ErrNotFound = errors.New("not found in the registry")
	// ErrDigest: the registry sent something else than what was asked for.
	ErrDigest = errors.New("the registry sent something else")
)

// Options say how to speak to a registry.
type Options struct {
	Client             *http.Client // makes the connections
	Username, Password string       // none for what everybody may do; a password alone is an identity token
	PlainHTTP          bool         // without TLS
	UserAgent          string
}

// Repository is one repository of a registry. It is safe for concurrent use.
type Repository struct {
	ref  artifact.Reference
	repo *remote.Repository
}

// Open returns the repository of a reference. Nothing is asked of the registry yet.
func Open(ref artifact.Reference, o Options) (*Repository, error) {
	repo, err := remote.NewRepository(ref.Registry + "/" + ref.Repository)
	if err != nil {
		return nil, fmt.Errorf("opening the repository %s: %w", ref, err)
	}
	client := &auth.Client{Client: o.Client, Cache: auth.NewCache()}
	client.SetUserAgent(o.UserAgent)
	switch {
	case o.Username != "":
		client.Credential = auth.StaticCredential(ref.Registry, auth.Credential{Username: o.Username, Password: o.Password})
	case o.Password != "":
		client.Credential = auth.StaticCredential(ref.Registry, auth.Credential{RefreshToken: o.Password})
	}
	repo.Client, repo.PlainHTTP = client, o.PlainHTTP
	// Where the referrers are listed by a tag, each list replaces the one before. That one
	// would be deleted, which many registries refuse.
	repo.SkipReferrersGC = true
	return &Repository{ref, repo}, nil
}

// known has the errors of the library that callers distinguish as ours.
func known(err error) error {
	if errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// Has reports whether the registry has a blob.
func (r *Repository) Has(ctx context.Context, blob ocispec.Descriptor) (bool, error) {
	has, err := r.repo.Blobs().Exists(ctx, blob)
	if err != nil {
		return false, fmt.Errorf("asking for %s: %w", blob.Digest, err)
	}
	return has, nil
}

// Push sends a blob, which the registry compares with its digest.
func (r *Repository) Push(ctx context.Context, blob ocispec.Descriptor, from io.Reader) error {
	if err := r.repo.Blobs().Push(ctx, blob, from); err != nil {
		return fmt.Errorf("sending %s: %w", blob.Digest, err)
	}
	return nil
}

// PushSmall sends a blob from memory, unless it is there.
func (r *Repository) PushSmall(ctx context.Context, mediaType string, data []byte) error {
	d := content.NewDescriptorFromBytes(mediaType, data)
	if has, err := r.Has(ctx, d); has || err != nil {
		return err
	}
	return r.Push(ctx, d, bytes.NewReader(data))
}

// PushManifest sends a manifest, whose blobs must be there, and names it by the
// reference's tag if it has one. It returns the manifest's digest.
func (r *Repository) PushManifest(ctx context.Context, manifest []byte) (string, error) {
	d := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	var err error
	if r.ref.Tag == "" {
		err = r.repo.Manifests().Push(ctx, d, bytes.NewReader(manifest))
	} else {
		err = r.repo.Manifests().PushReference(ctx, d, bytes.NewReader(manifest), r.ref.Tag)
	}
	if err != nil {
		return "", fmt.Errorf("sending the manifest %s: %w", r.ref, err)
	}
	return d.Digest.String(), nil
}

// Descriptor is that of a manifest.
func Descriptor(manifest []byte) ocispec.Descriptor {
	return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
}

// Attach sends something about a manifest that is there: a signature, say, which
// Attached finds by the manifest's digest and its own type.
func (r *Repository) Attach(ctx context.Context, manifest []byte, mediaType string, data []byte) error {
	about := Descriptor(manifest)
	m, err := r.pushSingle(ctx, mediaType, data, &about)
	if err == nil {
		err = r.repo.Manifests().Push(ctx, content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, m), bytes.NewReader(m))
	}
	if err != nil {
		return fmt.Errorf("attaching to %s: %w", about.Digest, err)
	}
	return nil
}

// PushFile sends one file as an artifact of its own, under the reference's tag, and
// returns the manifest's digest.
func (r *Repository) PushFile(ctx context.Context, mediaType string, data []byte) (string, error) {
	m, err := r.pushSingle(ctx, mediaType, data, nil)
	if err != nil {
		return "", err
	}
	return r.PushManifest(ctx, m)
}

// File fetches what PushFile has sent, of at most that size.
func (r *Repository) File(ctx context.Context, mediaType string, maxBytes int64) ([]byte, error) {
	d, manifest, err := r.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	return r.single(ctx, d, manifest, mediaType, maxBytes)
}

// pushSingle sends the blobs of an artifact of one file, and returns its manifest.
func (r *Repository) pushSingle(ctx context.Context, mediaType string, data []byte, about *ocispec.Descriptor) ([]byte, error) {
	if err := r.PushSmall(ctx, ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Data); err != nil {
		return nil, err
	}
	if err := r.PushSmall(ctx, mediaType, data); err != nil {
		return nil, err
	}
	m, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediaType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{content.NewDescriptorFromBytes(mediaType, data)}, Subject: about,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a manifest: %w", err)
	}
	return m, nil
}

// single fetches the one file of an artifact.
func (r *Repository) single(ctx context.Context, d ocispec.Descriptor, manifest []byte, mediaType string, maxBytes int64) ([]byte, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", d.Digest, err)
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != mediaType {
		return nil, fmt.Errorf("the manifest %s has %d layers, not one %s", d.Digest, len(m.Layers), mediaType)
	}
	return r.Blob(ctx, m.Layers[0], maxBytes)
}

// Attached returns what was attached to a manifest of one type, at most the first
// maxAttached of it, each of at most maxBytes.
func (r *Repository) Attached(ctx context.Context, about ocispec.Descriptor, mediaType string, maxBytes int64) (all [][]byte, err error) {
	var found []ocispec.Descriptor
	err = r.repo.Referrers(ctx, about, mediaType, func(page []ocispec.Descriptor) error {
		if found = append(found, page...); len(found) > maxAttached {
			found = found[:maxAttached]
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("asking what is attached to %s: %w", about.Digest, err)
	}
	for _, d := range found {
		data, err := r.attachment(ctx, d, mediaType, maxBytes)
		if err != nil {
			return nil, fmt.Errorf("fetching what is attached to %s: %w", about.Digest, err)
		}
		all = append(all, data)
	}
	return all, nil
}

const maxAttached = 32

var errEnough = errors.New("enough of it")

func (r *Repository) attachment(ctx context.Context, d ocispec.Descriptor, mediaType string, maxBytes int64) ([]byte, error) {
	body, err := r.repo.Manifests().Fetch(ctx, d)
	if err != nil {
		return nil, known(err)
	}
	defer body.Close()
	data, err := readAll(body, d, artifact.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	return r.single(ctx, d, data, mediaType, maxBytes)
}

// Manifest fetches the manifest that the reference names, and checks it against the
// reference's digest if it has one.
func (r *Repository) Manifest(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	d, body, err := r.repo.Manifests().FetchReference(ctx, r.ref.Version())
	if err != nil {
		return d, nil, fmt.Errorf("fetching the manifest %s: %w", r.ref, known(err))
	}
	defer body.Close()
	manifest, err := readAll(body, d, artifact.MaxManifestBytes)
	switch {
	case err != nil:
		return d, nil, fmt.Errorf("fetching the manifest %s: %w", r.ref, err)
	case r.ref.Digest != "" && d.Digest.String() != r.ref.Digest:
		return d, nil, fmt.Errorf("fetching the manifest %s: %w: %s", r.ref, ErrDigest, d.Digest)
	}
	return d, manifest, nil
}

// Blob fetches a small blob into memory.
func (r *Repository) Blob(ctx context.Context, blob ocispec.Descriptor, maxBytes int64) ([]byte, error) {
	body, err := r.repo.Blobs().Fetch(ctx, blob)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", blob.Digest, known(err))
	}
	defer body.Close()
	data, err := readAll(body, blob, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", blob.Digest, err)
	}
	return data, nil
}

// readAll reads what a descriptor describes, of at most that size.
func readAll(r io.Reader, d ocispec.Descriptor, maxBytes int64) ([]byte, error) {
	if d.Size > maxBytes {
		return nil, fmt.Errorf("it has %d bytes; %d are the most", d.Size, maxBytes)
	}
	data, err := content.ReadAll(r, d)
	if errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrTrailingData) || errors.Is(err, content.ErrInvalidDescriptorSize) {
		return nil, fmt.Errorf("%w: %w", ErrDigest, err)
	}
	return data, err
}

// Fetch gets a blob into a file. What an earlier call left of it there is not
// fetched again, if the registry can send parts. A file with another content is
// removed. progress is called with the bytes that are there.
func (r *Repository) Fetch(ctx context.Context, blob ocispec.Descriptor, path string, progress func(int64) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fetching %s: %w", blob.Digest, err)
		}
	}()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	at, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if at < blob.Size {
		if err := r.rest(ctx, blob, f, sum, at, progress); err != nil {
			return err
		}
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != blob.Digest.String() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return fmt.Errorf("%w: %s", ErrDigest, got)
	}
	return nil
}

// rest fetches what comes after the first bytes, which are in the file and the hash.
func (r *Repository) rest(ctx context.Context, blob ocispec.Descriptor, f *os.File, sum hash.Hash, at int64, progress func(int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stall := time.AfterFunc(stallTime, cancel)
	defer stall.Stop()
	body, err := r.repo.Blobs().Fetch(ctx, blob)
	if err != nil {
		return known(err)
	}
	defer body.Close()
	if at > 0 {
		seeker, ok := body.(io.Seeker)
		if !ok { // it sends all or nothing
			at = 0
			sum.Reset()
			if err := errors.Join(f.Truncate(0), seekStart(f)); err != nil {
				return err
			}
		} else if _, err := seeker.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	w := &counter{at: at, told: at, progress: progress, arrived: func() { stall.Reset(stallTime) }}
	// One byte more than there should be shows in the digest.
	_, err = io.Copy(io.MultiWriter(f, sum, w), io.LimitReader(body, blob.Size-at+1))
	return err
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// counter tells of its progress now and then.
type counter struct {
	at, told int64
	progress func(int64) error
	arrived  func()
}

const (
	reportBytes = 4 << 20          // between two calls of progress
	stallTime   = 60 * time.Second // without a byte
)

func (c *counter) Write(p []byte) (int, error) {
	c.arrived()
	c.at += int64(len(p))
	if c.at-c.told < reportBytes {
		return len(p), nil
	}
	c.told = c.at
	return len(p), c.progress(c.at)
}
