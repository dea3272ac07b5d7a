package auth

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/seal"
)

// Credentials are temporary: an access key with a token.
type Credentials struct {
	AccessKeyID string
	Secret      string
	Token       string
	Expires     time.Time
}

// sessionTokenContext versions the tokens' form.
const sessionTokenContext = "session v1"

// tokenBody is what a session token holds, encrypted: everything there is to know
// of the session. Nothing of it is kept.
type tokenBody struct {
	Secret   string         `json:"x"`
	Identity model.Identity `json:"i"`
}

// NewSession makes temporary credentials for an identity.
func (d *Directory) NewSession(id model.Identity, lifetime time.Duration) (Credentials, error) {
	id.AccessKeyID = model.NewIAMID(model.SessionKeyIDPrefix)
	id.Issued = d.Now().Truncate(time.Second)
	id.Expires = id.Issued.Add(lifetime)
	c := Credentials{AccessKeyID: id.AccessKeyID, Secret: newSecret(), Expires: id.Expires}
	token, err := sealJSON(d.sessions, tokenBody{c.Secret, id}, sessionTokenContext)
	if err != nil {
		return c, fmt.Errorf("making a session token: %w", err)
	}
	c.Token = token
	return c, nil
}

// openSession returns what a token says, if it is the access key's and has not expired.
func (d *Directory) openSession(accessKeyID, token string) (tokenBody, error) {
	var body tokenBody
	if err := openJSON(d.sessions, token, sessionTokenContext, &body); err != nil || body.Identity.AccessKeyID != accessKeyID {
		return tokenBody{}, model.Errorf(CodeInvalidClientTokenID, "The security token included in the request is invalid")
	}
	if !d.Now().Before(body.Identity.Expires) {
		return tokenBody{}, model.Errorf(CodeExpiredToken, "The security token included in the request is expired")
	}
	return body, nil
}

// EncodeMessage encrypts why a call was refused, for DecodeMessage.
func (d *Directory) EncodeMessage(v any) (string, error) {
	return sealJSON(d.messages, v, "message v1")
}

// DecodeMessage returns the JSON that EncodeMessage encrypted.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html
func (d *Directory) DecodeMessage(encoded string) (string, error) {
	var v json.RawMessage
	if err := openJSON(d.messages, encoded, "message v1", &v); err != nil {
		return "", model.Errorf(CodeInvalidMessage, "The message is not one that this cloud encoded")
	}
	return string(v), nil
}

// maxOpened bounds what a token or message unpacks to.
const maxOpened = 1 << 20

// sealJSON packs, encrypts and encodes a value.
func sealJSON(s *seal.Sealer, v any, context string) (string, error) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return "", err
	}
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.Seal(packed.Bytes(), context)), nil
}

func openJSON(s *seal.Sealer, text, context string, v any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return err
	}
	packed, err := s.Open(sealed, context)
	if err != nil {
		return err
	}
	return json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxOpened)).Decode(v)
}
