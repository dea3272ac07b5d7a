package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const (
	// scrubEvery is how often the node looks for a layer to check.
	scrubEvery = time.Minute
	// scrubAge is how old a layer's check may become.
	scrubAge = 7 * 24 * time.Hour
	// scrubRate bounds reading in the background, in bytes per second.
	scrubRate = 32 << 20
)

// LayerCheck is what became of a layer's check.
type LayerCheck struct {
	State   LayerState
	Message string
	Bytes   int64
	Checked time.Time
}

// LayerState is a verdict on a layer.
type LayerState string

// The verdicts.
const (
	LayerOK       LayerState = "ok"
	LayerDamaged  LayerState = "damaged"
	LayerRecorded LayerState = "recorded" // its digest was not known, and is from now on
	LayerInUse    LayerState = "in-use"   // it is written to: its header alone was read
)

// CheckLayer reads a frozen layer and compares it with what it was when it was read
// first, and of one that is written to the header. What it finds out is kept.
func (n *Node) CheckLayer(ctx context.Context, id string) (LayerCheck, error) {
	return n.checkLayer(ctx, id, 0)
}

func (n *Node) checkLayer(ctx context.Context, id string, bytesPerSecond int64) (c LayerCheck, err error) {
	var l model.Layer
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		l, err = records.Layers.Get(tx, id)
		return err
	})
	if err != nil {
		return c, err
	}
	c.Checked = n.Now().UTC()
	sum, damage := "", ""
	if !l.Frozen {
		c.State = LayerInUse
		if _, err := n.Layers.Info(id); errors.Is(err, layer.ErrNotFound) {
			if damage, err = n.vanished(ctx, id); err != nil {
				return c, err
			}
		} else if err != nil {
			damage = err.Error()
		}
	} else {
		sum, c.Bytes, err = n.sumLayer(ctx, id, bytesPerSecond)
		switch {
		case errors.Is(err, layer.ErrNotFound):
			damage = errVanished.Error()
		case err != nil && ctx.Err() != nil:
			return c, err
		case err != nil:
			damage = err.Error()
		case l.Sum == "":
			c.State = LayerRecorded
		case sum != l.Sum:
			damage = fmt.Sprintf("its content has changed: it was sha256:%s and is sha256:%s", l.Sum, sum)
		default:
			c.State = LayerOK
		}
	}
	if damage != "" {
		c.State, c.Message = LayerDamaged, damage
		n.Logger.Error("a layer is damaged", "layer", id, "damage", damage)
	}
	return c, n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.Layers.Get(tx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.Frozen != l.Frozen {
			return nil
		}
		if err != nil {
			return err
		}
		if now.Sum == "" && damage == "" {
			now.Sum = sum
		}
		now.Checked, now.Damage = c.Checked, damage
		return records.Layers.Put(tx, &now)
	})
}

// vanished says what is wrong with a head that has no file: nothing, if its volume is
// being made, or its instance has not started yet.
func (n *Node) vanished(ctx context.Context, head string) (damage string, err error) {
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		damage = ""
		vols, err := records.Volumes.List(tx)
		for _, v := range vols {
			if v.Head != head || v.State != model.VolumeAvailable && v.State != model.VolumeInUse {
				continue
			}
			damage = errVanished.Error()
			if v.Attachment == nil {
				continue
			}
			inst, err := records.Instances.Get(tx, v.Attachment.InstanceID)
			if err == nil && madeFor(&inst)(&v) {
				damage = ""
			}
		}
		return err
	})
	return damage, err
}

// sumLayer is the digest of a layer's file, in hexadecimal.
func (n *Node) sumLayer(ctx context.Context, id string, bytesPerSecond int64) (string, int64, error) {
	info, err := n.Layers.Info(id)
	if err != nil {
		return "", 0, err
	}
	if !info.Frozen {
		return "", 0, fmt.Errorf("its file can be written to")
	}
	f, err := os.Open(n.Layers.Path(id))
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, &slowReader{contextReader{ctx, f}, bytesPerSecond, time.Now()})
	return hex.EncodeToString(sum.Sum(nil)), size, err
}

// slowReader reads no faster than it is told, 0 for as fast as it can.
type slowReader struct {
	contextReader
	perSecond int64
	free      time.Time // when the next byte may be read
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.perSecond > 0 {
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-time.After(time.Until(r.free)):
		}
	}
	k, err := r.contextReader.Read(p)
	if r.perSecond > 0 {
		r.free = time.Now().Add(time.Duration(k) * time.Second / time.Duration(r.perSecond))
	}
	return k, err
}

// scrub checks frozen layers one after the other, those first that never were.
func (n *Node) scrub(ctx context.Context) {
	tick := time.NewTicker(scrubEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for {
			id, err := n.scrubNext(ctx)
			if err == nil && id != "" {
				_, err = n.checkLayer(ctx, id, scrubRate)
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
				n.Logger.Error("checking a layer failed, trying again later", "layer", id, "error", err)
			}
			if id == "" || err != nil {
				break
			}
		}
	}
}

// scrubNext is the frozen layer whose check is due most, "" if none is.
func (n *Node) scrubNext(ctx context.Context) (id string, err error) {
	due := n.Now().Add(-scrubAge)
	err = n.Store.View(ctx, func(tx *store.Tx) error {
		layers, err := records.Layers.List(tx)
		oldest := due
		id = ""
		for _, l := range layers {
			if l.Frozen && l.Node == n.ID && l.Checked.Before(oldest) {
				id, oldest = l.ID, l.Checked
			}
		}
		return err
	})
	return id, err
}
