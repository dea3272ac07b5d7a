package model

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"
)

// Quota names a limit on what an account may have at a time.
type Quota string

// The quotas. One that an account does not set does not bound it.
const (
	QuotaInstances  Quota = "instances"  // not terminated
	QuotaVCPUs      Quota = "vcpus"      // of instances that run or are to run
	QuotaMemory     Quota = "memory"     // MiB, of instances that run or are to run
	QuotaVolumes    Quota = "volumes"    // number of volumes
	QuotaVolumesGiB Quota = "volume-gib" // GiB of all volumes together
	QuotaSnapshots  Quota = "snapshots"
	QuotaImages     Quota = "images" // registered or pending
	QuotaKeyPairs   Quota = "key-pairs"
)

// AllQuotas lists every quota.
var AllQuotas = []Quota{
	QuotaInstances, QuotaVCPUs, QuotaMemory, QuotaVolumes, QuotaVolumesGiB, QuotaSnapshots, QuotaImages, QuotaKeyPairs,
}

// Account owns objects; nothing is shared between accounts unless its owner says so.
type Account struct {
	ID      string          `json:"id"` // twelve digits
	Name    string          `json:"name"`
	Alias   string          `json:"alias,omitempty"`
	Quotas  map[Quota]int64 `json:"quotas,omitempty"`
	Created time.Time       `json:"created"`
	// CredentialsDue: the file of the first access key is still to be written.
	CredentialsDue bool `json:"credentialsDue,omitempty"`
}

// Policies are the permissions of a user or a role.
type Policies struct {
	Inline   map[string]string `json:"inline,omitempty"`   // name -> document
	Attached []string          `json:"attached,omitempty"` // ARNs of managed policies
}

// User is an IAM user.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_User.html
type User struct {
	ID        string    `json:"id"` // AIDA…
	AccountID string    `json:"accountID"`
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Policies  Policies  `json:"policies,omitzero"`
	Tags      Tags      `json:"tags,omitempty"`
	Created   time.Time `json:"created"`
}

// ARN is the user's Amazon resource name.
func (u *User) ARN() string { return IAMARN(u.AccountID, "user", u.Path, u.Name) }

// AccessKey signs requests of a user, or of an account's root if it names none.
type AccessKey struct {
	ID        string    `json:"id"` // AKIA…
	AccountID string    `json:"accountID"`
	UserName  string    `json:"userName,omitempty"`
	Secret    []byte    `json:"secret"` // sealed by pkg/auth
	Active    bool      `json:"active"`
	Created   time.Time `json:"created"`
}

// AccessKeyUse is when and for what a key was last used, to the minute.
type AccessKeyUse struct {
	ID      string    `json:"id"` // the key's
	Time    time.Time `json:"time"`
	Service string    `json:"service"` // "ec2"
}

// PolicyVersion is one version of a managed policy's document.
type PolicyVersion struct {
	ID       string    `json:"id"` // "v1"
	Document string    `json:"document"`
	Created  time.Time `json:"created"`
}

// ManagedPolicy is a policy that users and roles are attached to.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_Policy.html
type ManagedPolicy struct {
	ID          string          `json:"id"`        // ANPA…
	AccountID   string          `json:"accountID"` // "aws" for those that every account has
	Name        string          `json:"name"`
	Path        string          `json:"path"`
	Description string          `json:"description,omitempty"`
	Versions    []PolicyVersion `json:"versions"` // oldest first
	Default     string          `json:"default"`  // id of the version in force
	NextVersion int             `json:"nextVersion"`
	Tags        Tags            `json:"tags,omitempty"`
	Created     time.Time       `json:"created"`
	Updated     time.Time       `json:"updated"`
}

// ARN is the policy's Amazon resource name.
func (p *ManagedPolicy) ARN() string { return IAMARN(p.AccountID, "policy", p.Path, p.Name) }

// Version returns a version's document; "" stands for the one in force.
func (p *ManagedPolicy) Version(id string) (PolicyVersion, bool) {
	if id == "" {
		id = p.Default
	}
	for _, v := range p.Versions {
		if v.ID == id {
			return v, true
		}
	}
	return PolicyVersion{}, false
}

