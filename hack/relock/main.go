// Command relock writes a recipe's lock file anew, from what the distribution's
// mirror has today.
//
//	go run ./hack/relock images/tiny
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/recipe"
)

func main() {
	mirror := flag.String("mirror", "", "URL of the package archive")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), *mirror); err != nil {
		fmt.Fprintln(os.Stderr, "relock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, mirror string) error {
	work, err := os.MkdirTemp("", "relock-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	fsys := os.DirFS(dir)
	r, err := recipe.Load(fsys)
	if err != nil {
		return err
	}
	lock, err := bake.ResolveLock(ctx, bake.Request{
		Recipe: r, Context: fsys, CacheDir: filepath.Join(work, "cache"), WorkDir: work, PackageMirror: mirror,
		Progress: func(e bake.Event) { fmt.Fprintln(os.Stderr, "relock:", e.Step, e.Detail) },
	})
	if err != nil {
		return err
	}
	text, err := lock.Marshal()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, recipe.LockFileName), text, 0o644)
}
