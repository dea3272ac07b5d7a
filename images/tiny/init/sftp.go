package main

import (
	"golang.org/x/crypto/ssh"

	"github.com/pkg/sftp"
)

// serveSubsystem serves SFTP, which today's scp speaks too.
func serveSubsystem(name string, ch ssh.Channel) bool {
	if name != "sftp" {
		return false
	}
	server, err := sftp.NewServer(ch, sftp.WithServerWorkingDirectory("/root"))
	if err != nil {
		return false
	}
	go func() {
		_ = server.Serve()
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
		_ = ch.Close()
	}()
	return true
}
