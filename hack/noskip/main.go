// Command noskip runs `go test` with the given arguments and fails when any test
// was skipped: where a test must run, a skip is a failure that nobody sees. Only a
// test that says "LEFT OUT: " and why may be skipped, unless CI is set, and one that
// says "NO DEVICE: " and a path at which noskip, too, finds nothing; both are said
// again at the end. It prints a line for each top-level test, the output of those that fail, and go
// test's own closing lines.
//
//	go run ./hack/noskip -tags vm -p 1 ./...
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// event is one line of `go tool test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

func main() {
	cmd := exec.Command(goCommand(), append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		fail(err)
	}
	if err := cmd.Start(); err != nil {
		fail(err)
	}
	r := &report{w: os.Stdout, strict: os.Getenv("CI") != "", absent: absent, output: map[string]*strings.Builder{}}
	readErr := r.read(out)
	testErr := cmd.Wait()
	if readErr != nil {
		fail(readErr)
	}
	for _, line := range r.leftOut {
		fmt.Fprintln(os.Stderr, "noskip:", line)
	}
	if len(r.skipped) > 0 {
		fail(fmt.Errorf("%d tests were skipped that must run:\n  %s", len(r.skipped), strings.Join(r.skipped, "\n  ")))
	}
	if r.passed == 0 && testErr == nil {
		fail(fmt.Errorf("no test ran"))
	}
	if testErr != nil {
		fail(testErr)
	}
}

func goCommand() string {
	if g := os.Getenv("GO"); g != "" {
		return g
	}
	return "go"
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "noskip:", err)
	os.Exit(1)
}

// report turns test events into what people want to read.
type report struct {
	w       io.Writer
	strict  bool                        // nothing that could be installed may be left out
	absent  func(path string) bool      // the host has no such device
	output  map[string]*strings.Builder // of tests that have not ended
	skipped []string
	leftOut []string // each a line
	passed  int
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading test events: %w", err)
		}
	}
}

func (r *report) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		_, _ = r.w.Write(line) // not an event: go's own message
		return
	}
	name := e.Package + "." + e.Test
	switch {
	case e.Action == "output" && e.Test == "", e.Action == "build-output":
		if e.Output != "PASS\n" {
			fmt.Fprint(r.w, e.Output)
		}
	case e.Action == "output":
		if r.output[name] == nil {
			r.output[name] = &strings.Builder{}
		}
		r.output[name].WriteString(e.Output)
	case e.Test != "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
		r.end(name, e)
	}
}

func (r *report) end(name string, e event) {
	out := r.output[name]
	delete(r.output, name)
	switch e.Action {
	case "pass":
		r.passed++
		if !strings.Contains(e.Test, "/") {
			fmt.Fprintf(r.w, "--- PASS: %s (%.2fs)\n", e.Test, e.Elapsed)
		}
		return
	case "skip":
		if why := said(out, "LEFT OUT: "); why != "" && !r.strict {
			r.leftOut = append(r.leftOut, name+" LEFT OUT: "+why)
			return
		}
		if path := said(out, "NO DEVICE: "); path != "" && r.absent(path) {
			r.leftOut = append(r.leftOut, name+" NO DEVICE: "+path)
			return
		}
		r.skipped = append(r.skipped, name)
	}
	if out != nil {
		fmt.Fprint(r.w, out.String())
	}
}

// said is what follows the mark in what a skipped test printed, "" if nothing does.
func said(out *strings.Builder, mark string) string {
	if out == nil {
		return ""
	}
	for line := range strings.Lines(out.String()) {
		if _, what, ok := strings.Cut(line, mark); ok {
			return strings.TrimSpace(what)
		}
	}
	return ""
}

// absent reports that the host has no device of that path.
func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
