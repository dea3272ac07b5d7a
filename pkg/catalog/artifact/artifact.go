// Package artifact owns the form in which images travel from cloud to cloud: an OCI
// artifact, whose config says all of an image but its disks, and whose layers are
// the image's layers. It knows bytes and digests; neither registries nor the layer
// store nor the records. It imports pkg/model only.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of an image.
const (
	Type       = "application/vnd.bundt.image.v1" // the artifact's
	ConfigType = "application/vnd.bundt.image.config.v1+json"
	// LayerType is a qcow2 file without the name of its backing file; which one
	// that is, the config says. Compressed by zstd.
	LayerType = "application/vnd.bundt.disk.layer.v1.qcow2+zstd"
	// BootType is a kernel or an initial RAM disk. Compressed by zstd.
	BootType = "application/vnd.bundt.boot.v1+zstd"
	// The same as they are: what a region gives another one is not kept compressed.
	PlainLayerType = "application/vnd.bundt.disk.layer.v1.qcow2"
	PlainBootType  = "application/vnd.bundt.boot.v1"
)

// packedAs are the media types of blobs, and what of them are the same contents.
var packedAs = map[string]string{LayerType: LayerType, BootType: BootType, PlainLayerType: LayerType, PlainBootType: BootType}

// The annotations of a layer's descriptor.
const (
	contentAnnotation = "dev.bundt.content" // digest of what was compressed
	sizeAnnotation    = "dev.bundt.size"    // its bytes
)

// Bounds of what is accepted.
const (
	MaxManifestBytes = 4 << 20
	MaxConfigBytes   = 1 << 20
	maxBlobs         = 2048
)

// ErrInvalid: what was read is no image, or one that this version cannot take.
var ErrInvalid = errors.New("no image that bundt can use")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Blob is one blob of an image: a layer of a disk, a kernel or an initial RAM disk.
type Blob struct {
	MediaType string // LayerType or BootType, or one of those as they are
	Content   string // "sha256:…" of what is compressed in it
	Size      int64  // of the content, in bytes
	Digest    string // "sha256:…" of the blob
	BlobBytes int64
}

// Descriptor is the blob as manifests and registries name it.
func (b Blob) Descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: b.MediaType, Digest: digest.Digest(b.Digest), Size: b.BlobBytes,
		Annotations: map[string]string{contentAnnotation: b.Content, sizeAnnotation: strconv.FormatInt(b.Size, 10)},
	}
}

// Plain reports whether the blob is its content as it is.
func (b Blob) Plain() bool { return b.MediaType == PlainLayerType || b.MediaType == PlainBootType }

// Image is a whole image: what it says and the blobs that it needs, each once.
type Image struct {
	Config Config
	Blobs  []Blob
}

// Encode returns the manifest and the config of an image. The same image has the
// same bytes.
func Encode(i *Image) (manifest, config []byte, err error) {
	if err := i.check(); err != nil {
		return nil, nil, err
	}
	if config, err = json.Marshal(i.Config); err != nil {
		return nil, nil, fmt.Errorf("encoding an image's config: %w", err)
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: Type,
		Config: descriptor(ConfigType, config), Layers: []ocispec.Descriptor{},
		Annotations: map[string]string{ocispec.AnnotationTitle: i.Config.Name, ocispec.AnnotationCreated: i.Config.Created.UTC().Format("2006-01-02T15:04:05Z")},
	}
	for _, b := range i.Blobs {
		m.Layers = append(m.Layers, b.Descriptor())
	}
	if manifest, err = json.Marshal(m); err != nil {
		return nil, nil, fmt.Errorf("encoding an image's manifest: %w", err)
	}
	return manifest, config, nil
}

func descriptor(mediaType string, content []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// Digest is the digest by which registries know a manifest or a config.
func Digest(content []byte) string { return digest.FromBytes(content).String() }

// ConfigOf returns the descriptor of a manifest's config, after a look whether it is
// the manifest of an image.
func ConfigOf(manifest []byte) (ocispec.Descriptor, error) {
	m, err := parseManifest(manifest)
	return m.Config, err
}

func parseManifest(manifest []byte) (m ocispec.Manifest, err error) {
	if err := json.Unmarshal(manifest, &m); err != nil {
		return m, invalid("its manifest: %v", err)
	}
	switch {
	case m.MediaType != "" && m.MediaType != ocispec.MediaTypeImageManifest:
		return m, invalid("a manifest of the type %q; container images and indexes of several architectures cannot be launched", m.MediaType)
	case m.ArtifactType != Type || m.Config.MediaType != ConfigType:
		return m, invalid("an artifact of the type %q with a config of the type %q; bundt image push makes %s", m.ArtifactType, m.Config.MediaType, Type)
	case m.Config.Size <= 0 || m.Config.Size > MaxConfigBytes:
		return m, invalid("a config of %d bytes", m.Config.Size)
	case m.Config.Digest.Validate() != nil:
		return m, invalid("the config's digest %q", m.Config.Digest)
	case len(m.Layers) > maxBlobs:
		return m, invalid("%d layers; %d are the most", len(m.Layers), maxBlobs)
	}
	return m, nil
}

// Decode reads an image's manifest and config, which nobody trusts, and checks that
// they fit together. It returns ErrInvalid for all else.
func Decode(manifest, config []byte) (*Image, error) {
	m, err := parseManifest(manifest)
	if err != nil {
		return nil, err
	}
	if Digest(config) != m.Config.Digest.String() {
		return nil, invalid("the config is not the one that the manifest names")
	}
	i := &Image{}
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields() // what is not understood might be what protects the image
	if err := d.Decode(&i.Config); err != nil {
		return nil, invalid("its config: %v", err)
	}
	for n, l := range m.Layers {
		size, err := strconv.ParseInt(l.Annotations[sizeAnnotation], 10, 64)
		if err != nil {
			return nil, invalid("layer %d: its annotation %s is %q", n, sizeAnnotation, l.Annotations[sizeAnnotation])
		}
		i.Blobs = append(i.Blobs, Blob{MediaType: l.MediaType, Content: l.Annotations[contentAnnotation], Size: size, Digest: l.Digest.String(), BlobBytes: l.Size})
	}
	return i, i.check()
}

var sha256Digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Blob returns the blob of a content.
func (i *Image) Blob(content string) (Blob, bool) {
	for _, b := range i.Blobs {
		if b.Content == content {
			return b, true
		}
	}
	return Blob{}, false
}

func (i *Image) check() error {
	byContent := map[string]string{} // media types
	for n, b := range i.Blobs {
		switch {
		case packedAs[b.MediaType] == "":
			return invalid("layer %d has the type %q", n, b.MediaType)
		case !sha256Digest.MatchString(b.Content) || !sha256Digest.MatchString(b.Digest):
			return invalid("layer %d: %q and %q are not both digests by SHA-256", n, b.Content, b.Digest)
		case b.Size <= 0 || b.BlobBytes <= 0:
			return invalid("layer %d has %d bytes of %d", n, b.BlobBytes, b.Size)
		case b.Plain() && (b.Digest != b.Content || b.BlobBytes != b.Size):
			return invalid("layer %d is not packed, and another thing than its content", n)
		case byContent[b.Content] != "":
			return invalid("layer %d is there twice", n)
		}
		byContent[b.Content] = packedAs[b.MediaType]
	}
	used := map[string]bool{}
	for content, mediaType := range i.Config.contents() {
		if byContent[content] != mediaType {
			return invalid("its config needs %s, which is not among its layers", content)
		}
		used[content] = true
	}
	if len(used) != len(byContent) {
		return invalid("it has layers that its config does not name")
	}
	return i.Config.check()
}
