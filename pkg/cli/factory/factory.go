// Package factory owns what every command is handed: the streams, the way to the
// daemon, the places of the user's own files. Commands get it as one value, so
// that tests run them without a process. It may import pkg/client, pkg/rundir, the
// API's types and its neighbours under pkg/cli only.
package factory

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/adrg/xdg"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/rundir"
)

// Factory is what commands are made with.
type Factory struct {
	IO *iostreams.IOStreams
	// Socket is what --socket says; "" for the environment and the defaults.
	Socket string
	// AccountFlag and UserFlag are what --account and --user say; "" for the environment.
	AccountFlag, UserFlag string
	Getenv                func(string) string
	Now                   func() time.Time
	// Exec replaces the process (execve(2)); it returns only on error.
	Exec func(path string, argv, env []string) error
	// Executable is the path of this program.
	Executable func() (string, error)
	// DataDir holds the user's own files: private keys and known hosts.
	DataDir string

	// Recipes are those that this program carries.
	Recipes Recipes

	client *client.Client
}

// Recipes are recipes by name.
type Recipes interface {
	Names() []string
	FS(name string) (fs.FS, error)
}

// System returns the factory of a real process.
func System() *Factory {
	f := &Factory{
		IO:         iostreams.System(),
		Getenv:     os.Getenv,
		Now:        time.Now,
		Exec:       syscall.Exec,
		Executable: os.Executable,
		DataDir:    filepath.Join(xdg.DataHome, "bundt"),
	}
	return f
}

// Client returns the client of the daemon that the user means.
func (f *Factory) Client() (*client.Client, error) {
	if f.client != nil {
		return f.client, nil
	}
	if err := f.checkSocket(); err != nil {
		return nil, err
	}
	c, err := client.New(client.Options{Endpoint: f.Endpoint(), Header: f.header()})
	if err != nil {
		return nil, failure.UsageError(err)
	}
	f.client = c
	return c, nil
}

// Account is the account that commands act in, by id or name: --account or
// BUNDT_ACCOUNT; "" for the admin account.
func (f *Factory) Account() string { return cmp.Or(f.AccountFlag, f.Getenv("BUNDT_ACCOUNT")) }

// User is the user that commands act as: --user or BUNDT_USER; "" for the account's root.
func (f *Factory) User() string { return cmp.Or(f.UserFlag, f.Getenv("BUNDT_USER")) }

func (f *Factory) header() http.Header {
	h := http.Header{}
	if account := f.Account(); account != "" {
		h.Set(bundttypes.AccountHeader, account)
	}
	if user := f.User(); user != "" {
		h.Set(bundttypes.UserHeader, user)
	}
	return h
}

// Endpoint is the address of the daemon: --socket, BUNDT_SOCKET, or the default
// socket of the user (of the machine, for root). A bare path is a unix socket.
func (f *Factory) Endpoint() string {
	s := cmp.Or(f.Socket, f.Getenv("BUNDT_SOCKET"), f.defaultSocket())
	if strings.HasPrefix(s, "/") {
		return "unix://" + s
	}
	return s
}

func (f *Factory) defaultSocket() string {
	return filepath.Join(rundir.Default(f.Getenv), rundir.Socket)
}

// checkSocket refuses the default socket if another user may answer there.
func (f *Factory) checkSocket() error {
	if f.Endpoint() != "unix://"+f.defaultSocket() {
		return nil // the user has said which one is meant
	}
	err := rundir.Check(rundir.Default(f.Getenv))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no daemon: connecting says so
	}
	return err
}

// KeyFile is where the private key of a key pair that was created here is kept.
// Names of key pairs may hold what file names may not: such are escaped.
func (f *Factory) KeyFile(name string) string {
	escaped := url.PathEscape(name)
	if strings.HasPrefix(escaped, ".") {
		escaped = "%2E" + escaped[1:]
	}
	return filepath.Join(f.DataDir, "keys", escaped)
}

// KnownHosts is the file of host keys of this cloud's instances. Ids of instances
// are never used again, so it needs no cleaning to stay true.
func (f *Factory) KnownHosts() string {
	sum := sha256.Sum256([]byte(f.Endpoint()))
	return filepath.Join(f.DataDir, "known_hosts.d", hex.EncodeToString(sum[:6]))
}
