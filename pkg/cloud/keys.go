package cloud

import (
	"context"
	"crypto/ed25519"
	"crypto/md5" // #nosec G501 -- EC2's fingerprint of imported RSA keys
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // #nosec G505 -- EC2's fingerprint of created RSA keys
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// CreateKeyPair makes a key pair, keeps the public half, and returns the private
// half in PEM (OpenSSH format for ed25519, PKCS#1 for rsa, as EC2 does). It is
// not kept: this is the only time it can be had.
func (c *Account) CreateKeyPair(ctx context.Context, name, typ string, tags model.Tags) (k model.KeyPair, private []byte, err error) {
	if err := checkKeyName(name); err != nil {
		return k, nil, err
	}
	var pub ssh.PublicKey
	var fingerprint string
	switch typ {
	case "", "rsa":
		typ = "rsa"
		pub, private, fingerprint, err = newRSA()
	case "ed25519":
		pub, private, fingerprint, err = newEd25519()
	default:
		return k, nil, model.Errorf(model.CodeInvalidParameterValue, "key type %q: must be rsa or ed25519", typ)
	}
	if err != nil {
		return k, nil, fmt.Errorf("making a key pair: %w", err)
	}
	k, err = c.addKey(ctx, name, typ, fingerprint, pub, tags)
	return k, private, err
}

// ImportKeyPair keeps a public key that the user made, in one of the forms that
// parsePublicKey knows.
func (c *Account) ImportKeyPair(ctx context.Context, name string, material []byte, tags model.Tags) (model.KeyPair, error) {
	if err := checkKeyName(name); err != nil {
		return model.KeyPair{}, err
	}
	pub, err := parsePublicKey(material)
	if err != nil {
		return model.KeyPair{}, err
	}
	switch pub.Type() {
	case ssh.KeyAlgoED25519:
		return c.addKey(ctx, name, "ed25519", sha256Fingerprint(pub), pub, tags)
	case ssh.KeyAlgoRSA:
		fp, err := importedRSAFingerprint(pub)
		if err != nil {
			return model.KeyPair{}, err
		}
		return c.addKey(ctx, name, "rsa", fp, pub, tags)
	}
	return model.KeyPair{}, model.Errorf(model.CodeKeyFormat, "keys of type %s are not supported: use ed25519 or rsa", pub.Type())
}

func (c *Account) addKey(ctx context.Context, name, typ, fingerprint string, pub ssh.PublicKey, tags model.Tags) (model.KeyPair, error) {
	if err := checkTags(tags); err != nil {
		return model.KeyPair{}, err
	}
	k := model.KeyPair{
		ID: model.NewID(model.KeyPairPrefix), OwnerID: c.id, Name: name, Type: typ, Fingerprint: fingerprint,
		PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) + " " + name,
		Created:   c.now().UTC(), Tags: tags,
	}
	err := c.store.Update(ctx, func(tx *store.Tx) error {
		key := records.NameKey(model.KeyPairPrefix, k.OwnerID, name)
		taken, err := records.Names.Exists(tx, key)
		if err != nil {
			return err
		}
		if taken {
			return model.Errorf(model.CodeKeyPairDuplicate, "The keypair '%s' already exists.", name).
				WithHint("choose another name, or remove the old one: bundt key rm %s", name)
		}
		if err := oneMore(c, tx, records.KeyPairs, model.QuotaKeyPairs, codeResourceLimit); err != nil {
			return err
		}
		if err := records.Names.Put(tx, &records.Name{Kind: model.KeyPairPrefix, OwnerID: k.OwnerID, Name: name, ID: k.ID}); err != nil {
			return err
		}
		return records.KeyPairs.Put(tx, &k)
	})
	return k, err
}

// DeleteKeyPair forgets a key pair by name or id and returns its id. As on EC2 a
// name that does not exist is success (id ""), and running instances keep the key.
func (c *Account) DeleteKeyPair(ctx context.Context, name, id string) (string, error) {
	deleted := ""
	err := c.store.Update(ctx, func(tx *store.Tx) error {
		deleted = ""
		var k model.KeyPair
		var err error
		if id != "" {
			k, err = own(c, tx, records.KeyPairs, id, keyPairNotFound(id))
		} else {
			k, err = c.keyByName(tx, name)
		}
		if model.CodeOf(err) == model.CodeKeyPairNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		deleted = k.ID
		if err := records.Names.Delete(tx, records.NameKey(model.KeyPairPrefix, k.OwnerID, k.Name)); err != nil {
			return err
		}
		return records.KeyPairs.Delete(tx, k.ID)
	})
	return deleted, err
}

func (c *Account) keyByName(tx *store.Tx, name string) (model.KeyPair, error) {
	notFound := keyPairNotFound(name)
	n, err := get(tx, records.Names, records.NameKey(model.KeyPairPrefix, c.id, name), notFound)
	if err != nil {
		return model.KeyPair{}, err
	}
	return get(tx, records.KeyPairs, n.ID, notFound)
}

func keyPairNotFound(nameOrID string) *model.Error {
	return model.Errorf(model.CodeKeyPairNotFound, "The key pair '%s' does not exist", nameOrID).
		WithHint("bundt key ls shows the keys there are; bundt key create NAME makes one")
}

func checkKeyName(name string) error {
	if name == "" {
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter KeyName")
	}
	if len(name) > 255 {
		return model.Errorf(model.CodeInvalidParameterValue, "Invalid value for parameter KeyName: longer than 255 characters")
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			return model.Errorf(model.CodeInvalidParameterValue, "Invalid value %q for parameter KeyName: only printable ASCII characters are allowed", name)
		}
	}
	return nil
}

func newEd25519() (ssh.PublicKey, []byte, string, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return nil, nil, "", err
	}
	pub, err := ssh.NewPublicKey(priv.Public())
	if err != nil {
		return nil, nil, "", err
	}
	return pub, pem.EncodeToMemory(block), sha256Fingerprint(pub), nil
}

func newRSA() (ssh.PublicKey, []byte, string, error) {
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, "", err
	}
	pub, err := ssh.NewPublicKey(priv.Public())
	if err != nil {
		return nil, nil, "", err
	}
	// EC2: SHA-1 of the DER of the private key in PKCS#8.
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, "", err
	}
	sum := sha1.Sum(der) // #nosec G401 -- EC2's fingerprint format
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(priv)}
	return pub, pem.EncodeToMemory(block), colons(sum[:]), nil
}

// importedRSAFingerprint is EC2's: MD5 of the public key's DER.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html
func importedRSAFingerprint(pub ssh.PublicKey) (string, error) {
	cp, ok := pub.(ssh.CryptoPublicKey)
	if !ok {
		return "", fmt.Errorf("fingerprinting a %s key: it does not show its numbers", pub.Type())
	}
	der, err := x509.MarshalPKIXPublicKey(cp.CryptoPublicKey())
	if err != nil {
		return "", fmt.Errorf("fingerprinting the key: %w", err)
	}
	sum := md5.Sum(der) // #nosec G401 -- EC2's fingerprint format
	return colons(sum[:]), nil
}

func sha256Fingerprint(pub ssh.PublicKey) string {
	sum := sha256.Sum256(pub.Marshal())
	return base64.StdEncoding.EncodeToString(sum[:])
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(parts, ":")
}
