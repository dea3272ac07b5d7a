package cloud

import "testing"

func TestParameterName(t *testing.T) {
	for text, want := range map[string][2]string{
		"/aws/x":        {"/aws/x", ""},
		"/aws/x:12":     {"/aws/x", ":12"},
		"/aws/x:latest": {"/aws/x", ":latest"},
		"plain":         {"plain", ""},
		"":              {"", ""},
		":":             {"", ":"},
		"arn:aws:ssm:eu-1:111122223333:parameter/aws/x": {"/aws/x", ""},
		"arn:aws:ssm:eu-1::parameter/aws/x:3":           {"/aws/x", ":3"},
		"arn:aws:ssm":                                   {"arn", ":aws:ssm"},
	} {
		if name, selector := ParameterName(text); name != want[0] || selector != want[1] {
			t.Errorf("%q is %q and %q, want %q", text, name, selector, want)
		}
	}
}
