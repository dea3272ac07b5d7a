package iostreams

import (
	"strings"
	"testing"
	"time"
)

func TestProgressWithoutATerminalIsLines(t *testing.T) {
	s, _, _, errOut := Test()
	p := s.StartProgress("baking")
	p.Detail("never shown")
	p.Line("  fetch cached")
	p.Done("baked")
	p.Stop() // after Done it does nothing
	got := errOut.String()
	if !strings.HasPrefix(got, "baking\n  fetch cached\n✓ baked ") || strings.Contains(got, "never") || strings.Contains(got, "\x1b") {
		t.Errorf("printed %q", got)
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	s, _, _, errOut := Test()
	s.SetTerminals(false, false, true)
	p := s.StartProgress("waiting " + strings.Repeat("x", 200))
	p.Detail("pending")
	time.Sleep(2 * frameInterval)
	p.Line("a step")
	p.Done("there")
	got := errOut.String()
	for _, frame := range strings.Split(got, "\r") {
		visible := strings.TrimPrefix(frame, "\x1b[K")
		if line, _, _ := strings.Cut(visible, "\n"); len([]rune(stripStyle(line))) > 80 {
			t.Errorf("a frame of %d columns wraps: %q", len([]rune(line)), line)
		}
	}
	if strings.Count(got, "\n") != 2 {
		t.Errorf("want the step and the result as lines of their own: %q", got)
	}
	if !strings.HasSuffix(stripStyle(got[:strings.LastIndex(got, " ")]), "✓ there") {
		t.Errorf("does not end with the result: %q", got)
	}
}

func stripStyle(text string) string {
	for {
		i := strings.Index(text, "\x1b[")
		if i < 0 {
			return text
		}
		end := strings.IndexAny(text[i+2:], "mK")
		text = text[:i] + text[i+2+end+1:]
	}
}

func TestQuietProgress(t *testing.T) {
	s, _, _, errOut := Test()
	s.SetQuiet(true)
	p := s.StartProgress("baking")
	p.Detail("x")
	p.Line("y")
	p.Done("z")
	p.Stop()
	if errOut.Len() > 0 {
		t.Errorf("quiet, but printed %q", errOut)
	}
}

func TestShortDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		412 * time.Millisecond: "0.4s", 12 * time.Second: "12s", 185 * time.Second: "3m05s", 60 * time.Second: "1m00s",
	} {
		if got := ShortDuration(d); got != want {
			t.Errorf("ShortDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestColourOnlyOnTerminals(t *testing.T) {
	s, _, _, _ := Test()
	s.SetTerminals(false, true, false)
	if got := s.OnOut(Good, "x"); got != "\x1b[32mx\x1b[0m" {
		t.Errorf("on a terminal: %q", got)
	}
	if got := s.OnErr(Good, "x"); got != "x" {
		t.Errorf("not on a terminal: %q", got)
	}
	s.noColour = true
	if got := s.OnOut(Good, "x"); got != "x" {
		t.Errorf("with NO_COLOR: %q", got)
	}
}
