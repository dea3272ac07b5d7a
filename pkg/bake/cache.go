package bake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// cache holds downloads and finished steps by digest. A file in it is whole: it
// is written beside and renamed.
type cache struct{ dir string }

func (c cache) path(kind, key string) string {
	return filepath.Join(c.dir, kind, strings.TrimPrefix(key, "sha256:"))
}

// lookup returns the file's path if it is there.
func (c cache) lookup(kind, key string) (string, bool) {
	p := c.path(kind, key)
	fi, err := os.Stat(p)
	return p, err == nil && fi.Mode().IsRegular()
}

// lookupVerified also checks that the content still has the digest that names it,
// and forgets it if not.
func (c cache) lookupVerified(kind, sum string) (string, bool, error) {
	p, ok := c.lookup(kind, sum)
	if !ok {
		return p, false, nil
	}
	got, err := fileSHA256(p)
	if err != nil {
		return "", false, err
	}
	if got != strings.TrimPrefix(sum, "sha256:") {
		return p, false, os.Remove(p)
	}
	return p, true, nil
}

// create makes a file of the cache by fill, at once or not at all.
func (c cache) create(ctx context.Context, kind, key string, fill func(f *os.File) error) (_ string, err error) {
	final := c.path(kind, key)
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", fmt.Errorf("making the cache: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(final), ".new-*")
	if err != nil {
		return "", fmt.Errorf("writing to the cache: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := fill(f); err != nil {
		return "", err
	}
	if err := errors.Join(ctx.Err(), f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("writing to the cache: %w", err)
	}
	return final, os.Rename(f.Name(), final)
}

// createJSON keeps a value.
func (c cache) createJSON(ctx context.Context, kind, key string, value any) error {
	_, err := c.create(ctx, kind, key, func(f *os.File) error { return json.NewEncoder(f).Encode(value) })
	return err
}

// lookupJSON reads a value that createJSON has kept; false if there is none that can be read.
func (c cache) lookupJSON(kind, key string, value any) bool {
	name, ok := c.lookup(kind, key)
	if !ok {
		return false
	}
	b, err := os.ReadFile(name)
	return err == nil && json.Unmarshal(b, value) == nil
}

func fileSHA256(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func compareStrings(a, b string) int { return strings.Compare(a, b) }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
