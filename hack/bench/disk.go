package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/store"
)

// overlays is P4: a durable root volume against qemu-img create, and a huge one
// against a small one.
func (b *bench) overlays(ctx context.Context, _ string) error {
	dir := filepath.Join(b.dir, "p4")
	layers, err := layer.Open(dir)
	if err != nil {
		return err
	}
	base := filepath.Join(b.dir, "base.qcow2")
	if err := disk.WriteOverlay(base, disk.Overlay{SizeBytes: 1 << 30}); err != nil {
		return err
	}
	const baseID = "layer-00000000000000000"
	if _, err := layers.Import(ctx, baseID, base); err != nil {
		return err
	}
	var small, large, qemu []float64
	for i := range 5 * b.rounds {
		for _, m := range []struct {
			size int64
			into *[]float64
		}{{1 << 30, &small}, {16 << 40, &large}} {
			id := fmt.Sprintf("layer-%017x", 1+2*i+int(m.size>>40&1))
			if m.size > 1<<40 {
				id = fmt.Sprintf("layer-f%016x", i)
			}
			t, err := timed(func() error { return layers.CreateOverlay(ctx, id, baseID, m.size, "") })
			if err != nil {
				return err
			}
			*m.into = append(*m.into, t)
		}
		t, err := timed(func() error {
			return exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", layers.Path(baseID), filepath.Join(b.dir, fmt.Sprintf("q%d", i)), "1G").Run()
		})
		if err != nil {
			return fmt.Errorf("running qemu-img: %w", err)
		}
		qemu = append(qemu, t)
	}
	b.add("P4", "durable root volume of 1 GiB / qemu-img create", 0.08, small, qemu)
	b.add("P4", "root volume of 16 TiB / of 1 GiB", 1.05, large, small)
	return nil
}

type thing struct {
	ID   string
	Data []byte
}

// writes is P8: a durable write of the store against one append and fdatasync,
// and 64 writers against one.
func (b *bench) writes(ctx context.Context, _ string) (err error) {
	s, err := store.Open(ctx, store.Options{Dir: filepath.Join(b.dir, "p8"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	things := store.NewCollection("things", func(t *thing) string { return t.ID })
	put := func(id string) error {
		return s.Update(ctx, func(tx *store.Tx) error { return things.Put(tx, &thing{ID: id, Data: make([]byte, 512)}) })
	}
	f, err := os.Create(filepath.Join(b.dir, "floor"))
	if err != nil {
		return err
	}
	defer f.Close()
	var ours, floor []float64
	for i := range 50 * b.rounds {
		t, err := timed(func() error { return put(fmt.Sprintf("x%d", i)) })
		if err != nil {
			return err
		}
		ours = append(ours, t)
		t, err = timed(func() error {
			if _, err := f.Write(make([]byte, 700)); err != nil {
				return err
			}
			return fdatasync(f)
		})
		if err != nil {
			return err
		}
		floor = append(floor, t)
	}
	b.add("P8", "durable write / append + fdatasync", 2, ours, floor)
	const writers, each = 64, 50
	var serial, crowd []float64
	for range b.rounds {
		t, err := timed(func() error {
			for i := range each {
				if err := put(fmt.Sprintf("s%d", i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		serial = append(serial, t/each)
		errs := make(chan error, writers)
		t, err = timed(func() error {
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						if err := put(fmt.Sprintf("w%d-%d", w, i)); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			wg.Wait()
			close(errs)
			return <-errs
		})
		if err != nil {
			return err
		}
		crowd = append(crowd, t/(writers*each))
	}
	b.add("P8", "a write among 64 writers / a write alone (goal: 20 times faster)", 0.05, crowd, serial)
	return nil
}
