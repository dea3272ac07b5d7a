// Package keyring owns the keys of encrypted volumes. Each data key, which some
// volume and its snapshots are encrypted with, lies in the store, encrypted with its
// account's key; accounts' keys are derived from one key in a file. It may import
// pkg/store, pkg/records, pkg/model, pkg/seal and pkg/disk.
package keyring

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/seal"
	"github.com/bundt/bundt/pkg/store"
)

// Ring makes and opens data keys. It is safe for concurrent use.
type Ring struct{ master []byte }

// tokens are the places of keys that programs call by a URI.
var tokens = regexp.MustCompile(`^(pkcs11|tpm|tpm2|awskms|kms):`)

// CheckSource refuses the name of a key that is not a file.
func CheckSource(name string) error {
	if scheme := tokens.FindString(name); scheme != "" {
		return fmt.Errorf("%s: keys of volumes are read from a file; keys in PKCS #11 tokens, TPMs and key services (%s) are not supported", name, strings.TrimSuffix(scheme, ":"))
	}
	return nil
}

// Open reads the key in the file, and makes it unless the store has data keys that
// need the one that is missing.
func Open(ctx context.Context, s *store.Store, file string) (*Ring, error) {
	if err := CheckSource(file); err != nil {
		return nil, err
	}
	key, err := seal.ReadKeyFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = create(ctx, s, file)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the key of encrypted volumes: %w", err)
	}
	return &Ring{master: key}, nil
}

func create(ctx context.Context, s *store.Store, file string) ([]byte, error) {
	err := s.View(ctx, func(tx *store.Tx) error {
		keys, err := records.DataKeys.List(tx)
		if err == nil && len(keys) > 0 {
			err = fmt.Errorf("%s is missing, and %d encrypted volumes and snapshots need it: restore it from a copy", file, len(keys))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return seal.MakeKeyFile(file)
}

// New makes a data key for an account. Keeping it is the caller's.
func (r *Ring) New(account string, now time.Time) (model.DataKey, error) {
	k := model.DataKey{ID: model.NewID(model.DataKeyPrefix), OwnerID: account, Created: now}
	s, err := r.of(account)
	if err != nil {
		return k, err
	}
	k.Sealed = s.Seal([]byte(disk.NewPassphrase()), k.ID)
	return k, nil
}

// Passphrase is what opens the layers that are encrypted with a data key.
func (r *Ring) Passphrase(k *model.DataKey) (disk.Passphrase, error) {
	s, err := r.of(k.OwnerID)
	if err != nil {
		return "", err
	}
	plain, err := s.Open(k.Sealed, k.ID)
	if err != nil {
		return "", fmt.Errorf("opening data key %s: %w: is the key file another cloud's?", k.ID, err)
	}
	return disk.Passphrase(plain), nil
}

func (r *Ring) of(account string) (*seal.Sealer, error) {
	return seal.Derive(r.master, "volume key of account "+account)
}

// AccountKey is the id that an account's key goes by: a UUID, as key services have.
func (r *Ring) AccountKey(account string) (string, error) {
	b, err := hkdf.Key(sha256.New, r.master, nil, "bundt id of the volume key of account "+account, 16)
	if err != nil {
		return "", fmt.Errorf("naming the key of account %s: %w", account, err)
	}
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80 // version 8 of RFC 9562: by a rule of our own
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
