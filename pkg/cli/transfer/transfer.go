// Package transfer owns what commands that have images go through registries share:
// how this user is known there, and following a task. It may import pkg/client,
// pkg/catalog, pkg/version, the API's types, pkg/model and its neighbours under pkg/cli only.
package transfer

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/catalog/registry"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/version"
)

// Login says how to speak to a registry.
type Login struct {
	username      string
	passwordStdin bool
	plainHTTP     bool
	flags         *pflag.FlagSet
}

// AddFlags gives cmd the flags.
func (l *Login) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&l.username, "username", "u", "", "`name` of the user at the registry; default: as docker login keeps it")
	cmd.Flags().BoolVar(&l.passwordStdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&l.plainHTTP, "plain-http", false, "speak without TLS; the default for registries on this host")
	_ = cmd.RegisterFlagCompletionFunc("username", cobra.NoFileCompletions)
	l.flags = cmd.Flags()
}

// Access is what a request says of the registry of a reference.
type Access struct {
	Reference          string
	Username, Password *string
	Plain              *bool
}

// Access finds out how to speak to the registry of a reference; a password may come
// from in.
func (l *Login) Access(ctx context.Context, in io.Reader, reference string) (a Access, err error) {
	ref, err := artifact.ParseReference(reference)
	if err != nil {
		return a, failure.UsageError(err)
	}
	a = Access{Reference: ref.String(), Plain: command.Given(l.plainHTTP)}
	if !l.flags.Changed("plain-http") && loopback(ref.Registry) {
		a.Plain = new(true)
	}
	if (l.username != "") != l.passwordStdin {
		return a, failure.Usagef("--username and --password-stdin belong together")
	}
	if l.passwordStdin {
		b, err := io.ReadAll(io.LimitReader(in, 16<<10))
		a.Username, a.Password = &l.username, new(strings.TrimRight(string(b), "\r\n"))
		return a, err
	}
	return a, a.kept(ctx, ref.Registry)
}

// kept takes what docker login and its like have kept for this user.
func (a *Access) kept(ctx context.Context, registry string) error {
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return fmt.Errorf("reading Docker's configuration: %w", err)
	}
	c, err := store.Get(ctx, credentials.ServerAddressFromRegistry(registry))
	if err != nil {
		return failure.WithHint(fmt.Errorf("asking Docker's configuration for the password of %s: %w", registry, err), "say it: --username NAME --password-stdin")
	}
	a.Username, a.Password = command.Given(c.Username), command.Given(c.Password)
	if c.RefreshToken != "" {
		a.Username, a.Password = nil, &c.RefreshToken
	}
	return nil
}

// Open opens the repository of a reference from here, not by the daemon.
func (l *Login) Open(ctx context.Context, in io.Reader, reference string) (*registry.Repository, error) {
	a, err := l.Access(ctx, in, reference)
	if err != nil {
		return nil, err
	}
	ref, err := artifact.ParseReference(a.Reference)
	if err != nil {
		return nil, err
	}
	return registry.Open(ref, registry.Options{
		Client: http.DefaultClient, Username: ec2types.Value(a.Username), Password: ec2types.Value(a.Password), PlainHTTP: ec2types.Value(a.Plain),
		UserAgent: "bundt/" + version.Get().Version,
	})
}

// loopback reports whether a registry is on this host.
func loopback(registry string) bool {
	host, _, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Follow waits until a task is over; without waiting it prints the task's id.
func Follow(ctx context.Context, s *command.Session, w wait.Options, t bundttypes.RegistryTask, what string) (bundttypes.RegistryTask, error) {
	if w.NoWait {
		return t, s.Print(t.TaskId)
	}
	p := s.Factory.IO.StartProgress(what)
	err := w.Until(ctx, p, func(ctx context.Context) (bool, string, error) {
		found, err := s.DescribeRegistryTasks(ctx, &bundttypes.DescribeRegistryTasksInput{TaskIds: []string{t.TaskId}})
		if err != nil {
			return false, "", err
		}
		t = found.Tasks[0]
		return over(&t)
	})
	if err != nil {
		p.Stop()
		return t, err
	}
	p.Done(summary(t))
	return t, nil
}

// over tells of a task whether it is completed, and what it does.
func over(t *bundttypes.RegistryTask) (bool, string, error) {
	switch model.TaskState(t.State) {
	case model.TaskCompleted:
		return true, "", nil
	case model.TaskDeleted, model.TaskDeleting:
		return false, "", fmt.Errorf("it failed: %s", t.StateReason)
	}
	return false, fmt.Sprintf("%s, %d%%", t.StateReason, t.Progress), nil
}

// summary says what a task has moved, and whose signature was found.
func summary(t bundttypes.RegistryTask) string {
	verb := map[string]string{"push": "sent", "pull": "received"}[t.Direction]
	text := fmt.Sprintf("%s %s: %d MiB, %d MiB were there", verb, t.Reference, t.MovedBytes>>20, t.ReusedBytes>>20)
	if t.SignedBy != "" {
		text += "; signed by " + t.SignedBy
	}
	return text
}
