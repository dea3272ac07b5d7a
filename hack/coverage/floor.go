package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// counts is how many of its parameters each served action of EC2 acts on.
func counts(t *api.Table) map[string]int {
	n := map[string]int{}
	for _, a := range t.Actions() {
		if _, ok := ec2types.OperationByName(a.Name); !ok {
			continue
		}
		n[a.Name], _ = acted(a)
	}
	return n
}

// acted counts the parameters that the action acts on, and all that it has.
func acted(a *api.Info) (acted, all int) {
	for _, p := range a.Parameters() {
		all += p.Leaves
		if p.Acted {
			acted += p.Leaves
		}
	}
	return acted, all
}

// raise returns the higher of both counts of each action.
func raise(floor, now map[string]int) map[string]int {
	higher := maps.Clone(floor)
	for name, n := range now {
		higher[name] = max(n, floor[name])
	}
	return higher
}

// fallen lists the actions that act on less than their floor.
func fallen(floor, now map[string]int) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(floor)) {
		if n, served := now[name]; !served {
			list = append(list, name+" is not served any more")
		} else if n < floor[name] {
			list = append(list, fmt.Sprintf("%s acts on %d parameters; it was %d", name, n, floor[name]))
		}
	}
	return list
}

func readFloor(path string) (map[string]int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the floor: %w", err)
	}
	floor := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var name string
		var n int
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			return nil, fmt.Errorf("reading the floor: line %q: %w", line, err)
		}
		floor[name] = n
	}
	return floor, nil
}

func writeFloor(path string, floor map[string]int) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(floor)) {
		fmt.Fprintln(&b, name, floor[name])
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the floor: %w", err)
	}
	return nil
}
