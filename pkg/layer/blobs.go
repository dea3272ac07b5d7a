package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

const digestPrefix = "sha256:"

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// PutBlob stores what r delivers and returns its digest, "sha256:" and 64 hex
// digits, and size, once it is on stable storage. Storing the same again is
// success. It returns ErrTooLarge when r delivers more than the store accepts.
func (s *Store) PutBlob(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	if digest, size, err = s.putBlob(ctx, r); err != nil {
		return "", 0, fmt.Errorf("storing blob: %w", err)
	}
	return digest, size, nil
}

func (s *Store) putBlob(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	hash := sha256.New()
	temp, err := s.writeTemp(func(w io.Writer) (err error) {
		size, err = io.Copy(io.MultiWriter(w, hash), io.LimitReader(contextReader{ctx, r}, s.maxBlob+1))
		if err == nil && size > s.maxBlob {
			err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, s.maxBlob)
		}
		return err
	})
	if err != nil {
		return "", 0, err
	}
	// A crash here leaves the file in tmp/, for SweepTemp.
	if err := s.step("blob: rename"); err != nil {
		return "", 0, err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if err := os.Rename(temp, filepath.Join(s.blobs(), sum)); err != nil {
		return "", 0, errors.Join(err, os.Remove(temp))
	}
	return digestPrefix + sum, size, syncDir(s.blobs())
}

// BlobPath returns the file of a blob, or ErrNotFound.
func (s *Store) BlobPath(digest string) (string, error) {
	path, err := s.blobFile(digest)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", notFound(err, "blob", digest)
	}
	return path, nil
}

// HasBlob reports whether there is a blob of that digest.
func (s *Store) HasBlob(digest string) (bool, error) {
	_, err := s.BlobPath(digest)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// DeleteBlob removes a blob; it need not exist.
func (s *Store) DeleteBlob(ctx context.Context, digest string) error {
	path, err := s.blobFile(digest)
	if err = errors.Join(ctx.Err(), err); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting blob: %w", err)
	}
	return nil
}

// ListBlobs returns the digests of all blobs, sorted.
func (s *Store) ListBlobs() ([]string, error) {
	entries, err := os.ReadDir(s.blobs())
	if err != nil {
		return nil, fmt.Errorf("listing blobs: %w", err)
	}
	digests := make([]string, 0, len(entries))
	for _, e := range entries {
		if d := digestPrefix + e.Name(); digestPattern.MatchString(d) {
			digests = append(digests, d)
		}
	}
	slices.Sort(digests)
	return digests, nil
}

func (s *Store) blobFile(digest string) (string, error) {
	if !digestPattern.MatchString(digest) {
		return "", fmt.Errorf("%w: %q", ErrDigest, digest)
	}
	return filepath.Join(s.blobs(), digest[len(digestPrefix):]), nil
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
