package recipe_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

const good = `apiVersion: bundt/v1
name: hello
version: 1.0.0
architectures: [x86_64, arm64]
boot:
  firmware: none
  kernel: /boot/vmlinuz
  cmdline: console=ttyS0
  overrides:
    arm64: {firmware: uefi}
source:
  tree: root
files:
  - {path: /etc/motd, content: "hi\n", mode: "0600"}
  - {paths: [/bin/a, /bin/b], symlink: busybox}
blockDevices:
  - {device: /dev/sda1, size: 1GiB}
metadata: {loginUser: root}
`

// corpus is read by both the parser and the JSON Schema. inSchema is false where
// a schema cannot see the defect: it concerns several values at once.
var corpus = []struct {
	name     string
	old, new string // what is replaced in the good recipe
	want     string // in the error, with its position; "" for none
	inSchema bool
}{
	{"good", "", "", "", true},
	{"unknown key", "name: hello", "name: hello\nversoin: x", `r.yaml:3:1: unknown key "versoin": did you mean "version"?`, true},
	{"unknown nested key", "tree: root", "tree: root\n  pakages: {}", `r.yaml:13:3: unknown key "pakages": did you mean "packages"?`, true},
	{"missing key", "name: hello\n", "", `r.yaml:1:1: the file lacks the key "name"`, true},
	{"bad name", "name: hello", "name: Hello", `r.yaml:2:7: name: "Hello" is not a name`, true},
	{"version is a number", "version: 1.0.0", "version: 1.0", "r.yaml:3:10: version must be text, not the number 1.0 (quote it", true},
	{"bad architecture", "[x86_64, arm64]", "[x86-64, arm64]", `r.yaml:4:17: architectures[0] cannot be "x86-64": did you mean "x86_64"?`, true},
	{"repeated architecture", "[x86_64, arm64]", "[x86_64, arm64, arm64]", "r.yaml:4:32: architecture arm64 is listed twice", true},
	{"bad firmware", "firmware: none", "firmware: bois", `did you mean "bios"?`, true},
	{"kernel missing", "  kernel: /boot/vmlinuz\n  cmdline: console=ttyS0\n", "", "firmware none needs a kernel", false},
	{"bios on arm64", "arm64: {firmware: uefi}", "arm64: {firmware: bios}", "there is no BIOS for arm64", false},
	{"override of what is not baked", "arm64: {firmware", "i386: {firmware", "not one of the recipe's architectures", false},
	{"two sources", "tree: root", "tree: root\n  image: ami-1", "source has image and tree: give exactly one", true},
	{"no source", "source:\n  tree: root", "source: {}", "source is empty", true},
	{"tree outside", "tree: root", "tree: ../root", "not a path inside the recipe's directory", false},
	{"relative image path", "path: /etc/motd", "path: etc/motd", `files[0].path: "etc/motd" is not a clean absolute path`, true},
	{"mode as number", `mode: "0600"`, `mode: "0999"`, "not an octal mode", true},
	{"two contents", `content: "hi\n"`, `content: "hi\n", from: x`, "needs exactly one of from, content, symlink and directory", true},
	{"size zero", "1GiB", "0GiB", "a disk cannot be empty", true},
	{"size impossible", "1GiB", "17TiB", "more than the largest disk", false},
	{"size without unit", "1GiB", "10", "not a size such as", true},
	{"size is text", "1GiB", "big", `r.yaml:17:31: blockDevices[0].size: "big" is not a size`, true},
	{"no disks", "  - {device: /dev/sda1, size: 1GiB}", "  []", "an image needs a root disk", true},
	{"wrong type", "files:\n  - {path: /etc/motd, content: \"hi\\n\", mode: \"0600\"}\n  - {paths: [/bin/a, /bin/b], symlink: busybox}", "files: yes please", "files must be a list", true},
	{"bad user", "loginUser: root", "loginUser: 'Root!'", "not a user name", true},
}

