package conformance

import (
	"strings"
	"testing"
)

const requestElement = `<requestId>59dbff89-35bd-4eac-99ed-be5870123456</requestId>`

func load(t *testing.T) *Model {
	t.Helper()
	m, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// answer wraps members into a response of the action, with a request id.
func answer(action, members string) []byte {
	return []byte(`<?xml version="1.0"?><` + action + `Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">` + requestElement + members + `</` + action + `Response>`)
}

const key = `<keyName>k</keyName><keyPairId>key-0123456789abcdef0</keyPairId><keyFingerprint>x</keyFingerprint><keyType>rsa</keyType>`

func TestResponse(t *testing.T) {
	m := load(t)
	for _, c := range []struct {
		name, action, members, want string // want "" is no problem
	}{
		{"good", "DescribeKeyPairs", `<keySet><item>` + key + `<createTime>2026-01-02T03:04:05.000Z</createTime><tagSet/></item></keySet>`, ""},
		{"empty list", "DescribeKeyPairs", `<keySet/>`, ""},
		{"no result", "DeleteVolume", `<return>true</return>`, ""},
		{"nothing at all", "DeleteVolume", ``, "<return>"},
		{"unknown element", "DescribeKeyPairs", `<keys/>`, "no such element"},
		{"list without items", "DescribeKeyPairs", `<keySet>` + key + `</keySet>`, "an item is called keyName"},
		{"enum", "DescribeKeyPairs", `<keySet><item>` + strings.Replace(key, "rsa", "dsa", 1) + `</item></keySet>`, `"dsa" is none of`},
		{"id", "DescribeKeyPairs", `<keySet><item>` + strings.Replace(key, "key-0", "key-", 1) + `</item></keySet>`, "has not the form"},
		{"time", "DescribeKeyPairs", `<keySet><item>` + key + `<createTime>2026-01-02 03:04:05</createTime></item></keySet>`, "no timestamp"},
		{"zero time", "DescribeKeyPairs", `<keySet><item>` + key + `<createTime>0001-01-01T00:00:00Z</createTime></item></keySet>`, "not set"},
		{"lacks what clients read", "DescribeKeyPairs", `<keySet><item><keyName>k</keyName></item></keySet>`, "lacks KeyFingerprint"},
		{"twice", "DescribeKeyPairs", `<keySet/><keySet/>`, "twice"},
		{"integer", "RunInstances", `<instancesSet><item><amiLaunchIndex>one</amiLaunchIndex></item></instancesSet>`, `"one" is no integer`},
		{"boolean", "RunInstances", `<instancesSet><item><ebsOptimized>True</ebsOptimized></item></instancesSet>`, `"True" is no boolean`},
		{"text in a list of ids", "DescribeVpcs", `<nextToken><x/></nextToken>`, "has elements"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(m.Response(c.action, answer(c.action, c.members)), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
}

func TestResponseEnvelope(t *testing.T) {
	m := load(t)
	good := string(answer("DescribeKeyPairs", `<keySet/>`))
	for _, c := range []struct{ name, old, new, want string }{
		{"other action's", "DescribeKeyPairsResponse", "DescribeKeysResponse", "want DescribeKeyPairsResponse"},
		{"no request id", "requestId>", "id>", "there are 0"},
		{"bad request id", "59dbff89", "x", "no request id"},
		{"no XML", "<keySet/>", "<keySet>", "no XML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := []byte(strings.ReplaceAll(good, c.old, c.new))
			if got := strings.Join(m.Response("DescribeKeyPairs", body), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
}

func TestError(t *testing.T) {
	m := load(t)
	good := `<Response><Errors><Error><Code>InvalidVolume.NotFound</Code><Message>no</Message></Error></Errors><RequestID>59dbff89-35bd-4eac-99ed-be5870123456</RequestID></Response>`
	for _, c := range []struct{ name, old, new, want string }{
		{"good", "", "", ""},
		{"unknown code", "InvalidVolume.NotFound", "InvalidVolumeID.NotFound", "EC2 has no error"},
		{"no message", ">no<", "> <", "says nothing"},
		{"no error", "Error>", "Fault>", "there are 0"},
		{"no request id", "59dbff89-", "", "no request id"},
		{"other protocol", "Response", "ErrorResponse", "no error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := good
			if c.old != "" {
				body = strings.ReplaceAll(good, c.old, c.new)
			}
			got := strings.Join(m.Error([]byte(body)), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
}

// TestRulesNameShapes checks that the rules are of members that there are: a
// misspelt one would check nothing.
func TestRulesNameShapes(t *testing.T) {
	m := load(t)
	for name, members := range always {
		s := m.Shapes[name]
		if s == nil {
			t.Errorf("the model has no %s", name)
			continue
		}
		for _, member := range members {
			if _, ok := s.Members[member]; !ok {
				t.Errorf("the model has no %s in %s", member, name)
			}
		}
	}
	known := map[string]bool{}
	for _, s := range m.Shapes {
		for member := range s.Members {
			known[member] = true
		}
	}
	for member := range forms {
		if !known[member] {
			t.Errorf("the model has no %s anywhere", member)
		}
	}
}
