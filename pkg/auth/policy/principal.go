package policy

import (
	"regexp"
	"slices"
	"strings"
)

// principal is one entry of a trust policy's Principal.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
type principal struct {
	everyone bool
	account  string // everybody in the account, as far as its own policies allow
	arn      string // of a user, a role, or a role's session
	service  string // "ec2.amazonaws.com"
}

var (
	accountPattern   = regexp.MustCompile(`^[0-9]{12}$`)
	principalPattern = regexp.MustCompile(`^arn:aws:(iam|sts)::([0-9]{12}):(root|(user|role|assumed-role)/[!-~]+)$`)
	servicePattern   = regexp.MustCompile(`^[a-z0-9.-]+\.amazonaws\.com$`)
)

func (r *reader) principals(s *Statement, n *node, o *object) error {
	element := o.values["Principal"]
	if element == nil {
		return r.errorf(n.start, "a statement of a trust policy must have a Principal")
	}
	if element.value == "*" {
		s.principals = []principal{{everyone: true}}
		return nil
	}
	kinds, err := r.asObject(element, "Principal", "AWS", "Service")
	if err != nil {
		return err
	}
	for _, k := range kinds.keys {
		list, err := r.strings(kinds.values[k.name], "a principal")
		if err != nil {
			return err
		}
		for _, v := range list {
			p, ok := parsePrincipal(k.name, v.value.(string))
			if !ok {
				return r.errorf(v.start, "invalid principal in policy: %q: %q", k.name, v.value)
			}
			s.principals = append(s.principals, p)
		}
	}
	if len(s.principals) == 0 {
		return r.errorf(element.start, "Principal must not be empty")
	}
	return nil
}

func parsePrincipal(kind, text string) (principal, bool) {
	if kind == "Service" {
		return principal{service: text}, servicePattern.MatchString(text)
	}
	m := principalPattern.FindStringSubmatch(text)
	switch {
	case text == "*":
		return principal{everyone: true}, true
	case accountPattern.MatchString(text):
		return principal{account: text}, true
	case m == nil:
		return principal{}, false
	case m[3] == "root":
		return principal{account: m[2]}, true
	}
	return principal{arn: text}, true
}

// Caller is who wants to assume a role.
type Caller struct {
	Account string
	// ARNs name the caller: a user's, or those of a session and of its role.
	ARNs    []string
	Service string // instead of the others: a service that acts by itself
}

// Trusted is what a trust policy says of a caller.
type Trusted int

// What a trust policy can say.
const (
	NotTrusted    Trusted = iota
	TrustsAccount         // the caller's account decides, by the caller's own policies
	TrustsCaller          // the caller is named itself
	TrustDenied           // explicitly
)

// Trusts reports whether the trust policy lets the caller do what r asks for.
func (d *Document) Trusts(c Caller, r Request) Trusted {
	result := NotTrusted
	for _, s := range d.Statements {
		trust := s.names(c)
		if trust == NotTrusted || !s.applies(r) {
			continue
		}
		if !s.Allow {
			return TrustDenied
		}
		result = max(result, trust)
	}
	return result
}

// names reports how the statement's Principal names a caller.
func (s *Statement) names(c Caller) Trusted {
	result := NotTrusted
	for _, p := range s.principals {
		switch {
		case c.Service != "":
			if p.service == c.Service {
				result = TrustsCaller
			}
		case p.everyone || (p.account != "" && p.account == c.Account):
			result = max(result, TrustsAccount)
		case p.arn != "" && slices.Contains(c.ARNs, p.arn):
			result = TrustsCaller
		}
	}
	return result
}

// PrincipalARNs returns the ARNs that a trust policy names, so that it can be
// checked that they exist.
func (d *Document) PrincipalARNs() []string {
	var out []string
	for _, s := range d.Statements {
		for _, p := range s.principals {
			if p.arn != "" && !strings.Contains(p.arn, ":assumed-role/") {
				out = append(out, p.arn)
			}
		}
	}
	return out
}
