package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkPut compares a durable write with one append and fdatasync of the
// same size, interleaved (goal P8).
func BenchmarkPut(b *testing.B) {
	s := open(b, Options{})
	f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	v := record{ID: "r", Data: fmt.Sprintf("%0500d", 1)}
	block := []byte(v.Data)
	var own, floor []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := s.Update(b.Context(), func(tx *Tx) error { return records.Put(tx, &v) }); err != nil {
			b.Fatal(err)
		}
		own = append(own, time.Since(start))
		start = time.Now()
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		floor = append(floor, time.Since(start))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(quantile(own, 0.5), "put-p50-µs")
	b.ReportMetric(quantile(own, 0.99), "put-p99-µs")
	b.ReportMetric(quantile(floor, 0.5), "fdatasync-p50-µs")
	b.ReportMetric(quantile(floor, 0.99), "fdatasync-p99-µs")
	b.ReportMetric(quantile(own, 0.5)/quantile(floor, 0.5), "ratio-p50")
}

// BenchmarkPut64 writes from 64 clients at once; each writes its own objects.
func BenchmarkPut64(b *testing.B) {
	s := open(b, Options{})
	const writers = 64
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			v := record{ID: fmt.Sprint(w), Data: fmt.Sprintf("%0500d", w)}
			for n.Add(1) <= int64(b.N) {
				if err := s.Update(b.Context(), func(tx *Tx) error { return records.Put(tx, &v) }); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkGet reads one object in a transaction of its own.
func BenchmarkGet(b *testing.B) {
	s := open(b, Options{})
	v := record{ID: "r", Data: fmt.Sprintf("%0500d", 1)}
	if err := s.Update(b.Context(), func(tx *Tx) error { return records.Put(tx, &v) }); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.View(b.Context(), func(tx *Tx) error {
			_, err := records.Get(tx, "r")
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}

type record struct{ ID, Data string }

var records = NewCollection("records", func(r *record) string { return r.ID })

func quantile(d []time.Duration, q float64) float64 {
	slices.Sort(d)
	return float64(d[int(q*float64(len(d)-1))].Nanoseconds()) / 1000
}
