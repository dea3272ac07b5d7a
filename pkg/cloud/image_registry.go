package cloud

import (
	"cmp"
	"context"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// RegistryRequest is what PushImage and PullImage have in common.
type RegistryRequest struct {
	Reference   string // oci://HOST[:PORT]/PATH[:TAG][@DIGEST]
	PlainHTTP   bool
	Login       model.RegistryLogin
	ClientToken string `json:"-"`
}

func (r *RegistryRequest) task() (t model.RegistryTask, err error) {
	ref, err := artifact.ParseReference(r.Reference)
	if err != nil {
		return t, model.Errorf(model.CodeInvalidParameterValue, "Reference: %v", err)
	}
	if len(r.Login.Username) > 255 || len(r.Login.Password) > 8192 {
		return t, model.Errorf(model.CodeInvalidParameterValue, "The user's name or password is too long")
	}
	return model.RegistryTask{
		ID: model.NewID(model.RegistryTaskPrefix), State: model.TaskActive, Message: "pending",
		Reference: ref.String(), PlainHTTP: r.PlainHTTP, Login: r.Login, ClientToken: r.ClientToken,
	}, nil
}

// ImagePush is what PushImage asks for.
type ImagePush struct {
	RegistryRequest
	ImageID string
	Sign    bool // with the account's key
}

// PushImage writes the intent to send an image of the account to a registry. The
// layers that it needs stay until it is done, even if the image goes.
func (c *Account) PushImage(ctx context.Context, r ImagePush) (model.RegistryTask, error) {
	if r.Sign {
		if _, err := c.ImageKey(ctx); err != nil { // there is one from now on
			return model.RegistryTask{}, err
		}
	}
	return c.registryTask(ctx, "PushImage", r, &r.RegistryRequest, func(tx *store.Tx, t *model.RegistryTask) error {
		if ref, err := artifact.ParseReference(t.Reference); err != nil || ref.Digest != "" {
			return model.Errorf(model.CodeInvalidParameterValue, "Reference: %s says a digest, which is not known before it is sent", r.Reference)
		}
		img, err := c.ownImage(tx, r.ImageID)
		if err != nil {
			return err
		}
		if img.State != model.ImageAvailable && img.State != model.ImageDisabled {
			return unavailable(&img, "pushed")
		}
		if err := mayLeave(&img, "pushed"); err != nil {
			return err
		}
		if err := mayTravel(&img, "pushed"); err != nil {
			return err
		}
		t.Push, t.Sign, t.ImageID, t.ImageName, t.Layers = true, r.Sign, img.ID, img.Name, map[string]string{}
		for _, b := range img.BlockDevices {
			if b.SnapshotID == "" {
				continue
			}
			snap, err := get(tx, records.Snapshots, b.SnapshotID, snapshotNotFound(b.SnapshotID))
			if err != nil {
				return err
			}
			t.Layers[b.Device] = snap.LayerID
		}
		return nil
	})
}

// ImagePull is what PullImage asks for.
type ImagePull struct {
	RegistryRequest
	Name string // of the image; "" for the one that it was sent with
	// RequireSignature takes the image only if a key signed it that the account trusts.
	RequireSignature bool
}

// PullImage writes the intent to make an image of what a registry has.
func (c *Account) PullImage(ctx context.Context, r ImagePull) (model.RegistryTask, error) {
	return c.registryTask(ctx, "PullImage", r, &r.RegistryRequest, func(tx *store.Tx, t *model.RegistryTask) error {
		if err := oneMore(c, tx, records.Images, model.QuotaImages, codeResourceLimit); err != nil {
			return err
		}
		t.ImageID, t.RequireSignature = model.NewID(model.ImagePrefix), r.RequireSignature
		if r.Name == "" {
			return nil // the node takes the name when it knows it
		}
		t.ImageName = r.Name
		return c.takeName(tx, r.Name, t.ImageID)
	})
}

func (c *Account) registryTask(ctx context.Context, action string, request any, r *RegistryRequest, fill func(*store.Tx, *model.RegistryTask) error) (t model.RegistryTask, err error) {
	fresh, err := r.task()
	if err != nil {
		return t, err
	}
	hash, err := paramsHash(request)
	if err != nil {
		return t, err
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, action, r.ClientToken, hash, func() ([]string, error) {
			t := fresh
			if t.Node, err = c.bakery(tx); err != nil {
				return nil, err
			}
			t.OwnerID, t.Created = c.id, c.Now()
			if err := fill(tx, &t); err != nil {
				return nil, err
			}
			return []string{t.ID}, records.RegistryTasks.Put(tx, &t)
		})
		if err != nil {
			return err
		}
		t, err = own(c, tx, records.RegistryTasks, ids[0], registryTaskNotFound(ids[0]))
		return err
	})
	return t, err
}

// RegistryTasks returns the account's tasks with registries.
func (c *Account) RegistryTasks(ctx context.Context) ([]model.RegistryTask, error) {
	return owned(ctx, c, records.RegistryTasks)
}

// CancelRegistryTask ends a task; its node takes back what it has done here. What
// was sent stays in the registry, where nothing names it.
func (c *Account) CancelRegistryTask(ctx context.Context, id, reason string) (t model.RegistryTask, err error) {
	if err := model.CheckID(model.RegistryTaskPrefix, id); err != nil {
		return t, model.Errorf("InvalidRegistryTaskID.Malformed", "Invalid id: %v", err)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if t, err = own(c, tx, records.RegistryTasks, id, registryTaskNotFound(id)); err != nil {
			return err
		}
		switch t.State {
		case model.TaskDeleting:
			return nil
		case model.TaskActive:
			t.State, t.Message = model.TaskDeleting, cmp.Or(reason, "Cancelled by user")
			return records.RegistryTasks.Put(tx, &t)
		}
		return model.Errorf(model.CodeIncorrectState, "The task %s is %s and cannot be cancelled", id, t.State)
	})
	return t, err
}

func registryTaskNotFound(id string) *model.Error {
	return model.Errorf("InvalidRegistryTaskID.NotFound", "The registry task '%s' does not exist", id)
}
