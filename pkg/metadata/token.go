package metadata

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// MaxTokenTTL is the longest life of a token, and the shortest is one second.
const MaxTokenTTL = 6 * time.Hour

// A token is expiry (8 bytes, Unix nanoseconds), nonce (8) and a MAC (24) over
// both and the instance's id, in base64: 56 characters as EC2's. Tokens are
// authenticated and not remembered: they take no memory however many a guest
// asks for, and live through a restart of the switch, which keeps the secret.
const (
	nonceOffset = 8
	macOffset   = 16
	tokenSize   = macOffset + 24
)

type tokens struct{ secret []byte }

// mac binds the token to one instance: each has a key of its own, derived from
// the secret.
func (t tokens) mac(instanceID string, head []byte) []byte {
	derive := hmac.New(sha256.New, t.secret)
	derive.Write([]byte("imds-token\x00" + instanceID))
	m := hmac.New(sha256.New, derive.Sum(nil))
	m.Write(head)
	return m.Sum(nil)[:tokenSize-macOffset]
}

func (t tokens) issue(instanceID string, expiry time.Time) string {
	raw := make([]byte, macOffset, tokenSize)
	binary.BigEndian.PutUint64(raw, uint64(expiry.UnixNano()))
	rand.Read(raw[nonceOffset:]) // never fails (crypto/rand)
	return base64.URLEncoding.EncodeToString(append(raw, t.mac(instanceID, raw)...))
}

// remaining returns how long the token is still good for the instance; zero or
// less if it is not.
func (t tokens) remaining(instanceID, token string, now time.Time) time.Duration {
	raw, err := base64.URLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != tokenSize {
		return 0
	}
	if subtle.ConstantTimeCompare(raw[macOffset:], t.mac(instanceID, raw[:macOffset])) != 1 {
		return 0
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(raw))).Sub(now)
}
