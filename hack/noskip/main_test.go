package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const events = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.5}
{"Action":"output","Package":"p","Test":"TestB/x","Output":"no qemu\n"}
{"Action":"skip","Package":"p","Test":"TestB/x"}
{"Action":"output","Package":"p","Test":"TestC","Output":"broken\n"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t2.0s\n"}
`
	var w strings.Builder
	r := &report{w: &w, absent: absent, output: map[string]*strings.Builder{}}
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	const want = "--- PASS: TestA (1.50s)\nno qemu\nbroken\nFAIL\tp\t2.0s\n"
	if w.String() != want {
		t.Errorf("printed %q, want %q", w.String(), want)
	}
	if len(r.skipped) != 1 || r.skipped[0] != "p.TestB/x" || r.passed != 1 {
		t.Errorf("skipped %q, passed %d", r.skipped, r.passed)
	}
}

// What says that it is left out may be, but not in CI.
func TestLeftOut(t *testing.T) {
	const events = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: LEFT OUT: no package of packer\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
`
	for _, strict := range []bool{false, true} {
		r := &report{w: new(strings.Builder), strict: strict, absent: absent, output: map[string]*strings.Builder{}}
		if err := r.read(strings.NewReader(events)); err != nil {
			t.Fatal(err)
		}
		if strict != (len(r.skipped) == 1) || strict == (len(r.leftOut) == 1) {
			t.Errorf("strict %v: skipped %q, left out %q", strict, r.skipped, r.leftOut)
		}
		if !strict && r.leftOut[0] != "p.TestA LEFT OUT: no package of packer" {
			t.Errorf("it says %q", r.leftOut[0])
		}
	}
}

// A device's test may be skipped where the device is not, and nowhere else,
// whatever the test says.
func TestNoDevice(t *testing.T) {
	here := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(here, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, skipped := range map[string]bool{here: true, here + "-not": false} {
		r := &report{w: new(strings.Builder), strict: true, absent: absent, output: map[string]*strings.Builder{}}
		events := `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: NO DEVICE: ` + path + `\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
`
		if err := r.read(strings.NewReader(events)); err != nil {
			t.Fatal(err)
		}
		if skipped != (len(r.skipped) == 1) || skipped == (len(r.leftOut) == 1) {
			t.Errorf("%s: skipped %q, left out %q", path, r.skipped, r.leftOut)
		}
	}
}
