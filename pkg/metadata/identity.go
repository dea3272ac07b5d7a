package metadata

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

const (
	signingBits = 2048
	// certificateYears: instances and what trusts them outlive any shorter time,
	// and EC2's certificates are valid for as long.
	certificateYears = 100
	maxSignatures    = 1024 // remembered
	signatureColumns = 76   // of base64, as EC2 breaks its lines
)

// NewSigningKey makes a cloud's key for instance identity documents, with a
// certificate that it signs itself.
func NewSigningKey(region string, now time.Time) (model.SigningKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, signingBits)
	if err != nil {
		return model.SigningKey{}, fmt.Errorf("making the identity documents' key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return model.SigningKey{}, fmt.Errorf("choosing a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"bundt"}, CommonName: "instance identity of " + region},
		NotBefore:    now.UTC().Add(-time.Hour), // clocks of verifiers differ
		NotAfter:     now.UTC().AddDate(certificateYears, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return model.SigningKey{}, fmt.Errorf("making the identity documents' certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return model.SigningKey{Key: der, Certificate: certificate}, err
}

// Signer signs instance identity documents, so that whoever has the certificate
// believes an instance what it says of itself.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
type Signer struct {
	key         *rsa.PrivateKey
	certificate *x509.Certificate

	mu   sync.Mutex
	made map[[sha256.Size]byte][]byte // digest of a document -> signature
}

// NewSigner returns a signer with a key of NewSigningKey.
func NewSigner(k model.SigningKey) (*Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(k.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the identity documents' key: %w", err)
	}
	certificate, err := x509.ParseCertificate(k.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the identity documents' certificate: %w", err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if public, same := certificate.PublicKey.(*rsa.PublicKey); !ok || !same || !private.PublicKey.Equal(public) {
		return nil, errors.New("the identity documents' key is not the RSA key of their certificate")
	}
	return &Signer{key: private, certificate: certificate, made: map[[sha256.Size]byte][]byte{}}, nil
}

// sign is the RSA signature (PKCS #1 v1.5, SHA-256) of a document. It is
// remembered: it takes a millisecond, and guests may ask as often as they like.
func (s *Signer) sign(document []byte) ([]byte, error) {
	digest := sha256.Sum256(document)
	s.mu.Lock()
	defer s.mu.Unlock()
	if signature := s.made[digest]; signature != nil {
		return signature, nil
	}
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, digest[:])
	if err != nil {
		return nil, fmt.Errorf("signing an identity document: %w", err)
	}
	if len(s.made) >= maxSignatures {
		clear(s.made)
	}
	s.made[digest] = signature
	return signature, nil
}

// Signature is the bare signature in base64.
func (s *Signer) Signature(document []byte) ([]byte, error) {
	signature, err := s.sign(document)
	return wrapped(signature), err
}

// The parts of PKCS #7 signed data (RFC 2315).
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue // [0] EXPLICIT
	}
	signedData struct {
		Version     int
		Digests     []pkix.AlgorithmIdentifier `asn1:"set"`
		Content     contentInfo
		SignerInfos []signerInfo `asn1:"set"`
	}
	signerInfo struct {
		Version         int
		Certificate     issuerAndSerial
		Digest          pkix.AlgorithmIdentifier
		Encryption      pkix.AlgorithmIdentifier
		EncryptedDigest []byte
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// PKCS7 is the document with its signature as signed data, in base64: what
// stands between the lines of a PEM file. The certificate is not in it.
func (s *Signer) PKCS7(document []byte) ([]byte, error) {
	signature, err := s.sign(document)
	if err != nil {
		return nil, err
	}
	content, err := explicit(document)
	if err != nil {
		return nil, err
	}
	digest := pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
	inner, err := explicit(signedData{
		Version: 1,
		Digests: []pkix.AlgorithmIdentifier{digest},
		Content: contentInfo{oidData, content},
		// Without attributes to sign, the signature is of the document itself.
		SignerInfos: []signerInfo{{
			Version:         1,
			Certificate:     issuerAndSerial{asn1.RawValue{FullBytes: s.certificate.RawIssuer}, s.certificate.SerialNumber},
			Digest:          digest,
			Encryption:      pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue},
			EncryptedDigest: signature,
		}},
	})
	if err != nil {
		return nil, err
	}
	der, err := asn1.Marshal(contentInfo{oidSignedData, inner})
	return wrapped(der), err
}

// explicit is v behind the tag [0].
func explicit(v any) (asn1.RawValue, error) {
	der, err := asn1.Marshal(v)
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}, err
}

// wrapped is base64 in lines, without a newline at its end.
func wrapped(b []byte) []byte {
	text := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	for len(text) > signatureColumns {
		out.WriteString(text[:signatureColumns] + "\n")
		text = text[signatureColumns:]
	}
	out.WriteString(text)
	return []byte(out.String())
}
