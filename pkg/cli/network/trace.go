package network

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// NewCommand returns the command "net" with all its verbs.
func NewCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "net VERB", Aliases: []string{"network"}, Short: "See what becomes of packets, and how many there were",
	}
	cmd.AddCommand(newTraceCommand(f), newTrafficCommand(f))
	return cmd
}

// hostSource stands for a client on the daemon's host.
const hostSource = "host"

// packet is what a user asks about.
type packet struct {
	to, from, protocol string
}

func newTraceCommand(f *factory.Factory) *cobra.Command {
	var p packet
	return command.Verb{
		Use: "trace SOURCE", Short: "Explain place by place why a packet arrives, or does not", Object: "packets of", Args: cobra.ExactArgs(1), Shows: true,
		Complete: complete.First(complete.Instances(f)),
		Long: `Explain place by place what becomes of the first packet of a flow: the sender's
source check, security groups, the route table and its internet gateway, the public
address, the host's ports. The network itself is asked, so the verdict is what a real
packet would meet. Nothing is sent.

SOURCE is who sends: an instance by its id or name, a network interface by its id, or
"host" for a client on the daemon's host. --to is where to: an address or an instance,
and with tcp and udp a port. An instance means its private address for who is in its
VPC, else its public one. The exit code is 1 if the packet does not arrive.`,
		Example: `  bundt net trace web --to db:5432
  bundt net trace web --to 192.0.2.10:443
  bundt net trace host --to web:22
  bundt net trace web --to db --protocol icmp`,
		Flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&p.to, "to", "", "where to: `ADDRESS:PORT` or INSTANCE:PORT; without a port for other protocols than tcp and udp")
			cmd.Flags().StringVar(&p.from, "from", "", "sender's `address`; default: its first one; of host: 127.0.0.1")
			cmd.Flags().StringVar(&p.protocol, "protocol", "tcp", "tcp, udp, icmp (an echo request), icmpv6 or a `protocol`'s number")
			_ = cmd.MarkFlagRequired("to")
			_ = cmd.RegisterFlagCompletionFunc("to", complete.Instances(f))
			command.FlagValues(cmd, "from")
			command.FlagValues(cmd, "protocol", "tcp", "udp", "icmp", "icmpv6")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			in, err := p.request(ctx, s, args[0])
			if err != nil {
				return err
			}
			out, err := s.GetNetworkTrace(ctx, in)
			if err != nil {
				return err
			}
			if err := printTrace(s, out); err != nil {
				return err
			}
			if !out.Passes {
				return failure.Silent{Code: failure.Failed}
			}
			return nil
		},
	}.Command(f)
}

func (p *packet) request(ctx context.Context, s *command.Session, source string) (*bundttypes.GetNetworkTraceInput, error) {
	in := &bundttypes.GetNetworkTraceInput{Protocol: &p.protocol, SourceAddress: command.Given(p.from)}
	to, port, err := splitPort(p.to, p.protocol)
	if err != nil {
		return nil, err
	}
	in.DestinationPort = port
	vpc := ""
	switch {
	case source == hostSource:
	case model.CheckID(model.InterfacePrefix, source) == nil:
		in.NetworkInterfaceId = &source
		found, err := s.DescribeNetworkInterfaces(ctx, &ec2types.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{source}})
		if err != nil {
			return nil, err
		}
		vpc = ec2types.Value(found.NetworkInterfaces[0].VpcId)
	default:
		found, err := instanceOf(ctx, s, source)
		if err != nil {
			return nil, err
		}
		in.InstanceId, vpc = found.InstanceId, ec2types.Value(found.VpcId)
	}
	if a, err := netip.ParseAddr(to); err == nil {
		in.DestinationAddress = new(a.String())
		return in, nil
	}
	found, err := instanceOf(ctx, s, to)
	if err != nil {
		return nil, err
	}
	in.DestinationAddress = found.PublicIpAddress
	if vpc != "" && vpc == ec2types.Value(found.VpcId) {
		in.DestinationAddress = found.PrivateIpAddress
	}
	if ec2types.Value(in.DestinationAddress) == "" {
		return nil, failure.WithHint(failure.NotFoundf("%s has no address by which %s could reach it", to, source),
			"bundt doctor instance %s says what it lacks", to)
	}
	return in, nil
}

func instanceOf(ctx context.Context, s *command.Session, ref string) (ec2types.Instance, error) {
	id, err := resolve.Instance(ctx, s.Client, ref)
	if err != nil {
		return ec2types.Instance{}, err
	}
	found, err := resolve.InstancesByID(ctx, s.Client, []string{id})
	if err != nil {
		return ec2types.Instance{}, err
	}
	return found[0], nil
}

// splitPort takes the port off, which tcp and udp need and others do not have.
func splitPort(text, protocol string) (to string, port *int32, err error) {
	if protocol != "tcp" && protocol != "udp" {
		return strings.Trim(text, "[]"), nil, nil
	}
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return "", nil, failure.Usagef("--to %s names no port: %s:PORT", text, text)
	}
	n, err := strconv.ParseUint(text[at+1:], 10, 16)
	if err != nil || n == 0 {
		return "", nil, failure.Usagef("--to %s: %q is no port", text, text[at+1:])
	}
	return strings.Trim(text[:at], "[]"), new(int32(n)), nil
}

// printTrace prints a line for each place, its judgement first.
func printTrace(s *command.Session, t *bundttypes.GetNetworkTraceOutput) error {
	io := s.Factory.IO
	switch {
	case s.Output.Format == output.Name:
		return s.Print(map[bool]string{true: "passes", false: "stops"}[t.Passes])
	case !s.Output.ForPeople():
		return output.Data(io, &s.Output, t)
	}
	width := 0
	for _, step := range t.Steps {
		width = max(width, len(step.Place))
	}
	for _, step := range t.Steps {
		mark, style := "✓", iostreams.Good
		if !step.Passes {
			mark, style = "✗", iostreams.Bad
		}
		detail := step.Detail
		if s.Output.Format == output.Wide && step.Component != "" {
			detail += " [" + step.Component + "]"
		}
		if _, err := fmt.Fprintf(io.Out, "%s %-*s  %s\n", io.OnOut(style, mark), width, output.Clean(step.Place), output.Clean(detail)); err != nil {
			return fmt.Errorf("writing output: %w", err)
		}
	}
	return nil
}
