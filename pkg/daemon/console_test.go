package daemon_test

import (
	"encoding/csv"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/daemon"
)

// visitor uses the console as a browser without scripts does.
type visitor struct {
	http *http.Client
	base string
	t    *testing.T
}

func (c *cloud) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	c.must(err)
	e, err := c.DescribeEndpoint(c.t.Context(), &bundttypes.DescribeEndpointInput{})
	c.must(err)
	return &visitor{&http.Client{Jar: jar}, e.Url, c.t}
}

// signedIn is a visitor who came by a link.
func (c *cloud) signedIn() *visitor {
	c.t.Helper()
	v := c.visitor()
	link, err := c.CreateConsoleLink(c.t.Context(), &bundttypes.CreateConsoleLinkInput{})
	c.must(err)
	u, err := url.Parse(link.Url)
	c.must(err)
	if status, page, at := v.send("/console/sign-in", url.Values{"token": {u.Query().Get("token")}}); status != http.StatusOK || at != "/console/" || !strings.Contains(page, "Overview") {
		c.t.Fatalf("signing in leads to %s with %d", at, status)
	}
	return v
}

func (v *visitor) do(r *http.Request) (status int, body, at string) {
	v.t.Helper()
	resp, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Request.URL.RequestURI()
}

func (v *visitor) get(path string) (status int, body, at string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.base+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.do(r)
}

// send sends a form as its page would.
func (v *visitor) send(path string, form url.Values) (status int, body, at string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return v.do(r)
}

