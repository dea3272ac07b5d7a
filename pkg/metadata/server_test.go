package metadata

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func testDocument() Document {
	return Document{
		InstanceID: "i-0123456789abcdef0", ImageID: "ami-0123456789abcdef0", InstanceType: "t3.micro",
		Architecture: "x86_64", AccountID: "123456789012", ReservationID: "r-1", LaunchIndex: 2,
		PendingTime: time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC), Region: "local-1", AvailabilityZone: "local-1a", ZoneID: "lcl1-az1",
		Hostname: "ip-10-0-0-10.ec2.internal", PublicHostname: "pub.example", PrivateIP: "10.0.0.10", PublicIP: "127.77.0.5",
		MAC: "0A:00:00:00:00:01", SecurityGroups: []NamedID{{"sg-1", "default"}, {"sg-2", "web"}},
		Interfaces: []Interface{{
			ID: "eni-1", MAC: "0A:00:00:00:00:01", Hostname: "ip-10-0-0-10.ec2.internal", PublicHostname: "pub.example",
			PrivateIPs: []PrivateIP{{"10.0.0.10", "127.77.0.5"}}, VPCID: "vpc-1", VPCCIDR: "10.0.0.0/16", MoreVPCCIDRs: []string{"10.1.0.0/16"},
			SubnetID: "subnet-1", SubnetCIDR: "10.0.0.0/24", SecurityGroups: []NamedID{{"sg-1", "default"}, {"sg-2", "web"}},
		}},
		KeyName: "me", PublicKey: "ssh-ed25519 AAAA me", UserData: []byte{0, 1, 0xff},
		RootDevice: "/dev/xvda", BlockDevices: map[string]string{"ami": "/dev/xvda", "ebs1": "/dev/sdb"},
		Tags: map[string]string{"Name": "web 1", "empty": "", "no/slash": "x"},
	}
}

var clock = time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)

type fixture struct {
	doc  Document
	now  time.Time
	hops []int
	sign *Signer
	*Server
}

func newFixture(doc Document) *fixture {
	f := &fixture{doc: doc, now: clock, sign: testSigner()}
	f.Server = New(ServerOptions{
		Lookup:    func(*http.Request) (Document, bool) { return f.doc, f.doc.InstanceID != "" },
		Secret:    []byte("0123456789abcdef0123456789abcdef"),
		Now:       func() time.Time { return f.now },
		Signer:    func() *Signer { return f.sign },
		LimitHops: func(_ *http.Request, n int) { f.hops = append(f.hops, n) },
	})
	return f
}

