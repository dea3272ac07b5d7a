package network

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/model"
)

type lan = bundttypes.Lan

// NewLANCommand returns the command "lan" with all its verbs.
func NewLANCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "lan VERB", Short: "Manage addresses of this host by which other machines reach instances",
		Long: `Manage addresses that bundt has on an interface of this host, so that machines beside it
reach instances by them. Attaching adds addresses and changes nothing else; it is on trial first, and
rolled back unless it is confirmed. Only the admin account may, and the daemon needs root.`,
	}
	cmd.AddCommand(newLANListCommand(f), newLANAttachCommand(f), newLANConfirmCommand(f), newLANDetachCommand(f))
	return cmd
}

func lans(ctx context.Context, s *command.Session, _ []string) ([]lan, error) {
	out, err := s.DescribeLans(ctx, &bundttypes.DescribeLansInput{})
	if err != nil {
		return nil, err
	}
	return out.Lans, nil
}

func newLANListCommand(f *factory.Factory) *cobra.Command {
	return command.List[lan]{
		What: "attached interfaces", Empty: "no interface is attached; bundt lan attach INTERFACE --addresses ADDR,… attaches one",
		All: lans, ID: func(l lan) string { return l.Interface },
		Columns: func(s *command.Session) []output.Column[lan] {
			return []output.Column[lan]{
				{Title: "INTERFACE", Text: func(l lan) string { return l.Interface }, Style: func(lan) iostreams.Style { return iostreams.Mark }},
				{Title: "STATE", Text: func(l lan) string { return l.State }},
				{Title: "ADDRESSES", Text: func(l lan) string { return strings.Join(l.Addresses, ",") }},
				{Title: "TRIAL ENDS", Text: func(l lan) string {
					if l.TrialEndsAt == nil {
						return ""
					}
					return l.TrialEndsAt.Local().Format(time.TimeOnly)
				}},
				{Title: "REASON", Text: func(l lan) string { return l.StateReason }},
			}
		},
	}.Command(f)
}

func completeLANs(f *factory.Factory) cobra.CompletionFunc {
	return complete.First(func(cmd *cobra.Command, _ []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		c, err := f.Client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if out, err := c.DescribeLans(cmd.Context(), &bundttypes.DescribeLansInput{}); err == nil {
			for _, l := range out.Lans {
				names = append(names, l.Interface)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func newLANAttachCommand(f *factory.Factory) *cobra.Command {
	var addresses []string
	var w wait.Options
	preview, trial := false, 2*time.Minute
	return command.Verb{
		Use: "attach INTERFACE --addresses ADDR,…", Short: "Have addresses on an interface of this host", Object: "interface", Args: cobra.ExactArgs(1),
		Long: `Have addresses on an interface of this host, of a network that it is in, which nobody else has
and no DHCP server gives. They are on trial: unless bundt lan confirm INTERFACE is run in time, the
kernel takes them away again, whether the daemon runs or not. --preview says what would be done,
and does nothing. Afterwards an address can be allocated: bundt address allocate --address ADDR.`,
		Example: "  bundt lan attach eth0 --addresses 192.168.1.50,192.168.1.51 --preview\n  bundt lan attach eth0 --addresses 192.168.1.50,192.168.1.51\n  bundt lan confirm eth0",
		Flags: func(cmd *cobra.Command) {
			w.AddFlags(cmd)
			cmd.Flags().StringSliceVar(&addresses, "addresses", nil, "`addresses` to have there (required)")
			cmd.Flags().BoolVar(&preview, "preview", false, "say what would be done, and do nothing")
			cmd.Flags().DurationVar(&trial, "trial", trial, "`time` to confirm it in")
			_ = cmd.RegisterFlagCompletionFunc("addresses", cobra.NoFileCompletions)
			_ = cmd.RegisterFlagCompletionFunc("trial", cobra.NoFileCompletions)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			if len(addresses) == 0 {
				return failure.Usagef("--addresses is required: those that the interface shall have")
			}
			if preview {
				return showPreview(ctx, s, args[0], addresses)
			}
			out, err := command.Send(ctx, s, "AttachLan", &bundttypes.AttachLanInput{
				Interface: &args[0], Addresses: addresses, TrialSeconds: new(int32(trial / time.Second)), DryRun: s.Plan.Flag(),
			}, s.AttachLan)
			if err != nil || out == nil {
				return err
			}
			if err := settled(ctx, s, w, args[0], model.LANTrial); err != nil {
				return err
			}
			if !w.NoWait {
				fmt.Fprintf(f.IO.Err, "on trial for %s: bundt lan confirm %s keeps it\n", trial, args[0])
			}
			return s.Print(args[0])
		},
	}.Command(f)
}

func showPreview(ctx context.Context, s *command.Session, name string, addresses []string) error {
	out, err := s.PreviewLan(ctx, &bundttypes.PreviewLanInput{Interface: &name, Addresses: addresses})
	if err != nil {
		return err
	}
	for _, a := range out.Keep {
		fmt.Fprintf(s.Factory.IO.Out, "  %s keeps %s\n", name, a)
	}
	if out.DefaultRoute {
		fmt.Fprintf(s.Factory.IO.Out, "  %s keeps the default route\n", name)
	}
	for _, a := range out.Add {
		fmt.Fprintf(s.Factory.IO.Out, "+ %s gets %s/32\n", name, a)
	}
	return nil
}

// settled waits until an attachment is as it shall be, or has failed.
func settled(ctx context.Context, s *command.Session, w wait.Options, name string, state model.LANState) error {
	if w.NoWait {
		return nil
	}
	p := s.Factory.IO.StartProgress("waiting until " + name + " is " + string(state))
	defer p.Stop()
	return w.Until(ctx, p, func(ctx context.Context) (bool, string, error) {
		all, err := lans(ctx, s, nil)
		if err != nil {
			return false, "", err
		}
		for _, l := range all {
			if l.Interface == name {
				if model.LANState(l.State).Over() {
					return false, "", fmt.Errorf("it is %s: %s", l.State, l.StateReason)
				}
				return l.State == string(state), l.State, nil
			}
		}
		return state == "", "gone", nil
	})
}

func newLANConfirmCommand(f *factory.Factory) *cobra.Command {
	var w wait.Options
	return command.Verb{
		Use: "confirm INTERFACE", Short: "Keep addresses that are on trial", Object: "interface", Args: cobra.ExactArgs(1), Complete: completeLANs(f), Flags: w.AddFlags,
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			out, err := command.Send(ctx, s, "ConfirmLan", &bundttypes.ConfirmLanInput{Interface: &args[0], DryRun: s.Plan.Flag()}, s.ConfirmLan)
			if err != nil || out == nil {
				return err
			}
			if err := settled(ctx, s, w, args[0], model.LANAttached); err != nil {
				return err
			}
			return s.Print(args[0])
		},
	}.Command(f)
}

func newLANDetachCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "detach INTERFACE", Short: "Take bundt's addresses from an interface", Object: "interface", Args: cobra.ExactArgs(1), Complete: completeLANs(f),
		Long: "Take bundt's addresses from an interface. None of them may be allocated. Prints the interface.",
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return command.Change(ctx, s, args[0], "DetachLan", &bundttypes.DetachLanInput{Interface: &args[0], DryRun: s.Plan.Flag()}, s.DetachLan)
		},
	}.Command(f)
}
