package image

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/client"
)

// holdKey lets this user into an instance in which a step failed. It lives as long as
// the command.
type holdKey struct {
	dir, public string
	used        bool
}

func newHoldKey() (*holdKey, error) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "bundt build --shell-on-failure")
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	dir, err := os.MkdirTemp("", "bundt-build-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the key: %w", err)
	}
	h := &holdKey{dir: dir, public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}
	if err := os.WriteFile(h.file(), pem.EncodeToMemory(block), 0o600); err != nil {
		h.remove()
		return nil, fmt.Errorf("writing the key: %w", err)
	}
	return h, nil
}

func (h *holdKey) file() string { return filepath.Join(h.dir, "key") }

func (h *holdKey) remove() { _ = os.RemoveAll(h.dir) }

// shell logs in to the held instance of a build, and has the build end when the user
// logs out.
func (h *holdKey) shell(ctx context.Context, f *factory.Factory, c *client.Client, b *bundttypes.Build) error {
	h.used = true
	for _, s := range b.Steps {
		if s.Error != "" {
			fmt.Fprintln(f.IO.Err, s.Error)
		}
	}
	fmt.Fprintf(f.IO.Err, "logging in to %s, in which it failed; log out to end the build\n", b.HeldInstanceId)
	err := h.login(ctx, f, b.HeldInstanceId)
	if _, cerr := c.CancelBuild(ctx, &bundttypes.CancelBuildInput{BuildId: &b.BuildId}); cerr != nil {
		return errors.Join(err, cerr)
	}
	return err
}

func (h *holdKey) login(ctx context.Context, f *factory.Factory, instance string) error {
	self, err := f.Executable()
	if err != nil {
		return fmt.Errorf("finding this program's file: %w", err)
	}
	var args []string
	for flag, value := range map[string]string{"--socket": f.Socket, "--account": f.AccountFlag, "--user": f.UserFlag} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	cmd := exec.CommandContext(ctx, self, append(args, "ssh", "-i", h.file(), instance)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f.IO.In, f.IO.Out, f.IO.Err
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil // of the user's last command
	}
	return err
}
