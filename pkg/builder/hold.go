package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

// heldFor is how long an instance in which a step failed waits for its owner.
const heldFor = time.Hour

// heldError is the failure of a step whose instance was held for the build's owner:
// the build has failed, and was not cancelled, when they are done.
type heldError struct{ error }

func (h heldError) Unwrap() error { return h.error }

// hold keeps the guest in which a step has failed until the build is cancelled, if
// its owner asked for that, and lets them in. It returns the failure.
func (j *job) hold(ctx context.Context, g *guest, failure error) error {
	if failure == nil || j.build.HoldKey == "" || ctx.Err() != nil {
		return failure
	}
	if err := j.admit(ctx, g); err != nil {
		return errors.Join(failure, fmt.Errorf("holding instance %s: %w", g.id, err))
	}
	if err := j.setHeld(ctx, g.id); err != nil {
		return errors.Join(failure, err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(heldFor):
	}
	if err := j.setHeld(context.WithoutCancel(ctx), ""); err != nil {
		return errors.Join(failure, err)
	}
	return heldError{failure}
}

func (j *job) setHeld(ctx context.Context, instance string) error {
	_, err := j.account.EditBuild(ctx, j.id, func(b *model.Build) error {
		b.HeldInstance = instance
		return nil
	})
	return err
}

// admit adds the owner's key to those of the login user.
func (j *job) admit(ctx context.Context, g *guest) error {
	if g.session == nil {
		if err := j.connect(ctx, g); err != nil {
			return err
		}
	}
	inst, err := j.account.Instance(ctx, g.id)
	if err != nil {
		return err
	}
	user := inst.LoginUser
	if user == "" {
		user = j.rec.Metadata.LoginUser
	}
	// Without quotes for the shell to find the directory: it is a user's name.
	script := "cd ~" + user + "\nmkdir -p .ssh\nprintf '%s\\n' '" + j.build.HoldKey + "' >> .ssh/authorized_keys\n"
	code, err := g.session.Run(ctx, script, false, io.Discard, io.Discard)
	if err == nil && code != 0 {
		err = fmt.Errorf("adding the key: exit code %d", code)
	}
	return err
}
