package auth

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Names and paths of IAM's objects.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html#reference_iam-quotas-names
var (
	iamName = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]+$`)
	iamPath = regexp.MustCompile(`^/([!-~]+/)?$`)
)

const (
	maxUserName    = 64
	maxRoleName    = 64
	maxPolicyName  = 128
	maxProfileName = 128
	maxPath        = 512
	maxDescription = 1000
	maxTags        = 50

	// Sizes of documents, in characters that are not white space.
	maxUserInline  = 2048 // of all inline policies together
	maxRoleInline  = 10240
	maxManaged     = 6144
	maxTrust       = 2048
	maxAttached    = 10
	maxVersions    = 5
	maxSessionSize = 2048
)

func invalidName(member, value string) *model.Error {
	return model.Errorf(CodeValidationError, "The specified value for %s is invalid: %q. It must contain only alphanumeric characters and/or the following: +=,.@_-", member, value)
}

func checkName(member, name string, max int) error {
	switch {
	case !iamName.MatchString(name):
		return invalidName(member, name)
	case len(name) > max:
		return model.Errorf(CodeValidationError, "The specified value for %s is invalid: it has %d characters; %d are the most", member, len(name), max)
	}
	return nil
}

// checkPath returns the path, or "/" for none.
func checkPath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	if len(path) > maxPath || !iamPath.MatchString(path) {
		return "", model.Errorf(CodeValidationError, "The specified value for path is invalid: %q. It must begin and end with / and contain only printable ASCII characters", path)
	}
	return path, nil
}

func checkTags(tags model.Tags) error {
	if len(tags) > maxTags {
		return model.Errorf(CodeLimitExceeded, "Cannot exceed quota for TagsPerResource: %d", maxTags)
	}
	for k, v := range tags {
		if k == "" || len([]rune(k)) > 128 || len([]rune(v)) > 256 || strings.HasPrefix(strings.ToLower(k), "aws:") {
			return model.Errorf(CodeInvalidInput, "The tag %q is invalid: a key of 1 to 128 characters that does not begin with aws:, and a value of at most 256", k)
		}
	}
	return nil
}

// checkDocument parses a policy; an error says where it is wrong.
func checkDocument(text string, kind policy.Kind, max int) (*policy.Document, error) {
	if n := documentSize(text); n > max {
		return nil, model.Errorf(CodeLimitExceeded, "Cannot exceed quota for PolicySize: %d; this has %d characters", max, n)
	}
	d, err := policy.Parse([]byte(text), kind)
	if err != nil {
		return nil, model.Errorf(CodeMalformedPolicyDocument, "Syntax errors in policy: %v", err)
	}
	return d, nil
}

// documentSize is a document's length as IAM counts it: without white space.
func documentSize(text string) int { return len(strings.Join(strings.Fields(text), "")) }

// named returns one of IAM's objects, or that there is none.
func named[T any](tx *store.Tx, col store.Collection[T], what, account, name string) (T, error) {
	if len(name) > maxPolicyName || !iamName.MatchString(name) {
		return *new(T), invalidName("name", name)
	}
	v, err := col.Get(tx, records.IAMKey(account, name))
	if errors.Is(err, store.ErrNotFound) {
		return v, noSuch(what, name)
	}
	return v, err
}

// add keeps a new object of IAM's, unless its name is taken.
func add[T any](tx *store.Tx, col store.Collection[T], what, account, name string, v *T) error {
	exists, err := col.Exists(tx, records.IAMKey(account, name))
	if err != nil {
		return err
	}
	if exists {
		return model.Errorf(CodeEntityAlreadyExists, "%s with name %s already exists.", what, name)
	}
	return col.Put(tx, v)
}

// attached adds a policy to those attached, if it is not yet.
func attached(p *model.Policies, arn string) error {
	if slices.Contains(p.Attached, arn) {
		return nil
	}
	if len(p.Attached) >= maxAttached {
		return model.Errorf(CodeLimitExceeded, "Cannot exceed quota for PoliciesPerUser or PoliciesPerRole: %d", maxAttached)
	}
	p.Attached = append(p.Attached, arn)
	slices.Sort(p.Attached)
	return nil
}

func detached(p *model.Policies, arn string) error {
	i := slices.Index(p.Attached, arn)
	if i < 0 {
		return model.Errorf(CodeNoSuchEntity, "Policy %s was not found.", arn)
	}
	p.Attached = slices.Delete(p.Attached, i, i+1)
	return nil
}

// putInline adds or replaces an inline policy.
func putInline(p *model.Policies, name, document string, max int) error {
	if err := checkName("policyName", name, maxPolicyName); err != nil {
		return err
	}
	if _, err := checkDocument(document, policy.Identity, max); err != nil {
		return err
	}
	size := documentSize(document)
	for other, d := range p.Inline {
		if other != name {
			size += documentSize(d)
		}
	}
	if size > max {
		return model.Errorf(CodeLimitExceeded, "Maximum policy size of %d bytes exceeded for all inline policies together", max)
	}
	if p.Inline == nil {
		p.Inline = map[string]string{}
	}
	p.Inline[name] = document
	return nil
}

func inline(p *model.Policies, what, of, name string) (string, error) {
	d, ok := p.Inline[name]
	if !ok {
		return "", model.Errorf(CodeNoSuchEntity, "The %s policy with name %s of %s cannot be found.", what, name, of)
	}
	return d, nil
}
