// Package wait owns waiting for the cloud to get somewhere: polling, time limits
// and what to say meanwhile. It may import pkg/client, the API's types, pkg/model
// and its neighbours under pkg/cli only.
package wait

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
)

// Guests under software emulation take minutes to boot what takes seconds on
// hardware.
const defaultTimeout = 15 * time.Minute

const (
	firstInterval = 20 * time.Millisecond
	lastInterval  = 500 * time.Millisecond
)

// Options are what a user chose by --no-wait and --timeout.
type Options struct {
	NoWait  bool
	Timeout time.Duration
}

// AddFlags gives cmd the flags --no-wait and --timeout.
func (o *Options) AddFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.NoWait, "no-wait", false, "return when the request is accepted, not when it is done")
	o.AddTimeoutFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("no-wait", "timeout")
}

// AddTimeoutFlag gives cmd the flag --timeout only.
func (o *Options) AddTimeoutFlag(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&o.Timeout, "timeout", defaultTimeout, "give up waiting after this `duration`")
	_ = cmd.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
}

// Check looks once. It returns whether what is waited for is there, and how far
// things are in a few words.
type Check func(ctx context.Context) (done bool, status string, err error)

// Until calls check until it is done or fails, at first often, then twice a
// second. If that takes longer than the timeout it fails with
// failure.ErrTimeout; what was begun goes on.
func (o *Options) Until(ctx context.Context, p *iostreams.Progress, check Check) error {
	limited, cancel := o.Limit(ctx)
	defer cancel()
	status := ""
	for interval := firstInterval; ; interval = min(interval*3/2, lastInterval) {
		done, now, err := check(limited)
		if err == nil && done {
			return nil
		}
		if now != "" {
			status = now
			p.Detail(now)
		}
		if err != nil && limited.Err() == nil {
			return err
		}
		select {
		case <-limited.Done():
			return o.Expired(ctx, status)
		case <-time.After(interval):
		}
	}
}

// Limit returns a context that ends when the user has waited enough.
func (o *Options) Limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, o.limit())
}

func (o *Options) limit() time.Duration {
	if o.Timeout == 0 {
		return defaultTimeout
	}
	return o.Timeout
}

// Expired explains why waiting under a context of Limit ended early: ctx, from
// which it was made, was cancelled, or the time is over.
func (o *Options) Expired(ctx context.Context, status string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := fmt.Errorf("%w after %v", failure.ErrTimeout, o.limit())
	if status != "" {
		err = fmt.Errorf("%w (%s)", err, status)
	}
	return failure.WithHint(err, "it goes on in the background; --timeout sets how long to wait")
}
