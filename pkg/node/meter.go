package node

import (
	"cmp"
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/metrics"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/network"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

const (
	// metersAtOnce bounds how many machines are asked at a time.
	metersAtOnce = 8
	// meterTime bounds how long one may take to answer.
	meterTime = 5 * time.Second
	// metricsKept is how long the values of what is gone stay.
	metricsKept = metrics.CoarseSlots * metrics.CoarsePeriod
)

// measure asks every running machine of this node, once a minute, for what it has used, and
// keeps what that is since the last time.
func (n *Node) measure(ctx context.Context) {
	meter, ok := n.Driver.(hypervisor.Meter)
	if !ok || n.Metrics == nil {
		return
	}
	every := cmp.Or(n.MeasureEvery, metrics.FinePeriod)
	m := &meters{Node: n, driver: meter, last: map[string]reading{}}
	for {
		next := n.Now().Truncate(every).Add(every)
		select {
		case <-ctx.Done():
			return
		case <-time.After(next.Sub(n.Now())):
		}
		if err := m.round(ctx); err != nil && ctx.Err() == nil {
			n.Logger.Warn("measuring what instances use", "err", err)
		}
	}
}

// meters remembers what was read last.
type meters struct {
	*Node
	driver hypervisor.Meter
	mu     sync.Mutex
	last   map[string]reading
	swept  time.Time
}

// reading is what the counters of an instance were at a time.
type reading struct {
	at    time.Time
	usage hypervisor.Usage
	ports map[string]network.PortStatus
}

func (m *meters) round(ctx context.Context) error {
	var running []model.Instance
	err := m.Store.View(ctx, func(tx *store.Tx) error {
		running = running[:0]
		insts, err := records.Instances.List(tx)
		for _, i := range insts {
			if i.Node == m.ID && i.State == model.InstanceRunning {
				running = append(running, i)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	ports, err := m.Datapath.Status(ctx)
	if err != nil {
		m.Logger.Debug("asking the network what instances sent", "err", err)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, metersAtOnce)
	now := map[string]reading{}
	for i := range running {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r, ok := m.read(ctx, &running[i], ports)
			if ok {
				m.mu.Lock()
				now[running[i].ID] = r
				m.mu.Unlock()
			}
		})
	}
	wg.Wait()
	var problems []error
	for i := range running {
		id := running[i].ID
		before, known := m.last[id]
		after, ok := now[id]
		if !known || !ok || after.usage.CPU < before.usage.CPU { // it began anew
			continue
		}
		problems = append(problems, m.record(&running[i], before, after))
	}
	m.last = now
	if at := m.Now(); at.Sub(m.swept) > time.Hour {
		m.swept = at
		problems = append(problems, m.Metrics.Sweep(at.Add(-metricsKept)))
	}
	return errors.Join(problems...)
}

// read asks for the counters of an instance. One that does not answer is asked again in the next round.
func (m *meters) read(ctx context.Context, inst *model.Instance, ports network.Status) (reading, bool) {
	ctx, cancel := context.WithTimeout(ctx, meterTime)
	defer cancel()
	u, err := m.driver.Usage(ctx, inst.ID)
	if err != nil {
		m.Logger.Debug("asking what an instance uses", "instance", inst.ID, "err", err)
		return reading{}, false
	}
	r := reading{at: m.Now(), usage: u, ports: map[string]network.PortStatus{}}
	for _, nic := range inst.Interfaces() {
		if p, ok := ports.Ports[nic.ID]; ok {
			r.ports[nic.ID] = p
		}
	}
	return r, true
}

// record keeps what lies between two readings, at the middle of the time between them.
func (m *meters) record(inst *model.Instance, before, after reading) error {
	at := before.at.Add(after.at.Sub(before.at) / 2)
	values := make([]float64, len(metrics.OfInstances()))
	values[metrics.CPUUtilization] = math.NaN()
	if typ, ok := model.InstanceTypeByName(inst.Type); ok && after.at.After(before.at) {
		available := after.at.Sub(before.at).Seconds() * float64(inst.Options.VCPUs(typ))
		values[metrics.CPUUtilization] = min(100, 100*(after.usage.CPU-before.usage.CPU).Seconds()/available)
	}
	values[metrics.MemoryResident] = float64(after.usage.Memory)
	var problems []error
	for id, disk := range after.usage.Disks {
		was, ok := before.usage.Disks[id]
		if !ok || disk.Reads < was.Reads || disk.Writes < was.Writes {
			was = hypervisor.DiskUsage{}
		}
		of := volumeValues(was, disk)
		values[metrics.EBSReadBytes] += of[metrics.VolumeReadBytes]
		values[metrics.EBSWriteBytes] += of[metrics.VolumeWriteBytes]
		values[metrics.EBSReadOps] += of[metrics.VolumeReadOps]
		values[metrics.EBSWriteOps] += of[metrics.VolumeWriteOps]
		problems = append(problems, m.Metrics.Record(id, at, of))
	}
	for id, port := range after.ports {
		was := before.ports[id]
		values[metrics.NetworkIn] += grown(was.Received.Bytes, port.Received.Bytes)
		values[metrics.NetworkOut] += grown(was.Sent.Bytes, port.Sent.Bytes)
		values[metrics.NetworkPacketsIn] += grown(was.Received.Packets, port.Received.Packets)
		values[metrics.NetworkPacketsOut] += grown(was.Sent.Packets, port.Sent.Packets)
	}
	return errors.Join(append(problems, m.Metrics.Record(inst.ID, at, values))...)
}

func volumeValues(was, is hypervisor.DiskUsage) []float64 {
	values := make([]float64, len(metrics.OfVolumes()))
	values[metrics.VolumeReadBytes] = float64(is.ReadBytes - was.ReadBytes)
	values[metrics.VolumeWriteBytes] = float64(is.WrittenBytes - was.WrittenBytes)
	values[metrics.VolumeReadOps] = float64(is.Reads - was.Reads)
	values[metrics.VolumeWriteOps] = float64(is.Writes - was.Writes)
	values[metrics.VolumeTotalReadTime] = (is.ReadTime - was.ReadTime).Seconds()
	values[metrics.VolumeTotalWriteTime] = (is.WriteTime - was.WriteTime).Seconds()
	return values
}

// grown is by how much a counter has grown, which may have begun anew.
func grown(was, is uint64) float64 {
	if is < was {
		return float64(is)
	}
	return float64(is - was)
}
