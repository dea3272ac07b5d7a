package component_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/bundt/bundt/pkg/component"
	"github.com/bundt/bundt/pkg/recipe"
)

const head = `apiVersion: bundt/v1
name: web
version: "1.0"
architectures: [x86_64]
source: {image: base}
components:
`

func context(t *testing.T, components, document string) (*recipe.Recipe, fstest.MapFS) {
	t.Helper()
	fsys := fstest.MapFS{"recipe.yaml": {Data: []byte(head + components)}, "doc.yaml": {Data: []byte(document)}}
	rec, err := recipe.Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return rec, fsys
}

const document = `name: Doc
schemaVersion: 1.0
constants:
  - Greeting: {type: string, value: hello}
parameters:
  - Name: {type: string, default: world, allowedValues: [world, moon]}
phases:
  - name: build
    steps:
      - name: Say
        action: ExecuteBash
        inputs: {commands: ["echo {{ Greeting }}, {{ Name }}"]}
      - name: Keep
        action: CreateFile
        inputs: {path: /etc/said, content: "{{ build.Say.outputs.stdout }}"}
        timeoutSeconds: 7
        maxAttempts: 3
  - name: test
    steps:
      - name: Same
        action: Assert
        inputs: {stringEquals: "HELLO, MOON", value: "{{ build.Say.outputs.stdout }}"}
`

func TestCompile(t *testing.T) {
	rec, fsys := context(t, "  - {name: doc, document: doc.yaml, parameters: {Name: moon}}\n", document)
	steps, err := component.Compile(rec, fsys, recipe.PhaseBuild)
	if err != nil || len(steps) != 2 {
		t.Fatalf("%+v, %v", steps, err)
	}
	if s := steps[1]; s.Timeout() != 7*time.Second || s.Attempts() != 3 || s.ID() != "doc/build/Keep" || steps[0].Timeout() != 2*time.Hour || steps[0].Attempts() != 1 {
		t.Errorf("%+v", s)
	}
	said := func(step string) (string, error) { return "it's <" + step + ">", nil }
	for i, want := range []string{"echo hello, moon", `'printf' '%s' 'it'\''s <build.Say>' > '/etc/said'`} {
		s, err := steps[i].Expand(said)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.Command()
		if err != nil || strings.TrimSpace(c.Script) != want {
			t.Errorf("%q, %v", c.Script, err)
		}
	}
	a, err1 := steps[0].Digest()
	b, err2 := steps[1].Digest()
	if err1 != nil || err2 != nil || a == b {
		t.Errorf("digests %s, %s", a, b)
	}
	rec.Components[0].Parameters["Name"] = "world"
	other, err := component.Compile(rec, fsys, recipe.PhaseBuild)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := other[0].Digest(); err != nil || c == a {
		t.Errorf("another parameter gives the same digest, %v", err)
	}
}

