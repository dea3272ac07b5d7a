package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/account"
	"github.com/bundt/bundt/pkg/cli/catalog"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/connect"
	"github.com/bundt/bundt/pkg/cli/diff"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/host"
	"github.com/bundt/bundt/pkg/cli/iam"
	"github.com/bundt/bundt/pkg/cli/image"
	"github.com/bundt/bundt/pkg/cli/instance"
	"github.com/bundt/bundt/pkg/cli/instancetype"
	"github.com/bundt/bundt/pkg/cli/key"
	"github.com/bundt/bundt/pkg/cli/launchtemplate"
	"github.com/bundt/bundt/pkg/cli/lineage"
	"github.com/bundt/bundt/pkg/cli/market"
	"github.com/bundt/bundt/pkg/cli/network"
	"github.com/bundt/bundt/pkg/cli/pipeline"
	"github.com/bundt/bundt/pkg/cli/storage"
	"github.com/bundt/bundt/pkg/cli/trust"
)

// The groups of commands in the help.
const (
	everyday = "everyday"
	objects  = "objects"
	thisHost = "host"
)

// NewRootCommand returns the command "bundt" with all its commands.
func NewRootCommand(f *factory.Factory) *cobra.Command {
	if f.Recipes == nil {
		f.Recipes = builtIn{}
	}
	quiet := false
	root := &cobra.Command{
		Use:   "bundt COMMAND",
		Short: "A cloud of your own on one Linux machine",
		Long: `bundt bakes machine images from recipes, runs them as real virtual machines and
makes new images of running machines, on one Linux machine, with EC2's words.`,
		Example: `  bundt build tiny                                  bake an image
  bundt key create demo                             make a key pair
  bundt run tiny --key demo --name web              launch an instance of it
  bundt ssh web                                     log in
  bundt create-image web --name web-2 --no-reboot   make an image of it while it runs`,
		SilenceErrors: true,
		// Flags before a command are bundt's, also before "aws", which has all after it.
		TraverseChildren: true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) {
			f.IO.SetQuiet(quiet)
		},
	}
	root.SetIn(f.IO.In)
	root.SetOut(f.IO.Out)
	root.SetErr(f.IO.Err)
	root.PersistentFlags().StringVar(&f.Socket, "socket", "", "`address` of the daemon, unix:///path; default: $BUNDT_SOCKET, or the user's own daemon")
	root.PersistentFlags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	root.PersistentFlags().StringVar(&f.AccountFlag, "account", "", "act in this `account`, by name or id; default: $BUNDT_ACCOUNT, or the admin account")
	root.PersistentFlags().StringVar(&f.UserFlag, "user", "", "act as this `user` of the account; default: $BUNDT_USER, or the account's root")
	_ = root.MarkPersistentFlagFilename("socket")
	_ = root.RegisterFlagCompletionFunc("account", complete.Accounts(f))
	_ = root.RegisterFlagCompletionFunc("user", complete.Users(f))
	root.AddGroup(
		&cobra.Group{ID: everyday, Title: "Everyday commands:"},
		&cobra.Group{ID: objects, Title: "Commands by object:"},
		&cobra.Group{ID: thisHost, Title: "This host and this program:"},
	)
	addCommands(root, f)
	root.AddCommand(helpTopics()...)
	root.SetHelpCommandGroupID(thisHost)
	root.SetCompletionCommandGroupID(thisHost)
	// Cobra shows commands that only hold others a second time, as "[command]".
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(),
		"{{if .HasAvailableSubCommands}}\n  {{.CommandPath}} [command]{{end}}", "", 1))
	requireVerbs(root)
	explainArguments(root)
	return root
}

// addCommands gives the root its commands.
func addCommands(root *cobra.Command, f *factory.Factory) {
	addGroup(root, everyday,
		image.NewBuildCommand(f, nil),
		instance.NewRunCommand(f, nil),
		instance.NewListCommand(f),
		connect.NewSSHCommand(f, nil),
		instance.NewLogsCommand(f, nil),
		connect.NewForwardCommand(f, nil),
		connect.NewSerialCommand(f, nil),
		image.NewCreateCommand(f, nil),
		instance.NewStopCommand(f, nil),
		instance.NewStartCommand(f, nil),
		instance.NewRebootCommand(f, nil),
		instance.NewRemoveCommand(f, nil),
		instance.NewWaitCommand(f, nil),
		lineage.NewCommand(f, nil),
		diff.NewCommand(f, nil),
		image.NewHistoryCommand(f),
		image.NewAdoptCommand(f),
	)
	addGroup(root, objects,
		image.NewCommand(f),
		pipeline.NewCommand(f),
		catalog.NewCommand(f),
		instance.NewCommand(f),
		key.NewCommand(f),
		storage.NewVolumeCommand(f),
		storage.NewSnapshotCommand(f),
		network.NewSecurityGroupCommand(f),
		network.NewVPCCommand(f),
		network.NewSubnetCommand(f),
		network.NewAddressCommand(f),
		network.NewInterfaceCommand(f),
		network.NewRouteTableCommand(f),
		network.NewNetworkACLCommand(f),
		network.NewInternetGatewayCommand(f),
		network.NewEgressGatewayCommand(f),
		network.NewDHCPOptionsCommand(f),
		network.NewLANCommand(f),
		network.NewCommand(f),
		instancetype.NewCommand(f),
		launchtemplate.NewCommand(f),
		market.NewCommand(f),
		market.NewCommunityCommand(f),
		trust.NewCommand(f),
		trust.NewSigningKeyCommand(f),
		account.NewCommand(f),
		iam.NewUserCommand(f),
		iam.NewAccessKeyCommand(f),
		iam.NewRoleCommand(f),
		iam.NewInstanceProfileCommand(f),
		iam.NewPolicyCommand(f),
	)
	addGroup(root, thisHost,
		host.NewDoctorCommand(f, nil),
		host.NewConsoleCommand(f, nil),
		host.NewLabCommand(f, nil),
		host.NewEnvCommand(f, nil),
		host.NewAWSCommand(f, nil),
		host.NewVersionCommand(f, nil),
	)
}

func addGroup(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// explainArguments says what arguments a command takes where cobra only counts them.
func explainArguments(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		explainArguments(c)
	}
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		return failure.Usagef("wrong number of arguments, %d; usage: %s", len(args), cmd.UseLine())
	}
}

// requireVerbs makes a command that only holds others refuse what it does not
// know: by itself it would print its help and succeed.
func requireVerbs(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		requireVerbs(c)
	}
	if !cmd.HasSubCommands() || cmd.Runnable() {
		return
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := failure.Usagef("%q is no command of %s", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return failure.WithHint(err, "did you mean: %s %s", cmd.CommandPath(), near[0])
		}
		return failure.WithHint(err, "%s --help", cmd.CommandPath())
	}
}
