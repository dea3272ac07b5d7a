// Package signature owns the keys that images and indexes are signed with, and the
// form of their signatures: in-toto statements in sigstore bundles, which can be
// verified without a network. It knows digests and not what has them, and imports no
// package of ours.
//
// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
// https://docs.sigstore.dev/about/bundle/
package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"
)

// BundleType is the media type of a bundle.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

const (
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	// maxBundleBytes bounds what is parsed.
	maxBundleBytes = 4 << 20
)

// Errors of signatures (test with errors.Is).
var (
	// ErrKey: what was given is no key that signatures are made or verified with.
	ErrKey = errors.New("no key for signatures")
	// ErrUntrusted: no trusted key made the signature, or it is of something else.
	ErrUntrusted = errors.New("not signed by a trusted key")
)

// Key is a private key.
type Key struct{ signer crypto.Signer }

// NewKey makes a key: ECDSA on P-256, as sigstore's tools do.
func NewKey() (*Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	return &Key{k}, nil
}

// ParseKey reads a private key, in PEM (PKCS #8 or SEC 1) or DER (PKCS #8): ECDSA on
// P-256, or Ed25519. Encrypted keys are refused.
func ParseKey(text []byte) (*Key, error) {
	der := text
	if block, _ := pem.Decode(text); block != nil {
		if block.Type == "EC PRIVATE KEY" {
			k, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrKey, err)
			}
			return newKey(k)
		}
		if block.Type != "PRIVATE KEY" {
			return nil, fmt.Errorf("%w: a PEM block %q; PKCS #8 without a password is needed: openssl pkcs8 -topk8 -nocrypt", ErrKey, block.Type)
		}
		der = block.Bytes
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return newKey(k)
}

func newKey(k any) (*Key, error) {
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a %T", ErrKey, k)
	}
	if err := usable(signer.Public()); err != nil {
		return nil, err
	}
	return &Key{signer}, nil
}

func usable(k crypto.PublicKey) error {
	switch k := k.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("%w: ECDSA on %s, not P-256", ErrKey, k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("%w: a %T; ECDSA on P-256 and Ed25519 are supported", ErrKey, k)
}

// DER is the private key in PKCS #8.
func (k *Key) DER() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(k.signer) }

// Public is the public key.
func (k *Key) Public() *PublicKey { return &PublicKey{k.signer.Public()} }

// PublicKey is what verifies the signatures of a Key.
type PublicKey struct{ key crypto.PublicKey }

// ParsePublicKey reads a public key in PEM (PKIX): ECDSA on P-256, or Ed25519.
func ParsePublicKey(text []byte) (*PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: one PEM block PUBLIC KEY is needed", ErrKey)
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return &PublicKey{k}, usable(k)
}

func (k *PublicKey) der() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		panic(err) // usable has seen that it is one that can be
	}
	return der
}

// PEM is the public key in PKIX.
func (k *PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der()})
}

// ID tells keys apart: the base64 of the SHA-256 of the key, as sigstore's tools name keys.
func (k *PublicKey) ID() string {
	sum := sha256.Sum256(k.der())
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Subject is what a statement is about.
type Subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"` // "sha256" and its hexadecimal digits
}

// Statement says something about subjects: that they were signed, what they were
// made from.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate,omitempty"`
}

// Signed is the PredicateType of a statement that says no more than that its subject
// was signed; cosign makes such ones.
const Signed = "https://sigstore.dev/cosign/sign/v1"

// NewStatement is a statement about one subject with the digest "sha256:…".
func NewStatement(name, digest, predicateType string, predicate any) (Statement, error) {
	return NewStatementAbout([]Subject{NewSubject(name, digest)}, predicateType, predicate)
}

// NewSubject is a subject with the digest "sha256:…".
func NewSubject(name, digest string) Subject {
	return Subject{Name: name, Digest: map[string]string{"sha256": hexOf(digest)}}
}

