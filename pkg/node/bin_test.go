package node_test

import (
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

func TestRecycleBinKeepsLayersUntilItIsEmptied(t *testing.T) {
	w := newWorld(t)
	img := w.build()
	if err := w.cloud.SetImageRetention(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := w.cloud.DeregisterImage(t.Context(), img.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := w.node.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.clean(1)
	if err := w.cloud.RestoreImage(t.Context(), img.ID); err != nil {
		t.Fatal(err)
	}
	i := w.run(img.ID)
	w.wait(i.ID, model.InstanceRunning)
	if _, err := w.cloud.Terminate(t.Context(), []string{i.ID}); err != nil {
		t.Fatal(err)
	}
	w.wait(i.ID, model.InstanceTerminated)

	if _, err := w.cloud.DeregisterImage(t.Context(), img.ID, true); err != nil {
		t.Fatal(err)
	}
	err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		b, err := records.BinImages.Get(tx, img.ID)
		if err != nil {
			return err
		}
		b.Exits = time.Now()
		return records.BinImages.Put(tx, &b)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.node.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.clean(0)
	if snaps, err := w.cloud.FindSnapshots(t.Context(), nil); err != nil || len(snaps) != 0 {
		t.Errorf("its snapshots are still there: %v, %v", snaps, err)
	}
}
