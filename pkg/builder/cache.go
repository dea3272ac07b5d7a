package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/component"
	"github.com/bundt/bundt/pkg/model"
)

// cacheFormat begins what keys are made of. It changes when the scripts that steps
// become do, or what is kept of a build.
const cacheFormat = "bundt build cache 1"

// maxOutputs is how much of what steps print an entry keeps: one whose steps print
// more is not kept, as the store's values are small.
const maxOutputs = 256 << 10

// Cache is where builds find what earlier ones have done already.
type Cache struct {
	cloud.CacheLimits
	// Measure gives the bytes that a layer takes on disk.
	Measure func(layer string) (int64, error)
}

// stretch is the build steps of one component, after which the instance is kept.
type stretch struct {
	component string
	end       int    // index of the step after its last
	key       string // of the cache
	volatile  bool   // it may give something else another time
}

// stretches divides build steps, on a base of this digest, by their components.
func stretches(base string, arch model.Arch, steps []component.Step) (out []stretch, err error) {
	key := digest(cacheFormat, base, string(arch))
	for i := range steps {
		if n := len(out); n == 0 || out[n-1].component != steps[i].Component {
			out = append(out, stretch{component: steps[i].Component})
		}
		step, err := steps[i].Digest()
		if err != nil {
			return nil, err
		}
		key = digest(key, step)
		last := &out[len(out)-1]
		last.key, last.end, last.volatile = key, i+1, last.volatile || steps[i].Volatile()
	}
	return out, nil
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// course is how a build goes through its build steps.
type course struct {
	stretches []stretch
	from      string    // image that the build instance is launched from
	done      int       // how many stretches are in it
	expires   time.Time // of what it goes on from; zero: never
	began     time.Time
	outputs   map[string]string
	keys      []string // that builds before logged in with, and that are in it still
}

// plot finds how much of the build steps the cache has.
func (j *job) plot(ctx context.Context, steps []component.Step) (*course, error) {
	c := &course{from: j.build.StageImage, began: j.Cloud.Now(), outputs: map[string]string{}}
	if j.Cache.Bytes == 0 || len(steps) == 0 {
		return c, nil
	}
	base, err := j.account.CacheBase(ctx, j.build.StageImage)
	if err != nil {
		return nil, err
	}
	if c.stretches, err = stretches(base, j.build.Arch, steps); err != nil || j.build.NoCache {
		return c, err
	}
	var keys []string
	for _, s := range c.stretches {
		keys = append(keys, s.key)
	}
	entry, image, err := j.account.ResumeBuild(ctx, &j.build, keys, c.began)
	if err != nil || image == "" {
		return c, err
	}
	c.from, c.expires, c.keys = image, entry.Expires, entry.LoginKeys
	maps.Copy(c.outputs, entry.Outputs)
	for c.done < len(keys) && keys[c.done] != entry.Key {
		c.done++
	}
	c.done++
	return c, j.steps.cached(ctx, steps[:c.stretches[c.done-1].end], "of "+entry.BuildID)
}

// first is the index of the first step that has to be run.
func (c *course) first() int {
	if c.done == 0 {
		return 0
	}
	return c.stretches[c.done-1].end
}

// passed is told of each step after which no step has failed so far, and keeps the
// instance at the end of a component. What comes after a component that is not kept
// is not kept either: its time to live is unknown.
func (j *job) passed(ctx context.Context, g *guest, c *course, step int) {
	if c.done >= len(c.stretches) || c.stretches[c.done].end != step+1 {
		return
	}
	s := c.stretches[c.done]
	expires := c.expires
	if at := j.Cloud.Now().Add(j.Cache.Volatile); s.volatile && (expires.IsZero() || at.Before(expires)) {
		expires = at
	}
	// A build is no worse for what could not be kept: the step's error says why.
	err := j.steps.doLogged(ctx, phaseImage, "keep "+s.component, func(log io.Writer) error {
		return j.keep(ctx, g, c, &s, expires, log)
	})
	if err != nil {
		c.stretches = nil
		return
	}
	c.done, c.expires = c.done+1, expires
}

func (j *job) keep(ctx context.Context, g *guest, c *course, s *stretch, expires time.Time, log io.Writer) error {
	size := 0
	for _, text := range c.outputs {
		size += len(text)
	}
	if size > maxOutputs {
		return fmt.Errorf("the steps have printed %d KiB, of which %d at most are kept", size>>10, maxOutputs>>10)
	}
	if g.session == nil {
		if err := j.connect(ctx, g); err != nil {
			return err
		}
	}
	// All that the steps have written is on the disk before its layer is frozen.
	if code, err := g.session.Run(ctx, "sync", false, log, log); err != nil || code != 0 {
		return fmt.Errorf("writing all to the disk: exit code %d, %w", code, err)
	}
	img, err := j.account.CheckpointBuild(ctx, &j.build, g.id)
	if err != nil {
		return err
	}
	if err := j.complete(ctx, img.ID); err != nil {
		return err
	}
	return j.account.KeepCached(ctx, model.CachedBuild{
		Key: s.key, Recipe: j.build.RecipeName, Component: s.component, Arch: j.build.Arch, BuildID: j.id, Depth: c.done + 1,
		Outputs: maps.Clone(c.outputs), Expires: expires, Used: c.began,
		LoginKeys: append(slices.Clone(c.keys), g.key.text()),
	}, img.ID, j.Cache.CacheLimits, j.Cache.Measure)
}
