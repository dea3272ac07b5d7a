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
	for _, svc := range services {
		types, client := t.TempDir(), ""
		dirs := map[string]string{types: "pkg/api/" + svc.pkg()}
		if svc.clientFile != "" {
			client = t.TempDir()
			dirs[client] = "pkg/client"
		}
		model := filepath.Join(svc.dir, "model.json")
		if err := run([]string{"generate", "-service", svc.name, "-model", model, "-types", types, "-client", client}); err != nil {
			t.Fatal(err)
		}
		for dir, committed := range dirs {
			files, err := filepath.Glob(filepath.Join(dir, "*.go"))
			if err != nil || len(files) == 0 {
				t.Fatalf("nothing generated for %s: %v", committed, err)
			}
			for _, f := range files {
				if dir == client && filepath.Base(f) != svc.clientFile {
					t.Errorf("the client of %s is in %s", svc.name, f)
				}
				name := filepath.Join(root, committed, filepath.Base(f))
				if got, want := read(t, f), read(t, name); !bytes.Equal(got, want) {
					t.Errorf("%s is stale: run go generate ./pkg/api/%s", name, svc.pkg())
				}
			}
		}
	}
}

// TestModelMatchesActions fails when an actions.txt was changed without trimming anew.
func TestModelMatchesActions(t *testing.T) {
	for _, svc := range services {
		m, err := readModel(svc, filepath.Join(svc.dir, "model.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range svc.actions() {
			if _, ok := m.Operations[name]; !ok {
				t.Errorf("%s: model.json has no %s: run ec2gen trim", svc.name, name)
			}
		}
		if len(m.Operations) != len(svc.actions()) {
			t.Errorf("%s: model.json has %d operations, actions.txt %d", svc.name, len(m.Operations), len(svc.actions()))
		}
	}
}

// TestTrimIsIdempotent trims the trimmed models: nothing may be missing or left over.
func TestTrimIsIdempotent(t *testing.T) {
	for _, svc := range services {
		model, out := filepath.Join(svc.dir, "model.json"), filepath.Join(t.TempDir(), "model.json")
		if err := run([]string{"trim", "-service", svc.name, "-model", model, "-out", out}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, out), read(t, model)) {
			t.Errorf("trimming %s changes it", model)
		}
	}
}

func TestTrimRefusesUnknownAction(t *testing.T) {
	m, err := readModel(services[0], "model.json")
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
