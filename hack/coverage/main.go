// Command coverage writes docs/ec2-coverage.md: every action of EC2's API and
// every parameter of those that bundt serves, and what becomes of it. It reads
// the action table that the dispatcher itself goes by, so the page cannot differ
// from what the daemon does.
//
//	go run ./hack/coverage
//
// It also raises floor.txt, the number of parameters that each action acts on,
// below which a test lets no change go.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/cloud"
)

func main() {
	page := flag.String("page", "docs/ec2-coverage.md", "page to write")
	floor := flag.String("floor", "hack/coverage/floor.txt", "floor to raise")
	flag.Parse()
	if err := run(*page, *floor); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(page, floor string) error {
	table := table()
	if err := os.WriteFile(page, []byte(render(table)), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	low, err := readFloor(floor)
	if err != nil {
		return err
	}
	return writeFloor(floor, raise(low, counts(table)))
}

// table is the daemon's table, on a cloud that no action is called of.
func table() *api.Table {
	t := api.NewTable()
	actions.Register(t, new(cloud.Cloud), nil)
	return t
}
