package conformance

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Model is what EC2's API model says about answers.
type Model struct {
	Operations map[string]struct {
		Output *ref `json:"output"`
	} `json:"operations"`
	Shapes map[string]*shape `json:"shapes"`
}

type ref struct {
	Shape        string `json:"shape"`
	LocationName string `json:"locationName"`
}

type shape struct {
	Type     string         `json:"type"`
	Required []string       `json:"required"`
	Members  map[string]ref `json:"members"`
	Member   *ref           `json:"member"`
	Enum     []string       `json:"enum"`
}

// Load reads the model from the source tree that the test runs in.
func Load() (*Model, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, "hack", "ec2gen", "model.json"))
	if err != nil {
		return nil, fmt.Errorf("reading EC2's model: %w", err)
	}
	m := new(Model)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("parsing EC2's model: %w", err)
	}
	return m, nil
}

// moduleRoot finds the directory of go.mod: tests run in their package's directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the source tree: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("finding the source tree: no go.mod above the working directory")
		}
		dir = parent
	}
}

// codes are the error codes of EC2's API, and those common to all its actions.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
//
//go:embed codes.txt
var codes string

// knownCode reports whether EC2 has an error of this code.
func knownCode(code string) bool {
	for known := range strings.FieldsSeq(codes) {
		if known == code {
			return true
		}
	}
	return false
}
