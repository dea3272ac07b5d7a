package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// settings are flags of every type that the daemon has.
type settings struct {
	text   string
	on     bool
	time   time.Duration
	list   []string
	config string
}

func flagsOf(s *settings) *pflag.FlagSet {
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.StringVar(&s.text, "text", "default", "")
	f.BoolVar(&s.on, "on", false, "")
	f.DurationVar(&s.time, "time", time.Minute, "")
	f.StringSliceVar(&s.list, "list", nil, "")
	f.StringVar(&s.config, "config", "", "")
	return f
}

func TestConfigFile(t *testing.T) {
	for text, test := range map[string]struct {
		args []string
		want settings
		err  string
	}{
		"":                              {want: settings{text: "default", time: time.Minute}},
		"# nothing\n":                   {want: settings{text: "default", time: time.Minute}},
		"text: a\non: true\ntime: 5s\n": {want: settings{text: "a", on: true, time: 5 * time.Second}},
		"text: ''":                      {want: settings{time: time.Minute}},
		"list: [a, b]":                  {want: settings{text: "default", time: time.Minute, list: []string{"a", "b"}}},
		"list: a":                       {want: settings{text: "default", time: time.Minute, list: []string{"a"}}},
		"text: file\non: true":          {args: []string{"--text=line"}, want: settings{text: "line", on: true, time: time.Minute}},
		"colour: red":                   {err: ":1: colour is no setting"},
		"a: 1\nconfig: other.yaml":      {err: "a is no setting"},
		"config: other.yaml":            {err: "config is no setting"},
		"text: a\ntext: b":              {err: "text"},
		"time: soon":                    {err: ":1: time: "},
		"on: perhaps":                   {err: ":1: on: "},
		"text: [a]":                     {err: "text takes one value"},
		"text: {a: b}":                  {err: "text takes a value"},
		"list: [[a]]":                   {err: "list takes a list of strings"},
		"- text":                        {err: "must be a mapping"},
		"text: a: b":                    {err: "reading --config"},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got settings
		flags := flagsOf(&got)
		if err := flags.Parse(test.args); err != nil {
			t.Fatal(err)
		}
		err := applyConfigFile(path, flags)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q: got %v, want an error with %q", text, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(settings{})); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
