package cloud

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/model"
)

func TestParsePublicKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]any{"rsa": &rsaKey.PublicKey, "ed25519": edKey} {
		want, err := ssh.NewPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		blob := base64.StdEncoding.EncodeToString(want.Marshal())
		forms := map[string][]byte{
			"OpenSSH":          ssh.MarshalAuthorizedKey(want),
			"OpenSSH comment":  append(bytes.TrimSpace(ssh.MarshalAuthorizedKey(want)), " me@here\n"...),
			"DER":              der,
			"base64 of DER":    []byte(base64.StdEncoding.EncodeToString(der)),
			"base64 in lines":  []byte(lines(base64.StdEncoding.EncodeToString(der))),
			"PEM":              pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
			"SSH2":             []byte("---- BEGIN SSH2 PUBLIC KEY ----\n" + lines(blob) + "---- END SSH2 PUBLIC KEY ----\n"),
			"SSH2 and headers": []byte("---- BEGIN SSH2 PUBLIC KEY ----\r\nSubject: me\r\nComment: \"of \\\r\nmine\"\r\n" + lines(blob) + "---- END SSH2 PUBLIC KEY ----"),
		}
		if name == "rsa" {
			forms["PKCS#1"] = x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)
			forms["PEM of PKCS#1"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: forms["PKCS#1"]})
		}
		for form, material := range forms {
			got, err := parsePublicKey(material)
			if err != nil || !bytes.Equal(got.Marshal(), want.Marshal()) {
				t.Errorf("%s key as %s: %v", name, form, err)
			}
		}
	}
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader) // no curve of SSH's
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := x509.MarshalPKIXPublicKey(&curve.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for form, material := range map[string][]byte{
		"nothing":        nil,
		"text":           []byte("no key"),
		"base64 of text": []byte(base64.StdEncoding.EncodeToString([]byte("no key"))),
		"open SSH2":      []byte("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA"),
		"empty SSH2":     []byte("---- BEGIN SSH2 PUBLIC KEY ----\n---- END SSH2 PUBLIC KEY ----"),
		"private key":    pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}),
		"other curve":    unknown,
	} {
		if _, err := parsePublicKey(material); model.CodeOf(err) != model.CodeKeyFormat {
			t.Errorf("%s: %v, want %s", form, err, model.CodeKeyFormat)
		}
	}
}

// lines breaks text as PEM and SSH2 do.
func lines(text string) string {
	var out strings.Builder
	for len(text) > 64 {
		out.WriteString(text[:64] + "\r\n")
		text = text[64:]
	}
	return out.String() + text + "\r\n"
}
