package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
)

// Outgoing is an image as another region gets it: as the artifact that registries have
// of images, but for the compression. Nothing is written for it, the layers are read
// where they are.
type Outgoing struct {
	manifest []byte
	open     map[string]func() (io.ReadSeekCloser, error) // by digest
}

// Manifest names the config and the blobs.
func (o *Outgoing) Manifest() []byte { return o.manifest }

// Open opens the config or a blob; nil if the manifest names no such.
func (o *Outgoing) Open(digest string) (io.ReadSeekCloser, error) {
	open := o.open[digest]
	if open == nil {
		return nil, nil
	}
	return open()
}

// Outgoing prepares an image for another region. tops are the layers of its block
// devices. The first time each layer is read whole, to know its digest.
func (n *Node) Outgoing(ctx context.Context, img *model.Image, tops map[string]string) (*Outgoing, error) {
	out := &Outgoing{open: map[string]func() (io.ReadSeekCloser, error){}}
	chains := map[string][]string{}
	var blobs []artifact.Blob
	add := func(b artifact.Blob, open func() (io.ReadSeekCloser, error)) {
		if out.open[b.Digest] == nil {
			blobs = append(blobs, b)
		}
		out.open[b.Digest] = open
	}
	for _, b := range img.BlockDevices {
		if tops[b.Device] == "" {
			continue
		}
		layers, err := n.layersBelow(ctx, tops[b.Device])
		if err != nil {
			return nil, fmt.Errorf("reading disk %s of %s: %w", b.Device, img.ID, err)
		}
		for _, l := range layers {
			chains[b.Device] = append(chains[b.Device], l.Content)
			add(plain(artifact.PlainLayerType, l.Content, l.Bytes), func() (io.ReadSeekCloser, error) { return disk.Portable(n.Layers.Path(l.ID)) })
		}
	}
	for _, digest := range img.Boot.Blobs() {
		path, err := n.Layers.BlobPath(digest)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("reading boot file %s of %s: %w", digest, img.ID, err)
		}
		add(plain(artifact.PlainBootType, digest, info.Size()), func() (io.ReadSeekCloser, error) { return os.Open(path) })
	}
	manifest, config, err := artifact.Encode(&artifact.Image{Config: artifact.NewConfig(img, chains), Blobs: blobs})
	if err != nil {
		return nil, err
	}
	out.manifest = manifest
	out.open[artifact.Digest(config)] = func() (io.ReadSeekCloser, error) { return memory{bytes.NewReader(config)}, nil }
	return out, nil
}

func plain(mediaType, content string, size int64) artifact.Blob {
	return artifact.Blob{MediaType: mediaType, Content: content, Size: size, Digest: content, BlobBytes: size}
}

// memory is a content that needs no closing.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }
