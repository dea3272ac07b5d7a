package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/seal"
)

// openKeyFile reads the key of access keys' secrets, and makes it if the store
// has no secret yet.
func (d *Directory) openKeyFile(ctx context.Context, path string) (*seal.Sealer, error) {
	key, err := seal.ReadKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = d.makeKeyFile(ctx, path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the key of access keys' secrets: %w", err)
	}
	return seal.New(key)
}

func (d *Directory) makeKeyFile(ctx context.Context, path string) ([]byte, error) {
	keys, err := view(ctx, d, records.AccessKeys.List)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		return nil, fmt.Errorf("%s is missing, and the store has %d access keys that need it: restore it from a copy, or from another node of this cloud", path, len(keys))
	}
	return seal.MakeKeyFile(path)
}

// unsealKey returns an access key's secret.
func (d *Directory) unsealKey(id string, sealed []byte) (string, error) {
	secret, err := d.keys.Open(sealed, id)
	if err != nil {
		return "", fmt.Errorf("decrypting the secret of access key %s: %w: is secret.key another cloud's?", id, err)
	}
	return string(secret), nil
}
