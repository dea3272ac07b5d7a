// Package metrics owns the history of what instances and volumes use: which metrics
// there are, and their values in files of constant size. It imports no package of ours.
package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Metric is something that is measured, by CloudWatch's names
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_metrics_with_cloudwatch.html).
type Metric struct {
	Namespace, Name, Unit string
	Dimension             string // that names the resource
}

// Namespaces.
const (
	EC2   = "AWS/EC2"
	EBS   = "AWS/EBS"
	Bundt = "Bundt" // what CloudWatch does not measure
)

// The metrics of instances, in the order of their values.
const (
	CPUUtilization = iota
	MemoryResident
	EBSReadBytes
	EBSWriteBytes
	EBSReadOps
	EBSWriteOps
	NetworkIn
	NetworkOut
	NetworkPacketsIn
	NetworkPacketsOut
	instanceMetrics
)

// The metrics of volumes, in the order of their values.
const (
	VolumeReadBytes = iota
	VolumeWriteBytes
	VolumeReadOps
	VolumeWriteOps
	VolumeTotalReadTime
	VolumeTotalWriteTime
	volumeMetrics
)

// OfInstances lists the metrics of instances.
func OfInstances() []Metric {
	list := []Metric{
		{EC2, "CPUUtilization", "Percent", ""}, {Bundt, "MemoryResident", "Bytes", ""},
		{EC2, "EBSReadBytes", "Bytes", ""}, {EC2, "EBSWriteBytes", "Bytes", ""}, {EC2, "EBSReadOps", "Count", ""}, {EC2, "EBSWriteOps", "Count", ""},
		{EC2, "NetworkIn", "Bytes", ""}, {EC2, "NetworkOut", "Bytes", ""}, {EC2, "NetworkPacketsIn", "Count", ""}, {EC2, "NetworkPacketsOut", "Count", ""},
	}
	for i := range list {
		list[i].Dimension = "InstanceId"
	}
	return list
}

// OfVolumes lists the metrics of volumes.
func OfVolumes() []Metric {
	list := []Metric{
		{EBS, "VolumeReadBytes", "Bytes", ""}, {EBS, "VolumeWriteBytes", "Bytes", ""}, {EBS, "VolumeReadOps", "Count", ""}, {EBS, "VolumeWriteOps", "Count", ""},
		{EBS, "VolumeTotalReadTime", "Seconds", ""}, {EBS, "VolumeTotalWriteTime", "Seconds", ""},
	}
	for i := range list {
		list[i].Dimension = "VolumeId"
	}
	return list
}

// How long values are kept, and how finely.
const (
	FinePeriod   = time.Minute
	FineSlots    = 720 // 12 hours
	CoarsePeriod = 15 * time.Minute
	CoarseSlots  = 1440 // 15 days
)

const (
	magic     = "bundtms1"
	headerLen = 16
	valueLen  = 4 + 8 + 8 + 8 // count, sum, minimum, maximum
	slotHead  = 8             // seconds since 1970 at which the slot begins
)

// ErrBadID is of something that is no resource with metrics.
var ErrBadID = errors.New("not the id of an instance or a volume")

var ids = regexp.MustCompile(`^(i|vol)-[0-9a-f]{8,17}$`)

// Store keeps the values of resources, each in a file of about 300 or 500 KiB that never
// grows: a value for each minute of the last 12 hours, and for each 15 minutes of the last
// 15 days. What is written is not synchronised: a power cut may cost the last minutes.
// It is safe for concurrent use.
type Store struct {
	dir string
	mu  sync.Mutex
}

// Open keeps values in dir, which it makes.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the store of metrics: %w", err)
	}
	return &Store{dir: dir}, nil
}

// Point is what was measured in a period.
type Point struct {
	Time          time.Time // its beginning
	Sum, Min, Max float64
	Count         int
}

// Average is the mean of what was measured.
func (p *Point) Average() float64 { return p.Sum / float64(p.Count) }

func (p *Point) add(o Point) {
	if p.Count == 0 {
		p.Min, p.Max = o.Min, o.Max
	}
	p.Sum, p.Count, p.Min, p.Max = p.Sum+o.Sum, p.Count+o.Count, min(p.Min, o.Min), max(p.Max, o.Max)
}

// count is how many metrics a resource has.
func count(id string) (int, error) {
	switch {
	case !ids.MatchString(id):
		return 0, fmt.Errorf("%q: %w", id, ErrBadID)
	case id[0] == 'i':
		return instanceMetrics, nil
	}
	return volumeMetrics, nil
}

func (s *Store) path(id string) string { return filepath.Join(s.dir, id) }

// archive is one of the two parts of a file.
type archive struct {
	at, slots int64
	slotLen   int64
	period    time.Duration
}

func archives(metrics int) (fine, coarse archive) {
	slot := int64(slotHead + metrics*valueLen)
	fine = archive{headerLen, FineSlots, slot, FinePeriod}
	return fine, archive{headerLen + FineSlots*slot, CoarseSlots, slot, CoarsePeriod}
}

