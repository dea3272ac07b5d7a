package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// condition is one key of one operator in a statement's Condition.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
type condition struct {
	key      string // in lower case
	set      quantifier
	ifExists bool
	negated  bool
	null     bool // the operator Null: tests are of "true" or "false"
	tests    []test
}

// quantifier says how many of a key's values must fulfil a condition.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
type quantifier string

const (
	forAnyValue  quantifier = "ForAnyValue:"
	forAllValues quantifier = "ForAllValues:"
)

// test compares a value of the request with one of the policy.
type test func(value string, vars Lookup) bool

// operator makes a test of a policy's value; reason says what is wrong with it.
type operator struct {
	negated bool
	make    func(text string, variables bool) (t test, reason string)
}

var operators = map[string]operator{
	"StringEquals":              {false, exact},
	"StringNotEquals":           {true, exact},
	"StringEqualsIgnoreCase":    {false, ignoreCase},
	"StringNotEqualsIgnoreCase": {true, ignoreCase},
	"StringLike":                {false, like},
	"StringNotLike":             {true, like},
	"NumericEquals":             {false, numeric(func(a, b float64) bool { return a == b })},
	"NumericNotEquals":          {true, numeric(func(a, b float64) bool { return a == b })},
	"NumericLessThan":           {false, numeric(func(a, b float64) bool { return a < b })},
	"NumericLessThanEquals":     {false, numeric(func(a, b float64) bool { return a <= b })},
	"NumericGreaterThan":        {false, numeric(func(a, b float64) bool { return a > b })},
	"NumericGreaterThanEquals":  {false, numeric(func(a, b float64) bool { return a >= b })},
	"DateEquals":                {false, date(func(c int) bool { return c == 0 })},
	"DateNotEquals":             {true, date(func(c int) bool { return c == 0 })},
	"DateLessThan":              {false, date(func(c int) bool { return c < 0 })},
	"DateLessThanEquals":        {false, date(func(c int) bool { return c <= 0 })},
	"DateGreaterThan":           {false, date(func(c int) bool { return c > 0 })},
	"DateGreaterThanEquals":     {false, date(func(c int) bool { return c >= 0 })},
	"Bool":                      {false, boolean},
	"Null":                      {false, boolean},
	"IpAddress":                 {false, address},
	"NotIpAddress":              {true, address},
	"ArnEquals":                 {false, arnLike},
	"ArnLike":                   {false, arnLike},
	"ArnNotEquals":              {true, arnLike},
	"ArnNotLike":                {true, arnLike},
}

func exact(text string, variables bool) (test, string) {
	p, reason := compile(text, syntax{variables: variables})
	return p.matches, reason
}

func like(text string, variables bool) (test, string) {
	p, reason := compile(text, syntax{wildcards: true, variables: variables})
	return p.matches, reason
}

func ignoreCase(text string, variables bool) (test, string) {
	p, reason := compile(text, syntax{variables: variables})
	return func(value string, vars Lookup) bool {
		want, ok := p.expand(vars)
		return ok && strings.EqualFold(string(want), value)
	}, reason
}

func arnLike(text string, variables bool) (test, string) {
	p, reason := compileARN(text, syntax{wildcards: true, variables: variables})
	return p.matches, reason
}

func numeric(holds func(value, limit float64) bool) func(string, bool) (test, string) {
	return func(text string, _ bool) (test, string) {
		limit, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, strconv.Quote(text) + " is not a number"
		}
		return func(value string, _ Lookup) bool {
			v, err := strconv.ParseFloat(value, 64)
			return err == nil && holds(v, limit)
		}, ""
	}
}

func date(holds func(comparison int) bool) func(string, bool) (test, string) {
	return func(text string, _ bool) (test, string) {
		limit, ok := parseDate(text)
		if !ok {
			return nil, strconv.Quote(text) + " is not a date in ISO 8601 or in seconds since 1970"
		}
		return func(value string, _ Lookup) bool {
			v, ok := parseDate(value)
			return ok && holds(v.Compare(limit))
		}, ""
	}
}

func parseDate(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

func boolean(text string, _ bool) (test, string) {
	if !strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
		return nil, strconv.Quote(text) + " is neither true nor false"
	}
	return func(value string, _ Lookup) bool { return strings.EqualFold(value, text) }, ""
}

func address(text string, _ bool) (test, string) {
	prefix, err := netip.ParsePrefix(text)
	if addr, e := netip.ParseAddr(text); e == nil {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return nil, strconv.Quote(text) + " is neither an IP address nor a CIDR block"
	}
	return func(value string, _ Lookup) bool {
		addr, err := netip.ParseAddr(value)
		return err == nil && prefix.Contains(addr.Unmap())
	}, ""
}

// parseOperator takes "ForAnyValue:StringEqualsIfExists" apart.
func parseOperator(name string) (c condition, op operator, reason string) {
	rest := name
	for _, q := range []quantifier{forAnyValue, forAllValues} {
		if after, ok := strings.CutPrefix(rest, string(q)); ok {
			c.set, rest = q, after
		}
	}
	rest, c.ifExists = strings.CutSuffix(rest, "IfExists")
	op, known := operators[rest]
	c.null = rest == "Null"
	c.negated = op.negated
	switch {
	case !known:
		return c, op, "there is no condition operator " + strconv.Quote(name)
	case c.null && (c.ifExists || c.set != ""):
		return c, op, "the condition operator Null takes neither IfExists nor a quantifier"
	}
	return c, op, ""
}

// holds reports whether a request fulfils the condition.
func (c *condition) holds(vars Lookup) bool {
	values, present := vars(c.key)
	present = present && len(values) > 0
	switch {
	case c.null:
		return c.fulfils(strconv.FormatBool(!present), vars)
	case !present && c.set == forAllValues:
		return true
	case !present && c.set == forAnyValue:
		return c.ifExists
	case !present:
		return c.ifExists || c.negated
	}
	// Of a key without quantifier one value must do, but none may be excluded.
	all := c.set == forAllValues || (c.set == "" && c.negated)
	for _, v := range values {
		if c.fulfils(v, vars) != all {
			return !all
		}
	}
	return all
}

// fulfils compares one value with all of the policy's.
func (c *condition) fulfils(value string, vars Lookup) bool {
	for _, t := range c.tests {
		if t(value, vars) {
			return !c.negated
		}
	}
	return c.negated
}
