package instance

import (
	"strings"
	"testing"
)

func TestUnprinted(t *testing.T) {
	long := strings.Repeat("0123456789abcdef\n", 100)
	for _, c := range []struct{ before, text, want string }{
		{"", "boot", "boot"},
		{"boot", "boot", ""},
		{"boot", "boot done", " done"},
		{long, long[500:] + "new", "new"},        // the window has moved on
		{"boot one", "other boot", "other boot"}, // started anew
	} {
		if got := string(unprinted([]byte(c.before), []byte(c.text))); got != c.want {
			t.Errorf("unprinted(%.20q, %.20q) = %.40q, want %q", c.before, c.text, got, c.want)
		}
	}
}

func TestTerminalFilter(t *testing.T) {
	for in, want := range map[string]string{
		"plain\r\n\ttext":             "plain\r\n\ttext",
		"\x1b[1;32mOK\x1b[0m":         "\x1b[1;32mOK\x1b[0m",
		"\x1b[2J\x1b[Hcleared":        "cleared",
		"a\x1b]0;title\x07b":          "a0;titleb",
		"bell\a\b":                    "bell",
		"\x1b[38;5\nlost":             "\nlost",
		"\x1bcreset":                  "reset",
		"caf\xc3\xa9":                 "caf\xc3\xa9",
		"\x1b[" + digits(40) + "mend": digits(10) + "mend",
	} {
		// Whole, and byte by byte: sequences are split between writes.
		var whole, bytewise strings.Builder
		if _, err := (&terminalFilter{w: &whole}).Write([]byte(in)); err != nil {
			t.Fatal(err)
		}
		f := &terminalFilter{w: &bytewise}
		for i := range len(in) {
			if _, err := f.Write([]byte{in[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if whole.String() != want || bytewise.String() != want {
			t.Errorf("%q: passed %q, byte by byte %q, want %q", in, &whole, &bytewise, want)
		}
	}
}

func digits(n int) string { return strings.Repeat("1", n) }

func FuzzTerminalFilter(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b[0m \x1b]52;c;AAAA\a"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var w strings.Builder
		if _, err := (&terminalFilter{w: &w}).Write(in); err != nil {
			t.Fatal(err)
		}
		out := w.String()
		for i := 0; i < len(out); i++ {
			switch b := out[i]; {
			case b == 0x1b:
				end := strings.IndexByte(out[i:], 'm')
				if end < 2 || out[i+1] != '[' || strings.Trim(out[i+2:i+end], "0123456789;") != "" {
					t.Fatalf("%q lets %q through", in, out[i:])
				}
			case b < 0x20 && b != '\n' && b != '\r' && b != '\t', b == 0x7f:
				t.Fatalf("%q lets control %#x through", in, b)
			}
		}
	})
}
