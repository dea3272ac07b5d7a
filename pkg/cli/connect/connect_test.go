package connect

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/cli/factory"
)

func TestParseMapping(t *testing.T) {
	for text, want := range map[string]mapping{
		"80":               {"127.0.0.1:80", 80},
		"8080:80":          {"127.0.0.1:8080", 80},
		"0:22":             {"127.0.0.1:0", 22},
		"0.0.0.0:8080:80":  {"0.0.0.0:8080", 80},
		"[::1]:8080:80":    {"[::1]:8080", 80},
		"127.0.0.2:0:9187": {"127.0.0.2:0", 9187},
	} {
		if got, err := parseMapping(text); err != nil || got != want {
			t.Errorf("parseMapping(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "0", "65536", "80:", "x:80", "-1:80", "8080:http"} {
		if got, err := parseMapping(text); err == nil {
			t.Errorf("parseMapping(%q) = %v, no error", text, got)
		}
	}
}

func TestQuoteSurvivesAShell(t *testing.T) {
	for _, word := range []string{"", "plain", "two words", "it's", `back\slash`, "$HOME `id` \"x\"", "new\nline", "~", "*", "-n"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("quote(%q) = %s gives the shell %q, %v", word, quote(word), out, err)
		}
	}
}

func TestArguments(t *testing.T) {
	f := &factory.Factory{Socket: "unix:///tmp/a%b dir/s", DataDir: "/home/u/my data", Getenv: func(string) string { return "" }}
	o := &SSHOptions{Factory: f, User: "root", Identity: "/k", Port: 22, Options: []string{"LogLevel=DEBUG"}, Command: []string{"echo", "a b"}}
	args := o.arguments("i-0123456789abcdef0", "/usr/bin/bundt")
	joined := strings.Join(args, "\n")
	for _, want := range []string{
		"ProxyCommand=/usr/bin/bundt --socket 'unix:///tmp/a%%b dir/s' forward --stdio i-0123456789abcdef0 22",
		`UserKnownHostsFile="/home/u/my data/known_hosts.d/`,
		"HostKeyAlias=i-0123456789abcdef0",
		"StrictHostKeyChecking=accept-new",
		"-i\n/k\n-o\nIdentitiesOnly=yes",
		"-l\nroot\n--\ni-0123456789abcdef0\necho\na b",
	} {
		if !strings.Contains(joined, want) {
			t.Errorf("no %q in %q", want, args)
		}
	}
	if strings.Index(joined, "LogLevel=DEBUG") > strings.Index(joined, "LogLevel=ERROR") {
		t.Error("the user's option comes after ours, so ssh ignores it")
	}
}
