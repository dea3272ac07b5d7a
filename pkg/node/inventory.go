package node

import (
	"context"
	"fmt"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Item is one thing that bundt has on this host.
type Item struct {
	Kind      string // "process", "port", "layer", "blob"
	ID        string
	Path      string
	PID       int
	Owner     string // id of the object that it belongs to, "" for an orphan
	Orphan    bool
	SizeBytes int64 // bytes that it takes on disk
}

// Inventory compares what is on this host with what the records call for.
func (n *Node) Inventory(ctx context.Context) ([]Item, error) {
	var use usage
	insts := map[string]model.Instance{}
	ports := map[string]string{}
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		if use, err = readUsage(tx); err != nil {
			return err
		}
		all, err := records.Instances.List(tx)
		for _, i := range all {
			if i.State != model.InstanceTerminated {
				insts[i.ID] = i
				for _, nic := range i.Interfaces() {
					ports[nic.ID] = i.ID
				}
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	machines, err := n.Driver.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing machines: %w", err)
	}
	var out []Item
	for _, m := range machines {
		_, ok := insts[m.ID]
		out = append(out, owned(Item{Kind: "process", ID: m.ID, PID: m.PID}, m.ID, ok))
	}
	st, err := n.Datapath.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the network: %w", err)
	}
	for id := range st.Ports {
		out = append(out, owned(Item{Kind: "port", ID: id}, ports[id], ports[id] != ""))
	}
	files, err := n.inventoryFiles(use)
	return append(out, files...), err
}

func (n *Node) inventoryFiles(use usage) ([]Item, error) {
	var out []Item
	layers, err := n.Layers.List()
	if err != nil {
		return nil, fmt.Errorf("listing layers: %w", err)
	}
	for _, id := range layers {
		out = append(out, owned(Item{Kind: "layer", ID: id, Path: n.Layers.Path(id)}, id, use.layers[id] || n.isPinned(id)))
	}
	blobs, err := n.Layers.ListBlobs()
	if err != nil {
		return nil, fmt.Errorf("listing blobs: %w", err)
	}
	for _, b := range blobs {
		out = append(out, owned(Item{Kind: "blob", ID: b}, b, use.blobs[b] || n.isPinned(b) || n.awaitsUse(b)))
	}
	return out, nil
}

func owned(it Item, owner string, ok bool) Item {
	it.Orphan = !ok
	if ok {
		it.Owner = owner
	}
	return it
}
