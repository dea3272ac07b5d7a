package metadata

import (
	"encoding/json"
	"time"
)

// The codes of what the tree says of a profile, beside Success.
const (
	codeNoProfile    = "InstanceProfileNotFound"
	codeUnauthorized = "AssumeRoleUnauthorizedAccess"
)

// iamTree shows an instance profile and its role's credentials. A profile without
// a role lists no credentials, one whose role cannot be assumed says why.
func iamTree(meta *node, p *Profile) {
	if p == nil {
		return
	}
	info := struct {
		Code               string
		Message            string `json:",omitempty"`
		LastUpdated        string
		InstanceProfileArn string `json:",omitempty"`
		InstanceProfileId  string `json:",omitempty"`
	}{Code: "Success", LastUpdated: stamp(p.Updated), InstanceProfileArn: p.ARN, InstanceProfileId: p.ID}
	if p.Role == "" {
		info.Code, info.Message, info.InstanceProfileArn, info.InstanceProfileId = codeNoProfile, p.Problem, "", ""
	}
	meta.set("iam/info", document(info))
	if p.Role == "" {
		return
	}
	credentials := struct {
		Code            string
		Message         string `json:",omitempty"`
		LastUpdated     string
		Type            string `json:",omitempty"`
		AccessKeyId     string `json:",omitempty"`
		SecretAccessKey string `json:",omitempty"`
		Token           string `json:",omitempty"`
		Expiration      string `json:",omitempty"`
	}{Code: codeUnauthorized, Message: p.Problem, LastUpdated: stamp(p.Updated)}
	if c := &p.Credentials; p.Problem == "" {
		credentials.Code, credentials.Type = "Success", "AWS-HMAC"
		credentials.AccessKeyId, credentials.SecretAccessKey, credentials.Token = c.AccessKeyID, c.Secret, c.Token
		credentials.Expiration = stamp(c.Expires)
	}
	meta.at("iam/security-credentials").set(p.Role, document(credentials))
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func document(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // strings only: cannot happen
		return ""
	}
	return string(b)
}
