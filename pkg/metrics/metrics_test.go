package metrics_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/metrics"
)

const (
	instance = "i-0123456789abcdef0"
	volume   = "vol-0123456789abcdef0"
)

func values(first float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	out[0] = first
	return out
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s, err := metrics.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	now := begin.Add(20 * time.Hour)
	if got, err := s.Read(instance, 0, begin, now, time.Minute, now); err != nil || got != nil || s.Has(instance) {
		t.Errorf("of nothing there is %v, %v", got, err)
	}
	for i := range 20 * 60 { // more than a day's slots have room for
		if err := s.Record(instance, begin.Add(time.Duration(i)*time.Minute), values(float64(i), len(metrics.OfInstances()))); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = metrics.Open(dir); err != nil { // as after a restart
		t.Fatal(err)
	}
	recent, err := s.Read(instance, metrics.CPUUtilization, now.Add(-5*time.Minute), now, time.Minute, now)
	if err != nil || len(recent) != 5 || recent[0].Average() != 1195 || recent[4].Max != 1199 || !recent[4].Time.Equal(now.Add(-time.Minute)) {
		t.Errorf("the last five minutes are %+v, %v", recent, err)
	}
	five, err := s.Read(instance, 0, now.Add(-10*time.Minute), now, 5*time.Minute, now)
	if err != nil || len(five) != 2 || five[0].Count != 5 || five[0].Sum != 1190+1191+1192+1193+1194 || five[0].Min != 1190 || five[0].Max != 1194 {
		t.Errorf("by five minutes: %+v, %v", five, err)
	}
	old, err := s.Read(instance, 0, begin, begin.Add(time.Hour), time.Minute, now)
	if err != nil || len(old) != 4 || old[1].Count != 15 || old[1].Min != 15 || old[1].Max != 29 {
		t.Errorf("of before it is known by 15 minutes: %+v, %v", old, err)
	}
	if got, err := s.Read(instance, metrics.NetworkIn, begin, now, time.Hour, now); err != nil || len(got) != 0 {
		t.Errorf("what was not known is %+v, %v", got, err)
	}
	st, err := os.Stat(filepath.Join(dir, instance))
	if err != nil || st.Size() > 700<<10 {
		t.Errorf("it takes %d bytes, %v", st.Size(), err)
	}
}

func TestStoreRefuses(t *testing.T) {
	dir := t.TempDir()
	s, err := metrics.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, id := range []string{"", "i-", "../i-0123456789abcdef0", "snap-0123456789abcdef0"} {
		if err := s.Record(id, now, values(1, 10)); !errors.Is(err, metrics.ErrBadID) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := s.Record(volume, now, values(1, 10)); err == nil {
		t.Error("a volume has an instance's metrics")
	}
	// What is no such file is begun anew, and refused when read.
	if err := os.WriteFile(filepath.Join(dir, volume), []byte("else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(volume, 0, now.Add(-time.Hour), now, time.Minute, now); err == nil {
		t.Error("a damaged file was read")
	}
	if err := s.Record(volume, now, values(7, len(metrics.OfVolumes()))); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(volume, 0, now.Add(-time.Hour), now.Add(time.Minute), time.Hour, now); err != nil || len(got) == 0 || got[len(got)-1].Sum != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := s.Sweep(now.Add(-time.Hour)); err != nil || !s.Has(volume) {
		t.Errorf("sweeping removed what is new: %v", err)
	}
	if err := s.Sweep(now.Add(time.Hour)); err != nil || s.Has(volume) {
		t.Errorf("sweeping left what is old: %v", err)
	}
}
