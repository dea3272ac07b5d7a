// Package host owns the commands about this host and its daemon: doctor, env and
// version. It may import pkg/client, the API's types, pkg/version and its
// neighbours under pkg/cli only.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/client"
)

// DoctorOptions are the inputs of "doctor".
type DoctorOptions struct {
	Factory *factory.Factory
	Output  output.Options
	Refresh bool
	// LookPath finds programs; exec.LookPath outside of tests.
	LookPath func(string) (string, error)
}

// NewDoctorCommand returns the command "doctor".
func NewDoctorCommand(f *factory.Factory, run func(context.Context, *DoctorOptions) error) *cobra.Command {
	o := &DoctorOptions{Factory: f, LookPath: exec.LookPath}
	if run == nil {
		run = doctor
	}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what bundt needs on this host, with a fix for each problem",
		Long: `Check what bundt needs on this host and explain what it found: whether the daemon
answers, what executes guests and why, the hypervisor, firmware, memory, disk,
ports and permissions. Each problem comes with a fix.

✓ is well, ! works but could do better, ✗ will not work. The exit code is 1 if
anything will not work. Without a running daemon the checks are fewer.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: complete.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failure.Wrap(run(cmd.Context(), o), "examine", "this host")
		},
	}
	cmd.AddCommand(newDoctorInstanceCommand(f))
	o.Output.AddFlags(cmd)
	cmd.Flags().BoolVar(&o.Refresh, "refresh", false, "let the daemon measure again what it remembers")
	return cmd
}

func doctor(ctx context.Context, o *DoctorOptions) error {
	found, err := o.examine(ctx)
	if err != nil {
		return err
	}
	return report(o.Factory.IO, &o.Output, found)
}

// report prints what was found, and fails if a check did.
func report(s *iostreams.IOStreams, o *output.Options, found *bundttypes.DescribeHostOutput) error {
	if o.ForPeople() {
		printReport(s, found)
	} else if o.Format == output.Name {
		for _, c := range found.Checks {
			if c.Status != bundttypes.CheckOK {
				fmt.Fprintln(s.Out, c.Name)
			}
		}
	} else if err := output.Data(s, o, found); err != nil {
		return err
	}
	for _, c := range found.Checks {
		if c.Status == bundttypes.CheckFail {
			return failure.Silent{Code: failure.Failed}
		}
	}
	return nil
}

// examine asks the daemon; if there is none it looks at what it can see itself.
func (o *DoctorOptions) examine(ctx context.Context) (*bundttypes.DescribeHostOutput, error) {
	c, err := o.Factory.Client()
	if err != nil {
		return nil, err
	}
	in := &bundttypes.DescribeHostInput{}
	if o.Refresh {
		in.Refresh = &o.Refresh
	}
	p := o.Factory.IO.StartProgress("examining this host")
	out, err := c.DescribeHost(ctx, in)
	p.Stop()
	switch {
	case errors.Is(err, client.ErrUnreachable):
		out = &bundttypes.DescribeHostOutput{Checks: o.withoutDaemon(err)}
	case err != nil:
		return nil, err
	default:
		answers := bundttypes.HostCheck{Name: "daemon", Status: bundttypes.CheckOK, Detail: "answers at " + o.Factory.Endpoint()}
		out.Checks = append([]bundttypes.HostCheck{answers}, out.Checks...)
	}
	if !slices.ContainsFunc(out.Checks, func(c bundttypes.HostCheck) bool { return c.Name == "ssh" }) {
		out.Checks = append(out.Checks, o.program("ssh", "ssh", bundttypes.CheckWarn,
			"bundt ssh needs it: install the package openssh-client (Debian, Ubuntu) or openssh-clients (Fedora)"))
	}
	return out, nil
}

func (o *DoctorOptions) withoutDaemon(err error) []bundttypes.HostCheck {
	checks := []bundttypes.HostCheck{{
		Name: "daemon", Status: bundttypes.CheckFail, Detail: err.Error(),
		Fix: "start it with: bundtd (or point --socket or BUNDT_SOCKET at the one that runs)",
	}}
	qemu := "qemu-system-x86_64"
	install := "install the package qemu-system-x86 (Debian, Ubuntu) or qemu-system-x86-core (Fedora)"
	if strings.HasPrefix(machine(), "arm") {
		qemu = "qemu-system-aarch64"
		install = "install the package qemu-system-arm (Debian, Ubuntu) or qemu-system-aarch64-core (Fedora)"
	}
	return append(checks,
		o.program("QEMU", qemu, bundttypes.CheckFail, install),
		kvm("/dev/kvm"))
}

func (o *DoctorOptions) program(name, file, bad, fix string) bundttypes.HostCheck {
	path, err := o.LookPath(file)
	if err != nil {
		return bundttypes.HostCheck{Name: name, Status: bad, Detail: file + " is not installed", Fix: fix}
	}
	return bundttypes.HostCheck{Name: name, Status: bundttypes.CheckOK, Detail: path}
}

// kvm says only whether the device opens. Whether it works the daemon finds out
// with a probe guest.
func kvm(device string) bundttypes.HostCheck {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case err == nil:
		_ = f.Close()
		return bundttypes.HostCheck{Name: "KVM", Status: bundttypes.CheckOK, Detail: device + " opens; the daemon tests whether it works"}
	case errors.Is(err, os.ErrPermission):
		return bundttypes.HostCheck{
			Name: "KVM", Status: bundttypes.CheckWarn, Detail: "you may not open " + device + ": guests will run in software emulation, slowly",
			Fix: "join its group: sudo usermod -aG kvm $USER, then log in again",
		}
	}
	return bundttypes.HostCheck{
		Name: "KVM", Status: bundttypes.CheckWarn, Detail: "no " + device + ": guests will run in software emulation, slowly",
		Fix: "enable virtualization in the firmware (VT-x, AMD-V), or nested virtualization if this is a virtual machine itself",
	}
}

func printReport(s *iostreams.IOStreams, found *bundttypes.DescribeHostOutput) {
	width := 0
	for _, c := range found.Checks {
		width = max(width, len([]rune(c.Name)))
	}
	for _, f := range found.Facts {
		width = max(width, len([]rune(f.Name)))
	}
	bad := 0
	for _, c := range found.Checks {
		mark, style := "✓", iostreams.Good
		switch c.Status {
		case bundttypes.CheckWarn:
			mark, style = "!", iostreams.Busy
		case bundttypes.CheckFail:
			mark, style = "✗", iostreams.Bad
			bad++
		}
		fmt.Fprintf(s.Out, "%s %-*s  %s\n", s.OnOut(style, mark), width, output.Clean(c.Name), output.Clean(c.Detail))
		if c.Fix != "" && c.Status != bundttypes.CheckOK {
			fmt.Fprintf(s.Out, "  %-*s  %s %s\n", width, "", s.OnOut(iostreams.Bold, "fix:"), output.Clean(c.Fix))
		}
	}
	for _, f := range found.Facts {
		fmt.Fprintf(s.Out, "  %s  %s\n", s.OnOut(iostreams.Dim, fmt.Sprintf("%-*s", width, output.Clean(f.Name))), output.Clean(f.Value))
	}
	if bad > 0 {
		fmt.Fprintf(s.Err, "%d of %d checks failed\n", bad, len(found.Checks))
	}
}

// patience is how long commands that work without a daemon wait for it.
const patience = 2 * time.Second
