// Command bench measures bundt's goals, each beside its floor in the same run,
// and prints ratios: absolute times of a shared machine say nothing. It writes
// everything to a JSON file and fails only when a measurement cannot be made.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/images"
)

// result is one goal's measurement.
type result struct {
	Goal   string  `json:"goal"`
	What   string  `json:"what"`
	Ours   float64 `json:"oursSeconds"`
	Floor  float64 `json:"floorSeconds"`
	Ratio  float64 `json:"ratio"`
	Upper  float64 `json:"ratioUpper95"` // bootstrap: the bound that counts
	Wanted float64 `json:"wanted"`
	Rounds int     `json:"rounds"`
}

// bench is what the measurements share.
type bench struct {
	daemon *harness.Daemon
	dir    string
	rounds int
	out    []result
}

func main() {
	output := flag.String("o", "bench.json", "file for the results")
	only := flag.String("only", "", "measure only the goals in this list, for instance P2,P12")
	rounds := flag.Int("rounds", 7, "measurements of each kind, interleaved with their floor's")
	flag.Parse()
	fill := func(ctx context.Context, b *bench) error {
		_, err := b.image(ctx, "tiny")
		if err == nil && wanted(*only, "I3") {
			_, err = b.image(ctx, debian)
		}
		return err
	}
	os.Exit(harness.Isolated(func() error { return withDaemon(0, fill) }, func() int {
		err := withDaemon(*rounds, func(ctx context.Context, b *bench) error { return b.all(ctx, *output, *only) })
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
		return 0
	}))
}

// wanted reports whether a list of goals has one of those of a measurement.
func wanted(list, goals string) bool {
	return list == "" || slices.ContainsFunc(strings.Split(list, ","), func(g string) bool { return slices.Contains(strings.Split(goals, ","), g) })
}

// withDaemon runs do with a daemon, whose bakes are cached from one run to the next.
func withDaemon(rounds int, do func(context.Context, *bench) error) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "bundt-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	d, err := harness.New(harness.Options{Bin: "bin", Dir: dir, Cache: filepath.Join(cache, "bundt-test"), Args: []string{"--import-from-host"}})
	if err != nil {
		return err
	}
	defer func() {
		if perr := d.Purge(); err == nil {
			err = perr
		}
	}()
	if err := d.Start(ctx); err != nil {
		return err
	}
	return do(ctx, &bench{daemon: d, dir: dir, rounds: rounds})
}

// image bakes a recipe of bundt's own.
func (b *bench) image(ctx context.Context, recipe string) (string, error) {
	fsys, err := images.FS(recipe)
	if err != nil {
		return "", err
	}
	return b.daemon.Build(ctx, fsys, "x86_64")
}

// measurement gives the results of some goals.
type measurement struct {
	goals string
	do    func(context.Context, string) error
}

func (b *bench) all(ctx context.Context, output, only string) error {
	image, err := b.image(ctx, "tiny")
	if err != nil {
		return err
	}
	for _, m := range []measurement{{"P4", b.overlays}, {"P8", b.writes}, {"V1,V2", b.chains}, {"V3,V4", b.plugs}, {"P1,P2,P12", b.launches}, {"P5", b.stalls}, {"P6,P7,P9", b.crowd}, {"N1,N2,N3,N4,N5", b.networks}, {"P11", b.imports}, {"I1", b.builds}, {"I2", b.pulls}, {"I3", b.diffs}} {
		if !wanted(only, m.goals) {
			continue
		}
		if err := m.do(ctx, image); err != nil {
			return err
		}
	}
	fmt.Printf("%-4s %-62s %10s %10s %7s %7s %7s\n", "goal", "what", "ours", "floor", "ratio", "<=95%", "wanted")
	for _, r := range b.out {
		fmt.Printf("%-4s %-62s %8.2fms %8.2fms %7.3f %7.3f %7.2f\n", r.Goal, r.What, r.Ours*1e3, r.Floor*1e3, r.Ratio, r.Upper, r.Wanted)
	}
	data, err := json.MarshalIndent(b.out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(output, append(data, '\n'), 0o644)
}

// add records pairs of measurements in seconds.
func (b *bench) add(goal, what string, wanted float64, ours, floor []float64) {
	r := result{Goal: goal, What: what, Ours: median(ours), Floor: median(floor), Wanted: wanted, Rounds: len(ours)}
	r.Ratio = r.Ours / r.Floor
	rng := rand.New(rand.NewPCG(1, 2))
	var boot []float64
	pick := func(from []float64) float64 {
		s := make([]float64, len(from))
		for i := range s {
			s[i] = from[rng.IntN(len(from))]
		}
		return median(s)
	}
	for range 2000 {
		boot = append(boot, pick(ours)/pick(floor))
	}
	slices.Sort(boot)
	r.Upper = boot[len(boot)*975/1000]
	b.out = append(b.out, r)
}

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// timed returns how long f took, in seconds.
func timed(f func() error) (float64, error) {
	start := time.Now()
	err := f()
	return time.Since(start).Seconds(), err
}