// TestConsole goes through the console by its forms: an image is built, launched,
// used, written down as another one, and all of it cleaned up.
func TestConsole(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	image := *c.bootSector()
	v := c.signedIn()
	for _, path := range []string{"", "instances", "launch", "launch?from=mine", "launch?image=" + image, "images", "images?from=quick-start", "images?from=marketplace", "images?from=community", "images/" + image, "builds", "lineage", "volumes", "snapshots", "security-groups", "networks", "addresses", "key-pairs", "account", "host"} {
		if status, page, _ := v.get("/console/" + path); status != http.StatusOK || strings.Contains(page, "Something is wrong") {
			t.Errorf("%s: %d\n%s", path, status, page)
		}
	}

	_, key, _ := v.send("/console/key-pairs/create", url.Values{"name": {"lab"}, "type": {"ed25519"}})
	if !strings.HasPrefix(key, "-----BEGIN OPENSSH PRIVATE KEY-----") {
		t.Errorf("the key pair is no key: %.40q", key)
	}
	form := url.Values{"image": {image}, "type": {"b1.pico"}, "count": {"1"}, "key": {"lab"}, "name": {"cake"}, "firewall": {"new"}, "open-ssh": {"yes"}, "open-http": {"yes"}, "from": {"10.0.0.0/8"}, "root": {"2"}, "image-root": {"1"}, "root-device": {"/dev/sda1"}, "volume": {"3"}, "userdata": {"#!/bin/sh\necho <b>\n"}}
	status, page, at := v.send("/console/launch", form)
	id := strings.TrimPrefix(at, "/console/instances/")
	if status != http.StatusOK || !strings.HasPrefix(id, "i-") {
		t.Fatalf("launching leads to %s with %d\n%s", at, status, page)
	}
	c.await(id, "running")
	out, err := c.DescribeInstances(t.Context(), &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
	c.must(err)
	i := out.Reservations[0].Instances[0]
	groups, err := c.DescribeSecurityGroups(t.Context(), &ec2types.DescribeSecurityGroupsInput{GroupIds: []string{*i.SecurityGroups[0].GroupId}})
	c.must(err)
	if rules := groups.SecurityGroups[0].IpPermissions; len(rules) != 2 || *rules[0].IpRanges[0].CidrIp != "10.0.0.0/8" || len(i.BlockDeviceMappings) != 2 || *i.KeyName != "lab" {
		t.Errorf("launched with the rules %+v, %d volumes and the key %s", rules, len(i.BlockDeviceMappings), ec2types.Value(i.KeyName))
	}
	_, page, _ = v.get("/console/instances/" + id)
	for _, want := range []string{"cake", "running", "Create image", "echo &lt;b&gt;", *i.PublicIpAddress, "/dev/sdf"} {
		if !strings.Contains(page, want) {
			t.Errorf("the instance's page lacks %q", want)
		}
	}
	status, _, at = v.send("/console/instances/image?id="+id, url.Values{"name": {"written down"}})
	if twin := strings.TrimPrefix(at, "/console/images/"); strings.HasPrefix(at, "/console/images/ami-") {
		c.imageDone(&twin)
		// A boot sector has no file system to compare.
		if status, page, _ := v.get(at + "/diff"); status != http.StatusOK || !strings.Contains(page, `<option value="`+image+`" selected>`) || !strings.Contains(page, `role="alert"`) || strings.Contains(page, "data-live") {
			t.Errorf("comparing with what it was made of: %d\n%s", status, page)
		}
	}
	if status != http.StatusOK || !strings.HasPrefix(at, "/console/images/ami-") {
		t.Errorf("writing the recipe down leads to %s with %d", at, status)
	}
	_, page, _ = v.send("/console/tags", url.Values{"id": {id}, "key": {"<script>alert(1)</script>"}, "value": {`"><img src=x onerror=alert(1)>`}})
	_, page2, _ := v.get("/console/instances/" + id)
	if status, page, _ := v.get("/console/nothing"); status != http.StatusNotFound || strings.Contains(page, "data-live") {
		t.Errorf("a page that is none: %d, and it asks for itself again", status)
	}
	if strings.Contains(page+page2, "<script>alert") || strings.Contains(page+page2, "<img src=x") || !strings.Contains(page2, "&lt;script&gt;alert") {
		t.Error("a tag is not shown as the text that it is")
	}

	// A form that is wrong changes nothing, and says what is wrong.
	form.Set("type", "x9.none")
	if status, page, _ = v.send("/console/launch", form); !strings.Contains(page, `role="alert"`) {
		t.Errorf("launching a type that is none: %d", status)
	}
	all, err := c.DescribeSecurityGroups(t.Context(), &ec2types.DescribeSecurityGroupsInput{})
	c.must(err)
	if len(all.SecurityGroups) != 2 {
		t.Errorf("%d security groups are there, not the default one and the launch's", len(all.SecurityGroups))
	}
	home, err := c.DescribeSecurityGroups(t.Context(), &ec2types.DescribeSecurityGroupsInput{GroupNames: []string{"default"}})
	c.must(err)
	fallback := *home.SecurityGroups[0].GroupId
	if _, page, _ = v.get("/console/instances/" + id); !strings.Contains(page, `value="`+fallback+`"> default`) {
		t.Error("the other security group is not offered")
	}
	v.send("/console/instances/groups?id="+id, url.Values{"group": {fallback}})
	if got := c.instance(id).SecurityGroups; len(got) != 1 || *got[0].GroupId != fallback {
		t.Errorf("the security groups are %+v", got)
	}
	if _, page, _ = v.send("/console/instances/groups?id="+id, nil); !strings.Contains(page, "one at least") {
		t.Error("an instance is left without a security group")
	}
	v.send("/console/instances/protect", url.Values{"id": {id}, "on": {"yes"}})
	if _, page, _ = v.send("/console/instances/terminate", url.Values{"id": {id}}); !strings.Contains(page, "disableApiTermination") {
		t.Errorf("a protected instance is terminated: %s", page)
	}
	if _, page, _ = v.get("/console/instances/" + id); !strings.Contains(page, "Take the protection away") {
		t.Error("the page does not show the protection")
	}
	v.send("/console/instances/protect", url.Values{"id": {id}})
	v.send("/console/instances/stop", url.Values{"id": {id}})
	c.await(id, "stopped")
	if _, page, _ = v.get("/console/instances/" + id); !strings.Contains(page, `<option value="b1.pico" selected>`) {
		t.Error("the type of a stopped instance cannot be changed")
	}
	v.send("/console/instances/type?id="+id, url.Values{"type": {"b1.nano"}})
	if got := *c.instance(id).InstanceType; got != "b1.nano" {
		t.Errorf("the type is %s", got)
	}
	if _, page, _ = v.send("/console/instances/terminate", url.Values{"id": {id}}); !strings.Contains(page, "Terminating") {
		t.Error("nothing says that it is terminated")
	}
	c.await(id, "terminated")
}

// TestConsoleIsLive: an open page is told of each change.
func TestConsoleIsLive(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	image := c.bootSector()
	v := c.signedIn()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.base+"/console/instances", nil)
	c.must(err)
	r.Header.Set("Accept", "text/event-stream")
	resp, err := v.http.Do(r)
	c.must(err)
	defer resp.Body.Close()
	got := make(chan string, 100)
	go func() {
		defer close(got)
		b := make([]byte, 64<<10)
		for {
			n, err := resp.Body.Read(b)
			got <- string(b[:n])
			if err != nil {
				return
			}
		}
	}()
	seen := ""
	await := func(want *regexp.Regexp) {
		t.Helper()
		for end := time.After(20 * time.Second); !want.MatchString(seen); {
			select {
			case s, ok := <-got:
				if seen += s; !ok {
					t.Fatalf("the stream ended before %s", want)
				}
			case <-end:
				t.Fatalf("%s did not come", want)
			}
		}
	}
	await(regexp.MustCompile("No instances yet"))
	id := c.run(image)
	await(regexp.MustCompile(id + `[\s\S]*class="state good">running`))
	_, err = c.TerminateInstances(t.Context(), &ec2types.TerminateInstancesInput{InstanceIds: []string{id}})
	c.must(err)
	await(regexp.MustCompile(`class="state quiet">terminated`))
	if _, _, at := v.send("/console/sign-out", nil); at != "/console/sign-in" {
		t.Errorf("signing out leads to %s", at)
	}
	c.run(image)
	await(regexp.MustCompile("event: gone"))
}

