package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// importBytes is the disk that P11 imports, without any zeros.
const importBytes = 512 << 20

// believed is the age from which the daemon believes that a file is the one it read.
const believed = 1100 * time.Millisecond

// imports is P11: importing a raw disk against cp, both until it is on stable storage,
// and importing it again against the start of a QEMU (G).
func (b *bench) imports(ctx context.Context, _ string) error {
	account, err := b.daemon.Bundt(ctx, "account", "ls", "-o", "name")
	if err != nil {
		return err
	}
	dir := filepath.Join(b.daemon.Data(), "buckets", strings.Fields(account)[0], "bench")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, copied := filepath.Join(dir, "disk.raw"), filepath.Join(b.dir, "copied")
	if err := writeRandom(raw, importBytes); err != nil {
		return err
	}
	var first, floor, again, greeting []float64
	for i := range b.rounds {
		now := time.Now()
		if err := os.Chtimes(raw, now, now); err != nil { // another state, which was not read before
			return err
		}
		time.Sleep(believed)
		for _, into := range []*[]float64{&first, &again} {
			id, t, err := b.importRaw(ctx, "bench/disk.raw")
			if err != nil {
				return err
			}
			*into = append(*into, t)
			defer func() { _, _ = b.daemon.API.DeregisterImage(ctx, &ec2types.DeregisterImageInput{ImageId: &id}) }()
		}
		t, err := timed(func() error {
			return errors.Join(exec.CommandContext(ctx, "cp", raw, copied).Run(), exec.CommandContext(ctx, "sync", copied).Run())
		})
		if err != nil {
			return fmt.Errorf("copying: %w", err)
		}
		floor = append(floor, t)
		if err := os.Remove(copied); err != nil {
			return err
		}
		if t, err = b.greeting(ctx, i); err != nil {
			return err
		}
		greeting = append(greeting, t)
	}
	b.add("P11", fmt.Sprintf("import of a raw disk of %d MiB / cp and sync", importBytes>>20), 1.10, first, floor)
	b.add("P11", "importing it again / exec to QMP greeting (G)", 0.5, again, greeting)
	return nil
}