func (f *fixture) do(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://169.254.169.254/", nil)
	r.URL.Path = path
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

func TestPaths(t *testing.T) {
	f := newFixture(testDocument())
	const eni = "/2021-03-23/meta-data/network/interfaces/macs/0a:00:00:00:00:01/"
	for path, want := range map[string]string{
		"/latest/":           "dynamic\nmeta-data\nuser-data",
		"/latest/meta-data/": "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nevents/\nhostname\ninstance-action\ninstance-id\ninstance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nmetrics/\nnetwork/\nplacement/\nprofile\npublic-hostname\npublic-ipv4\npublic-keys/\nreservation-id\nsecurity-groups\nservices/\nsystem\ntags/",
		"/latest/meta-data":  "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nevents/\nhostname\ninstance-action\ninstance-id\ninstance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\nmac\nmetrics/\nnetwork/\nplacement/\nprofile\npublic-hostname\npublic-ipv4\npublic-keys/\nreservation-id\nsecurity-groups\nservices/\nsystem\ntags/",

		"/1.0/meta-data/ami-id":                            "ami-0123456789abcdef0",
		"/2009-04-04/meta-data/ami-launch-index":           "2",
		"/latest/meta-data/ami-manifest-path":              "(unknown)",
		"/latest/meta-data/block-device-mapping/":          "ami\nebs1\nroot",
		"/latest/meta-data/block-device-mapping/ebs1":      "/dev/sdb",
		"/latest/meta-data/block-device-mapping/root":      "/dev/xvda",
		"/latest/meta-data/hostname":                       "ip-10-0-0-10.ec2.internal",
		"/latest/meta-data/instance-action":                "none",
		"/2021-03-23/meta-data/instance-id":                "i-0123456789abcdef0",
		"/latest/meta-data/instance-life-cycle":            "on-demand",
		"/latest/meta-data/instance-type":                  "t3.micro",
		"/latest/meta-data/local-ipv4":                     "10.0.0.10",
		"/latest/meta-data/mac":                            "0a:00:00:00:00:01",
		"/latest/meta-data/metrics/vhostmd":                `<?xml version="1.0" encoding="UTF-8"?>`,
		"/latest/meta-data/network/interfaces/macs/":       "0a:00:00:00:00:01/",
		eni + "device-number":                              "0",
		eni + "interface-id":                               "eni-1",
		eni + "ipv4-associations/127.77.0.5":               "10.0.0.10",
		eni + "local-hostname":                             "ip-10-0-0-10.ec2.internal",
		eni + "local-ipv4s":                                "10.0.0.10",
		eni + "mac":                                        "0a:00:00:00:00:01",
		eni + "owner-id":                                   "123456789012",
		eni + "security-groups":                            "default\nweb",
		eni + "security-group-ids":                         "sg-1\nsg-2",
		eni + "subnet-id":                                  "subnet-1",
		eni + "subnet-ipv4-cidr-block":                     "10.0.0.0/24",
		eni + "vpc-id":                                     "vpc-1",
		eni + "vpc-ipv4-cidr-block":                        "10.0.0.0/16",
		eni + "vpc-ipv4-cidr-blocks":                       "10.0.0.0/16\n10.1.0.0/16",
		"/latest/meta-data/placement/availability-zone":    "local-1a",
		"/latest/meta-data/placement/region":               "local-1",
		"/latest/meta-data/profile":                        "default-hvm",
		"/latest/meta-data/public-ipv4":                    "127.77.0.5",
		"/latest/meta-data/public-keys/":                   "0=me",
		"/latest/meta-data/public-keys/0":                  "openssh-key",
		"/latest/meta-data/public-keys/0/":                 "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":      "ssh-ed25519 AAAA me\n",
		"/latest/meta-data/reservation-id":                 "r-1",
		"/latest/meta-data/security-groups":                "default\nweb",
		"/latest/meta-data/services/domain":                "amazonaws.com",
		"/latest/meta-data/services/partition":             "aws",
		"/latest/meta-data/tags/instance/":                 "Name\nempty",
		"/latest/meta-data/tags/instance/Name":             "web 1",
		"/latest/meta-data/tags/instance/empty":            "",
		"/latest/user-data":                                "\x00\x01\xff",
		"/latest/dynamic/instance-identity/":               "document\npkcs7\nrsa2048\nsignature",
		"/latest/dynamic/":                                 "fws/\ninstance-identity/",
		"/latest/dynamic/fws/instance-monitoring":          "disabled",
		"/latest/meta-data/events/maintenance/history":     "[]",
		"/latest/meta-data/events/maintenance/scheduled":   "[]",
		"/latest/meta-data/placement/availability-zone-id": "lcl1-az1",
		"/latest/meta-data/system":                         "nitro",
		"//latest//meta-data//instance-id":                 "i-0123456789abcdef0",
	} {
		w := f.do("GET", path)
		if w.Code != 200 || w.Body.String() != want {
			t.Errorf("GET %s: %d %q, want %q", path, w.Code, w.Body, want)
		}
		if h := f.do("HEAD", path); h.Code != 200 || h.Body.Len() != 0 || h.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
			t.Errorf("HEAD %s: %d, %d bytes, length %s", path, h.Code, h.Body.Len(), h.Header().Get("Content-Length"))
		}
		if s := w.Header().Get("Server"); s != "EC2ws" {
			t.Errorf("%s is served by %q", path, s)
		}
	}
	root := f.do("GET", "/").Body.String()
	for _, v := range []string{"1.0", "2007-01-19", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"} {
		if !strings.Contains("\n"+root+"\n", "\n"+v+"\n") {
			t.Errorf("version %s is not listed", v)
		}
	}
}

