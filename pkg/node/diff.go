package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/imagediff"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/rootfs"
)

// maxDiffs are computed at a time: each reads disks as fast as it can.
const maxDiffs = 2

// Diff compares the root file systems of two disks, given by their frozen layers, and
// returns the chains of both, the last layer first.
func (n *Node) Diff(ctx context.Context, before, after string, o imagediff.Options) (r *imagediff.Result, chains [2][]layer.Info, err error) {
	select {
	case n.diffs <- struct{}{}:
		defer func() { <-n.diffs }()
	case <-ctx.Done():
		return nil, chains, ctx.Err()
	}
	var disks [2]*disk.Chain
	for i, id := range []string{before, after} {
		if chains[i], disks[i], err = n.openChain(ctx, id); err != nil {
			return nil, chains, err
		}
		defer disks[i].Close()
	}
	var systems [2]*rootfs.FS
	for i, d := range disks {
		systems[i], err = rootfs.Open(d, d.Size())
		if errors.Is(err, rootfs.ErrUnknown) {
			return nil, chains, model.Errorf(model.CodeUnsupportedOperation, "The %s disk cannot be compared: %v", []string{"first", "second"}[i], err)
		}
		if err != nil {
			return nil, chains, fmt.Errorf("opening the %s disk: %w", []string{"first", "second"}[i], err)
		}
	}
	o.SameOrigin = slices.ContainsFunc(chains[0], func(a layer.Info) bool {
		return slices.ContainsFunc(chains[1], func(b layer.Info) bool { return a.ID == b.ID })
	})
	r, err = imagediff.Compare(ctx, systems[0], systems[1], o)
	return r, chains, err
}

// openChain opens a layer over its parents.
func (n *Node) openChain(ctx context.Context, id string) (infos []layer.Info, d *disk.Chain, err error) {
	ids, err := n.Layers.Chain(id)
	if err != nil {
		return nil, nil, err
	}
	files, err := n.chainFiles(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		info, err := n.Layers.Info(id)
		if err != nil {
			return nil, nil, err
		}
		infos = append(infos, info)
	}
	d, err = disk.OpenChain(files)
	return infos, d, err
}
