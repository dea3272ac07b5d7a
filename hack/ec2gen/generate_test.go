package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const root = "../.."

// TestCommittedFilesAreCurrent fails when the generator, the model and the
// generated files were not changed together.
func TestCommittedFilesAreCurrent(t *testing.T) {
	types, client := t.TempDir(), t.TempDir()
	if err := run([]string{"generate", "-model", "model.json", "-types", types, "-client", client}); err != nil {
		t.Fatal(err)
	}
	for dir, committed := range map[string]string{types: "pkg/api/ec2types", client: "pkg/client"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("nothing generated for %s: %v", committed, err)
		}
		for _, f := range files {
			name := filepath.Join(root, committed, filepath.Base(f))
			if got, want := read(t, f), read(t, name); !bytes.Equal(got, want) {
				t.Errorf("%s is stale: run go generate ./pkg/api/ec2types", name)
			}
		}
	}
}

// TestModelMatchesActions fails when actions.txt was changed without trimming anew.
func TestModelMatchesActions(t *testing.T) {
	m, err := readModel("model.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range actions() {
		if _, ok := m.Operations[name]; !ok {
			t.Errorf("model.json has no %s: run ec2gen trim", name)
		}
	}
	if len(m.Operations) != len(actions()) {
		t.Errorf("model.json has %d operations, actions.txt %d", len(m.Operations), len(actions()))
	}
}

// TestTrimIsIdempotent trims the trimmed model: nothing may be missing or left over.
func TestTrimIsIdempotent(t *testing.T) {
	out := filepath.Join(t.TempDir(), "model.json")
	if err := run([]string{"trim", "-model", "model.json", "-out", out}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, out), read(t, "model.json")) {
		t.Error("trimming model.json changes it")
	}
}

func TestTrimRefusesUnknownAction(t *testing.T) {
	m, err := readModel("model.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.trim([]string{"LaunchRockets"}, ""); err == nil {
		t.Error("trim accepted an action that the model does not have")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
