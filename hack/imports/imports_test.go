// Package imports checks that packages import each other in one direction only.
// The table is depguard's, in .golangci.yml.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const module = "github.com/bundt/bundt"

// rule is a depguard rule in lax mode.
type rule struct {
	Files    []string `yaml:"files"`
	ListMode string   `yaml:"list-mode"`
	Deny     []struct {
		Pkg  string `yaml:"pkg"`
		Desc string `yaml:"desc"`
	} `yaml:"deny"`
	Allow []string `yaml:"allow"`
}

// covers reports whether the rule is about the package in that directory of the module.
func (r rule) covers(dir string) bool {
	for _, f := range r.Files {
		f = strings.TrimSuffix(strings.TrimPrefix(f, "**/"), "**")
		if strings.HasPrefix(dir+"/", f) {
			return true
		}
	}
	return false
}

// refuses returns why pkg may not be imported, or "".
func (r rule) refuses(pkg string) string {
	longest, why := 0, ""
	for _, d := range r.Deny {
		if n := matched(d.Pkg, pkg); n > longest {
			longest, why = n, d.Desc
		}
	}
	for _, a := range r.Allow {
		if matched(a, pkg) > longest {
			return ""
		}
	}
	return why
}

// matched returns how much of pkg the entry matches.
func matched(entry, pkg string) int {
	if exact, ok := strings.CutSuffix(entry, "$"); ok {
		if exact == pkg {
			return len(entry)
		}
		return 0
	}
	if strings.HasPrefix(pkg, entry) {
		return len(entry)
	}
	return 0
}

func readRules(t *testing.T) map[string]rule {
	t.Helper()
	b, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]rule `yaml:"rules"`
				} `yaml:"depguard"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	rules := config.Linters.Settings.Depguard.Rules
	for name, r := range rules {
		if r.ListMode != "lax" || len(r.Deny) == 0 {
			t.Errorf("rule %s: this test understands list-mode lax with something to deny", name)
		}
		for _, f := range r.Files {
			if f != "!$test" && (!strings.HasPrefix(f, "**/") || !strings.HasSuffix(f, "/**")) {
				t.Errorf("rule %s: this test understands files of the form **/DIR/**, not %q", name, f)
			}
		}
	}
	return rules
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	// -e: a package that does not build is for the compiler to complain about.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v\n%s", err, &stderr)
	}
	var pkgs []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestDirectionOfImports(t *testing.T) {
	rules := readRules(t)
	checked := 0
	for _, p := range listPackages(t) {
		dir := strings.TrimPrefix(p.ImportPath, module+"/")
		if strings.HasPrefix(dir, "hack/") {
			continue // tools may look at anything, and nothing may import them: see below
		}
		covered := false
		for name, r := range rules {
			if !r.covers(dir) {
				continue
			}
			covered = true
			for _, imported := range p.Imports {
				checked++
				if why := r.refuses(imported); why != "" {
					t.Errorf("%s imports %s: %s (rule %s in .golangci.yml)", dir, imported, why, name)
				}
			}
		}
		if !covered {
			t.Errorf("%s: no depguard rule in .golangci.yml says what it may import", dir)
		}
	}
	if checked == 0 {
		t.Error("no import was checked")
	}
}

func TestRuleRefuses(t *testing.T) {
	r := readRules(t)["node"]
	for pkg, refused := range map[string]bool{
		"fmt":                           false,
		"go.etcd.io/etcd/client/v3":     false,
		module + "/pkg/hypervisor":      false,
		module + "/pkg/hypervisor/qemu": true,
		module + "/pkg/network/user":    true,
		module + "/pkg/layer":           false,
		module + "/pkg/cloud":           true,
		module + "/hack/bench":          true,
	} {
		if got := r.refuses(pkg) != ""; got != refused {
			t.Errorf("node importing %s: refused %v, want %v", pkg, got, refused)
		}
	}
	if api := readRules(t)["api-types"]; !api.covers("pkg/api/ec2types") || api.covers("pkg/api") || api.covers("pkg/api/ec2typesx") {
		t.Error("covers is wrong for pkg/api/ec2types")
	}
}
