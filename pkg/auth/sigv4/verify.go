package sigv4

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
)

const (
	// MaxSkew is how far a request's time may be from ours.
	MaxSkew = 15 * time.Minute
	// MaxExpires is how long a presigned URL can be good for.
	MaxExpires = 7 * 24 * time.Hour
)

// Keys finds access keys. P is what the caller knows of who makes a request.
type Keys[P any] interface {
	// Lookup returns the secret of a request's access key and whose it is. A
	// temporary key needs its own session token, a long-term key takes none.
	// Errors: ErrUnknownKey, ErrExpiredToken, in the chain.
	Lookup(ctx context.Context, r *Request) (secret []byte, principal P, err error)
}

// KeysFunc is a function that is Keys.
type KeysFunc[P any] func(ctx context.Context, r *Request) ([]byte, P, error)

// Lookup calls f.
func (f KeysFunc[P]) Lookup(ctx context.Context, r *Request) ([]byte, P, error) { return f(ctx, r) }

// Verifier verifies requests. It may be used by many goroutines.
type Verifier[P any] struct {
	// Keys finds secrets. Required.
	Keys Keys[P]
	// Scope reports whether requests for that service in that region are
	// answered here. Required.
	Scope func(region, service string) bool
	// Now is the time. Default: time.Now.
	Now func() time.Time
}

// Verify proves that the request was signed by the owner of its access key, with
// this body, recently and for us. An error is a *Failure, or Keys' own.
func (v *Verifier[P]) Verify(ctx context.Context, s *Request, body []byte) (P, error) {
	var nobody P
	if err := v.checkScope(s); err != nil {
		return nobody, err
	}
	payloadHash, err := s.payloadHash(body)
	if err != nil {
		return nobody, err
	}
	secret, principal, err := v.Keys.Lookup(ctx, s)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return nobody, failf(UnknownKey, "The security token included in the request is invalid.")
	case errors.Is(err, ErrExpiredToken):
		return nobody, failf(ExpiredToken, "The security token included in the request is expired")
	case err != nil:
		return nobody, fmt.Errorf("looking up the access key: %w", err)
	case len(secret) == 0:
		return nobody, errors.New("looking up the access key: its secret is empty")
	}
	if !hmac.Equal(s.sign(secret, payloadHash), s.signature) {
		return nobody, failf(Mismatch, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return principal, nil
}

// checkScope compares what the request is signed for with who and when we are.
func (v *Verifier[P]) checkScope(s *Request) error {
	if s.Date != s.Time.Format("20060102") {
		return failf(Mismatch, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'", s.Date, s.Time.Format(timeFormat))
	}
	if !v.Scope(s.Region, s.Service) {
		return failf(Mismatch, "Credential should be scoped to a valid region and service: nothing here answers for '%s' in '%s'", s.Service, s.Region)
	}
	now := time.Now()
	if v.Now != nil {
		now = v.Now()
	}
	good := MaxSkew
	if s.Presigned {
		good = s.expires
	}
	if now.After(s.Time.Add(good)) {
		return failf(Expired, "Signature expired: %s is now earlier than %s", s.Time.Format(timeFormat), now.UTC().Add(-good).Format(timeFormat))
	}
	if latest := now.Add(MaxSkew); s.Time.After(latest) {
		return failf(Expired, "Signature not yet current: %s is still later than %s", s.Time.Format(timeFormat), latest.UTC().Format(timeFormat))
	}
	return nil
}

// payloadHash is the body's digest in hexadecimal, which X-Amz-Content-Sha256
// must be if the request has it.
func (s *Request) payloadHash(body []byte) (string, error) {
	digest := hexDigest(body)
	claimed, present, err := s.header("X-Amz-Content-Sha256")
	if err != nil {
		return "", err
	}
	if present && subtle.ConstantTimeCompare([]byte(claimed), []byte(digest)) != 1 {
		return "", failf(Mismatch, "X-Amz-Content-Sha256 must be the SHA-256 digest of the body: payloads are always signed, as a whole")
	}
	return digest, nil
}

// sign returns the signature that the request should have.
func (s *Request) sign(secret []byte, payloadHash string) []byte {
	scope := s.Date + "/" + s.Region + "/" + s.Service + "/" + terminator
	toSign := algorithm + "\n" + s.Time.Format(timeFormat) + "\n" + scope + "\n" + hexDigest(s.canonicalRequest(payloadHash))
	key := append([]byte("AWS4"), secret...)
	for _, part := range [...]string{s.Date, s.Region, s.Service, terminator, toSign} {
		key = mac(key, part)
	}
	return key
}

func mac(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}
