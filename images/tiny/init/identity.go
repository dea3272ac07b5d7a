package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const (
	stateDir      = "/var/lib/bundt"
	instanceFile  = stateDir + "/instance-id"
	userDataFile  = stateDir + "/user-data"
	hostKeyFile   = "/etc/ssh/ssh_host_ed25519_key"
	authorizedKey = "/root/.ssh/authorized_keys"
	keyMark       = "# the next key is the instance's key pair"
)

// identity is what makes this machine itself and not the one whose disk it was
// made from.
type identity struct {
	InstanceID string
	Hostname   string
	PublicKey  string
	UserData   string
	isNew      bool // first boot under this instance id
}

// apply gives the machine its name and, on the first boot of an instance, keys
// and a machine id of its own. The instance id is recorded last, so that a boot
// that was cut off starts over.
func (id *identity) apply() error {
	for _, dir := range []string{stateDir, "/etc/ssh", filepath.Dir(authorizedKey)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	known, _ := os.ReadFile(instanceFile)
	id.isNew = trim(known) != id.InstanceID
	if id.isNew {
		_ = os.Remove(hostKeyFile)
		_ = os.Remove("/etc/machine-id")
	}
	err := errors.Join(id.setHostname(), ensureMachineID(), ensureHostKey(), authorize(id.PublicKey))
	if err == nil && id.isNew {
		err = writeFile(userDataFile, []byte(id.UserData), 0o700)
	}
	return err
}

// commit records that this instance has been set up.
func (id *identity) commit() error {
	return writeFile(instanceFile, []byte(id.InstanceID+"\n"), 0o644)
}

func (id *identity) setHostname() error {
	short, _, _ := strings.Cut(strings.TrimSpace(id.Hostname), ".")
	if short == "" {
		return nil
	}
	if err := unix.Sethostname([]byte(short)); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n127.0.1.1 %s %s\n::1 localhost\n", strings.TrimSpace(id.Hostname), short)
	return errors.Join(writeFile("/etc/hostname", []byte(short+"\n"), 0o644), writeFile("/etc/hosts", []byte(hosts), 0o644))
}

func ensureMachineID() error {
	if b, _ := os.ReadFile("/etc/machine-id"); len(trim(b)) == 32 {
		return nil
	}
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	// A random UUID (RFC 9562, version 4), as machine-id(5) asks for.
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return writeFile("/etc/machine-id", []byte(hex.EncodeToString(b)+"\n"), 0o444)
}

func ensureHostKey() error {
	if b, err := os.ReadFile(hostKeyFile); err == nil {
		if _, err := ssh.ParsePrivateKey(b); err == nil {
			return nil
		}
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return fmt.Errorf("encoding the host key: %w", err)
	}
	return writeFile(hostKeyFile, pem.EncodeToMemory(block), 0o600)
}

// authorize lets the instance's key pair in, in place of that of the instance
// that this disk was made from. Keys that people added stay.
func authorize(key string) error {
	old, _ := os.ReadFile(authorizedKey)
	var out bytes.Buffer
	skip := false
	for line := range strings.Lines(string(old)) {
		switch {
		case strings.TrimSpace(line) == keyMark:
			skip = true
		case skip:
			skip = false
		default:
			out.WriteString(line)
		}
	}
	if key = strings.TrimSpace(key); key != "" {
		fmt.Fprintf(&out, "%s\n%s\n", keyMark, key)
	}
	if bytes.Equal(old, out.Bytes()) {
		return nil
	}
	return writeFile(authorizedKey, out.Bytes(), 0o600)
}

// runUserData runs the instance's script, once in the instance's life.
func (id *identity) runUserData() {
	if !id.isNew {
		return
	}
	// Recorded before the script runs: a script that reboots must not run again.
	if err := id.commit(); err != nil {
		logf("recording the instance id: %v", err)
	}
	switch {
	case id.UserData == "":
		return
	case !strings.HasPrefix(id.UserData, "#!"):
		logf("user data is not a script (it does not begin with #!): this image runs scripts only")
		return
	}
	logf("running user data")
	err := runLogged(exec.Command(userDataFile), "/var/log/user-data.log")
	if err != nil {
		logf("user data: %v", err)
		return
	}
	logf("user data finished")
}

// runLogged runs a command with its output on the console and in a file.
func runLogged(cmd *exec.Cmd, logFile string) error {
	_ = os.MkdirAll(filepath.Dir(logFile), 0o755)
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Env = environment()
	cmd.Dir = "/"
	cmd.Stdout = io.MultiWriter(os.Stdout, log)
	cmd.Stderr = cmd.Stdout
	return children.run(cmd)
}

// writeFile replaces a file at once and for good: either the old content or the
// new is there after a power cut.
func writeFile(name string, data []byte, mode os.FileMode) error {
	tmp := name + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return os.Rename(tmp, name)
}

func trim(b []byte) string { return strings.TrimSpace(string(b)) }
