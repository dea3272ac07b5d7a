package auth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bundt/bundt/pkg/records"
)

const keySize = 32

// sealer encrypts and authenticates (AES-256-GCM).
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("using the secret key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("using the secret key: %w", err)
	}
	return &sealer{aead}, nil
}

// deriveSealer makes a sealer for one purpose from a secret that has several.
func deriveSealer(secret []byte, purpose string) (*sealer, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "bundt "+purpose, keySize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of %ss: %w", purpose, err)
	}
	return newSealer(key)
}

// seal encrypts data. It opens only with the same context: what it belongs to.
func (s *sealer) seal(data []byte, context string) []byte {
	return s.aead.Seal(nil, nil, data, []byte(context))
}

func (s *sealer) open(sealed []byte, context string) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, []byte(context))
}

// openKeyFile reads the key of access keys' secrets, and makes it if the store
// has no secret yet.
func (d *Directory) openKeyFile(ctx context.Context, path string) (*sealer, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d.makeKeyFile(ctx, path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the key of secrets: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key of secrets %s can be read by others than its owner (mode %v): chmod 600 it, and replace the access keys if others may have read it", path, info.Mode().Perm())
	}
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the key of secrets: %w", err)
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("the key of secrets %s has %d bytes, not %d: restore it from a copy", path, len(key), keySize)
	}
	return newSealer(key)
}

func (d *Directory) makeKeyFile(ctx context.Context, path string) (*sealer, error) {
	keys, err := view(ctx, d, records.AccessKeys.List)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		return nil, fmt.Errorf("the key of secrets %s is missing, and the store has %d access keys that need it: restore it from a copy, or from another node of this cloud", path, len(keys))
	}
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	if err := writePrivate(path, key); err != nil {
		return nil, fmt.Errorf("making the key of secrets: %w", err)
	}
	return newSealer(key)
}

// writePrivate writes a file that only its owner may read, wholly or not at all,
// and makes it durable.
func writePrivate(path string, data []byte) error {
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

// unsealKey returns an access key's secret.
func (d *Directory) unsealKey(id string, sealed []byte) (string, error) {
	secret, err := d.keys.open(sealed, id)
	if err != nil {
		return "", fmt.Errorf("decrypting the secret of access key %s: %w: is secret.key another cloud's?", id, err)
	}
	return string(secret), nil
}
