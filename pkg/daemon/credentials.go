package daemon

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/auth/sigv4"
)

// openCredentials returns the admin's access key, kept in a file that is made at
// the first start: there are no default credentials. The file is as AWS's clients
// read it (AWS_SHARED_CREDENTIALS_FILE).
func openCredentials(path, account string) (sigv4.Keys[api.Principal], error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data = newCredentials()
		err = writeSecret(path, data)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the admin's credentials: %w", err)
	}
	id, secret := parseCredentials(string(data))
	if id == "" || secret == "" {
		return nil, fmt.Errorf("opening the admin's credentials: %s has no access key; delete it to have one made", path)
	}
	admin := api.Principal{AccountID: account, Name: id}
	return sigv4.KeysFunc[api.Principal](func(_ context.Context, r *sigv4.Request) ([]byte, api.Principal, error) {
		if r.AccessKeyID != id || r.SessionToken != "" {
			return nil, api.Principal{}, sigv4.ErrUnknownKey
		}
		return []byte(secret), admin, nil
	}), nil
}

func newCredentials() []byte {
	var id [10]byte
	var secret [30]byte
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(secret[:])
	return fmt.Appendf(nil, "[default]\naws_access_key_id = AKIA%s\naws_secret_access_key = %s\n",
		base32.StdEncoding.EncodeToString(id[:]), base64.StdEncoding.EncodeToString(secret[:]))
}

// writeSecret makes a file that its owner alone can read, whole or not at all.
func writeSecret(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func parseCredentials(text string) (id, secret string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(key) {
		case "aws_access_key_id":
			id = strings.TrimSpace(value)
		case "aws_secret_access_key":
			secret = strings.TrimSpace(value)
		}
	}
	return id, secret
}
