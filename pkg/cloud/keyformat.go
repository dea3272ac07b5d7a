package cloud

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/model"
)

// parsePublicKey reads a public key in one of EC2's forms: a line of OpenSSH's
// authorized_keys, RFC 4716 (SSH2), or DER, which may be in base64 or PEM.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-key-pairs.html#how-to-generate-your-own-key-and-import-it-to-aws
func parsePublicKey(material []byte) (ssh.PublicKey, error) {
	if pub, _, _, _, err := ssh.ParseAuthorizedKey(material); err == nil {
		return pub, nil
	}
	text := bytes.TrimSpace(material)
	if block, _ := pem.Decode(text); block != nil {
		if strings.Contains(block.Type, "PRIVATE") {
			return nil, model.Errorf(model.CodeKeyFormat, "The key is a private one, which must never leave its owner").
				WithHint("give the file that ends in .pub; ssh-keygen -y -f FILE prints a private key's public half")
		}
		return derPublicKey(block.Bytes)
	}
	if body, ok := ssh2Body(string(text)); ok {
		if blob, err := decodeBase64(body); err == nil {
			if pub, err := ssh.ParsePublicKey(blob); err == nil {
				return pub, nil
			}
		}
		return nil, badKeyFormat()
	}
	if der, err := decodeBase64(string(text)); err == nil {
		return derPublicKey(der)
	}
	return derPublicKey(material)
}

// derPublicKey reads a public key in PKIX's form, or in PKCS#1's.
func derPublicKey(der []byte) (ssh.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		if key, err = x509.ParsePKCS1PublicKey(der); err != nil {
			return nil, badKeyFormat()
		}
	}
	pub, err := ssh.NewPublicKey(key)
	if err != nil {
		return nil, badKeyFormat()
	}
	return pub, nil
}

// ssh2Body is the base64 text of a key as RFC 4716 writes it: headers, which may
// go on in lines after a backslash, stand before it.
func ssh2Body(text string) (string, bool) {
	const begin, end = "---- BEGIN SSH2 PUBLIC KEY ----", "---- END SSH2 PUBLIC KEY ----"
	text, found := strings.CutPrefix(text, begin)
	if !found {
		return "", false
	}
	text, found = strings.CutSuffix(text, end)
	if !found {
		return "", false
	}
	var body strings.Builder
	header := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if header || strings.Contains(line, ":") {
			header = strings.HasSuffix(line, `\`)
			continue
		}
		body.WriteString(line)
	}
	return body.String(), true
}

// decodeBase64 decodes text that may be broken into lines.
func decodeBase64(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
}

func badKeyFormat() *model.Error {
	return model.Errorf(model.CodeKeyFormat, "Key is not in valid OpenSSH public key format").
		WithHint("give the file that ends in .pub, for instance ~/.ssh/id_ed25519.pub")
}
