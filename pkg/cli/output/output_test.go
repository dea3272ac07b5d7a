package output

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/iostreams"
)

type thing struct {
	ID    string
	Count int
	Tags  []string `json:",omitempty"`
}

var things = []thing{{"a-1", 3, []string{"x"}}, {"b-long", 12, nil}}

var thingColumns = []Column[thing]{
	{Title: "THING", Text: func(t thing) string { return t.ID }, Style: func(thing) iostreams.Style { return iostreams.Mark }},
	{Title: "TAGS", Text: func(t thing) string { return strings.Join(t.Tags, ",") }},
	{Title: "COUNT", Wide: true, Text: func(t thing) string { return strings.Repeat("|", t.Count) }},
}

// printed parses the flags as a command would and prints things.
func printed(t *testing.T, items []thing, args ...string) (string, error) {
	t.Helper()
	s, _, out, _ := iostreams.Test()
	var o Options
	cmd := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		return List(s, &o, items, func(t thing) string { return t.ID }, thingColumns)
	}}
	o.AddFlags(cmd)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "THING   TAGS\na-1     x\nb-long  -\n"},
		{[]string{"-o", "wide"}, "THING   TAGS  COUNT\na-1     x     |||\nb-long  -     ||||||||||||\n"},
		{[]string{"-o", "name"}, "a-1\nb-long\n"},
		{[]string{"-o", "yaml"}, "- ID: a-1\n  Count: 3\n  Tags:\n  - x\n- ID: b-long\n  Count: 12\n"},
		{[]string{"--query", "[].ID"}, "a-1\nb-long\n"},
		{[]string{"--query", "length(@)"}, "2\n"},
		{[]string{"--query", "[0].Nope"}, ""},
		{[]string{"--query", "[?Count > `5`].{id: ID}"}, "[\n  {\n    \"id\": \"b-long\"\n  }\n]\n"},
		{[]string{"--query", "[].ID", "-o", "json"}, "[\n  \"a-1\",\n  \"b-long\"\n]\n"},
		{[]string{"--query", "[].[ID, Count]"}, "[\n  [\n    \"a-1\",\n    3\n  ],\n  [\n    \"b-long\",\n    12\n  ]\n]\n"},
	} {
		got, err := printed(t, things, c.args...)
		if err != nil || got != c.want {
			t.Errorf("%q: printed %q, %v; want %q", c.args, got, err, c.want)
		}
	}
}

func TestAnEmptyListIsAList(t *testing.T) {
	if got, err := printed(t, nil, "-o", "json"); err != nil || got != "[]\n" {
		t.Errorf("printed %q, %v", got, err)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-o", "xml"}, {"--query", "[["}, {"-o", "table", "--query", "[]"}, {"-o", "name", "--query", "[]"}} {
		if got, err := printed(t, things, args...); err == nil || got != "" {
			t.Errorf("%q: printed %q, no error", args, got)
		}
	}
}

func TestTextOfOthersCannotSteerTheTerminal(t *testing.T) {
	got, err := printed(t, []thing{{ID: "\x1b]0;pwned\a\nroot#\u009b31m"}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(got, "\x1b\a\u009b") || strings.Count(got, "\n") != 2 {
		t.Errorf("printed %q", got)
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 3 * time.Minute: "3m", 47 * time.Hour: "47h", 49 * time.Hour: "2d",
	} {
		if got := Age(now, now.Add(-ago)); got != want {
			t.Errorf("Age of %v = %q, want %q", ago, got, want)
		}
	}
	if Age(now, time.Time{}) != "" {
		t.Error("an unknown time has an age")
	}
}
