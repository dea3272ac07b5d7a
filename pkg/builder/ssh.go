package builder

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/model"
)

// Key is the one-time key of one instance. It is never written down: a build that
// is interrupted takes a new instance.
type Key struct {
	signer  ssh.Signer
	comment string
	host    []byte // the guest's host key, once it has been seen
}

// NewKey makes a key.
func NewKey(comment string) (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return &Key{signer: signer, comment: comment}, nil
}

// Authorized is the key's line for authorized_keys.
func (k *Key) Authorized() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.signer.PublicKey()))) + " " + k.comment
}

// text is the key itself, in base64.
func (k *Key) text() string { return strings.Fields(k.Authorized())[1] }

// Dialer connects to a port of a running instance's guest: to the machine itself,
// not to an address that another one could have.
type Dialer func(ctx context.Context, inst *model.Instance, port uint16) (net.Conn, error)

// SSH opens sessions by SSH. The first host key that a guest shows is believed,
// since the way to it is the machine's own network socket; any other key later,
// after a reboot, is not.
type SSH struct{ Dial Dialer }

const sshPort = 22

// Open implements Guests.
func (s SSH) Open(ctx context.Context, inst *model.Instance, key *Key) (Session, error) {
	conn, err := s.Dial(ctx, inst, sshPort)
	if err != nil {
		return nil, err
	}
	// The handshake knows no context.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, inst.ID, &ssh.ClientConfig{
		User: inst.LoginUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(key.signer)}, HostKeyCallback: key.checkHost,
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("logging in to instance %s as %s: %w", inst.ID, inst.LoginUser, err)
	}
	return &sshSession{client: ssh.NewClient(c, channels, requests), root: inst.LoginUser == "root"}, nil
}

func (k *Key) checkHost(_ string, _ net.Addr, key ssh.PublicKey) error {
	switch seen := key.Marshal(); {
	case k.host == nil:
		k.host = seen
	case !bytes.Equal(k.host, seen):
		return errors.New("the guest shows another host key than before")
	}
	return nil
}

type sshSession struct {
	client *ssh.Client
	root   bool
}

func (s *sshSession) Close() error { return s.client.Close() }

// The script goes in by standard input, into a file, so that it may be long and
// what it runs finds an empty standard input.
const (
	receive = `umask 077; t=$(mktemp) && cat >"$t" && { `
	finish  = ` "$t" </dev/null; r=$?; rm -f "$t"; exit $r; }`
	byBash  = `if command -v bash >/dev/null; then b=bash; else b=sh; fi; $b`
	bySh    = `sh -e`
)

// Run implements Session.
func (s *sshSession) Run(ctx context.Context, script string, bash bool, stdout, stderr io.Writer) (int, error) {
	session, err := s.client.NewSession()
	if err != nil {
		return 0, fmt.Errorf("opening a session: %w", err)
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { s.client.Close() })
	defer stop()
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(script+"\n"), stdout, stderr
	shell := bySh
	if bash {
		shell = byBash
	}
	command := receive + shell + finish
	if !s.root {
		command = "sudo -n sh -c '" + command + "'"
	}
	err = session.Run(command)
	var exit *ssh.ExitError
	if errors.As(err, &exit) && exit.Signal() == "" {
		return exit.ExitStatus(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("running a script in the guest: %w", err)
	}
	return 0, nil
}