func TestCompileRefuses(t *testing.T) {
	for want, tc := range map[string][2]string{
		"cannot be \"mars\"":                {"  - {name: doc, document: doc.yaml, parameters: {Name: mars}}\n", document},
		"no parameter Colour":               {"  - {name: doc, document: doc.yaml, parameters: {Colour: red}}\n", document},
		"has no value":                      {"  - {name: doc, document: doc.yaml}\n", strings.Replace(document, "default: world, ", "", 1)},
		"no step of that name comes":        {"  - {name: doc, document: doc.yaml}\n", strings.Replace(document, "build.Say", "build.Sing", 1)},
		"no parameter, no constant":         {"  - {name: doc, document: doc.yaml}\n", strings.Replace(document, "{{ Greeting }}", "{{ Farewell }}", 1)},
		"doc.yaml:11:17: the action S3Down": {"  - {name: doc, document: doc.yaml}\n", strings.Replace(document, "ExecuteBash", "S3Download", 1)},
		"this version reads 1.0":            {"  - {name: doc, document: doc.yaml}\n", strings.Replace(document, "schemaVersion: 1.0", "schemaVersion: 2.0", 1)},
		"larger than":                       {"  - {name: doc, document: doc.yaml}\n", document + strings.Repeat("#", 64<<10)},
	} {
		rec, fsys := context(t, tc[0], tc[1])
		if _, err := component.Compile(rec, fsys, recipe.PhaseBuild); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestScripts runs the actions' scripts here, on files of hostile names.
func TestScripts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `it's "a" $(dir)`)
	steps := func(lines string) []component.Step {
		t.Helper()
		text := strings.ReplaceAll(lines, "DIR", strings.ReplaceAll(dir, `"`, `\"`))
		rec, fsys := context(t, "  - name: c\n    phases:\n      - name: build\n        steps:\n"+text, document)
		out, err := component.Compile(rec, fsys, recipe.PhaseBuild)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	run := func(s *component.Step) (string, error) {
		c, err := s.Command()
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sh", "-e", "-c", c.Script).CombinedOutput()
		return string(out), err
	}
	for i, s := range steps(`
          - {name: a, action: CreateFolder, inputs: [{path: "DIR", permissions: 700}]}
          - {name: b, action: CreateFile, inputs: [{path: "DIR/a; b", content: "x 'y'\n", permissions: "0640"}]}
          - {name: c, action: AppendFile, inputs: {path: "DIR/a; b", content: "z"}}
          - {name: d, action: CopyFile, inputs: [{source: "DIR/a; b", destination: "DIR/copy"}]}
          - {name: e, action: MoveFile, inputs: [{source: "DIR/copy", destination: "DIR/moved"}]}
          - {name: f, action: CreateSymlink, inputs: {path: "DIR/link", target: moved}}
          - {name: g, action: Assert, inputs: {fileExists: "DIR/link"}}
          - {name: h, action: Assert, inputs: {folderExists: "DIR"}}
          - {name: i, action: Assert, inputs: {binaryExists: sh}}
          - {name: j, action: Assert, inputs: {numberLessThan: 10, value: 9.5}}
          - {name: k, action: Assert, inputs: {patternMatches: "^a+$", value: AAA}}
          - {name: l, action: SetFilePermissions, inputs: {path: "DIR/moved", permissions: 600}}
          - {name: m, action: ExecuteBinary, inputs: {path: /bin/echo, arguments: ["$(id)", "a  b"]}}
          - {name: n, action: ListFiles, inputs: {path: "DIR"}}
          - {name: o, action: CopyFolder, inputs: {source: "DIR", destination: "DIR.2"}}
          - {name: p, action: DeleteFolder, inputs: {path: "DIR.2", force: true}}
          - {name: q, action: DeleteFile, inputs: [{path: "DIR/moved"}]}
`) {
		out, err := run(&s)
		if err != nil {
			t.Fatalf("step %d, %s: %v: %s", i+1, s.Action, err, out)
		}
		if s.Action == "ExecuteBinary" && out != "$(id) a  b\n" {
			t.Errorf("a program gets %q", out)
		}
	}
	for _, s := range steps(`
          - {name: a, action: DeleteFile, inputs: {path: "DIR/none"}}
          - {name: b, action: DeleteFolder, inputs: {path: "DIR"}}
          - {name: c, action: CreateFile, inputs: {path: "DIR/a; b", content: y, overwrite: false}}
          - {name: d, action: Assert, inputs: {fileExists: "DIR/none"}}
          - {name: e, action: Assert, inputs: {stringEquals: a, value: b}}
          - {name: f, action: Assert, inputs: {numberGreaterThan: 1, value: one}}
          - {name: g, action: CopyFile, inputs: {source: "DIR/none", destination: "DIR/x"}}
`) {
		if out, err := run(&s); err == nil {
			t.Errorf("%s passes: %s", s.Name, out)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(document))
	f.Add([]byte("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: a, action: Assert, inputs: {}}]}]"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		doc, err := recipe.ParseDocument("doc.yaml", data)
		if err == nil {
			_, _ = doc.Variables(nil)
		}
	})
}
