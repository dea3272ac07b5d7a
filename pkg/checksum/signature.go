package checksum

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keys are those whose signatures count.
type Keys struct{ entities openpgp.EntityList }

// armored begins an OpenPGP message in ASCII (RFC 9580, section 6.2).
const armored = "-----BEGIN PGP"

// ReadKeys reads OpenPGP keys, in ASCII or not, and keeps those with the given
// fingerprints: 40 or 64 hexadecimal digits. All of them must be there.
func ReadKeys(data []byte, fingerprints []string) (*Keys, error) {
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(armored)) {
		read = openpgp.ReadArmoredKeyRing
	}
	all, err := read(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	k := &Keys{}
	for _, f := range fingerprints {
		i := slices.IndexFunc(all, func(e *openpgp.Entity) bool { return fingerprint(e) == strings.ToUpper(f) })
		if i < 0 {
			return nil, fmt.Errorf("there is no key with the fingerprint %s", f)
		}
		k.entities = append(k.entities, all[i])
	}
	return k, nil
}

func fingerprint(e *openpgp.Entity) string {
	return strings.ToUpper(hex.EncodeToString(e.PrimaryKey.Fingerprint))
}

// Detached checks a signature, in ASCII or not, that stands beside text, and returns
// the fingerprint of the key that made it. now decides which keys have expired.
func (k *Keys) Detached(text, signature []byte, now time.Time) (string, error) {
	var r io.Reader = bytes.NewReader(signature)
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte(armored)) {
		block, err := armor.Decode(r)
		if err != nil {
			return "", fmt.Errorf("reading the signature: %w: %w", err, ErrSignature)
		}
		if block.Type != openpgp.SignatureType {
			return "", fmt.Errorf("a %s is no signature: %w", block.Type, ErrSignature)
		}
		r = block.Body
	}
	return k.verify(text, r, now)
}

// Clearsigned checks a text that is signed in itself, and returns what is signed of
// it and the fingerprint of the key. What stands around that is not signed.
func (k *Keys) Clearsigned(signed []byte, now time.Time) ([]byte, string, error) {
	block, _ := clearsign.Decode(signed)
	if block == nil {
		return nil, "", fmt.Errorf("the file is not signed in itself: %w", ErrSignature)
	}
	signer, err := k.verify(block.Bytes, block.ArmoredSignature.Body, now)
	return block.Plaintext, signer, err
}

func (k *Keys) verify(text []byte, signature io.Reader, now time.Time) (string, error) {
	config := &packet.Config{Time: func() time.Time { return now }}
	sig, signer, err := openpgp.VerifyDetachedSignature(k.entities, bytes.NewReader(text), signature, config)
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", fmt.Errorf("it was made by none of the keys %s: %w", strings.Join(k.fingerprints(), ", "), ErrSignature)
	case err != nil && sig != nil && sig.CreationTime.After(now):
		return "", fmt.Errorf("it was made on %s, and this host's clock says %s: %w", sig.CreationTime.UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly), ErrSignature)
	case err != nil && signer != nil:
		return "", fmt.Errorf("the key %s: %w: %w", fingerprint(signer), err, ErrSignature)
	case err != nil:
		return "", fmt.Errorf("%w: %w", err, ErrSignature)
	case !slices.Contains([]crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512}, sig.Hash):
		return "", fmt.Errorf("it is by the hash %s, which is too weak: %w", sig.Hash, ErrSignature)
	}
	return fingerprint(signer), nil
}

func (k *Keys) fingerprints() (out []string) {
	for _, e := range k.entities {
		out = append(out, fingerprint(e))
	}
	return out
}
