package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
)

// serveSSH serves logins of root with the keys of authorized_keys. There are no
// passwords.
func serveSSH() {
	signer, err := hostKey()
	if err != nil {
		logf("SSH: %v", err)
		return
	}
	config := &ssh.ServerConfig{ServerVersion: "SSH-2.0-bundt_tiny", PublicKeyCallback: checkKey}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", ":22")
	if err != nil {
		logf("SSH: %v", err)
		return
	}
	announceHostKey(signer.PublicKey())
	logf("SSH ready")
	for {
		c, err := l.Accept()
		if err != nil {
			logf("SSH: accepting: %v", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go serveConn(c, config)
	}
}

func hostKey() (ssh.Signer, error) {
	b, err := os.ReadFile(hostKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the host key: %w", err)
	}
	return ssh.ParsePrivateKey(b)
}

// announceHostKey prints the key between the lines by which cloud tools find it
// in the console's output.
func announceHostKey(k ssh.PublicKey) {
	name, _ := os.Hostname()
	fmt.Printf("-----BEGIN SSH HOST KEY FINGERPRINTS-----\n256 %s root@%s (ED25519)\n-----END SSH HOST KEY FINGERPRINTS-----\n"+
		"-----BEGIN SSH HOST KEY KEYS-----\n%s root@%s\n-----END SSH HOST KEY KEYS-----\n",
		ssh.FingerprintSHA256(k), name, bytes.TrimSpace(ssh.MarshalAuthorizedKey(k)), name)
}

func checkKey(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if c.User() != "root" {
		return nil, errors.New("only root logs in here")
	}
	rest, err := os.ReadFile(authorizedKey)
	if err != nil {
		return nil, err
	}
	for len(rest) > 0 {
		var allowed ssh.PublicKey
		allowed, _, _, rest, err = ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break
		}
		if bytes.Equal(allowed.Marshal(), key.Marshal()) {
			return nil, nil
		}
	}
	return nil, errors.New("this key is not authorized")
}

func serveConn(c net.Conn, config *ssh.ServerConfig) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	_ = c.SetDeadline(time.Time{})
	go ssh.DiscardRequests(requests)
	for n := range channels {
		switch n.ChannelType() {
		case "session":
			ch, reqs, err := n.Accept()
			if err == nil {
				go newSession(ch).serve(reqs)
			}
		case "direct-tcpip":
			go forward(n)
		default:
			_ = n.Reject(ssh.UnknownChannelType, "sessions and direct TCP connections only")
		}
	}
}

// forward serves ssh -L and -J: RFC 4254, section 7.2.
func forward(n ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &to); err != nil {
		_ = n.Reject(ssh.ConnectionFailed, "malformed request")
		return
	}
	c, err := net.DialTimeout("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))), 10*time.Second)
	if err != nil {
		_ = n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer c.Close()
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs)
	go func() {
		_, _ = io.Copy(c, ch)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(ch, c)
	_ = ch.CloseWrite()
}
