package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// userAgent is what registries are told.
const userAgent = "bundt"

// arrivingKept is how long a part of a blob waits for the rest.
const arrivingKept = 24 * time.Hour

// reconcileRegistry works on a task with a registry that is not over. One that was
// interrupted begins again: what the registry has by then is not sent again, and
// what had arrived is not fetched again.
func (n *Node) reconcileRegistry(ctx context.Context, id string) error {
	var t model.RegistryTask
	err := n.Store.View(ctx, func(tx *store.Tx) (err error) {
		t, err = records.RegistryTasks.Get(tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && (t.Node != n.ID || t.State.Over()) {
		return nil
	}
	if err != nil {
		return err
	}
	cause := errCancelled
	if t.State == model.TaskActive {
		t.Moved, t.Reused = 0, 0
		cause = n.inWorkDir(t.ID, func(work string) error { return n.moveImage(ctx, &t, work) })
	}
	if ctx.Err() != nil {
		return ctx.Err() // it begins again when the daemon is back
	}
	n.wakeCollector()
	if cause == nil {
		return nil
	}
	if !errors.Is(cause, errCancelled) {
		n.Logger.Error("the task with a registry failed", "task", id, "reference", t.Reference, "error", cause)
	}
	return n.registryFailed(ctx, &t, cause)
}

func (n *Node) moveImage(ctx context.Context, t *model.RegistryTask, work string) error {
	if t.Copy != nil {
		repo, err := n.regionRepository(t.OwnerID, t.Copy)
		if err != nil {
			return err
		}
		return n.pullImage(ctx, t, repo, work)
	}
	ref, err := artifact.ParseReference(t.Reference)
	if err != nil {
		return err
	}
	repo, err := registry.Open(ref, registry.Options{
		Client: n.Fetch.Client(), Username: t.Login.Username, Password: t.Login.Password, PlainHTTP: t.PlainHTTP, UserAgent: userAgent,
	})
	if err != nil {
		return err
	}
	if t.Push {
		return (&push{node: n, task: t, repo: repo, work: work, sent: map[string]artifact.Blob{}}).run(ctx)
	}
	return n.pullImage(ctx, t, repo, work)
}

func (n *Node) pullImage(ctx context.Context, t *model.RegistryTask, repo *registry.Repository, work string) error {
	p := &pull{node: n, task: t, repo: repo, work: work}
	defer p.unpin()
	return p.run(ctx)
}

// registryStep records what is being done, unless the task was cancelled.
func (n *Node) registryStep(ctx context.Context, t *model.RegistryTask, percent int, format string, args ...any) error {
	t.Message, t.Progress = fmt.Sprintf(format, args...), percent
	return n.saveRegistryTask(ctx, t, nil)
}

// saveRegistryTask writes the task, and what also does, unless it was cancelled.
func (n *Node) saveRegistryTask(ctx context.Context, t *model.RegistryTask, also func(*store.Tx) error) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.RegistryTasks.Get(tx, t.ID)
		if err != nil {
			return err
		}
		if now.State != model.TaskActive {
			return errCancelled
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return records.RegistryTasks.Put(tx, t)
	})
}

// finishRegistryTask records that a task is completed, with what also does.
func (n *Node) finishRegistryTask(ctx context.Context, t *model.RegistryTask, also func(*store.Tx) error) error {
	t.State, t.Message, t.Progress, t.Finished, t.Login = model.TaskCompleted, "", 100, n.Now().UTC(), model.RegistryLogin{}
	return n.saveRegistryTask(ctx, t, also)
}

// registryFailed ends a task that was cancelled or cannot be done.
func (n *Node) registryFailed(ctx context.Context, t *model.RegistryTask, cause error) error {
	return n.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := records.RegistryTasks.Get(tx, t.ID)
		if err != nil {
			return err
		}
		if !errors.Is(cause, errCancelled) {
			now.Message = cause.Error()
		}
		now.State, now.Finished, now.Login = model.TaskDeleted, n.Now().UTC(), model.RegistryLogin{}
		if err := records.RegistryTasks.Put(tx, &now); err != nil {
			return err
		}
		if now.Copy != nil {
			return failCopy(tx, &now)
		}
		if now.Push || now.ImageName == "" {
			return nil
		}
		return releaseImageName(tx, now.ImageOwner(), now.ImageName, now.ImageID)
	})
}

// releaseImageName gives a name back that an image was to have.
func releaseImageName(tx *store.Tx, owner, name, id string) error {
	key := records.NameKey(model.ImagePrefix, owner, name)
	taken, err := records.Names.Get(tx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && taken.ID != id {
		return nil
	}
	if err != nil {
		return err
	}
	return records.Names.Delete(tx, key)
}

// arriving is where a blob of an account is while it arrives, for the caller alone
// until unlock. Each account has a directory of its own: who knows a digest must not
// get from here what its registry does not give.
func (n *Node) arriving(account, digest string) (path string, unlock func(), err error) {
	dir := filepath.Join(n.ArrivingDir, account)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("making the directory of downloads: %w", err)
	}
	path = filepath.Join(dir, strings.TrimPrefix(digest, "sha256:"))
	return path, n.arrivals.Lock(path), nil
}

// sweepArriving removes what nobody has gone on with for a day.
func (n *Node) sweepArriving() error {
	files, err := filepath.Glob(filepath.Join(n.ArrivingDir, "*", "*"))
	for _, path := range files {
		info, statErr := os.Stat(path)
		if statErr == nil && n.Now().Sub(info.ModTime()) > arrivingKept {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// chain are a layer and those below it, the lowest first.
func chain(tx *store.Tx, top string) (layers []model.Layer, err error) {
	for id := top; id != ""; {
		l, err := records.Layers.Get(tx, id)
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", id, err)
		}
		layers = append([]model.Layer{l}, layers...)
		id = l.Parent
	}
	return layers, nil
}
