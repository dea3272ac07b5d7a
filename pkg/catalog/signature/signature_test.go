package signature_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/catalog/signature"
)

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func keys(t *testing.T) map[string][]byte {
	t.Helper()
	_, ed, err1 := ed25519.GenerateKey(rand.Reader)
	ec, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"Ed25519": pkcs8(t, ed), "ECDSA": pkcs8(t, ec), "SEC 1": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}),
	}
}

func sign(t *testing.T, k *signature.Key) []byte {
	t.Helper()
	s, err := signature.NewStatement("registry.example.com/web:1", digest, signature.Signed, struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := k.Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func TestSignAndVerify(t *testing.T) {
	stranger, err := signature.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range keys(t) {
		k, err := signature.ParseKey(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		der, err := k.DER()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := signature.ParseKey(der); err != nil || again.Public().ID() != k.Public().ID() {
			t.Errorf("%s: after DER: %v", name, err)
		}
		public, err := signature.ParsePublicKey(k.Public().PEM())
		if err != nil || public.ID() != k.Public().ID() {
			t.Fatalf("%s: %v", name, err)
		}
		bundle := sign(t, k)
		s, by, err := signature.Verify(bundle, []*signature.PublicKey{stranger.Public(), public})
		if err != nil || by.ID() != public.ID() || !s.About(digest) || s.PredicateType != signature.Signed {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if s.About(strings.Replace(digest, "0", "1", 1)) {
			t.Errorf("%s: it is about another digest", name)
		}
		if _, _, err := signature.Verify(bundle, []*signature.PublicKey{stranger.Public()}); !errors.Is(err, signature.ErrUntrusted) {
			t.Errorf("%s: verified by a stranger's key: %v", name, err)
		}
		for i := 0; i < len(bundle); i += 7 { // whatever is changed
			bad := bytes.Clone(bundle)
			bad[i] ^= 4
			if s, _, err := signature.Verify(bad, []*signature.PublicKey{public}); err == nil && !bytes.Equal(bundle, bad) && !s.About(digest) {
				t.Errorf("%s: byte %d changed, and it is believed of something else", name, i)
			}
		}
	}
}

func TestBadKeys(t *testing.T) {
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	good := keys(t)["ECDSA"]
	for name, text := range map[string][]byte{
		"RSA": pkcs8(t, rsaKey), "P-384": pkcs8(t, p384), "empty": nil, "text": []byte("hello"),
		"encrypted": pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), "short": good[:len(good)/2],
	} {
		if _, err := signature.ParseKey(text); !errors.Is(err, signature.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := signature.ParsePublicKey(text); !errors.Is(err, signature.ErrKey) {
			t.Errorf("%s as a public key: %v", name, err)
		}
	}
	k, err := signature.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signature.ParsePublicKey(append(k.Public().PEM(), good...)); !errors.Is(err, signature.ErrKey) {
		t.Errorf("two blocks: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	k, err := signature.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	other, err := signature.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	s, err := signature.NewStatement("x", digest, signature.Signed, struct{}{})
	if err != nil {
		f.Fatal(err)
	}
	bundle, err := other.Sign(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundle)
	f.Add([]byte(`{"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{}]}}`))
	f.Add([]byte(`{"mediaType":1}`))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		if _, _, err := signature.Verify(bundle, []*signature.PublicKey{k.Public()}); err == nil {
			t.Error("nobody has signed with this key")
		}
	})
}