func TestIdentityDocument(t *testing.T) {
	w := newFixture(testDocument()).do("GET", "/latest/dynamic/instance-identity/document")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{
		"accountId": "123456789012", "architecture": "x86_64", "imageId": "ami-0123456789abcdef0",
		"instanceId": "i-0123456789abcdef0", "instanceType": "t3.micro", "region": "local-1",
		"availabilityZone": "local-1a", "privateIp": "10.0.0.10", "pendingTime": "2026-11-24T04:00:00Z", "kernelId": nil,
	} {
		if got[k] != want {
			t.Errorf("%s is %v, want %v", k, got[k], want)
		}
	}
}

func TestRefusals(t *testing.T) {
	ttl := []string{"X-aws-ec2-metadata-token-ttl-seconds", "60"}
	minimal := Document{InstanceID: "i-1", MAC: "0a:00:00:00:00:02"}
	disabled, required := minimal, minimal
	disabled.Options.Disabled = true
	required.Options.TokensRequired = true
	for _, c := range []struct {
		name         string
		doc          Document
		method, path string
		headers      []string
		want         int
	}{
		{"no user data", minimal, "GET", "/latest/user-data", nil, 404},
		{"no key", minimal, "GET", "/latest/meta-data/public-keys/", nil, 404},
		{"no tags", minimal, "GET", "/latest/meta-data/tags/instance/", nil, 404},
		{"no public address", minimal, "GET", "/latest/meta-data/public-ipv4", nil, 404},
		{"unknown version", minimal, "GET", "/2000-01-01/meta-data/", nil, 404},
		{"below a file", minimal, "GET", "/latest/meta-data/instance-id/x", nil, 404},
		{"no spot instance", minimal, "GET", "/latest/meta-data/spot/instance-action", nil, 404},
		{"nothing to rebalance", minimal, "GET", "/latest/meta-data/events/recommendations/rebalance", nil, 404},
		{"tag with a slash", testDocument(), "GET", "/latest/meta-data/tags/instance/no/slash", nil, 404},
		{"unknown instance", Document{}, "GET", "/latest/meta-data/", nil, 404},
		{"post", minimal, "POST", "/latest/meta-data/", nil, 405},
		{"put elsewhere", minimal, "PUT", "/latest/meta-data/", ttl, 405},
		{"get token", minimal, "GET", "/latest/api/token", nil, 405},
		{"no TTL", minimal, "PUT", "/latest/api/token", nil, 400},
		{"TTL 0", minimal, "PUT", "/latest/api/token", []string{ttl[0], "0"}, 400},
		{"TTL too long", minimal, "PUT", "/latest/api/token", []string{ttl[0], "21601"}, 400},
		{"TTL negative", minimal, "PUT", "/latest/api/token", []string{ttl[0], "-1"}, 400},
		{"proxied", minimal, "PUT", "/latest/api/token", append(ttl, "X-Forwarded-For", "1.2.3.4"), 403},
		{"proxied, empty", minimal, "PUT", "/latest/api/token", append(ttl, "X-Forwarded-For", ""), 403},
		{"disabled", disabled, "GET", "/latest/meta-data/", nil, 403},
		{"disabled token", disabled, "PUT", "/latest/api/token", ttl, 403},
		{"token required", required, "GET", "/latest/meta-data/instance-id", nil, 401},
		{"bad token", minimal, "GET", "/latest/meta-data/instance-id", []string{"X-aws-ec2-metadata-token", "bad"}, 401},
		{"empty token", minimal, "GET", "/latest/meta-data/instance-id", []string{"X-aws-ec2-metadata-token", ""}, 401},
	} {
		f := newFixture(c.doc)
		w := f.do(c.method, c.path, c.headers...)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
		if !strings.Contains(w.Body.String(), "<title>") || !strings.HasPrefix(w.Body.String(), "<?xml") {
			t.Errorf("%s: not EC2's page: %q", c.name, w.Body)
		}
		if len(f.hops) != 0 {
			t.Errorf("%s: a refusal limited the hops", c.name)
		}
	}
}

