package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// join runs a source and a sink against each other.
func join(t *testing.T, source, sink []string) (sent, received int) {
	t.Helper()
	toSink, fromSource := io.Pipe()
	toSource, fromSink := io.Pipe()
	done := make(chan int)
	go func() {
		n := scpMain(source, toSource, fromSource)
		fromSource.Close()
		done <- n
	}()
	received = scpMain(sink, toSink, fromSink)
	fromSink.Close()
	toSink.Close()
	return <-done, received
}

func TestSCPBothWays(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "d", "script"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(from, "d", "e", "empty"), "", 0o600)
	if sent, received := join(t, []string{"-r", "-f", filepath.Join(from, "d")}, []string{"-vrt", to}); sent != 0 || received != 0 {
		t.Fatalf("exit codes %d and %d", sent, received)
	}
	for name, want := range map[string]struct {
		text string
		mode os.FileMode
	}{"script": {"#!/bin/sh\n", 0o755}, "e/empty": {"", 0o600}} {
		path := filepath.Join(to, "d", name)
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want.text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() != want.mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

// TestSCPSink sends what Packer's communicator and scp -O do, and what nobody should.
func TestSCPSink(t *testing.T) {
	for _, c := range []struct{ name, args, input, answer, file string }{
		{"packer's upload", "-vt DIR", "C0644 3 script_1.sh\nabc\x00", "\x00\x00\x00", "script_1.sh"},
		{"times", "-pt DIR", "T1 0 1 0\nC0644 3 f\nabc\x00", "\x00\x00\x00\x00", "f"},
		{"to a new name", "-t DIR/new", "C0600 3 old\nabc\x00", "\x00\x00\x00", "new"},
		{"nothing", "-t DIR", "", "\x00", ""},
		{"out of the target", "-t DIR", "C0644 3 ../f\nabc\x00", "no file name", ""},
		{"a path", "-t DIR", "C0644 3 /tmp/f\nabc\x00", "no file name", ""},
		{"negative size", "-t DIR", "C0644 -1 f\n", "not of the protocol", ""},
		{"cut off", "-t DIR", "C0644 10 f\nabc", "EOF", "f"},
		{"garbage", "-t DIR", "hello\n", "not of the protocol", ""},
		{"directory without -r", "-t DIR", "D0755 0 d\nE\n", "no -r", ""},
		{"target must be a directory", "-dt DIR/none", "", "not a directory", ""},
		{"no role", "DIR", "", "only -t", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			var out bytes.Buffer
			code := scpMain(strings.Fields(strings.ReplaceAll(c.args, "DIR", dir)), strings.NewReader(c.input), &out)
			if good := strings.Trim(c.answer, "\x00") == ""; good && (code != 0 || out.String() != c.answer) || !good && (code == 0 || !strings.Contains(out.String(), c.answer)) {
				t.Errorf("exit code %d, answer %q, want %q", code, out.String(), c.answer)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || (c.file == "") != (len(entries) == 0) {
				t.Fatalf("there are %v, %v", entries, err)
			}
			if c.file != "" && entries[0].Name() != c.file {
				t.Errorf("the file is %s, want %s", entries[0].Name(), c.file)
			}
		})
	}
}

func TestSCPSourceOfNothing(t *testing.T) {
	var out bytes.Buffer
	if code := scpMain([]string{"-f", filepath.Join(t.TempDir(), "none")}, bytes.NewReader([]byte{0}), &out); code == 0 || !strings.Contains(out.String(), "no such file") {
		t.Errorf("exit code %d, answer %q", code, out.String())
	}
}
