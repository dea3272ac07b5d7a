package console

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

func TestOwnHost(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:8773": true, "127.0.0.1": true, "localhost:8773": true, "localhost": true, "[::1]:8773": true, "[::1]": true, "192.168.1.4:80": true,
		"evil.example": false, "evil.example:8773": false, "localhost.evil.example:8773": false, "": false, "127.0.0.1.evil.example": false,
	} {
		r := httptest.NewRequest("GET", Path, nil)
		if r.Host = host; ownHost(r) != want {
			t.Errorf("%q: %v", host, !want)
		}
		if r.TLS = new(tls.ConnectionState); !ownHost(r) {
			t.Errorf("%q is refused, though the certificate has it", host)
		}
	}
}

func TestLocalPath(t *testing.T) {
	for next, want := range map[string]string{
		"/console/instances?q=a": "/console/instances?q=a", "": Path, "https://evil.example/console/": Path, "//evil.example/console/": Path, "/elsewhere": Path,
		"/console/\\evil.example": Path, "javascript:alert(1)": Path, "/console/../x": "/console/../x",
	} {
		if got := localPath(next); got != want {
			t.Errorf("%q leads to %q, not to %q", next, got, want)
		}
	}
}

func TestSessions(t *testing.T) {
	now := time.Now()
	s := newSessions(time.Hour)
	s.now = func() time.Time { return now }
	alice := api.Principal{AccountID: "111122223333", Name: "alice"}
	cookie := s.start(alice)
	if found, ok := s.find(cookie); !ok || found.principal.Name != "alice" {
		t.Fatalf("the session is not found: %v", found)
	}
	if _, ok := s.find(cookie + "x"); ok {
		t.Error("another text is a session")
	}
	for range 3 { // each request makes it last
		now = now.Add(50 * time.Minute)
		if _, ok := s.find(cookie); !ok {
			t.Fatal("a session in use ended")
		}
	}
	now = now.Add(61 * time.Minute)
	if _, ok := s.find(cookie); ok {
		t.Error("a session did not end")
	}
	cookie = s.start(alice)
	if s.end(cookie); len(s.open) != 0 {
		t.Errorf("%d sessions are left", len(s.open))
	}

	link := s.add(s.links, linkTime, alice)
	if p, ok := s.redeem(link); !ok || p.Name != "alice" {
		t.Error("the link is not good")
	}
	if _, ok := s.redeem(link); ok {
		t.Error("the link is good twice")
	}
	link = s.add(s.links, linkTime, alice)
	now = now.Add(linkTime + time.Second)
	if _, ok := s.redeem(link); ok {
		t.Error("the link is good for ever")
	}
	for range maxSessions + 10 {
		now = now.Add(time.Millisecond)
		cookie = s.start(alice)
	}
	if _, ok := s.find(cookie); !ok || len(s.open) != maxSessions {
		t.Errorf("%d sessions are kept", len(s.open))
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain\r\n\ttext\n":                           "plain\n\ttext\n",
		"\x1b[1;31mred\x1b[0m":                        "red",
		"\x1b]0;title\aafter":                         "after",
		"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\": "link",
		"bell\a back\b":                               "bell back",
		"half \x1b[3":                                 "half ",
		"half \x1b":                                   "half ",
		"bad \xff utf8 ü":                             "bad � utf8 ü",
		"\x1b(Bcharset":                               "Bcharset",
		"<script>":                                    "<script>",
	} {
		if got := printable(base64.StdEncoding.EncodeToString([]byte(text))); got != want {
			t.Errorf("%q is shown as %q, not as %q", text, got, want)
		}
	}
}

// TestCommands holds what a launch shows to the texts in testdata.
func TestInert(t *testing.T) {
	for text, want := range map[string]string{"": "", "cake": "cake", "=1+1": "'=1+1", "@x": "'@x", "-1": "'-1", "+1": "'+1", "\t=1": "'\t=1", "a=b": "a=b"} {
		if got := inert(text); got != want {
			t.Errorf("%q becomes %q, not %q", text, got, want)
		}
	}
}

