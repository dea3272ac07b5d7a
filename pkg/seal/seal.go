// Package seal owns how secrets are encrypted that are kept in the store, and the
// files whose keys open them, which are not part of the store: a copy of the store
// alone opens nothing. It imports no package of ours.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// KeyBytes is the size of a key.
const KeyBytes = 32

// Sealer encrypts and authenticates (AES-256-GCM).
type Sealer struct{ aead cipher.AEAD }

// New returns a sealer with a key of KeyBytes.
func New(key []byte) (*Sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("using the secret key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("using the secret key: %w", err)
	}
	return &Sealer{aead}, nil
}

// Derive makes a sealer for one purpose from a secret that has several.
func Derive(secret []byte, purpose string) (*Sealer, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "bundt "+purpose, KeyBytes)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of %ss: %w", purpose, err)
	}
	return New(key)
}

// Seal encrypts data. It opens only with the same context: what it belongs to.
func (s *Sealer) Seal(data []byte, context string) []byte {
	return s.aead.Seal(nil, nil, data, []byte(context))
}

// Open returns what was sealed, or an error if it was with another key or context.
func (s *Sealer) Open(sealed []byte, context string) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, []byte(context))
}

// ReadKeyFile returns the key in a file that its owner alone may read. The error is
// fs.ErrNotExist if there is none.
func ReadKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others than its owner (mode %v): chmod 600 it, and replace what it protects if others may have read it", path, info.Mode().Perm())
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("%s has %d bytes, not %d: restore it from a copy", path, len(key), KeyBytes)
	}
	return key, nil
}

// MakeKeyFile writes a new key to a file and returns it.
func MakeKeyFile(path string) ([]byte, error) {
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key) // never fails
	return key, WritePrivate(path, key)
}

// WritePrivate writes a file that only its owner may read, wholly or not at all,
// and makes it durable.
func WritePrivate(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	parent, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}
