package cloud

import (
	"context"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// maxSharing is how many accounts an image can be shared with.
const maxSharing = 1000

// ownImage returns one of the account's images. Others' images do not exist,
// except those shared with the account: these it may not change.
func (c *Account) ownImage(tx *store.Tx, id string) (model.Image, error) {
	img, err := c.visibleImage(tx, id)
	if err == nil && img.OwnerID != c.id {
		return model.Image{}, model.Errorf(model.CodeAuthFailure, "Not authorized for image:%s", id)
	}
	return img, err
}

// visibleImage returns an image of the account or one shared with it.
func (c *Account) visibleImage(tx *store.Tx, id string) (model.Image, error) {
	if err := model.CheckID(model.ImagePrefix, id); err != nil {
		return model.Image{}, model.Errorf(model.CodeImageIDMalformed, "Invalid id: %v", err)
	}
	img, err := get(tx, records.Images, id, imageNotFound(id))
	if err == nil && !img.UsableBy(c.id) {
		return model.Image{}, imageNotFound(id)
	}
	return img, err
}

// OwnImage returns one of the account's images.
func (c *Account) OwnImage(ctx context.Context, id string) (img model.Image, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		img, err = c.ownImage(tx, id)
		return err
	})
	return img, err
}

// Image returns an image that the account may launch: its own or one shared with it.
func (c *Account) Image(ctx context.Context, id string) (img model.Image, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		img, err = c.visibleImage(tx, id)
		return err
	})
	return img, err
}

// editImage changes one of the account's images.
func (c *Account) editImage(ctx context.Context, id string, edit func(*model.Image) error) (img model.Image, err error) {
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		if img, err = c.ownImage(tx, id); err != nil {
			return err
		}
		if err := edit(&img); err != nil {
			return err
		}
		return records.Images.Put(tx, &img)
	})
	return img, err
}

func unavailable(img *model.Image, done string) *model.Error {
	return model.Errorf(model.CodeImageIDUnavailable, "The image %s is %s and cannot be %s", img.ID, img.State, done)
}

// SetImageDescription changes an image's description.
func (c *Account) SetImageDescription(ctx context.Context, id, text string) error {
	if err := checkDescription(text); err != nil {
		return err
	}
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		img.Description = text
		return nil
	})
	return err
}

// RequireIMDSv2 has instances of the image ask for metadata tokens, unless their
// launch says otherwise. On EC2 it cannot be taken back.
func (c *Account) RequireIMDSv2(ctx context.Context, id string) error {
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		img.IMDS = "v2.0"
		return nil
	})
	return err
}

// ShareChange adds and removes launch permissions.
type ShareChange struct {
	Add, Remove model.Sharing
}

// ShareImage changes who may launch an image. Removing comes after adding.
func (c *Account) ShareImage(ctx context.Context, id string, ch ShareChange) error {
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		if img.State != model.ImageAvailable && (ch.Add.Public || len(ch.Add.Accounts) > 0) {
			return unavailable(img, "shared")
		}
		if ch.Add.Public || len(ch.Add.Accounts) > 0 {
			if err := mayTravel(img, "shared"); err != nil {
				return err
			}
		}
		to := &img.Launch
		to.Public = (to.Public || ch.Add.Public) && !ch.Remove.Public
		to.Accounts = slices.Concat(to.Accounts, ch.Add.Accounts)
		slices.Sort(to.Accounts)
		to.Accounts = slices.DeleteFunc(slices.Compact(to.Accounts), func(a string) bool { return slices.Contains(ch.Remove.Accounts, a) })
		if n := len(to.Accounts); n > maxSharing {
			return model.Errorf("AMISharingLimitExceeded", "The image %s would be shared with %d accounts; %d is the most", id, n, maxSharing)
		}
		return nil
	})
	return err
}

// UnshareImage takes back every launch permission.
func (c *Account) UnshareImage(ctx context.Context, id string) error {
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		img.Launch = model.Sharing{}
		return nil
	})
	return err
}

// DisableImage forbids to launch an image and takes back every launch permission.
// Instances of it go on. Disabling a disabled image is success.
func (c *Account) DisableImage(ctx context.Context, id string) error {
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		if img.State != model.ImageAvailable && img.State != model.ImageDisabled {
			return unavailable(img, "disabled")
		}
		img.State, img.Launch = model.ImageDisabled, model.Sharing{}
		return nil
	})
	return err
}

// EnableImage makes a disabled image launchable again, by its owner. Enabling an
// image that is available is success.
func (c *Account) EnableImage(ctx context.Context, id string) error {
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		if img.State != model.ImageAvailable && img.State != model.ImageDisabled {
			return unavailable(img, "enabled")
		}
		img.State = model.ImageAvailable
		return nil
	})
	return err
}

// Limits of a deprecation's date. A public image's counts from its creation.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html
const (
	maxDeprecationYears       = 10
	maxPublicDeprecationYears = 2
)

// DeprecateImage has an image count as deprecated from a time on, which is rounded
// to the minute.
func (c *Account) DeprecateImage(ctx context.Context, id string, at time.Time) error {
	at = at.UTC().Round(time.Minute)
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		now := c.Now()
		limit := now.AddDate(maxDeprecationYears, 0, 0)
		if img.Launch.Public {
			limit = img.Created.AddDate(maxPublicDeprecationYears, 0, 0)
		}
		switch {
		case at.Before(now.Truncate(time.Minute)):
			return model.Errorf(model.CodeInvalidParameterValue, "The deprecation date %s is in the past", at.Format(time.RFC3339))
		case at.After(limit):
			return model.Errorf(model.CodeInvalidParameterValue, "The deprecation date %s is after %s, the latest that this image can have", at.Format(time.RFC3339), limit.Format(time.RFC3339))
		}
		img.DeprecateAt = at
		return nil
	})
	return err
}

// UndeprecateImage takes a deprecation back, whether its date has come or not.
func (c *Account) UndeprecateImage(ctx context.Context, id string) error {
	_, err := c.editImage(ctx, id, func(img *model.Image) error {
		img.DeprecateAt = time.Time{}
		return nil
	})
	return err
}

// ProtectImage keeps an image from being deregistered, with cooldown also for a
// day after the protection ends. It returns the protection's new state.
func (c *Account) ProtectImage(ctx context.Context, id string, cooldown bool) (model.Protection, error) {
	img, err := c.editImage(ctx, id, func(img *model.Image) error {
		img.Protection = model.Protection{Enabled: true, Cooldown: cooldown}
		return nil
	})
	return img.Protection, err
}

// UnprotectImage ends a protection, or begins its cooldown. It returns the
// protection's new state.
func (c *Account) UnprotectImage(ctx context.Context, id string) (model.Protection, error) {
	img, err := c.editImage(ctx, id, func(img *model.Image) error {
		if img.Protection.Enabled {
			p := model.Protection{}
			if img.Protection.Cooldown {
				p.Until = c.Now().Add(model.ProtectionCooldown)
			}
			img.Protection = p
		}
		return nil
	})
	return img.Protection, err
}

// noteLaunch records that an image was launched, to the hour: writing it at every
// launch would have them wait for each other.
func noteLaunch(tx *store.Tx, img model.Image, now time.Time) error {
	if now.Sub(img.LastLaunched) < time.Hour {
		return nil
	}
	img.LastLaunched = now
	return records.Images.Put(tx, &img)
}