func TestCommands(t *testing.T) {
	values := url.Values{
		"image": {"ami-1"}, "type": {"t3.micro"}, "key": {"lab"}, "subnet": {"subnet-1"}, "group": {"sg-1", "sg-2"}, "count": {"2"}, "name": {`it's "${web}"`},
		"root": {"9"}, "image-root": {"2"}, "root-device": {"/dev/sda1"}, "volume": {"20"}, "userdata": {"#!/bin/sh\r\necho \"$HOME\" EOF\r\n"},
	}
	c, err := previewOf(t.Context(), nil, values)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Bundt + "\n\n" + c.AWS + "\n\n" + c.Terraform
	for from, vpc := range map[string]*string{"10.0.0.0/8": new("vpc-1"), "::/0": nil, "sg-9": nil} {
		values := url.Values{"image": {"ami-1"}, "firewall": {newGroup}, "open-ssh": {"yes"}, "open-http": {"yes"}, "from": {from}}
		in, err := runInput(values)
		if err != nil {
			t.Fatal(err)
		}
		c := commandsOf(in, &firewall{vpc, opened(values)})
		for what, want := range map[string]string{c.Bundt: "tcp/22 tcp/80 \\\n    --from " + from, c.AWS: from, c.Terraform: hcl(from)} {
			if !strings.Contains(what, want) {
				t.Errorf("a new firewall from %s is not in:\n%s", from, what)
			}
		}
		if vpc != nil {
			got += "\n\n" + c.Bundt + "\n\n" + c.AWS + "\n\n" + c.Terraform
		}
	}
	golden := filepath.Join("testdata", "commands.golden")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
	values.Set("root", "many")
	if _, err := previewOf(t.Context(), nil, values); err == nil || !strings.Contains(err.Error(), "many") {
		t.Errorf("a size that is none: %v", err)
	}
}

// TestRules: what a rule is in a form is what it is in the API, and back.
func TestRules(t *testing.T) {
	for _, p := range []ec2types.IpPermission{
		{IpProtocol: new("tcp"), FromPort: new(int32(22)), ToPort: new(int32(22)), IpRanges: []ec2types.IpRange{{CidrIp: new("10.0.0.0/8")}}},
		{IpProtocol: new("-1"), Ipv6Ranges: []ec2types.Ipv6Range{{CidrIpv6: new("::/0")}}},
		{IpProtocol: new("icmp"), FromPort: new(int32(-1)), ToPort: new(int32(-1)), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: new("sg-1")}}},
		{IpProtocol: new("udp"), FromPort: new(int32(100)), ToPort: new(int32(200)), IpRanges: []ec2types.IpRange{{CidrIp: new("1.2.3.4/32")}}},
	} {
		flat := flattenRules([]ec2types.IpPermission{p})
		if len(flat) != 1 {
			t.Fatalf("%v: %d rules", p, len(flat))
		}
		form := url.Values{}
		for k, v := range flat[0].fields("sg-0", "in") {
			form.Set(k, v)
		}
		r := httptest.NewRequest("POST", Path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		back, err := ruleOf(&request{Request: r})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, back.permission()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestRecipeButton: what is there is launched, what is being built is watched.
func TestRecipeButton(t *testing.T) {
	images := []ec2types.Image{{ImageId: new("ami-1"), Architecture: new("x86_64"), State: new("available"), Tags: []ec2types.Tag{{Key: new(recipeTag), Value: new("tiny")}}}}
	builds := []bundttypes.Build{{BuildId: "build-1", RecipeName: "tiny", Architecture: "arm64"}}
	for arch, want := range map[string]string{"x86_64": "Launch x86_64", "arm64": "Building arm64", "i386": "Build i386"} {
		if got := recipeButton("tiny", arch, images, builds).Text; got != want {
			t.Errorf("%s: %q, not %q", arch, got, want)
		}
	}
}

// TestVendoredFiles: what others wrote is what the list of dependencies says.
func TestVendoredFiles(t *testing.T) {
	list, err := os.ReadFile(filepath.Join("..", "..", "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"xterm.js", "xterm.css"} {
		b, err := assetFiles.ReadFile("assets/xterm/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("    %x  %s\n", sha256.Sum256(b), name); !strings.Contains(string(list), line) {
			t.Errorf("docs/dependencies.md lacks the line %q", line)
		}
	}
}
