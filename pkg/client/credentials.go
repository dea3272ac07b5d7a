package client

import (
	"fmt"
	"os"
	"strings"
)

// AccessKey is what AWS's clients sign requests with.
type AccessKey struct{ ID, Secret string }

// ReadAccessKey returns the first access key in a file of AWS's shared
// credentials, which is what DescribeEndpoint's CredentialsFile names.
// https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
func ReadAccessKey(path string) (AccessKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return AccessKey{}, fmt.Errorf("reading the access key: %w", err)
	}
	var k AccessKey
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, "=")
		switch name, value = strings.TrimSpace(name), strings.TrimSpace(value); {
		case name == "aws_access_key_id" && k.ID == "":
			k.ID = value
		case name == "aws_secret_access_key" && k.Secret == "":
			k.Secret = value
		}
	}
	if k.ID == "" || k.Secret == "" {
		return AccessKey{}, fmt.Errorf("reading the access key: %s holds none", path)
	}
	return k, nil
}
