package region

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// readCredentials reads a file of the form of ~/.aws/credentials: access keys by section.
func readCredentials(path string) (map[string]aws.Credentials, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the access keys of another region: %w", err)
	}
	out := map[string]aws.Credentials{}
	section, n := "", 0
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		n++
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSpace(strings.TrimSuffix(name, "]"))
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == "" {
			return nil, fmt.Errorf("reading the access keys of another region: %s:%d is neither a [section] nor a setting in one", path, n)
		}
		c := out[section]
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "aws_access_key_id":
			c.AccessKeyID = value
		case "aws_secret_access_key":
			c.SecretAccessKey = value
		case "aws_session_token":
			c.SessionToken = value
		}
		out[section] = c
	}
	return out, nil
}
