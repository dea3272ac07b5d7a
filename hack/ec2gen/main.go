// Command ec2gen makes Go code from the EC2 API model: the request and response
// types of the actions that bundt serves (pkg/api/ec2types) and the methods of
// the Go client (pkg/client). It has two steps:
//
//	go run ./hack/ec2gen trim -model api-2.json   writes hack/ec2gen/model.json
//	go generate ./pkg/api/ec2types                writes the Go files from it
//
// The full model is models/apis/ec2/2016-11-15/api-2.json in the Go module
// github.com/aws/aws-sdk-go (Apache-2.0). It is needed only to add an action:
// append its name to actions.txt, then run both steps.
package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed actions.txt
var actionList string

// defaultSource is where the committed model.json comes from.
const defaultSource = "github.com/aws/aws-sdk-go@v1.55.8/models/apis/ec2/2016-11-15/api-2.json"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ec2gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: ec2gen trim|generate [flags]")
	}
	switch args[0] {
	case "trim":
		return runTrim(args[1:])
	case "generate":
		return runGenerate(args[1:])
	}
	return fmt.Errorf("unknown step %q: want trim or generate", args[0])
}

func runTrim(args []string) error {
	flags := flag.NewFlagSet("trim", flag.ContinueOnError)
	from := flags.String("model", "", "full EC2 model, api-2.json")
	to := flags.String("out", "hack/ec2gen/model.json", "trimmed model to write")
	source := flags.String("source", defaultSource, "origin to note in the trimmed model")
	if err := flags.Parse(args); err != nil {
		return err
	}
	full, err := readModel(*from)
	if err != nil {
		return err
	}
	trimmed, err := full.trim(actions(), *source)
	if err != nil {
		return fmt.Errorf("trimming %s: %w", *from, err)
	}
	data, err := json.MarshalIndent(trimmed, "", " ")
	if err != nil {
		return fmt.Errorf("encoding trimmed model: %w", err)
	}
	return os.WriteFile(*to, append(data, '\n'), 0o644)
}

func runGenerate(args []string) error {
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	from := flags.String("model", "hack/ec2gen/model.json", "trimmed model")
	types := flags.String("types", "pkg/api/ec2types", "directory for the types")
	client := flags.String("client", "pkg/client", "directory for the client's methods")
	if err := flags.Parse(args); err != nil {
		return err
	}
	m, err := readModel(*from)
	if err != nil {
		return err
	}
	g, err := newGenerator(m)
	if err != nil {
		return fmt.Errorf("reading %s: %w", *from, err)
	}
	for _, f := range []struct {
		dir, name string
		source    func() ([]byte, error)
	}{
		{*types, "types_gen.go", g.typesFile},
		{*types, "operations_gen.go", g.operationsFile},
		{*types, "enums_gen.go", g.enumsFile},
		{*client, "operations_gen.go", g.clientFile},
	} {
		src, err := f.source()
		if err != nil {
			return fmt.Errorf("generating %s: %w", f.name, err)
		}
		if err := os.WriteFile(filepath.Join(f.dir, f.name), src, 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", f.name, err)
		}
	}
	return nil
}

// actions returns the names in actions.txt, sorted.
func actions() []string {
	names := strings.Fields(actionList)
	slices.Sort(names)
	return slices.Compact(names)
}