func (a archive) place(t time.Time) (begins, at int64) {
	n := t.Unix() / int64(a.period/time.Second)
	return n * int64(a.period/time.Second), a.at + n%a.slots*a.slotLen
}

// Record adds the values that were measured at a time, in the order of the resource's
// metrics; NaN for one that is not known.
func (s *Store) Record(id string, at time.Time, values []float64) error {
	n, err := count(id)
	if err != nil {
		return err
	}
	if len(values) != n {
		return fmt.Errorf("recording %d values of %s, which has %d metrics", len(values), id, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.open(id, n)
	if err != nil {
		return fmt.Errorf("recording what %s uses: %w", id, err)
	}
	defer f.Close()
	fine, coarse := archives(n)
	for _, a := range []archive{fine, coarse} {
		if err := a.add(f, at, values); err != nil {
			return fmt.Errorf("recording what %s uses: %w", id, err)
		}
	}
	return nil
}

// open opens the file of a resource, and begins it anew if it is not one.
func (s *Store) open(id string, metrics int) (*os.File, error) {
	f, err := os.OpenFile(s.path(id), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headerLen)
	want := binary.LittleEndian.AppendUint64([]byte(magic), uint64(metrics))
	if _, err := f.ReadAt(head, 0); err == nil && string(head) == string(want) {
		return f, nil
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(want, 0)
	}
	_, coarse := archives(metrics)
	if err == nil {
		err = f.Truncate(coarse.at + coarse.slots*coarse.slotLen)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (a archive) add(f *os.File, t time.Time, values []float64) error {
	begins, at := a.place(t)
	slot := make([]byte, a.slotLen)
	if _, err := f.ReadAt(slot, at); err != nil {
		return err
	}
	if int64(binary.LittleEndian.Uint64(slot)) != begins {
		clear(slot)
		binary.LittleEndian.PutUint64(slot, uint64(begins))
	}
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		p := readPoint(slot, i)
		p.add(Point{Sum: v, Min: v, Max: v, Count: 1})
		writePoint(slot, i, p)
	}
	_, err := f.WriteAt(slot, at)
	return err
}

func readPoint(slot []byte, i int) Point {
	b := slot[slotHead+i*valueLen:]
	number := func(at int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b[at:])) }
	return Point{Count: int(binary.LittleEndian.Uint32(b)), Sum: number(4), Min: number(12), Max: number(20)}
}

func writePoint(slot []byte, i int, p Point) {
	b := slot[slotHead+i*valueLen:]
	binary.LittleEndian.PutUint32(b, uint32(p.Count))
	for at, v := range map[int]float64{4: p.Sum, 12: p.Min, 20: p.Max} {
		binary.LittleEndian.PutUint64(b[at:], math.Float64bits(v))
	}
}

// Read returns the points of one of a resource's metrics from a time on until before
// another, in order, for periods that begin at multiples of their length. Periods in which
// nothing was measured have none. Values of before the last 12 hours are known by 15 minutes.
func (s *Store) Read(id string, metric int, from, to time.Time, period time.Duration, now time.Time) ([]Point, error) {
	n, err := count(id)
	if err != nil {
		return nil, err
	}
	if metric < 0 || metric >= n || period < time.Second {
		return nil, fmt.Errorf("reading metric %d of %s by %v", metric, id, period)
	}
	s.mu.Lock()
	b, err := os.ReadFile(s.path(id))
	s.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	fine, coarse := archives(n)
	if err == nil && int64(len(b)) != coarse.at+coarse.slots*coarse.slotLen {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("reading what %s used: %w", id, err)
	}
	a := fine
	if from.Before(now.Add(-FinePeriod * FineSlots)) {
		a = coarse
	}
	byTime := map[int64]*Point{}
	for i := range a.slots {
		slot := b[a.at+i*a.slotLen:][:a.slotLen]
		at := time.Unix(int64(binary.LittleEndian.Uint64(slot)), 0)
		p := readPoint(slot, metric)
		if at.Before(from) || !at.Before(to) || p.Count == 0 {
			continue
		}
		begins := at.Truncate(period).Unix()
		if byTime[begins] == nil {
			byTime[begins] = &Point{Time: time.Unix(begins, 0).UTC()}
		}
		byTime[begins].add(p)
	}
	var out []Point
	for _, p := range byTime {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Point) int { return a.Time.Compare(b.Time) })
	return out, nil
}

// Has tells whether anything was ever measured of a resource.
func (s *Store) Has(id string) bool {
	_, err := os.Stat(s.path(id))
	return err == nil && ids.MatchString(id)
}

// Sweep removes what nothing was added to since a time.
func (s *Store) Sweep(since time.Time) error {
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("looking for old metrics: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list {
		st, err := e.Info()
		if err == nil && st.ModTime().Before(since) && ids.MatchString(e.Name()) {
			err = os.Remove(s.path(e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing old metrics: %w", err)
		}
	}
	return nil
}
