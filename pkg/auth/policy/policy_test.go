package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func mustParse(t testing.TB, text string, kind Kind) *Document {
	t.Helper()
	d, err := Parse([]byte(text), kind)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

func document(statements string) string {
	return `{"Version": "2012-10-17", "Statement": [` + statements + `]}`
}

func TestParseRefuses(t *testing.T) {
	allow := `"Effect": "Allow", "Action": "*", "Resource": "*"`
	for _, c := range []struct{ text, at, reason string }{
		{``, "1:1", "ends too early"},
		{`{`, "1:2", "ends too early"},
		{`[]`, "1:1", "must be a JSON object"},
		{`{"Version": "2012-10-17"}`, "1:1", "must have a Statement"},
		{`{"Statement": []}`, "1:15", "at least one"},
		{"{\n  \"Version\": \"2012-10-18\",\n  \"Statement\": {" + allow + "}}", "2:14", "Version must be"},
		{`{"Statement": {` + allow + `}} x`, "1:68", "after the end"},
		{`{"Statement": {` + allow + `}, "Extra": 1}`, "1:68", `no element "Extra"`},
		{document("{" + allow + `, "Effect": "Deny"}`), "1:93", `"Effect" stands twice`},
		{document(`{"Action": "*", "Resource": "*"}`), "1:41", "must have an Effect"},
		{document(`{"Effect": "allow", "Action": "*", "Resource": "*"}`), "1:52", `must be "Allow" or "Deny"`},
		{document(`{"Effect": "Allow", "Resource": "*"}`), "1:41", "must have Action or NotAction"},
		{document(`{` + allow + `, "NotAction": "*"}`), "1:41", "both Action and NotAction"},
		{document(`{"Effect": "Allow", "Action": [], "Resource": "*"}`), "1:71", "must not be empty"},
		{document(`{"Effect": "Allow", "Action": "RunInstances", "Resource": "*"}`), "1:71", "service:Name"},
		{document(`{"Effect": "Allow", "Action": ["ec2:*", 5], "Resource": "*"}`), "1:81", "string"},
		{document(`{"Effect": "Allow", "Action": "*", "Resource": "i-1"}`), "1:88", "ARN format"},
		{document(`{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:iam::${x}:*"}`), "1:88", "condition key"},
		{document(`{` + allow + `, "Principal": "*"}`), "1:93", `no element "Principal"`},
		{document(`{` + allow + `, "Sid": "a b"}`), "1:100", "letters and digits"},
		{document(`{` + allow + `, "Sid": "a"}, {` + allow + `, "Sid": "a"}`), "1:106", `the Sid "a"`},
		{document(`{` + allow + `, "Condition": {"StringIs": {"aws:username": "x"}}}`), "1:107", "no condition operator"},
		{document(`{` + allow + `, "Condition": {"Bool": {"aws:SecureTransport": "maybe"}}}`), "1:139", "neither true nor false"},
		{document(`{` + allow + `, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/40"}}}`), "1:137", "CIDR"},
		{document(`{` + allow + `, "Condition": {"NumericEquals": {"a:b": "x"}}}`), "1:132", "not a number"},
		{document(`{` + allow + `, "Condition": {"DateLessThan": {"a:b": "soon"}}}`), "1:131", "not a date"},
		{document(`{` + allow + `, "Condition": {"StringEquals": {"username": "x"}}}`), "1:124", "no condition key"},
		{document(`{` + allow + `, "Condition": {"StringEquals": {"a:b": []}}}`), "1:131", "at least one value"},
		{document(`{` + allow + `, "Condition": {"StringEquals": {"a:b": {}}}}`), "1:131", "string, a number or a truth value"},
		{document(`{` + allow + `, "Condition": {"NullIfExists": {"a:b": true}}}`), "1:107", "neither IfExists"},
		{document(strings.Repeat("[", 30)), "1:49", "nested too deep"},
		{"{\"Id\": \"\xff\"}", "1:1", "UTF-8"},
	} {
		_, err := Parse([]byte(c.text), Identity)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if at := fmt.Sprintf("%d:%d", syntax.Line, syntax.Column); at != c.at || !strings.Contains(syntax.Reason, c.reason) {
			t.Errorf("%s:\n got %s %s\nwant %s …%s…", c.text, at, syntax.Reason, c.at, c.reason)
		}
	}
}

func TestEvaluate(t *testing.T) {
	const (
		one   = "arn:aws:ec2:local-1:111122223333:instance/i-1"
		other = "arn:aws:ec2:local-1:111122223333:volume/vol-1"
	)
	for _, c := range []struct {
		name, statements, action, resource string
		want                               Decision
	}{
		{"nothing said", `{"Effect": "Allow", "Action": "ec2:StartInstances", "Resource": "*"}`, "ec2:StopInstances", one, ImplicitDeny},
		{"allowed", `{"Effect": "Allow", "Action": "ec2:StartInstances", "Resource": "*"}`, "ec2:StartInstances", one, Allowed},
		{"case of actions", `{"Effect": "Allow", "Action": "EC2:startinstances", "Resource": "*"}`, "ec2:StartInstances", one, Allowed},
		{"wildcards", `{"Effect": "Allow", "Action": "ec2:St??tI*", "Resource": "*"}`, "ec2:StartInstances", one, Allowed},
		{"other resource", `{"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:volume/*"}`, "ec2:StartInstances", one, ImplicitDeny},
		{"deny wins before", `{"Effect": "Deny", "Action": "*", "Resource": "*"}, {"Effect": "Allow", "Action": "*", "Resource": "*"}`, "ec2:X", one, ExplicitDeny},
		{"deny wins after", `{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "ec2:X", "Resource": "*"}`, "ec2:X", one, ExplicitDeny},
		{"not action", `{"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "Resource": "*"}`, "ec2:X", one, Allowed},
		{"not action hit", `{"Effect": "Allow", "NotAction": ["iam:*", "sts:*"], "Resource": "*"}`, "iam:CreateUser", "*", ImplicitDeny},
		{"not resource", `{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:ec2:*:*:volume/*"}`, "ec2:X", one, Allowed},
		{"not resource hit", `{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:ec2:*:*:volume/*"}`, "ec2:X", other, ImplicitDeny},
	} {
		got, matches := Evaluate([]*Document{mustParse(t, document(c.statements), Identity)}, Request{Action: c.action, Resource: c.resource, Keys: NoKeys})
		if got != c.want || (got == ImplicitDeny) != (len(matches) == 0) {
			t.Errorf("%s: %v (%d matches), want %v", c.name, got, len(matches), c.want)
		}
	}
}

// TestConditions holds every operator against values that are there, others, and none.
func TestConditions(t *testing.T) {
	keys := map[string][]string{
		"a:text": {"Web"}, "a:number": {"10"}, "a:date": {"2026-06-01T00:00:00Z"}, "a:bool": {"true"}, "a:ip": {"10.1.2.3"},
		"a:arn": {"arn:aws:iam::111122223333:user/alice"}, "a:many": {"x", "y"}, "a:empty": {}, "aws:username": {"Web"},
	}
	lookup := func(key string) ([]string, bool) { v, ok := keys[key]; return v, ok }
	for condition, want := range map[string]bool{
		`"StringEquals": {"a:text": "Web"}`:                                             true,
		`"StringEquals": {"A:TEXT": "Web"}`:                                             true,
		`"StringEquals": {"a:text": ["x", "Web"]}`:                                      true,
		`"StringEquals": {"a:text": "web"}`:                                             false,
		`"StringEquals": {"a:text": "W*"}`:                                              false,
		`"StringEquals": {"a:none": "Web"}`:                                             false,
		`"StringEquals": {"a:text": "${aws:username}"}`:                                 true,
		`"StringEqualsIfExists": {"a:none": "Web"}`:                                     true,
		`"StringEqualsIfExists": {"a:text": "x"}`:                                       false,
		`"StringNotEquals": {"a:text": "Web"}`:                                          false,
		`"StringNotEquals": {"a:text": ["x", "Web"]}`:                                   false,
		`"StringNotEquals": {"a:text": "x"}`:                                            true,
		`"StringNotEquals": {"a:none": "x"}`:                                            true,
		`"StringEqualsIgnoreCase": {"a:text": "wEB"}`:                                   true,
		`"StringNotEqualsIgnoreCase": {"a:text": "wEB"}`:                                false,
		`"StringLike": {"a:text": "W?b*"}`:                                              true,
		`"StringNotLike": {"a:text": "W?b*"}`:                                           false,
		`"NumericEquals": {"a:number": "10.0"}`:                                         true,
		`"NumericEquals": {"a:number": 10}`:                                             true,
		`"NumericNotEquals": {"a:number": "10"}`:                                        false,
		`"NumericLessThan": {"a:number": "10"}`:                                         false,
		`"NumericLessThanEquals": {"a:number": "10"}`:                                   true,
		`"NumericGreaterThan": {"a:number": "9"}`:                                       true,
		`"NumericGreaterThanEquals": {"a:number": "11"}`:                                false,
		`"NumericEquals": {"a:text": "10"}`:                                             false,
		`"DateEquals": {"a:date": "2026-06-01T02:00:00+02:00"}`:                         true,
		`"DateEquals": {"a:date": "2026-06-01"}`:                                        true,
		`"DateNotEquals": {"a:date": "2026-06-01"}`:                                     false,
		`"DateLessThan": {"a:date": "2026-06-02"}`:                                      true,
		`"DateLessThanEquals": {"a:date": "2026-05-31"}`:                                false,
		`"DateGreaterThan": {"a:date": "1780000000"}`:                                   true,
		`"DateGreaterThanEquals": {"a:date": 1780272000}`:                               true,
		`"Bool": {"a:bool": true}`:                                                      true,
		`"Bool": {"a:bool": "FALSE"}`:                                                   false,
		`"Bool": {"a:none": false}`:                                                     false,
		`"IpAddress": {"a:ip": "10.0.0.0/8"}`:                                           true,
		`"IpAddress": {"a:ip": ["192.0.2.1", "10.1.2.3"]}`:                              true,
		`"IpAddress": {"a:ip": "::/0"}`:                                                 false,
		`"NotIpAddress": {"a:ip": "10.0.0.0/8"}`:                                        false,
		`"NotIpAddress": {"a:none": "10.0.0.0/8"}`:                                      true,
		`"ArnLike": {"a:arn": "arn:aws:iam::*:user/a*"}`:                                true,
		`"ArnEquals": {"a:arn": "arn:aws:iam::*:user/a*"}`:                              true,
		`"ArnNotLike": {"a:arn": "arn:aws:iam::*:user/a*"}`:                             false,
		`"ArnNotEquals": {"a:arn": "arn:aws:iam::*:role/*"}`:                            true,
		`"Null": {"a:none": true}`:                                                      true,
		`"Null": {"a:empty": true}`:                                                     true,
		`"Null": {"a:text": true}`:                                                      false,
		`"Null": {"a:text": "false"}`:                                                   true,
		`"ForAllValues:StringEquals": {"a:many": ["x", "y", "z"]}`:                      true,
		`"ForAllValues:StringEquals": {"a:many": "x"}`:                                  false,
		`"ForAllValues:StringEquals": {"a:none": "x"}`:                                  true,
		`"ForAnyValue:StringEquals": {"a:many": "x"}`:                                   true,
		`"ForAnyValue:StringEquals": {"a:many": "z"}`:                                   false,
		`"ForAnyValue:StringEquals": {"a:none": "x"}`:                                   false,
		`"ForAnyValue:StringEqualsIfExists": {"a:none": "x"}`:                           true,
		`"ForAnyValue:StringNotEquals": {"a:many": "x"}`:                                true,
		`"ForAllValues:StringNotEquals": {"a:many": "x"}`:                               false,
		`"StringEquals": {"a:text": "Web", "a:many": "x"}`:                              true, // both
		`"StringEquals": {"a:text": "Web", "a:none": "x"}`:                              false,
		`"StringEquals": {"a:text": "Web"}, "Bool": {"a:bool": "false"}`:                false,
		`"StringNotEquals": {"a:many": "y"}`:                                            false, // one of its values is
		`"StringEquals": {"a:text": "${a:none}"}`:                                       false,
		`"StringLike": {"a:text": ["${a:none}", "Web"]}`:                                true,
		`"ArnLike": {"a:arn": "arn:aws:iam::111122223333:user/${aws:username, 'bob'}"}`: false,
	} {
		text := document(`{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {` + condition + `}}`)
		got, _ := Evaluate([]*Document{mustParse(t, text, Identity)}, Request{Action: "ec2:X", Resource: "*", Keys: lookup})
		if (got == Allowed) != want {
			t.Errorf("%s: %v, want %v", condition, got, want)
		}
	}
}

func TestOldVersionHasNoVariables(t *testing.T) {
	text := `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:x:::${aws:username}"}}`
	keys := func(string) ([]string, bool) { return []string{"alice"}, true }
	d := mustParse(t, text, Identity)
	if got, _ := Evaluate([]*Document{d}, Request{Action: "x:Y", Resource: "arn:aws:x:::alice", Keys: keys}); got != ImplicitDeny {
		t.Errorf("the variable was replaced: %v", got)
	}
	if got, _ := Evaluate([]*Document{d}, Request{Action: "x:Y", Resource: "arn:aws:x:::${aws:username}", Keys: keys}); got != Allowed {
		t.Errorf("the text is not itself: %v", got)
	}
}

func TestPositionsAndKeys(t *testing.T) {
	d := mustParse(t, "{\"Version\": \"2012-10-17\", \"Statement\": [\n  {\"Effect\": \"Allow\", \"Action\": \"ec2:*\",\n   \"Resource\": \"arn:aws:x:::${aws:Username}\", \"Condition\": {\"Bool\": {\"aws:SecureTransport\": true}}}]}", Identity)
	s := d.Statements[0]
	if s.Start != (Position{2, 3}) || s.End.Line != 3 {
		t.Errorf("at %v to %v", s.Start, s.End)
	}
	if got := d.ConditionKeys(); !slices.Equal(got, []string{"aws:securetransport", "aws:username"}) {
		t.Errorf("keys %v", got)
	}
}

func TestTrust(t *testing.T) {
	alice := Caller{Account: "111122223333", ARNs: []string{"arn:aws:iam::111122223333:user/alice"}}
	session := Caller{Account: "111122223333", ARNs: []string{"arn:aws:sts::111122223333:assumed-role/r/s", "arn:aws:iam::111122223333:role/r"}}
	ec2 := Caller{Service: "ec2.amazonaws.com"}
	for _, c := range []struct {
		principal string
		caller    Caller
		want      Trusted
	}{
		{`{"AWS": "111122223333"}`, alice, TrustsAccount},
		{`{"AWS": "arn:aws:iam::111122223333:root"}`, alice, TrustsAccount},
		{`{"AWS": "arn:aws:iam::111122223334:root"}`, alice, NotTrusted},
		{`{"AWS": ["111122223334", "arn:aws:iam::111122223333:user/alice"]}`, alice, TrustsCaller},
		{`{"AWS": "arn:aws:iam::111122223333:role/r"}`, session, TrustsCaller},
		{`{"AWS": "arn:aws:sts::111122223333:assumed-role/r/s"}`, session, TrustsCaller},
		{`"*"`, alice, TrustsAccount},
		{`"*"`, ec2, NotTrusted},
		{`{"Service": "ec2.amazonaws.com"}`, ec2, TrustsCaller},
		{`{"Service": "ec2.amazonaws.com"}`, alice, NotTrusted},
	} {
		d := mustParse(t, document(`{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": `+c.principal+`}`), Trust)
		if got := d.Trusts(c.caller, Request{Action: "sts:AssumeRole", Keys: NoKeys}); got != c.want {
			t.Errorf("%s: %v, want %v", c.principal, got, c.want)
		}
		if got := d.Trusts(c.caller, Request{Action: "sts:TagSession", Keys: NoKeys}); got != NotTrusted {
			t.Errorf("%s: another action: %v", c.principal, got)
		}
	}
	d := mustParse(t, document(`{"Effect": "Allow", "Action": "*", "Principal": "*"}, {"Effect": "Deny", "Action": "*", "Principal": {"AWS": "arn:aws:iam::111122223333:user/alice"}}`), Trust)
	if got := d.Trusts(alice, Request{Action: "sts:AssumeRole", Keys: NoKeys}); got != TrustDenied {
		t.Errorf("denied: %v", got)
	}
	for _, bad := range []string{`"x"`, `{}`, `{"AWS": []}`, `{"AWS": "alice"}`, `{"AWS": "arn:aws:iam::1:user/x"}`, `{"Service": "x"}`, `{"Federated": "x"}`} {
		if _, err := Parse([]byte(document(`{"Effect": "Allow", "Action": "*", "Principal": `+bad+`}`)), Trust); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(document(`{"Effect": "Allow", "Action": ["ec2:*"], "NotResource": "arn:aws:ec2:*:*:${aws:username}", "Condition": {"ForAnyValue:StringLike": {"aws:TagKeys": ["a*"]}}}`)))
	f.Add([]byte(document(`{"Effect": "Deny", "Action": "*", "Principal": {"AWS": "111122223333"}}`)))
	keys := func(string) ([]string, bool) { return []string{"x", "1"}, true }
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, kind := range []Kind{Identity, Trust} {
			d, err := Parse(text, kind)
			if err != nil {
				var syntax *SyntaxError
				if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 {
					t.Fatalf("%q: %v", text, err)
				}
				continue
			}
			got, matches := Evaluate([]*Document{d}, Request{Action: "ec2:RunInstances", Resource: "arn:aws:ec2:r:1:instance/*", Keys: keys})
			if (got == ImplicitDeny) != (len(matches) == 0) {
				t.Fatalf("%q: %v with %d matches", text, got, len(matches))
			}
		}
	})
}
