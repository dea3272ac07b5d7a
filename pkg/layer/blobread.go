package layer

import (
	"fmt"
	"io"
	"os"
	"time"
)

// OpenBlob opens a blob for reading. A blob that does not exist is ErrNotFound.
func (s *Store) OpenBlob(digest string) (io.ReadCloser, error) {
	path, err := s.BlobPath(digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", digest, err)
	}
	return f, nil
}

// BlobTime returns when a blob was last put.
func (s *Store) BlobTime(digest string) (time.Time, error) {
	path, err := s.BlobPath(digest)
	if err != nil {
		return time.Time{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("looking at blob %s: %w", digest, err)
	}
	return info.ModTime(), nil
}

// Dir is the directory that the store keeps everything in.
func (s *Store) Dir() string { return s.dir }
