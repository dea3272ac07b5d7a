package main

import (
	"os"
	"slices"
	"testing"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

func TestPageIsUpToDate(t *testing.T) {
	page, err := os.ReadFile("../../docs/ec2-coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != render(table()) {
		t.Error("docs/ec2-coverage.md is out of date; run: go run ./hack/coverage")
	}
}

// TestCoverageNeverShrinks is a ratchet: whoever means to act on less has to
// lower the floor by hand, where a reader of the change sees it.
func TestCoverageNeverShrinks(t *testing.T) {
	floor, err := readFloor("floor.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range fallen(floor, counts(table())) {
		t.Error(problem)
	}
	if len(floor) < 23 {
		t.Errorf("the floor has %d actions only", len(floor))
	}
}

func TestFallen(t *testing.T) {
	floor := map[string]int{"Gone": 1, "Less": 3, "Same": 2, "More": 1}
	now := map[string]int{"Less": 2, "Same": 2, "More": 5, "New": 1}
	want := []string{"Gone is not served any more", "Less acts on 2 parameters; it was 3"}
	if got := fallen(floor, now); !slices.Equal(got, want) {
		t.Errorf("fallen: %q, want %q", got, want)
	}
	raised := raise(floor, now)
	for name, n := range map[string]int{"Gone": 1, "Less": 3, "Same": 2, "More": 5, "New": 1} {
		if raised[name] != n {
			t.Errorf("the floor of %s is raised to %d, want %d", name, raised[name], n)
		}
	}
}

// TestOperationsAreAll checks the list of names against the generated types.
func TestOperationsAreAll(t *testing.T) {
	names := ec2types.Names()
	if !slices.IsSorted(names) || len(names) < 600 {
		t.Errorf("EC2 has %d names, sorted: %v", len(names), slices.IsSorted(names))
	}
	for _, o := range ec2types.Operations() {
		if !slices.Contains(names, o.Name) {
			t.Errorf("the list lacks %s", o.Name)
		}
	}
}

func TestEveryParameterIsListed(t *testing.T) {
	run, ok := table().Lookup("RunInstances")
	if !ok {
		t.Fatal("there is no RunInstances")
	}
	paths := map[string]bool{}
	for _, p := range run.Parameters() {
		paths[p.Path] = p.Acted
	}
	for path, acted := range map[string]bool{"ImageId": true, "DryRun": true, "BlockDeviceMappings.Ebs.VolumeSize": true, "RamdiskId": false, "ElasticGpuSpecification": false} {
		if got, listed := paths[path]; !listed || got != acted {
			t.Errorf("%s: listed %v, acted on %v, want %v", path, listed, got, acted)
		}
	}
}
