package harness

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Until repeats check, every few milliseconds, until it succeeds.
func Until(ctx context.Context, limit time.Duration, what string, check func() error) error {
	end := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %s until %s: %w", limit, what, err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// State waits until an instance is in a state.
func (d *Daemon) State(ctx context.Context, id, want string) error {
	return Until(ctx, 2*time.Minute, id+" is "+want, func() error {
		i, err := d.Instance(ctx, id)
		if err == nil && *i.State.Name != want {
			err = fmt.Errorf("it is %s", *i.State.Name)
			if r := i.StateReason; r != nil {
				err = fmt.Errorf("%w: %s", err, *r.Message)
			}
		}
		return err
	})
}

// Reachable waits until an instance's guest answers.
func (d *Daemon) Reachable(ctx context.Context, id string) error {
	return Until(ctx, 4*time.Minute, id+" is reachable", func() error {
		det, err := d.Details(ctx, id)
		if err == nil && det.Reachability != "passed" {
			err = fmt.Errorf("it is %q: %s", det.Reachability, det.ReachabilityReason)
		}
		return err
	})
}