// NewStatementAbout is a statement about subjects.
func NewStatementAbout(subjects []Subject, predicateType string, predicate any) (Statement, error) {
	s := Statement{Type: statementType, Subject: subjects, PredicateType: predicateType}
	p, err := json.Marshal(predicate)
	if err != nil {
		return s, fmt.Errorf("encoding a statement: %w", err)
	}
	s.Predicate = p
	return s, nil
}

func hexOf(digest string) string {
	return string(bytes.TrimPrefix([]byte(digest), []byte("sha256:")))
}

// About reports whether the statement is about a digest "sha256:…".
func (s *Statement) About(digest string) bool {
	return slices.ContainsFunc(s.Subject, func(sub Subject) bool { return sub.Digest["sha256"] == hexOf(digest) })
}

// Sign returns a bundle with the signed statement.
func (k *Key) Sign(s Statement) ([]byte, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding a statement: %w", err)
	}
	sig, err := k.sign(dsse.PAE(payloadType, payload))
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	hint := k.Public().ID()
	bundle, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: BundleType,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: hint}},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			PayloadType: payloadType, Payload: payload, Signatures: []*protodsse.Signature{{Sig: sig, Keyid: hint}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a bundle: %w", err)
	}
	var compact bytes.Buffer // protojson's blanks differ from build to build
	err = json.Compact(&compact, bundle)
	return compact.Bytes(), err
}

func (k *Key) sign(message []byte) ([]byte, error) {
	if _, ok := k.signer.(ed25519.PrivateKey); ok {
		return k.signer.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// Verify returns the statement in a bundle and which of the keys signed it:
// ErrUntrusted if none did. Transparency logs and timestamps are not looked at: they
// tell of short-lived certificates when they were used, and here are none.
func Verify(bundle []byte, keys []*PublicKey) (Statement, *PublicKey, error) {
	envelope, err := envelopeOf(bundle)
	if err != nil {
		return Statement{}, nil, fmt.Errorf("reading a bundle: %w", err)
	}
	message := dsse.PAE(envelope.PayloadType, envelope.Payload)
	for _, k := range keys {
		for _, s := range envelope.Signatures {
			if !k.verifies(message, s.Sig) {
				continue
			}
			var st Statement
			if err := json.Unmarshal(envelope.Payload, &st); err != nil {
				return st, k, fmt.Errorf("reading a statement: %w", err)
			}
			if st.Type != statementType {
				return st, k, fmt.Errorf("reading a statement: its type is %q", st.Type)
			}
			return st, k, nil
		}
	}
	return Statement{}, nil, ErrUntrusted
}

// Claim is a statement that one of some keys has signed.
type Claim struct {
	Statement
	Key    int    // index of who signed it
	Bundle []byte // that it is in
}

// Claims are what the keys have signed in the bundles about a digest "sha256:…", in the
// order of the keys. Bundles that cannot be read are somebody else's.
func Claims(bundles [][]byte, digest string, keys []*PublicKey) (out []Claim) {
	for i, k := range keys {
		for _, b := range bundles {
			s, _, err := Verify(b, []*PublicKey{k})
			if err == nil && s.About(digest) {
				out = append(out, Claim{s, i, b})
			}
		}
	}
	return out
}

// Signer returns which of the keys has signed a digest in one of the bundles, -1 if
// none has.
func Signer(bundles [][]byte, digest string, keys []*PublicKey) int {
	for _, c := range Claims(bundles, digest, keys) {
		if c.PredicateType == Signed {
			return c.Key
		}
	}
	return -1
}

func envelopeOf(bundle []byte) (*protodsse.Envelope, error) {
	if len(bundle) > maxBundleBytes {
		return nil, fmt.Errorf("it has %d bytes; %d are the most", len(bundle), maxBundleBytes)
	}
	var b protobundle.Bundle
	if err := protojson.Unmarshal(bundle, &b); err != nil {
		return nil, err
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil || envelope.PayloadType != payloadType {
		return nil, fmt.Errorf("it holds no in-toto statement (%q)", envelope.GetPayloadType())
	}
	return envelope, nil
}

func (k *PublicKey) verifies(message, sig []byte) bool {
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	}
	return false
}
