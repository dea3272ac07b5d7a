package node_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/metrics"
	"github.com/bundt/bundt/pkg/model"
)

// TestMeasure measures a simulated guest, which keeps a quarter of a processor busy.
func TestMeasure(t *testing.T) {
	w := newWorld(t)
	w.stop()
	var err error
	if w.metrics, err = metrics.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	w.start()
	image := w.build().ID
	inst := w.wait(w.run(image).ID, model.InstanceRunning)
	read := func(id string, metric int) (metrics.Point, error) {
		now := time.Now()
		points, err := w.metrics.Read(id, metric, now.Add(-time.Hour), now.Add(time.Minute), time.Hour, now)
		if err == nil && (len(points) == 0 || points[len(points)-1].Count < 3) {
			err = errors.New("there are not enough values yet")
		}
		if err != nil {
			return metrics.Point{}, err
		}
		return points[len(points)-1], nil
	}
	w.eventually("measure its processor", func() error {
		p, err := read(inst.ID, metrics.CPUUtilization)
		if err == nil && (p.Average() < 20 || p.Average() > 30) {
			err = fmt.Errorf("it used %.1f%%", p.Average())
		}
		return err
	})
	if p, err := read(inst.ID, metrics.MemoryResident); err != nil || p.Max < 1<<20 {
		t.Errorf("memory: %+v, %v", p, err)
	}
	w.eventually("measure its volume", func() error {
		p, err := read(inst.Volumes[0].VolumeID, metrics.VolumeWriteBytes)
		if err == nil && p.Sum < 4096 {
			err = fmt.Errorf("it wrote %v bytes", p.Sum)
		}
		return err
	})
	of, err := read(inst.ID, metrics.EBSWriteBytes)
	if err != nil || of.Sum < 4096 {
		t.Errorf("what its volumes wrote is %+v, %v", of, err)
	}
}
