// Package iostreams owns the three standard streams as commands see them: what
// is a terminal, whether to use colour, and the progress line. Data goes to Out,
// everything said to people while working goes to Err. It imports no other
// package of this project.
package iostreams

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/term"
)

// IOStreams are a command's standard streams.
type IOStreams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	inTTY, outTTY, errTTY bool
	noColour              bool
	quiet                 bool
}

// System returns the process's own streams. Colour is off when NO_COLOR is set
// (https://no-color.org) or the terminal is dumb.
func System() *IOStreams {
	return &IOStreams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		inTTY:    term.IsTerminal(int(os.Stdin.Fd())),
		outTTY:   term.IsTerminal(int(os.Stdout.Fd())),
		errTTY:   term.IsTerminal(int(os.Stderr.Fd())),
		noColour: os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb",
	}
}

// Test returns streams on buffers that are no terminals.
func Test() (s *IOStreams, in, out, errOut *bytes.Buffer) {
	in, out, errOut = &bytes.Buffer{}, &bytes.Buffer{}, &bytes.Buffer{}
	return &IOStreams{In: in, Out: out, Err: errOut}, in, out, errOut
}

// SetTerminals says which streams are terminals.
func (s *IOStreams) SetTerminals(in, out, err bool) { s.inTTY, s.outTTY, s.errTTY = in, out, err }

// SetQuiet turns progress off.
func (s *IOStreams) SetQuiet(q bool) { s.quiet = q }

// InIsTerminal reports whether a person can answer on In.
func (s *IOStreams) InIsTerminal() bool { return s.inTTY }

// OutIsTerminal reports whether a person reads Out.
func (s *IOStreams) OutIsTerminal() bool { return s.outTTY }

// ErrIsTerminal reports whether a person reads Err.
func (s *IOStreams) ErrIsTerminal() bool { return s.errTTY }

// Style is a way to show text on a terminal.
type Style string

// The styles, as SGR parameters (ECMA-48). They mean something, so that the same
// thing looks the same everywhere.
const (
	Plain Style = ""
	Bold  Style = "1"
	Dim   Style = "2"
	Good  Style = "32" // green
	Bad   Style = "31" // red
	Busy  Style = "33" // yellow
	Mark  Style = "36" // cyan
)

// OnOut returns text in that style if Out is a terminal that shows colour.
func (s *IOStreams) OnOut(style Style, text string) string {
	return s.styled(s.outTTY, style, text)
}

// OnErr returns text in that style if Err is a terminal that shows colour.
func (s *IOStreams) OnErr(style Style, text string) string {
	return s.styled(s.errTTY, style, text)
}

func (s *IOStreams) styled(tty bool, style Style, text string) string {
	if !tty || s.noColour || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}
