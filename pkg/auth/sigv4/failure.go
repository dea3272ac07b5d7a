package sigv4

import (
	"errors"
	"fmt"
)

// Reason is why a request is refused. Services spell it as different codes.
type Reason int

const (
	// Missing is a request that is not signed.
	Missing Reason = iota + 1
	// Incomplete is a signature whose form is wrong, or that leaves out what must be signed.
	Incomplete
	// Expired is a request that was signed too long ago, or in the future.
	Expired
	// Mismatch is a signature that is not that of the request.
	Mismatch
	// UnknownKey is an access key that does not exist, or may not be used.
	UnknownKey
	// ExpiredToken is an access key whose session is over.
	ExpiredToken
)

// Failure is a request that is refused. Its message is for the client.
type Failure struct {
	Reason  Reason
	Message string
}

func (f *Failure) Error() string { return f.Message }

func failf(r Reason, format string, args ...any) error {
	return &Failure{r, fmt.Sprintf(format, args...)}
}

// What Keys may answer with. Other errors are not the client's fault.
var (
	ErrUnknownKey   = errors.New("no such access key")
	ErrExpiredToken = errors.New("the session token has expired")
)
