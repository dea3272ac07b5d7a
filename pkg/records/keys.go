package records

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/bundt/bundt/pkg/model"
)

// NameKey is the key of a Name. The name is hashed: it may hold any character.
func NameKey(kind model.IDPrefix, owner, name string) string {
	return string(kind) + "." + owner + "." + hash(name)
}

// AddressKey is the key of an Address.
func AddressKey(pool, ip string) string { return pool + "." + ip }

// TokenKey is the key of a Token.
func TokenKey(owner, action, token string) string {
	return owner + "." + action + "." + hash(token)
}

// IAMKey is the key of one of IAM's objects. Names that differ in case only are
// the same to IAM.
func IAMKey(account, name string) string { return account + "." + strings.ToLower(name) }

// CachedKey is the key of a CachedBuild, of its digest.
func CachedKey(owner, digest string) string {
	return owner + "." + strings.TrimPrefix(digest, "sha256:")
}

// TemplateVersionKey is the key of a launch template's version: in the order of
// the numbers, all of one template below its id and a dot.
func TemplateVersionKey(template string, number int64) string {
	return fmt.Sprintf("%s.%010d", template, number)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
