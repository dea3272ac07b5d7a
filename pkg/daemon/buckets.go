package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

var accountDirectory = regexp.MustCompile(`^[0-9]{12}$`)

// settleBuckets makes the directory of buckets, where each account has one. What
// lies beside those is of a time when the buckets were everybody's: it becomes the
// admin account's.
func settleBuckets(dir, admin string) error {
	own := filepath.Join(dir, admin)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return fmt.Errorf("making the bucket directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the bucket directory: %w", err)
	}
	for _, e := range entries {
		if accountDirectory.MatchString(e.Name()) {
			continue
		}
		to := filepath.Join(own, e.Name())
		if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("giving the bucket %s to the account %s: %s is there already (%w)", e.Name(), admin, to, err)
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), to); err != nil {
			return fmt.Errorf("giving the bucket %s to the account %s: %w", e.Name(), admin, err)
		}
	}
	return nil
}
