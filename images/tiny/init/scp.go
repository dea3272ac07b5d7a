package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// scp is the far end of the old scp protocol, which Packer and scp -O speak: the
// client runs "scp -t TARGET" here to send files, and "scp -f FILE…" to fetch
// them. Today's scp speaks SFTP and needs none of this.
type scp struct {
	in      *bufio.Reader
	out     io.Writer
	recurse bool // -r
	wantDir bool // -d: the target must be a directory
}

// scpMain runs scp with its arguments and returns the exit code.
func scpMain(args []string, in io.Reader, out io.Writer) int {
	s := &scp{in: bufio.NewReader(in), out: out}
	var role rune
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flags := args[0]
		args = args[1:]
		if flags == "--" {
			break
		}
		for _, f := range flags[1:] {
			switch f {
			case 't', 'f':
				role = f
			case 'r':
				s.recurse = true
			case 'd':
				s.wantDir = true
			case 'p', 'v', 'q': // times are not kept, and nothing is said
			}
		}
	}
	var err error
	switch {
	case role == 't' && len(args) == 1:
		err = s.receive(args[0])
	case role == 'f' && len(args) > 0:
		err = s.send(args)
	default:
		err = errors.New("scp: only -t TARGET and -f FILE, which an SSH client's scp runs, are here")
	}
	if err != nil {
		fmt.Fprintf(s.out, "\x01%v\n", err)
		return 1
	}
	return 0
}

func (s *scp) ack() error {
	_, err := s.out.Write([]byte{0})
	return err
}

// awaitAck reads the peer's answer, or its error.
func (s *scp) awaitAck() error {
	c, err := s.in.ReadByte()
	if err != nil || c == 0 {
		return err
	}
	text, _ := s.in.ReadString('\n')
	return errors.New(strings.TrimSpace(text))
}

// receive writes what the client sends to target.
func (s *scp) receive(target string) error {
	info, err := os.Stat(target)
	isDir := err == nil && info.IsDir()
	if s.wantDir && !isDir {
		return fmt.Errorf("scp: %s: not a directory", target)
	}
	return s.receiveInto(target, isDir)
}

// receiveInto reads one directory's entries until its end or the client's.
func (s *scp) receiveInto(target string, isDir bool) error {
	if err := s.ack(); err != nil {
		return err
	}
	for {
		line, err := s.in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return nil
		}
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		switch line[:min(1, len(line))] {
		case "T":
			err = s.ack()
		case "E":
			return s.ack()
		case "C", "D":
			err = s.receiveEntry(line, target, isDir)
		default:
			err = fmt.Errorf("scp: %q is not of the protocol", line)
		}
		if err != nil {
			return err
		}
	}
}

// receiveEntry reads what "C0644 12 name" or "D0755 0 name" announces.
func (s *scp) receiveEntry(line, target string, isDir bool) error {
	var mode os.FileMode
	var size int64
	fields := strings.SplitN(line[1:], " ", 3)
	if len(fields) != 3 {
		return fmt.Errorf("scp: %q is not of the protocol", line)
	}
	if _, err := fmt.Sscanf(fields[0]+" "+fields[1], "%o %d", &mode, &size); err != nil || size < 0 {
		return fmt.Errorf("scp: %q is not of the protocol", line)
	}
	name := fields[2]
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return fmt.Errorf("scp: %q is no file name", name)
	}
	if isDir {
		target = filepath.Join(target, name)
	}
	if line[0] == 'C' {
		return s.receiveFile(target, mode.Perm(), size)
	}
	if !s.recurse {
		return fmt.Errorf("scp: %s is a directory, and there is no -r", name)
	}
	if err := os.MkdirAll(target, mode.Perm()|0o700); err != nil {
		return err
	}
	return s.receiveInto(target, true)
}

func (s *scp) receiveFile(path string, mode os.FileMode, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if err := s.ack(); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = io.CopyN(f, s.in, size)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.awaitAck(); err != nil {
		return err
	}
	return s.ack()
}

// send gives files to the client.
func (s *scp) send(paths []string) error {
	if err := s.awaitAck(); err != nil {
		return err
	}
	for _, pattern := range paths {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			return fmt.Errorf("scp: %s: no such file or directory", pattern)
		}
		for _, path := range found {
			if err := s.sendEntry(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scp) sendEntry(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return s.sendFile(path, info)
	}
	if !s.recurse {
		return fmt.Errorf("scp: %s: not a regular file", path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if err := s.say("D%04o 0 %s\n", info.Mode().Perm(), info.Name()); err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.sendEntry(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return s.say("E\n")
}

func (s *scp) sendFile(path string, info os.FileInfo) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.say("C%04o %d %s\n", info.Mode().Perm(), info.Size(), info.Name()); err != nil {
		return err
	}
	if _, err := io.CopyN(s.out, f, info.Size()); err != nil {
		return err
	}
	return s.say("\x00")
}

// say sends a message and waits until the client has taken it.
func (s *scp) say(format string, args ...any) error {
	if _, err := fmt.Fprintf(s.out, format, args...); err != nil {
		return err
	}
	return s.awaitAck()
}