func writeRandom(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	for at := int64(0); at < size && err == nil; at += int64(len(chunk)) {
		_, _ = rand.Read(chunk)
		_, err = f.Write(chunk)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// importRaw imports a file of the account's buckets and tells how long that took.
func (b *bench) importRaw(ctx context.Context, key string) (image string, seconds float64, err error) {
	seconds, err = timed(func() error {
		out, err := b.daemon.API.ImportImage(ctx, &ec2types.ImportImageInput{
			Architecture: new("x86_64"), BootMode: new("legacy-bios"),
			DiskContainers: []ec2types.ImageDiskContainer{{Url: new("s3://" + key), Format: new("RAW")}},
		})
		if err != nil {
			return err
		}
		for {
			found, err := b.daemon.API.DescribeImportImageTasks(ctx, &ec2types.DescribeImportImageTasksInput{ImportTaskIds: []string{*out.ImportTaskId}})
			if err != nil {
				return err
			}
			switch t := found.ImportImageTasks[0]; *t.Status {
			case "completed":
				image = *t.ImageId
				return nil
			case "active":
				time.Sleep(200 * time.Microsecond)
			default:
				return fmt.Errorf("the import is %s: %s", *t.Status, ec2types.Value(t.StatusMessage))
			}
		}
	})
	return image, seconds, err
}

// greeting is G: exec of a QEMU without a guest to its QMP greeting.
func (b *bench) greeting(ctx context.Context, n int) (float64, error) {
	qmp := filepath.Join(b.daemon.Run(), fmt.Sprintf("g%d.qmp", n))
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-M", "q35", "-accel", "tcg", "-m", benchMemory, "-display", "none", "-qmp", "unix:"+qmp+",server=on,wait=off")
	t, err := timed(func() error {
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting QEMU: %w", err)
		}
		return greet(ctx, qmp)
	})
	if cmd.Process != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
	return t, err
}

// builds is I1: baking the tiny image when all that it is made of is in the cache,
// against baking it with the files alone that come from the archive.
func (b *bench) builds(ctx context.Context, _ string) error {
	fsys, err := images.FS("tiny")
	if err != nil {
		return err
	}
	rec, err := recipe.Load(fsys)
	if err != nil {
		return err
	}
	const downloads = "sha256"
	var cold, cached []float64
	for i := range b.rounds {
		cache := filepath.Join(b.dir, fmt.Sprintf("cache%d", i))
		if err := os.CopyFS(filepath.Join(cache, downloads), os.DirFS(filepath.Join(b.daemon.Cache, downloads))); err != nil {
			return err
		}
		for j, into := range []*[]float64{&cold, &cached} {
			work := filepath.Join(b.dir, fmt.Sprintf("bake%d-%d", i, j))
			if err := os.Mkdir(work, 0o700); err != nil {
				return err
			}
			t, err := timed(func() error {
				_, err := bake.Bake(ctx, bake.Request{Recipe: rec, Context: fsys, Arch: model.X8664, CacheDir: cache, WorkDir: work})
				return err
			})
			if err != nil {
				return err
			}
			*into = append(*into, t)
			if err := os.RemoveAll(work); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(cache); err != nil {
			return err
		}
	}
	b.add("I1", "build of the tiny image, all its parts cached / only what was downloaded", 0.5, cached, cold)
	return nil
}

// pulls is I2: pulling an image whose layers the account has, against pulling it into
// an account that has nothing.
func (b *bench) pulls(ctx context.Context, image string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	ref := l.Addr().String() + "/bench:1"
	if _, err := b.daemon.Bundt(ctx, "image", "push", image, ref); err != nil {
		return err
	}
	var cold, warm []float64
	for i := range b.rounds {
		account := fmt.Sprintf("bench%d", i)
		if _, err := b.daemon.Bundt(ctx, "account", "create", account); err != nil {
			return err
		}
		c, err := client.New(client.Options{Endpoint: b.daemon.Socket(), Header: http.Header{bundttypes.AccountHeader: {account}}})
		if err != nil {
			return err
		}
		for j, into := range []*[]float64{&cold, &warm} {
			t, err := timed(func() error { return pull(ctx, c, ref, fmt.Sprintf("pulled%d", j)) })
			if err != nil {
				return err
			}
			*into = append(*into, t)
		}
		c.Close()
	}
	b.add("I2", "pull of the tiny image whose layers are there / of all of it", 0.5, warm, cold)
	return nil
}

// pull makes an image of what a registry has.
func pull(ctx context.Context, c *client.Client, ref, name string) error {
	out, err := c.PullImage(ctx, &bundttypes.PullImageInput{Reference: &ref, Name: &name, PlainHttp: new(true)})
	if err != nil {
		return err
	}
	for {
		found, err := c.DescribeRegistryTasks(ctx, &bundttypes.DescribeRegistryTasksInput{TaskIds: []string{out.Task.TaskId}})
		if err != nil {
			return err
		}
		switch t := found.Tasks[0]; t.State {
		case string(model.TaskCompleted):
			return nil
		case string(model.TaskActive):
			time.Sleep(200 * time.Microsecond)
		default:
			return fmt.Errorf("the pull is %s: %s", t.State, t.StateReason)
		}
	}
}

// debian is the recipe of a whole Debian.
const debian = "debian-12-offline"

// diffs is I3: comparing all of a Debian with the tiny image, from their layers,
// against only making a raw disk of the Debian, which whoever mounts it must do first.
func (b *bench) diffs(ctx context.Context, image string) error {
	whole, err := b.image(ctx, debian)
	if err != nil {
		return err
	}
	out, err := b.daemon.API.GetImageHistory(ctx, &bundttypes.GetImageHistoryInput{ImageId: &whole})
	if err != nil {
		return err
	}
	layer := filepath.Join(b.daemon.Data(), "layers", out.Layers[0].LayerId+".qcow2")
	var ours, floor []float64
	raw := filepath.Join(b.dir, "debian.raw")
	for range b.rounds {
		t, err := timed(func() error {
			_, err := b.daemon.API.DiffImages(ctx, &bundttypes.DiffImagesInput{Before: &image, After: &whole})
			return err
		})
		if err != nil {
			return err
		}
		ours = append(ours, t)
		if t, err = timed(func() error {
			return exec.CommandContext(ctx, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", layer, raw).Run()
		}); err != nil {
			return fmt.Errorf("running qemu-img: %w", err)
		}
		floor = append(floor, t)
		if err := os.Remove(raw); err != nil {
			return err
		}
	}
	b.add("I3", "diff of a Debian and the tiny image / qemu-img convert of the Debian", 0.5, ours, floor)
	return nil
}
