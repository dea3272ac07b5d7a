package region_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/region"
)

const account = "123456789012"

// load reads a file of regions, beside a file of keys.
func load(t *testing.T, text string) (*region.Directory, error) {
	t.Helper()
	dir := t.TempDir()
	keys := "# ours\n[" + account + "]\naws_access_key_id = AKIAWEST\naws_secret_access_key = secret\n"
	for name, content := range map[string]string{"regions.yaml": text, "keys": keys} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return region.Load(filepath.Join(dir, "regions.yaml"), "local-1")
}

func TestLoad(t *testing.T) {
	d, err := load(t, "west-1: {endpoint: 'https://192.0.2.20:8773/', credentials: keys}\nlocal-1: {}\neast-1: {endpoint: 'http://127.0.0.1:1', credentials: /none}\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(d.Peers()); got != "[{east-1 127.0.0.1:1} {west-1 192.0.2.20:8773}]" {
		t.Errorf("the other regions are %s", got)
	}
	if err := d.Known("west-1", account); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ region, account, code string }{
		{"north-1", account, model.CodeInvalidParameterValue}, {"west-1", "210987654321", model.CodeAuthFailure},
	} {
		if err := d.Known(c.region, c.account); model.CodeOf(err) != c.code {
			t.Errorf("%s, %s: %v", c.region, c.account, err)
		}
	}
	if err := d.Known("east-1", account); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file of keys: %v", err)
	}
	for text, want := range map[string]string{
		"west-1: {endpoint: 'https://192.0.2.20', keys: keys}":                  "keys",
		"west-1: {endpoint: 'http://192.0.2.20:8773', credentials: keys}":       "use https",
		"west-1: {endpoint: 'ftp://192.0.2.20', credentials: keys}":             "must be a URL",
		"west-1: {endpoint: 'https://a/b', credentials: keys}":                  "must be a URL",
		"west-1: {endpoint: 'https://192.0.2.20'}":                              "credentials",
		"west-1: {endpoint: 'https://192.0.2.20', credentials: keys, ca: keys}": "no certificate",
		"West: {endpoint: 'https://192.0.2.20', credentials: keys}":             "lower-case",
		"[west-1]": "cannot unmarshal",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if d, err := region.Load("", "local-1"); err != nil || len(d.Peers()) != 0 {
		t.Errorf("without a file: %v, %v", d.Peers(), err)
	}
}

// TestCall: what a region answers is the answer, and its errors are those of the call.
func TestCall(t *testing.T) {
	answer, status := "", http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth := r.Header.Get("Authorization"); !strings.Contains(auth, "Credential=AKIAWEST/") || !strings.Contains(auth, "/west-1/ec2/aws4_request") || r.FormValue("Action") != "DescribeImages" || r.FormValue("ImageId.1") != "ami-1" {
			t.Errorf("asked %q, signed %q", r.Form, auth)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	d, err := load(t, fmt.Sprintf("west-1: {endpoint: %q, credentials: keys}\n", server.URL))
	if err != nil {
		t.Fatal(err)
	}
	call := func() (name string, err error) {
		var out struct {
			Names []string `xml:"imagesSet>item>name"`
		}
		err = d.Call(context.Background(), "west-1", account, "DescribeImages", url.Values{"ImageId.1": {"ami-1"}}, &out)
		return strings.Join(out.Names, ","), err
	}
	answer = "<DescribeImagesResponse><imagesSet><item><name>web</name></item></imagesSet></DescribeImagesResponse>"
	if name, err := call(); err != nil || name != "web" {
		t.Errorf("%q, %v", name, err)
	}
	for _, c := range []struct {
		status       int
		answer, code string
	}{
		{400, "<Response><Errors><Error><Code>InvalidAMIID.NotFound</Code><Message>none</Message></Error></Errors></Response>", model.CodeImageIDNotFound},
		{502, "<html>bad gateway</html>", model.CodeServiceUnavailable},
		{302, "", model.CodeServiceUnavailable},
	} {
		status, answer = c.status, c.answer
		if _, err := call(); model.CodeOf(err) != c.code {
			t.Errorf("%d %s: %v", c.status, c.answer, err)
		}
	}
	server.Close()
	if _, err := call(); model.CodeOf(err) != model.CodeServiceUnavailable {
		t.Errorf("where nobody answers: %v", err)
	}
}
