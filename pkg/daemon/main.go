package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/network/control"
	"github.com/bundt/bundt/pkg/network/kernel"
	"github.com/bundt/bundt/pkg/network/user"
	"github.com/bundt/bundt/pkg/version"
)

// switchCommand is the hidden command that is the network's own process.
const switchCommand = "switch"

// Main runs bundtd and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := newCommand()
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bundtd:", err)
		return 1
	}
	return 0
}

func newCommand() *cobra.Command {
	cfg := DefaultConfig()
	var logLevel, configFile string
	root := &cobra.Command{
		Use:           "bundtd",
		Short:         "The node daemon of bundt: runs the cloud's API and this host's machines",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.Get().String(),
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if configFile != "" {
				if err := applyConfigFile(configFile, cmd.Root().PersistentFlags()); err != nil {
					return err
				}
			}
			cfg.ListenAny = !cmd.Root().PersistentFlags().Changed("listen")
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(logLevel)
			if err != nil {
				return err
			}
			d, err := New(cmd.Context(), cfg, log, Parts{})
			if err != nil {
				return err
			}
			return d.Run(cmd.Context(), nil)
		},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "directory of everything durable")
	f.StringVar(&cfg.CacheDir, "cache-dir", cfg.CacheDir, "directory of downloads and finished bake steps, shared by daemons")
	f.StringVar(&cfg.RunDir, "run-dir", "", "directory of sockets (default: by user and data directory)")
	f.StringVar(&cfg.Socket, "socket", "", "unix socket of the API (default: RUN-DIR/bundtd.sock)")
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "address of the endpoint for AWS's clients, empty for none; the default one moves to a free port if it is taken")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "file of the endpoint's certificate (PEM)")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "file of the certificate's key (PEM)")
	f.BoolVar(&cfg.InsecureListen, "insecure-listen", false, "listen without TLS where others can reach it")
	f.StringVar(&configFile, "config", "", "YAML file of settings with the names of these flags, which override it")
	f.StringVar(&cfg.Region, "region", cfg.Region, "name of this cloud's region")
	f.StringVar(&cfg.RegionsFile, "regions", "", "YAML file of the other regions, which images are copied from and to: endpoint, ca and credentials of each")
	f.StringVar(&cfg.NodeID, "node", "", "name of this node (default: the host's name)")
	f.StringSliceVar(&cfg.EtcdEndpoints, "etcd-endpoints", nil, "existing etcd to keep state in (default: embedded)")
	f.StringVar(&cfg.Hypervisor, "hypervisor", cfg.Hypervisor, "what runs machines: qemu, a libvirt of this host by its URI such as qemu:///system, or fake to simulate them")
	f.StringVar(&cfg.Network, "network", cfg.Network, "what moves packets: user (no root), kernel (root, faster), or auto for kernel where this host can")
	f.StringVar(&cfg.Accel, "accel", "", "force an accelerator: kvm or tcg (default: kvm where it really works)")
	f.StringVar(&cfg.PackageMirror, "package-mirror", cfg.PackageMirror, "where recipes' distribution packages come from (also BUNDT_PACKAGE_MIRROR)")
	f.StringSliceVar(&cfg.ImageMirrors, "image-mirror", cfg.ImageMirrors, "where disk images come from instead, as https://SERVER/DIR=URL; may be repeated (also BUNDT_IMAGE_MIRROR)")
	f.StringSliceVar(&cfg.Pools, "pool", nil, "directory for volumes of some types, as NAME=DIR:types=TYPE+TYPE[:reserve=MIB][:quota=MIB], or default=[:reserve=MIB][:quota=MIB] for the data directory; may be repeated")
	f.StringVar(&cfg.VolumeKeyFile, "volume-key-file", "", "file of the key that encrypted volumes' keys are encrypted with; made if it is missing and nothing needs it (default: volume.key in the data directory)")
	f.BoolVar(&cfg.VolumesUnlimited, "volumes-unlimited", false, "let every volume be as fast as the host's disk, whatever its type")
	f.BoolVar(&cfg.ImportFromHost, "import-from-host", false, "let imports by URL reach this host's own addresses, loopback included")
	f.StringVar(&cfg.PublicPool, "public-pool", cfg.PublicPool, "loopback addresses that instances get as public addresses; empty for none")
	f.StringSliceVar(&cfg.HostAddresses, "host-addresses", nil, "IPv4 addresses of this host that accounts may allocate as elastic addresses, by which others reach instances")
	f.DurationVar(&cfg.ShutdownGrace, "shutdown-grace", cfg.ShutdownGrace, "how long a guest may take to power off when asked")
	f.Int64Var(&cfg.GuestMemoryMiB, "guest-memory", 0, "MiB of memory that instances may take in all; more than the host has is overcommitment (default: nine tenths of the host's)")
	f.IntVar(&cfg.ReadRate, "read-rate", cfg.ReadRate, "reading calls a second that each account may make, and twice as many at once; 0 for any number")
	f.IntVar(&cfg.ChangeRate, "change-rate", cfg.ChangeRate, "changing calls a second that each account may make, and twice as many at once; 0 for any number")
	f.Int64Var(&cfg.BuildCacheMiB, "build-cache", cfg.BuildCacheMiB, "MiB that each account's cache of builds may take; 0 for none")
	f.DurationVar(&cfg.BuildCacheFresh, "build-cache-fresh", cfg.BuildCacheFresh, "how long cached build steps may be used that take things from outside")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	root.AddCommand(newSwitchCommand(&logLevel), newDoctorCommand(&cfg), newPurgeCommand(&cfg))
	return root
}

func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}

func newSwitchCommand(logLevel *string) *cobra.Command {
	var o control.ServeOptions
	var name string
	c := &cobra.Command{
		Use: switchCommand, Hidden: true, Args: cobra.NoArgs, Short: "Run the instances' network (bundtd starts it by itself)",
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(*logLevel)
			if err != nil {
				return err
			}
			o.Logger = log
			if name != "" {
				err = kernel.Serve(cmd.Context(), kernel.ServeOptions{ServeOptions: o, Name: name})
			} else {
				err = user.Serve(cmd.Context(), user.ServeOptions{ServeOptions: o})
			}
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	c.Flags().StringVar(&o.ControlSocket, "control", "", "unix socket to be controlled by")
	c.Flags().StringVar(&o.StateFile, "state", "", "file that the configuration is kept in")
	c.Flags().StringVar(&name, "kernel", "", "have the kernel move packets, and this in the names of what is made on the host")
	return c
}

// selfCommand is how this binary starts itself as the switch.
func selfCommand() ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding bundtd's own binary: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return nil, fmt.Errorf("finding bundtd's own binary: %w", err)
	}
	// Under user-mode emulation without binfmt_misc the kernel cannot start this
	// binary by itself.
	return append(strings.Fields(os.Getenv("BUNDT_RUNNER")), exe, switchCommand), nil
}
