package client

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadAccessKey(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want AccessKey
	}{
		"one":         {"[bundt]\naws_access_key_id = A\naws_secret_access_key=b=c\n", AccessKey{"A", "b=c"}},
		"first":       {"[x]\naws_access_key_id=A\naws_secret_access_key=b\n[y]\naws_access_key_id=C\naws_secret_access_key=d\n", AccessKey{"A", "b"}},
		"half":        {"[bundt]\naws_access_key_id = A\n", AccessKey{}},
		"empty":       {"", AccessKey{}},
		"empty value": {"aws_access_key_id =\naws_secret_access_key = b\n", AccessKey{}},
	} {
		file := filepath.Join(t.TempDir(), "credentials")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadAccessKey(file)
		if got != tt.want || (err == nil) != (tt.want != AccessKey{}) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, tt.want)
		}
	}
	if _, err := ReadAccessKey(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there: no error")
	}
}