func TestParse(t *testing.T) {
	schema := compileSchema(t)
	for _, c := range corpus {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("the good recipe does not hold %q", c.old)
			}
			text := strings.Replace(good, c.old, c.new, 1)
			_, err := recipe.Parse("r.yaml", []byte(text))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			var v any
			if err := yaml.Unmarshal([]byte(text), &v); err != nil {
				t.Fatal(err)
			}
			err = schema.Validate(v)
			if accepted := err == nil; accepted != (c.want == "" || !c.inSchema) {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	var doc any
	if err := json.Unmarshal(recipe.Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("recipe.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("recipe.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseRefusesYAMLTricks(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"duplicate key": {strings.Replace(good, "version:", "name: again\nversion:", 1), `r.yaml:3:1: duplicate key "name": it is already on line 2`},
		"alias":         {strings.Replace(good, "name: hello", "name: &n hello", 1), "anchors and aliases are not allowed"},
		"tag":           {strings.Replace(good, "name: hello", "name: !!str hello", 1), "tags are not allowed"},
		"two documents": {good + "---\n" + good, "more than one document"},
		"empty":         {"", "the file is empty"},
		"syntax":        {"name: [", "r.yaml:1:1:"},
		"a list":        {"- a\n", "the file must be a mapping, not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := recipe.Parse("r.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestParseReportsEveryError(t *testing.T) {
	text := strings.NewReplacer("hello", "Hello", "1GiB", "0GiB", "uefi", "efi").Replace(good)
	_, err := recipe.Parse("r.yaml", []byte(text))
	list := recipe.AsErrorList(err)
	if len(list) != 3 {
		t.Fatalf("%d errors, want 3:\n%v", len(list), err)
	}
	for i := 1; i < len(list); i++ {
		if list[i].Line < list[i-1].Line {
			t.Errorf("errors are out of order:\n%v", err)
		}
	}
	var one *recipe.Error
	if !errors.As(err, &one) || one.Line != 2 {
		t.Errorf("errors.As finds %v, want the first error", one)
	}
}

func TestDigest(t *testing.T) {
	parse := func(text string) string {
		r, err := recipe.Parse("r.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r.Digest()
	}
	want := parse(good)
	reordered := "# a comment\nmetadata:\n    loginUser: root\n" + strings.Replace(good, "metadata: {loginUser: root}\n", "", 1)
	if got := parse(reordered); got != want {
		t.Error("comments and the order of keys change the digest")
	}
	if got := parse(strings.Replace(good, "content: \"hi", "content: \"ho", 1)); got == want {
		t.Error("a changed value does not change the digest")
	}
}

func TestLoad(t *testing.T) {
	fsys := fstest.MapFS{"recipe.yaml": {Data: []byte(good)}}
	if _, err := recipe.Load(fsys); err == nil || !strings.Contains(err.Error(), "recipe.yaml:12:9: source.tree: there is no root in the recipe's directory") {
		t.Errorf("missing tree: error is %v", err)
	}
	fsys["root/etc/issue"] = &fstest.MapFile{Data: []byte("x")}
	r, err := recipe.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if b := r.BootFor(model.ARM64); b.Firmware != model.FirmwareUEFI || b.Kernel != "/boot/vmlinuz" {
		t.Errorf("boot of arm64 is %+v", b)
	}
	before, err := recipe.ContextDigest(fsys)
	if err != nil {
		t.Fatal(err)
	}
	fsys["root/etc/issue"] = &fstest.MapFile{Data: []byte("y")}
	if after, _ := recipe.ContextDigest(fsys); after == before {
		t.Error("a changed file does not change the context's digest")
	}
	fsys["recipe.lock"] = &fstest.MapFile{Data: []byte("apiVersion: bundt/v1\npackages:\n  x86_64:\n    - {name: a}\n")}
	if _, err := recipe.Load(fsys); err == nil || !strings.Contains(err.Error(), `recipe.lock:4:7: packages.x86_64[0] lacks the key "sha256"`) {
		t.Errorf("bad lock: error is %v", err)
	}
}

func TestLockRoundTrip(t *testing.T) {
	l := &recipe.Lock{APIVersion: recipe.APIVersion, Packages: map[model.Arch][]recipe.LockedPackage{model.X8664: {{
		Name: "busybox", Package: "busybox", Version: "1:1.0-1", Suite: "bookworm", Path: "pool/b.deb", Size: 1, SHA256: strings.Repeat("ab", 32),
	}}}}
	text, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := recipe.ParseLock("recipe.lock", text)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := got.Find(model.X8664, "busybox"); !ok || p != l.Packages[model.X8664][0] {
		t.Errorf("after a round trip: %+v", p)
	}
}

// TestBuiltIn holds the recipes of this repository to the parser and the schema.
func TestBuiltIn(t *testing.T) {
	schema := compileSchema(t)
	recipes, err := filepath.Glob("../../images/*/recipe.yaml")
	if err != nil || len(recipes) < 3 {
		t.Fatalf("found the recipes %v: %v", recipes, err)
	}
	for _, file := range recipes {
		dir := filepath.Dir(file)
		name := filepath.Base(dir)
		if _, err := recipe.Load(os.DirFS(dir)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text, err := os.ReadFile(dir + "/recipe.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: the schema says %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Add([]byte("name: hello\nname: 1\n<<: {x: y}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := recipe.Parse("f", data)
		if (r == nil) == (err == nil) {
			t.Fatalf("recipe %v with error %v", r, err)
		}
		if r != nil && r.Digest() == "" {
			t.Fatal("no digest")
		}
	})
}

// onParent is a recipe that builds on an image by components.
const onParent = `apiVersion: bundt/v1
name: web
version: 1.0.0
architectures: [x86_64]
source: {image: "recipe:tiny"}
components:
  - name: web
    phases:
      - name: build
        steps:
          - {name: page, run: "echo hi", timeoutSeconds: 5, onFailure: Ignore, maxAttempts: 2}
          - {name: file, action: CreateFile, inputs: [{path: /etc/a, content: 1, permissions: 600}]}
          - {name: again, action: Reboot}
  - name: doc
    document: doc.yaml
    parameters: {A: 1}
`

func TestParent(t *testing.T) {
	schema := compileSchema(t)
	for want, change := range map[string][2]string{
		"":                                                   {"", ""},
		"boot comes from the parent image":                   {"components:", "boot: {firmware: bios}\ncomponents:"},
		"blockDevices comes from the parent":                 {"components:", "blockDevices: [{device: /dev/sda1, size: 1GiB}]\ncomponents:"},
		"let a step of a component make them":                {"components:", "files: [{path: /etc/a, content: b}]\ncomponents:"},
		"is not a recipe's name":                             {"recipe:tiny", "recipe:../x"},
		"lacks the key \"boot\"":                             {`{image: "recipe:tiny"}`, "{tree: root}"},
		"needs exactly one of phases and document":           {"    document: doc.yaml\n", ""},
		"parameters are those of a document":                 {"    phases:", "    parameters: {A: 1}\n    phases:"},
		"component web is defined twice":                     {"- name: doc", "- name: web"},
		"the step page is there twice":                       {"name: file", "name: page"},
		"needs exactly one of run and action":                {"action: Reboot", "onFailure: Abort"},
		"unknown action \"Reboots\"":                         {"action: Reboot}", "action: Reboots}"},
		"S3Upload of EC2 Image Builder is not":               {"action: Reboot}", "action: S3Upload, inputs: {}}"},
		"inputs are those of an action":                      {`run: "echo hi"`, `run: "echo hi", inputs: {}`},
		"r.yaml:12:13: components[0].phases[0].steps[1] lac": {", inputs: [{path: /etc/a, content: 1, permissions: 600}]", ""},
		"lacks the key \"path\"":                             {"path: /etc/a, ", ""},
		"timeoutSeconds must be at least 1":                  {"timeoutSeconds: 5", "timeoutSeconds: 0"},
		"the phase build has no steps":                       {"        steps:\n", "        steps: []\n      - name: test\n        steps:\n"},
	} {
		text := strings.Replace(onParent, change[0], change[1], 1)
		_, err := recipe.Parse("r.yaml", []byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	var v any
	if err := yaml.Unmarshal([]byte(onParent), &v); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("the schema refuses it: %v", err)
	}
}
