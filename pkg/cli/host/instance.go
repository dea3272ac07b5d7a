package host

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/resolve"
)

func newDoctorInstanceCommand(f *factory.Factory) *cobra.Command {
	port := int32(22)
	return command.Verb{
		Use: "instance INSTANCE", Short: "Find out why an instance is not reached", Doing: "examine", Object: "instance", Args: cobra.ExactArgs(1), Shows: true,
		Complete: complete.First(complete.Instances(f)),
		Long: `Look layer by layer at what lies between this host and a TCP port of an instance, and
name the one that fails: the machine, its link, its address, the public address and the
route to it, the security groups, the host's port, and whether the guest answers. What
depends on a layer that fails is left out.

✓ is well, ! works but could do better, ✗ does not work. The exit code is 1 if a layer
fails.`,
		Example: `  bundt doctor instance web
  bundt doctor instance web --port 80`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().Int32VarP(&port, "port", "p", port, "TCP `port` that should be reached")
			command.FlagValues(cmd, "port")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			id, err := resolve.Instance(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			p := f.IO.StartProgress("examining " + id)
			out, err := s.GetInstanceDiagnosis(ctx, &bundttypes.GetInstanceDiagnosisInput{InstanceId: &id, Port: &port})
			p.Stop()
			if err != nil {
				return err
			}
			return report(f.IO, &s.Output, &bundttypes.DescribeHostOutput{Checks: out.Checks})
		},
	}.Command(f)
}