// Role is an IAM role: permissions that whoever its trust policy names may take on.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html
type Role struct {
	ID          string        `json:"id"` // AROA…
	AccountID   string        `json:"accountID"`
	Name        string        `json:"name"`
	Path        string        `json:"path"`
	Description string        `json:"description,omitempty"`
	Trust       string        `json:"trust"` // document
	MaxSession  time.Duration `json:"maxSession"`
	Policies    Policies      `json:"policies,omitzero"`
	Tags        Tags          `json:"tags,omitempty"`
	Created     time.Time     `json:"created"`
}

// ARN is the role's Amazon resource name.
func (r *Role) ARN() string { return IAMARN(r.AccountID, "role", r.Path, r.Name) }

// InstanceProfile hands a role to instances.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_InstanceProfile.html
type InstanceProfile struct {
	ID        string    `json:"id"` // AIPA…
	AccountID string    `json:"accountID"`
	Name      string    `json:"name"`
	Path      string    `json:"path"`
	Role      string    `json:"role,omitempty"` // name
	Tags      Tags      `json:"tags,omitempty"`
	Created   time.Time `json:"created"`
}

// ARN is the profile's Amazon resource name.
func (p *InstanceProfile) ARN() string {
	return IAMARN(p.AccountID, "instance-profile", p.Path, p.Name)
}

// IAMARN is the Amazon resource name of one of IAM's objects; its path begins and
// ends with a slash.
func IAMARN(account, kind, path, name string) string {
	return "arn:aws:iam::" + account + ":" + kind + path + name
}

// Identity is who signed a request: an account's root, a user, or a role's session.
type Identity struct {
	AccountID string `json:"a"`
	User      string `json:"u,omitempty"` // name; root if neither user nor role is named
	Role      string `json:"r,omitempty"` // name
	Session   string `json:"s,omitempty"` // name of a role's session
	Path      string `json:"p,omitempty"` // of the user or role
	ID        string `json:"i,omitempty"` // unique id of the user or role; empty for root
	// SessionPolicy narrows what a role's session may do; a document, or "".
	SessionPolicy string `json:"d,omitempty"`
	// AccessKeyID is the key that signed; "" on the unix socket.
	AccessKeyID string    `json:"k,omitempty"`
	Issued      time.Time `json:"t,omitzero"` // of temporary credentials
	Expires     time.Time `json:"e,omitzero"` // of temporary credentials
}

// IsRoot reports whether the identity is the account itself.
func (i *Identity) IsRoot() bool { return i.User == "" && i.Role == "" }

// ARN is the identity's Amazon resource name, as GetCallerIdentity shows it.
func (i *Identity) ARN() string {
	switch {
	case i.User != "":
		return IAMARN(i.AccountID, "user", i.Path, i.User)
	case i.Role != "":
		return "arn:aws:sts::" + i.AccountID + ":assumed-role/" + i.Role + "/" + i.Session
	}
	return "arn:aws:iam::" + i.AccountID + ":root"
}

// PrincipalARN is the value of the condition key aws:PrincipalArn: of a session
// its role's.
func (i *Identity) PrincipalARN() string {
	if i.Role != "" {
		return IAMARN(i.AccountID, "role", i.Path, i.Role)
	}
	return i.ARN()
}

// UserID is the value of the condition key aws:userid.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#principaltable
func (i *Identity) UserID() string {
	switch {
	case i.User != "":
		return i.ID
	case i.Role != "":
		return i.ID + ":" + i.Session
	}
	return i.AccountID
}

// The prefixes of IAM's unique ids.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
const (
	UserIDPrefix            = "AIDA"
	RoleIDPrefix            = "AROA"
	ManagedPolicyIDPrefix   = "ANPA"
	InstanceProfileIDPrefix = "AIPA"
	AccessKeyIDPrefix       = "AKIA"
	SessionKeyIDPrefix      = "ASIA"
)

// NewIAMID returns a fresh unique id: the prefix and 17 characters of base32 (16
// for access keys), as IAM makes them.
func NewIAMID(prefix string) string {
	n := 17
	if prefix == AccessKeyIDPrefix || prefix == SessionKeyIDPrefix {
		n = 16
	}
	var b [11]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + strings.TrimRight(base32.StdEncoding.EncodeToString(b[:]), "=")[:n]
}
