package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	trimLook = 5 * time.Second
	// A daemon that collected its garbage at most so often since the last look is idle.
	trimIdle = 1
	// trimWorth is how much memory is worth a collection.
	trimWorth = 16 << 20
)

// trimMemory gives memory back to the host when the daemon has become idle after
// a burst of work: the runtime alone keeps about twice what is in use.
func trimMemory(ctx context.Context) {
	sample := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
	}
	tick := time.NewTicker(trimLook)
	defer tick.Stop()
	var last, trimmed uint64 // collections
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		cycles, free, live, objects := sample[0].Value.Uint64(), sample[1].Value.Uint64(), sample[2].Value.Uint64(), sample[3].Value.Uint64()
		idle := cycles-last <= trimIdle
		last = cycles
		garbage := objects - min(live, objects)
		if idle && cycles != trimmed && free+garbage > trimWorth {
			debug.FreeOSMemory()
			metrics.Read(sample[:1])
			last = sample[0].Value.Uint64()
			trimmed = last
		}
	}
}
