package metadata

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

var testKey = sync.OnceValues(func() (model.SigningKey, error) { return NewSigningKey("local-1", clock) })

func testSigner() *Signer {
	k, err := testKey()
	if err != nil {
		panic(err)
	}
	s, err := NewSigner(k)
	if err != nil {
		panic(err)
	}
	return s
}

// OpenSSL believes the signatures with nothing but the certificate, and no
// document that was changed.
func TestSignatures(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(testDocument())
	get := func(name string) []byte {
		w := f.do("GET", "/latest/dynamic/instance-identity/"+name)
		if w.Code != 200 {
			t.Fatalf("%s: %d", name, w.Code)
		}
		for line := range bytes.Lines(w.Body.Bytes()) {
			if name != "document" && len(line) > 77 {
				t.Errorf("%s has a line of %d characters", name, len(line))
			}
		}
		return w.Body.Bytes()
	}
	certificate := file("certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: key.Certificate}))
	public, err := exec.Command("openssl", "x509", "-in", certificate, "-pubkey", "-noout").Output()
	if err != nil {
		t.Fatal(err)
	}
	document := get("document")
	raw, err := base64.StdEncoding.DecodeString(string(get("signature")))
	if err != nil {
		t.Fatal(err)
	}
	signature, publicKey := file("signature", raw), file("key", public)
	for _, c := range []struct {
		document []byte
		good     bool
	}{{document, true}, {bytes.Replace(document, []byte("123456789012"), []byte("123456789013"), 1), false}} {
		out, err := exec.Command("openssl", "dgst", "-sha256", "-verify", publicKey, "-signature", signature, file("document", c.document)).CombinedOutput()
		if (err == nil) != c.good {
			t.Errorf("openssl dgst: %v %s, want good %v", err, out, c.good)
		}
	}
	for _, name := range []string{"pkcs7", "rsa2048"} {
		text := "-----BEGIN PKCS7-----\n" + string(get(name)) + "\n-----END PKCS7-----\n"
		args := []string{"smime", "-verify", "-inform", "PEM", "-in", file(name, []byte(text)), "-certfile", certificate, "-noverify"}
		got, err := exec.Command("openssl", args...).Output()
		if err != nil || !bytes.Equal(got, document) {
			t.Errorf("openssl smime of %s: %v: %s", name, err, got)
		}
		// As AWS documents it, with the document given.
		if _, err := exec.Command("openssl", append(args, "-content", file("document", document))...).Output(); err != nil {
			t.Errorf("openssl smime of %s with its document: %v", name, err)
		}
		forged := append(args, "-content", file("forged", bytes.ToUpper(document)))
		if _, err := exec.Command("openssl", forged...).Output(); err == nil {
			t.Errorf("openssl smime of %s believes another document", name)
		}
	}
}

func TestSigner(t *testing.T) {
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSigningKey("local-2", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]model.SigningKey{
		"none": {}, "another's certificate": {Key: key.Key, Certificate: other.Certificate}, "no certificate": {Key: key.Key},
	} {
		if _, err := NewSigner(k); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s := testSigner()
	for i := range maxSignatures {
		s.made[[32]byte{byte(i), byte(i >> 8)}] = []byte("x")
	}
	if _, err := s.sign([]byte("one more")); err != nil || len(s.made) > maxSignatures {
		t.Errorf("%d signatures are remembered, %v", len(s.made), err)
	}
	f := newFixture(testDocument())
	f.sign = nil
	if w := f.do("GET", "/latest/dynamic/instance-identity/pkcs7"); w.Code != 404 {
		t.Errorf("a signature without a key: %d", w.Code)
	}
}
