//go:build vm

package layer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkOverlay compares CreateOverlay with qemu-img create and with one
// durable write, interleaved (goal P4).
func BenchmarkOverlay(b *testing.B) {
	for _, size := range []int64{gib, 16 << 40} {
		b.Run(fmt.Sprintf("%dGiB", size/gib), func(b *testing.B) { benchmarkOverlay(b, size) })
	}
}

func benchmarkOverlay(b *testing.B, size int64) {
	s := open(b)
	importFlat(b, s, "base", gib)
	dir := b.TempDir()
	floorFile, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer floorFile.Close()
	var own, theirs, floor []time.Duration
	i := 0
	for b.Loop() {
		i++
		own = append(own, timed(b, func() error {
			return s.CreateOverlay(b.Context(), fmt.Sprintf("own-%d", i), "base", size, "")
		}))
		theirs = append(theirs, timed(b, func() error {
			return exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", s.Path("base"),
				filepath.Join(dir, fmt.Sprintf("theirs-%d.qcow2", i)), fmt.Sprint(size)).Run()
		}))
		floor = append(floor, timed(b, func() error {
			if _, err := floorFile.Write(make([]byte, 4096)); err != nil {
				return err
			}
			return floorFile.Sync()
		}))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micros(own), "own-µs")
	b.ReportMetric(micros(theirs), "qemu-img-µs")
	b.ReportMetric(micros(floor), "fsync-µs")
	b.ReportMetric(micros(own)/micros(theirs), "own/qemu-img")
}

func timed(b *testing.B, fn func() error) time.Duration {
	start := time.Now()
	if err := fn(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func micros(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Nanoseconds()) / 1000
}
