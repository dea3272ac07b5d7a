package main

import (
	"context"
	"fmt"
)

// serveConsole starts a cloud with one image in it and shows the way to its console,
// until ctx ends. Then all of it is removed.
func (d *demo) serveConsole(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.cloud.Start, d.build, d.showConsole} {
		if err := step(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	<-ctx.Done()
	fmt.Println("\nremoving everything")
	return nil
}

func (d *demo) showConsole(ctx context.Context) error {
	if err := d.cloud.show(ctx, "console"); err != nil {
		return err
	}
	fmt.Printf("\nThe link is good for one sign-in within five minutes. Another one:\n\n    BUNDT_SOCKET=%s bin/bundt console\n\nCtrl-C ends the cloud, and removes all that was made in it.\n", d.cloud.Socket())
	return nil
}