// TestConsoleIsGuarded: who did not sign in, who may not, and who is another site's
// page gets nothing.
func TestConsoleIsGuarded(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	id := c.run(c.bootSector())
	stranger := c.visitor()
	if _, page, at := stranger.get("/console/instances/" + id); !strings.HasPrefix(at, "/console/sign-in?next=") || strings.Contains(page, "running") {
		t.Errorf("a stranger gets to %s", at)
	}
	if _, _, at := stranger.send("/console/instances/terminate", url.Values{"id": {id}}); !strings.HasPrefix(at, "/console/sign-in") {
		t.Errorf("a stranger's form leads to %s", at)
	}
	for what, form := range map[string]url.Values{
		"no key": {"key": {"AKIAIOSFODNN7EXAMPLE"}, "secret": {"x"}}, "no link": {"token": {"x"}}, "nothing": {},
	} {
		if status, page, _ := stranger.send("/console/sign-in", form); status != http.StatusForbidden || !strings.Contains(page, `role="alert"`) {
			t.Errorf("signing in with %s: %d", what, status)
		}
	}

	v := c.signedIn()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.base+"/console/instances/terminate", strings.NewReader("id="+id))
	c.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.example")
	if status, _, _ := v.do(r); status != http.StatusForbidden {
		t.Errorf("another site's form: %d", status)
	}
	r, err = http.NewRequestWithContext(t.Context(), http.MethodGet, v.base+"/console/", nil)
	c.must(err)
	r.Host = "evil.example"
	if status, page, _ := v.do(r); status != http.StatusMisdirectedRequest || strings.Contains(page, "Overview") {
		t.Errorf("by another name: %d", status)
	}
	c.await(id, "running")

	// A user may what the policies say, and a key that was taken away nothing.
	name := "reader"
	_, err = c.CreateUser(t.Context(), &iamtypes.CreateUserInput{UserName: &name})
	c.must(err)
	_, err = c.PutUserPolicy(t.Context(), &iamtypes.PutUserPolicyInput{UserName: &name, PolicyName: new("read"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:Describe*","bundt:Describe*"],"Resource":"*"}]}`)})
	c.must(err)
	made, err := c.CreateAccessKey(t.Context(), &iamtypes.CreateAccessKeyInput{UserName: &name})
	c.must(err)
	reader := c.visitor()
	if status, page, at := reader.send("/console/sign-in", url.Values{"key": {*made.AccessKey.AccessKeyId}, "secret": {*made.AccessKey.SecretAccessKey}, "next": {"/console/instances"}}); status != http.StatusOK || at != "/console/instances" || !strings.Contains(page, id) {
		t.Errorf("a user's key leads to %s with %d", at, status)
	}
	if _, page, _ := reader.send("/console/instances/terminate", url.Values{"id": {id}}); !strings.Contains(page, "not authorized") {
		t.Error("a reader is not told that they may not terminate")
	}
	c.await(id, "running")
	_, err = c.PutUserPolicy(t.Context(), &iamtypes.PutUserPolicyInput{UserName: &name, PolicyName: new("read"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:DescribeInstances","Resource":"*"}]}`)})
	c.must(err)
	if status, page, _ := reader.get("/console/instances/" + id); status != http.StatusOK || strings.Contains(page, "Protect") || !strings.Contains(page, "running") {
		t.Errorf("who may see instances alone sees of one: %d", status)
	}
	if status, page, _ := reader.get("/console/"); status != http.StatusOK || !strings.Contains(page, id) {
		t.Errorf("who may see instances alone has an overview with %d", status)
	}
	_, err = c.UpdateAccessKey(t.Context(), &iamtypes.UpdateAccessKeyInput{UserName: &name, AccessKeyId: made.AccessKey.AccessKeyId, Status: new("Inactive")})
	c.must(err)
	if _, _, at := reader.get("/console/instances"); !strings.HasPrefix(at, "/console/sign-in") {
		t.Errorf("with a key that was taken away one gets to %s", at)
	}
}

// TestBrowserAtEndpoint: who types the address sees the console, and AWS's clients
// notice nothing.
func TestBrowserAtEndpoint(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	v := c.visitor()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.base+"/", nil)
	c.must(err)
	r.Header.Set("Accept", "text/html,*/*")
	if status, _, at := v.do(r); status != http.StatusOK || !strings.HasPrefix(at, "/console/sign-in") {
		t.Errorf("a browser gets to %s with %d", at, status)
	}
	if status, page, at := v.get("/?Action=DescribeInstances"); at != "/?Action=DescribeInstances" || !strings.Contains(page, "<Code>MissingAuthenticationToken") && status != http.StatusForbidden {
		t.Errorf("a client gets to %s: %d %s", at, status, page)
	}
}

// TestConsoleOfMany: long lists come in pages, and are searched by the daemon.
func TestConsoleOfMany(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	const n = 103
	out, err := c.RunInstances(t.Context(), &ec2types.RunInstancesInput{
		ImageId: c.bootSector(), InstanceType: new("b1.pico"), MinCount: new(int32(n)), MaxCount: new(int32(n)),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("volume"), Tags: []ec2types.Tag{{Key: new("Name"), Value: new("disk")}}}},
	})
	c.must(err)
	v := c.signedIn()
	next := regexp.MustCompile(`href="([^"]*next=[^"]*)">Next page`)
	for list, row := range map[string]string{"instances": `id="row-i-`, "volumes": `id="row-vol-`} {
		_, first, _ := v.get("/console/" + list)
		more := next.FindStringSubmatch(first)
		if strings.Count(first, row) != 100 || more == nil {
			t.Errorf("the first page of %s has %d rows", list, strings.Count(first, row))
			continue
		}
		_, second, _ := v.get(strings.ReplaceAll(more[1], "&amp;", "&"))
		if strings.Count(second, row) != n-100 || next.MatchString(second) {
			t.Errorf("the second page of %s has %d rows", list, strings.Count(second, row))
		}
	}
	id := *out.Instances[7].InstanceId
	for path, want := range map[string]int{"instances?q=" + id: 1, "instances?q=" + id[:6]: -1, "instances?q=none": 0, "volumes?q=dis": 100, "volumes?q=vol-": 100} {
		_, page, _ := v.get("/console/" + path)
		if got := strings.Count(page, `<tr id="row-`); got != want && (want >= 0 || got == 0) {
			t.Errorf("%s finds %d", path, got)
		}
	}
	_, file, _ := v.get("/console/instances?as=csv")
	records, err := csv.NewReader(strings.NewReader(file)).ReadAll()
	if err != nil || len(records) != n+1 || records[0][1] != "Instance" || !strings.HasPrefix(records[n][1], "i-") {
		t.Errorf("the file has %d lines: %v", len(records), err)
	}
	if _, file, _ = v.get("/console/images?as=csv"); !strings.Contains(file, "boot-sector-1.0.0-x86_64,ami-") {
		t.Errorf("the images' file is %q", file)
	}
	if _, page, _ := v.get("/console/lineage"); strings.Count(page, `href="/console/instances/i-`) != 20 || !strings.Contains(page, "and 83 more") {
		t.Errorf("the family tree has %d instances", strings.Count(page, `href="/console/instances/i-`))
	}
	if _, page, _ := v.get("/console/"); !strings.Contains(page, "<b>103</b>") {
		t.Errorf("the overview does not count the instances:\n%s", page)
	}
}

// TestConsoleUsers: an administrator makes a user, who signs in with the key that was
// handed out, and is taken away again with all that they had.
func TestConsoleUsers(t *testing.T) {
	c := newCloud(t, daemon.Parts{})
	v := c.signedIn()
	const reading = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	status, page, at := v.send("/console/users/create", url.Values{"name": {"ann+1"}, "policy": {reading}})
	if status != http.StatusOK || at != "/console/users/ann+1" || !strings.Contains(page, "ReadOnlyAccess") {
		t.Fatalf("making a user leads to %s with %d\n%s", at, status, page)
	}
	_, file, _ := v.send("/console/users/keys/create?user=ann%2B1", nil)
	_, line, ok := strings.Cut(strings.TrimSpace(file), "\r\n")
	id, secret, _ := strings.Cut(line, ",")
	if !ok || secret == "" {
		t.Fatalf("the key is %q", file)
	}
	ann := c.visitor()
	if _, page, at := ann.send("/console/sign-in", url.Values{"key": {id}, "secret": {secret}}); at != "/console/" || !strings.Contains(page, "ann") {
		t.Fatalf("the user's key leads to %s", at)
	}
	if _, page, _ := ann.send("/console/users/create", url.Values{"name": {"eve"}, "policy": {reading}}); !strings.Contains(page, "not authorized") {
		t.Error("a reader makes users")
	}
	if _, page, _ := ann.send("/console/accounts/create", url.Values{"name": {"evil"}}); !strings.Contains(page, "not authorized") {
		t.Error("a reader makes accounts")
	}
	if _, page, _ = v.send("/console/users/detach", url.Values{"user": {"ann+1"}, "policy": {reading}}); strings.Contains(page, `role="alert"`) {
		t.Errorf("taking a policy away: %s", page)
	}
	if _, page, _ := ann.get("/console/instances"); !strings.Contains(page, "not authorized") {
		t.Error("without a policy a user sees instances")
	}
	v.send("/console/users/attach", url.Values{"user": {"ann+1"}, "policy": {reading}})
	if _, page, _ = v.get("/console/users/ann+1"); !strings.Contains(page, "ReadOnlyAccess</td>") || !strings.Contains(page, id) || !strings.Contains(page, ">active<") {
		t.Errorf("the user's page:\n%s", page)
	}
	v.send("/console/users/keys/status", url.Values{"user": {"ann+1"}, "key": {id}, "status": {"Inactive"}})
	if _, _, at := ann.get("/console/instances"); !strings.HasPrefix(at, "/console/sign-in") {
		t.Errorf("with a key that is off one gets to %s", at)
	}
	_, err := c.PutUserPolicy(t.Context(), &iamtypes.PutUserPolicyInput{UserName: new("ann+1"), PolicyName: new("own"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)})
	c.must(err)
	if _, page, at = v.send("/console/users/delete", url.Values{"user": {"ann+1"}}); at != "/console/account" || !strings.Contains(page, "Deleted ann") {
		t.Errorf("deleting leads to %s: %s", at, page)
	}
	if status, _, _ := v.get("/console/users/ann+1"); status != http.StatusNotFound {
		t.Errorf("the page of a user who is no more: %d", status)
	}
	if _, file, _ = v.send("/console/accounts/create", url.Values{"name": {"class"}}); !strings.Contains(file, "Secret access key") {
		t.Errorf("making an account: %q", file)
	}
	if _, page, _ = v.get("/console/account"); !strings.Contains(page, "class") {
		t.Error("the account is not listed")
	}
}
