package image

import (
	"cmp"
	"context"
	"crypto/rand"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/wait"
)

// NewAdoptCommand returns "adopt".
func NewAdoptCommand(f *factory.Factory) *cobra.Command {
	var w wait.Options
	name, description := "", ""
	return command.Verb{
		Use: "adopt DOMAIN", Short: "Make an image of a libvirt domain", Object: "domain", Args: cobra.ExactArgs(1),
		Long: `Make an image of a virtual machine that libvirt has on the daemon's host and bundt did not
make. DOMAIN is its name or UUID. All its disks are read, as bundt image import reads
them; CD-ROMs are left out. Architecture and boot mode are the domain's. It must not run,
and stays as it is: start it again, or bundt run its image instead. Prints the image's id.

The daemon must use that libvirt: bundtd-libvirt --hypervisor qemu:///system.`,
		Example: "  virsh shutdown mail\n  bundt adopt mail --name mail-2026\n  bundt run mail-2026",
		Flags: func(cmd *cobra.Command) {
			w.AddFlags(cmd)
			cmd.Flags().StringVarP(&name, "name", "n", "", "`name` of the image; default: the domain's")
			cmd.Flags().StringVar(&description, "description", "", "`text` that describes the image")
			_ = cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			out, err := command.Send(ctx, s, "AdoptDomain", &bundttypes.AdoptDomainInput{
				Domain: &args[0], Name: command.Given(name), Description: command.Given(description), ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}, s.AdoptDomain)
			if err != nil || out == nil {
				return err
			}
			return followImport(ctx, f, s.Client, w, ec2types.Value(out.ImportTaskId), cmp.Or(name, args[0]))
		},
	}.Command(f)
}
