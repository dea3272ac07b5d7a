package daemon

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// applyConfigFile sets flags from a YAML file of their names without dashes in
// front. A flag that was given on the command line stays.
func applyConfigFile(path string, flags *pflag.FlagSet) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading --config: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("reading --config %s: %w", path, err)
	}
	if doc.Kind == 0 {
		return nil // empty
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("reading --config %s: it must be a mapping of flags' names to their values", path)
	}
	seen := map[string]bool{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if seen[key.Value] {
			return fmt.Errorf("reading --config %s:%d: %s is given twice", path, key.Line, key.Value)
		}
		seen[key.Value] = true
		if err := applySetting(key.Value, value, flags); err != nil {
			return fmt.Errorf("reading --config %s:%d: %w", path, key.Line, err)
		}
	}
	return nil
}

func applySetting(name string, value *yaml.Node, flags *pflag.FlagSet) error {
	flag := flags.Lookup(name)
	if flag == nil || name == "config" {
		return fmt.Errorf("%s is no setting: settings are bundtd's flags", name)
	}
	var texts []string
	switch value.Kind {
	case yaml.ScalarNode:
		texts = []string{value.Value}
	case yaml.SequenceNode:
		if flag.Value.Type() != "stringSlice" {
			return fmt.Errorf("%s takes one value", name)
		}
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return fmt.Errorf("%s takes a list of strings", name)
			}
			texts = append(texts, item.Value)
		}
	default:
		return fmt.Errorf("%s takes a value and no mapping", name)
	}
	if flag.Changed {
		return nil
	}
	for _, text := range texts {
		if err := flags.Set(name, text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
