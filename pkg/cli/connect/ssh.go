// Package connect owns the commands that reach into guests: ssh and forward. It
// may import pkg/client, the API's types, pkg/model and its neighbours under
// pkg/cli only.
package connect

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/key"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

const defaultUser = "root"

// SSHOptions are the inputs of "ssh".
type SSHOptions struct {
	Factory  *factory.Factory
	Instance string
	Command  []string
	User     string
	Identity string
	Port     uint16
	Options  []string
	Print    bool
}

// NewSSHCommand returns the command "ssh".
func NewSSHCommand(f *factory.Factory, run func(context.Context, *SSHOptions) error) *cobra.Command {
	o := &SSHOptions{Factory: f}
	if run == nil {
		run = ssh
	}
	cmd := &cobra.Command{
		Use:   "ssh [flags] INSTANCE [COMMAND…]",
		Short: "Log in to an instance, or run a command in it",
		Long: `Log in to an instance with the system's ssh, or run a command in it; the exit code
is then the command's. The connection goes through the daemon, so it works
whatever addresses and ports the instance has.

The user is the image's login user. The private key is the one that bundt key
create kept for the instance's key pair, or --identity, or whatever ssh and its
agent have. Host keys are remembered per instance id in a file of bundt's own:
ids are never used again, so a changed host key is always worth the alarm.`,
		Example: `  bundt ssh web
  bundt ssh web -- systemctl status nginx
  bundt ssh -O ForwardAgent=yes web`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete.First(complete.Instances(f, model.InstanceRunning)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Instance, o.Command = args[0], args[1:]
			if len(o.Command) > 0 && o.Command[0] == "--" {
				o.Command = o.Command[1:] // our separator, not the guest's
			}
			return failure.Wrap(run(cmd.Context(), o), "log in to", o.Instance)
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false) // flags after INSTANCE are the command's
	fl.StringVarP(&o.User, "login", "l", "", "`user` to log in as; default: the image's")
	fl.StringVarP(&o.Identity, "identity", "i", "", "`file` of the private key")
	fl.Uint16VarP(&o.Port, "port", "p", 22, "`port` of the guest's SSH server")
	fl.StringArrayVarP(&o.Options, "ssh-option", "O", nil, "`OPTION=VALUE` passed to ssh -o; may be repeated")
	fl.BoolVar(&o.Print, "print", false, "print the ssh command instead of running it")
	_ = cmd.RegisterFlagCompletionFunc("login", complete.None)
	return cmd
}

func ssh(ctx context.Context, o *SSHOptions) error {
	c, err := o.Factory.Client()
	if err != nil {
		return err
	}
	id, err := resolve.Instance(ctx, c, o.Instance)
	if err != nil {
		return err
	}
	if err := o.fillIn(ctx, c, id); err != nil {
		return err
	}
	self, err := o.Factory.Executable()
	if err != nil {
		return fmt.Errorf("finding this program's file: %w", err)
	}
	argv := append([]string{"ssh"}, o.arguments(id, self)...)
	if o.Print {
		quoted := make([]string, len(argv))
		for i, a := range argv {
			quoted[i] = quote(a)
		}
		_, err := fmt.Fprintln(o.Factory.IO.Out, strings.Join(quoted, " "))
		return err
	}
	path, err := exec.LookPath("ssh")
	if err != nil {
		return failure.WithHint(err, "install the OpenSSH client (package openssh-client or openssh-clients)")
	}
	if err := os.MkdirAll(filepath.Dir(o.Factory.KnownHosts()), 0o700); err != nil {
		return fmt.Errorf("making the directory of known hosts: %w", err)
	}
	if err := o.Factory.Exec(path, argv, os.Environ()); err != nil {
		return fmt.Errorf("starting %s: %w", path, err)
	}
	return nil
}

// fillIn finds out what the user did not say: the login user and the private key.
func (o *SSHOptions) fillIn(ctx context.Context, c *client.Client, id string) error {
	found, err := resolve.InstancesByID(ctx, c, []string{id})
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return failure.NotFoundf("instance %s does not exist", id)
	}
	if state := resolve.State(found[0]); state != string(model.InstanceRunning) {
		return notRunning(id, state)
	}
	if o.User == "" {
		out, err := c.DescribeInstanceDetails(ctx, &bundttypes.DescribeInstanceDetailsInput{InstanceIds: []string{id}})
		if err != nil {
			return err
		}
		if len(out.InstanceDetails) == 1 {
			o.User = out.InstanceDetails[0].LoginUser
		}
		o.User = cmp.Or(o.User, defaultUser)
	}
	if name := ec2types.Value(found[0].KeyName); o.Identity == "" && name != "" {
		o.Identity = localKey(ctx, o.Factory, c, name)
	}
	return nil
}

// localKey returns the file of the private key of that key pair if it is here; if
// not, ssh may know another way in.
func localKey(ctx context.Context, f *factory.Factory, c *client.Client, name string) string {
	out, err := c.DescribeKeyPairs(ctx, &ec2types.DescribeKeyPairsInput{KeyNames: []string{name}, IncludePublicKey: new(true)})
	if err != nil || len(out.KeyPairs) != 1 {
		return ""
	}
	return key.PrivateKey(f, name, ec2types.Value(out.KeyPairs[0].PublicKey))
}

func notRunning(id, state string) error {
	err := model.Errorf(model.CodeIncorrectInstanceState, "instance %s is %s", id, state)
	switch model.InstanceState(state) {
	case model.InstanceStopped:
		return err.WithHint("start it with: bundt start %s", id)
	case model.InstancePending:
		return err.WithHint("wait for it with: bundt wait %s reachable", id)
	}
	return err
}

// arguments are ssh's: host keys checked against our own file under the
// instance's id, the connection made by ourselves.
func (o *SSHOptions) arguments(id, self string) []string {
	acting := ""
	if account := o.Factory.Account(); account != "" {
		acting += " --account " + quote(account)
	}
	if user := o.Factory.User(); user != "" {
		acting += " --user " + quote(user)
	}
	proxy := fmt.Sprintf("%s --socket %s%s forward --stdio %s %d", quote(self), quote(o.Factory.Endpoint()), acting, id, o.Port)
	options := []string{
		"ProxyCommand=" + strings.ReplaceAll(proxy, "%", "%%"),
		"HostKeyAlias=" + id,
		`UserKnownHostsFile="` + strings.ReplaceAll(o.Factory.KnownHosts(), "%", "%%") + `"`,
		"GlobalKnownHostsFile=/dev/null",
		"StrictHostKeyChecking=accept-new",
		// A guest that is gone cannot end its connections.
		"ServerAliveInterval=10", "ServerAliveCountMax=3",
		"CheckHostIP=no",
		"LogLevel=ERROR", // ssh tells of each new host key otherwise
	}
	// The user's own options come first: of several, ssh takes the first.
	var args []string
	for _, opt := range append(o.Options, options...) {
		args = append(args, "-o", opt)
	}
	if o.Identity != "" {
		args = append(args, "-i", o.Identity, "-o", "IdentitiesOnly=yes")
	}
	args = append(args, "-l", o.User, "--", id)
	return append(args, o.Command...)
}

// quote quotes a word for a POSIX shell.
func quote(word string) string {
	const harmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,@%+"
	if word != "" && strings.Trim(word, harmless) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
