package cloud

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// maxTrustedKeys bounds what each signature is compared with.
const maxTrustedKeys = 100

var trustedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$`)

// SigningKey is the public part of a key that an account signs images with.
type SigningKey struct {
	ID        string // as sigstore's tools name it
	PublicKey string // PKIX, PEM
}

func signingKey(k *signature.Key) SigningKey {
	return SigningKey{k.Public().ID(), string(k.Public().PEM())}
}

// ImageKey returns the key that the account signs images with. It is made when it is
// first asked for.
func (c *Account) ImageKey(ctx context.Context) (SigningKey, error) {
	var key *signature.Key
	err := c.store.Update(ctx, func(tx *store.Tx) error {
		rec, err := records.ImageKeys.Get(tx, c.id)
		if err == nil {
			key, err = signature.ParseKey(rec.Key)
			return err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if key, err = signature.NewKey(); err != nil {
			return err
		}
		return c.putImageKey(tx, key)
	})
	if err != nil {
		return SigningKey{}, err
	}
	return signingKey(key), nil
}

// ImportImageKey has the account sign images with a key from elsewhere. What was
// signed with the one before stays signed with that.
func (c *Account) ImportImageKey(ctx context.Context, text string) (SigningKey, error) {
	key, err := signature.ParseKey([]byte(text))
	if err != nil {
		return SigningKey{}, model.Errorf(model.CodeInvalidParameterValue, "KeyMaterial: %v", err)
	}
	return signingKey(key), c.store.Update(ctx, func(tx *store.Tx) error { return c.putImageKey(tx, key) })
}

func (c *Account) putImageKey(tx *store.Tx, key *signature.Key) error {
	der, err := key.DER()
	if err != nil {
		return err
	}
	return records.ImageKeys.Put(tx, &model.ImageKey{OwnerID: c.id, Key: der, Created: c.Now()})
}

// TrustKey has the account trust what a key signs, under a name. The same key under
// the same name again is success.
func (c *Account) TrustKey(ctx context.Context, name, publicKey string) (k model.TrustedKey, err error) {
	if !trustedName.MatchString(name) {
		return k, model.Errorf(model.CodeInvalidParameterValue, "Name %q: 1 to 128 letters, digits and . _ @ - are allowed", name)
	}
	parsed, err := signature.ParsePublicKey([]byte(publicKey))
	if err != nil {
		return k, model.Errorf(model.CodeInvalidParameterValue, "PublicKey: %v", err)
	}
	k = model.TrustedKey{OwnerID: c.id, Name: name, KeyID: parsed.ID(), PublicKey: string(parsed.PEM()), Created: c.Now()}
	return k, c.store.Update(ctx, func(tx *store.Tx) error {
		all, err := records.TrustedBy(tx, c.id)
		if err != nil {
			return err
		}
		for _, old := range all {
			switch {
			case strings.EqualFold(old.Name, name) && old.PublicKey == k.PublicKey:
				k = old
				return nil
			case strings.EqualFold(old.Name, name):
				return model.Errorf("TrustedKey.Duplicate", "Another key is trusted as %s", old.Name).WithHint("remove it first: bundt trust rm %s", old.Name)
			}
		}
		if len(all) >= maxTrustedKeys {
			return model.Errorf(codeResourceLimit, "An account can trust %d keys", maxTrustedKeys)
		}
		return records.TrustedKeys.Put(tx, &k)
	})
}

// TrustedKeys returns the keys that the account trusts.
func (c *Account) TrustedKeys(ctx context.Context) ([]model.TrustedKey, error) {
	return owned(ctx, c, records.TrustedKeys)
}

// DistrustKey has the account trust a key no more. Images that are here stay.
func (c *Account) DistrustKey(ctx context.Context, name string) error {
	return c.store.Update(ctx, func(tx *store.Tx) error {
		key := records.IAMKey(c.id, name)
		if _, err := get(tx, records.TrustedKeys, key, model.Errorf("TrustedKey.NotFound", "No key is trusted as '%s'", name)); err != nil {
			return err
		}
		return records.TrustedKeys.Delete(tx, key)
	})
}