func TestTokens(t *testing.T) {
	const header = "X-aws-ec2-metadata-token"
	doc := testDocument()
	doc.Options = Options{TokensRequired: true, HopLimit: 3}
	f := newFixture(doc)
	w := f.do("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	token := w.Body.String()
	if w.Code != 200 || len(token) != 56 || w.Header().Get(headerTokenTTL) != "60" {
		t.Fatalf("token: %d %q %v", w.Code, token, w.Header())
	}
	if len(f.hops) != 1 || f.hops[0] != 3 {
		t.Errorf("hop limits set: %v, want one of 3", f.hops)
	}
	get := func(f *fixture, headers ...string) int { return f.do("GET", "/latest/meta-data/", headers...).Code }
	if c := get(f, header, token); c != 200 {
		t.Errorf("good token: %d", c)
	}
	if c := get(f, header, token, header, token); c != 401 {
		t.Errorf("two tokens: %d", c)
	}
	if c := get(newFixture(doc), header, token); c != 200 {
		t.Errorf("token after a restart with the same secret: %d", c)
	}
	for i := range token {
		forged := []byte(token)
		forged[i] ^= 1
		if c := get(f, header, string(forged)); c != 401 {
			t.Fatalf("token with character %d changed: %d", i, c)
		}
	}
	other := newFixture(doc)
	other.doc.InstanceID = "i-other"
	if c := get(other, header, token); c != 401 {
		t.Errorf("another instance's token: %d", c)
	}
	f.now = clock.Add(59 * time.Second)
	if w := f.do("GET", "/latest/", header, token); w.Code != 200 || w.Header().Get(headerTokenTTL) != "1" {
		t.Errorf("before its end: %d, %s s left", w.Code, w.Header().Get(headerTokenTTL))
	}
	f.now = clock.Add(60 * time.Second)
	if c := get(f, header, token); c != 401 {
		t.Errorf("expired token: %d", c)
	}
}

// TestWalk follows every listing as cloud-init does: all that is listed exists.
func TestWalk(t *testing.T) {
	for name, doc := range map[string]Document{"full": testDocument(), "minimal": {InstanceID: "i-1", MAC: "0a:00:00:00:00:02"}, "empty MAC": {InstanceID: "i-1"}} {
		f := newFixture(doc)
		files := 0
		var walk func(path string)
		walk = func(path string) {
			w := f.do("GET", path)
			if w.Code != 200 {
				t.Errorf("%s: %s is listed and answers %d", name, path, w.Code)
				return
			}
			if !strings.HasSuffix(path, "/") {
				files++
				return
			}
			if strings.HasSuffix(w.Body.String(), "\n") || w.Body.Len() == 0 {
				t.Errorf("%s: listing of %s is %q", name, path, w.Body)
			}
			for _, entry := range strings.Split(w.Body.String(), "\n") {
				if strings.HasSuffix(path, "public-keys/") {
					entry, _, _ = strings.Cut(entry, "=")
					entry += "/"
				}
				if entry == "meta-data" || entry == "dynamic" || path == "/" {
					entry += "/"
				}
				walk(path + entry)
			}
		}
		walk("/")
		if files < 10*len(versions) {
			t.Errorf("%s: only %d files were found", name, files)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"/", "/latest/meta-data/", "/latest/../..", "//", "/latest/meta-data/public-keys/0=me", "/latest/user-data/", "latest"} {
		f.Add("GET", p, "")
	}
	f.Add("PUT", "/latest/api/token", "AAAA")
	f.Fuzz(func(t *testing.T, method, path, token string) {
		doc := testDocument()
		doc.Options.TokensRequired = true
		fx := newFixture(doc)
		r := httptest.NewRequest("GET", "http://h/", nil)
		r.Method, r.URL.Path = method, path
		r.Header["X-Aws-Ec2-Metadata-Token"] = []string{token}
		w := httptest.NewRecorder()
		fx.ServeHTTP(w, r)
		if w.Code == 200 {
			t.Errorf("%s %q with token %q was served", method, path, token)
		}
		fx.doc.Options.TokensRequired = false
		if w := fx.do("GET", path); w.Code != 200 && w.Code != 404 && w.Code != 405 {
			t.Errorf("GET %q: %d", path, w.Code)
		}
	})
}
