package daemon

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	trimLook = 5 * time.Second
	// A daemon that collected its garbage at most so often since the last look is idle.
	trimIdle = 1
	// trimWorth is how much memory is worth a collection, if it is a quarter of what
	// is in use, too.
	trimWorth = 16 << 20
	// busyGrowth is GOGC of a daemon that works: what it takes more is given back.
	busyGrowth = 200
)

// trimMemory gives memory back to the host when the daemon is idle. While it
// works it collects garbage half as often as the runtime would by itself, which
// keeps about twice what is in use for ever.
func trimMemory(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(busyGrowth)
	}
	sample := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
	}
	tick := time.NewTicker(trimLook)
	defer tick.Stop()
	var last uint64 // collections
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
		if idle && free+garbage > max(trimWorth, live/4) {
			debug.FreeOSMemory()
			metrics.Read(sample[:1])
			last = sample[0].Value.Uint64()
		}
	}
}
