// Command ec2gen makes Go code from the API models of EC2 and of the services
// that EC2's clients call beside it (STS, IAM, SSM, CloudWatch): the request and response
// types of the actions that bundt serves (pkg/api/ec2types, ststypes …) and, for
// EC2, STS, IAM and CloudWatch, the methods of the Go client (pkg/client). It has two steps:
//
//	go run ./hack/ec2gen trim -service ec2 -model api-2.json   writes hack/ec2gen/model.json
//	go generate ./pkg/api/ec2types                             writes the Go files from it
//
// The full models are models/apis/SERVICE/VERSION/api-2.json in the Go module
// github.com/aws/aws-sdk-go (Apache-2.0). They are needed only to add an action:
// append its name to the service's actions.txt, then run both steps. A third one,
// "names", prints the names of all actions in a full model.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ec2gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: ec2gen trim|generate|names [flags]")
	}
	switch args[0] {
	case "trim":
		return runTrim(args[1:])
	case "generate":
		return runGenerate(args[1:])
	case "names":
		return runNames(args[1:])
	}
	return fmt.Errorf("unknown step %q: want trim, generate or names", args[0])
}

func runNames(args []string) error {
	flags := flag.NewFlagSet("names", flag.ContinueOnError)
	from := flags.String("model", "", "EC2's full model, api-2.json")
	if err := flags.Parse(args); err != nil {
		return err
	}
	full, err := readModel(services[0], *from)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(full.Operations)) {
		fmt.Println(name)
	}
	return nil
}

func runTrim(args []string) error {
	flags := flag.NewFlagSet("trim", flag.ContinueOnError)
	name := flags.String("service", "ec2", "service: ec2, sts, iam, ssm or monitoring")
	from := flags.String("model", "", "the service's full model, api-2.json")
	to := flags.String("out", "", "trimmed model to write (default: the service's model.json)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	svc, err := serviceByName(*name)
	if err != nil {
		return err
	}
	full, err := readModel(svc, *from)
	if err != nil {
		return err
	}
	trimmed, err := full.trim(svc.actions(), svc.source())
	if err != nil {
		return fmt.Errorf("trimming %s: %w", *from, err)
	}
	data, err := json.MarshalIndent(trimmed, "", " ")
	if err != nil {
		return fmt.Errorf("encoding trimmed model: %w", err)
	}
	return os.WriteFile(cmp.Or(*to, filepath.Join("hack/ec2gen", svc.dir, "model.json")), append(data, '\n'), 0o644)
}

func runGenerate(args []string) error {
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	name := flags.String("service", "ec2", "service: ec2, sts, iam, ssm or monitoring")
	from := flags.String("model", "hack/ec2gen/model.json", "trimmed model")
	types := flags.String("types", "pkg/api/ec2types", "directory for the types")
	client := flags.String("client", "", "directory for the Go client's methods; none if empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	svc, err := serviceByName(*name)
	if err != nil {
		return err
	}
	m, err := readModel(svc, *from)
	if err != nil {
		return err
	}
	g, err := newGenerator(svc, m)
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
		{*client, svc.clientFile, g.clientFile},
	} {
		if f.dir == "" {
			continue
		}
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
