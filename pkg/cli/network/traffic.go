package network

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/model"
)

// interfaceTraffic is what has passed an interface of an instance.
type interfaceTraffic struct {
	InstanceId string
	bundttypes.InterfaceTraffic
}

func newTrafficCommand(f *factory.Factory) *cobra.Command {
	type traffic = interfaceTraffic
	count := func(title string, n func(traffic) int64) output.Column[traffic] {
		return output.Column[traffic]{Title: title, Text: func(t traffic) string { return strconv.FormatInt(n(t), 10) }}
	}
	maybe := func(title string, n func(traffic) *int64) output.Column[traffic] {
		return output.Column[traffic]{Title: title, Text: func(t traffic) string {
			if p := n(t); p != nil {
				return strconv.FormatInt(*p, 10)
			}
			return ""
		}}
	}
	return command.List[traffic]{
		What: "traffic", Use: "traffic [INSTANCE…]", Short: "Count what running instances sent, received and were refused",
		Long: `Count what passed the network interfaces of running instances since they were started,
as their guests see it: bytes of Ethernet frames, and packets that their security groups
did not let out, or in from other instances of the VPC. With -o wide also how many
packets there were, how many the guest did not take in time, and how many had a forged
sender. A column without numbers is one that this network does not count.`,
		Args: cobra.ArbitraryArgs, Complete: complete.Instances(f, model.InstanceRunning), All: trafficOf,
		ID: func(t traffic) string { return t.NetworkInterfaceId },
		Columns: func(*command.Session) []output.Column[traffic] {
			return []output.Column[traffic]{
				{Title: "INSTANCE", Text: func(t traffic) string { return t.InstanceId }},
				{Title: "INTERFACE", Text: func(t traffic) string { return t.NetworkInterfaceId }},
				count("SENT", func(t traffic) int64 { return t.SentBytes }),
				count("RECEIVED", func(t traffic) int64 { return t.ReceivedBytes }),
				maybe("REFUSED OUT", func(t traffic) *int64 { return t.RefusedEgress }),
				maybe("REFUSED IN", func(t traffic) *int64 { return t.RefusedIngress }),
				command.Wide(count("PACKETS SENT", func(t traffic) int64 { return t.SentPackets })),
				command.Wide(count("PACKETS RECEIVED", func(t traffic) int64 { return t.ReceivedPackets })),
				command.Wide(count("DROPPED", func(t traffic) int64 { return t.DroppedPackets })),
				command.Wide(count("FORGED", func(t traffic) int64 { return t.ForgedPackets })),
			}
		},
	}.Command(f)
}

// trafficOf returns the interfaces of the instances that args mean, of all that
// run if there are none.
func trafficOf(ctx context.Context, s *command.Session, args []string) ([]interfaceTraffic, error) {
	ids, err := resolve.InstanceIDs(ctx, s.Client, args)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		running, err := resolve.Instances(ctx, s.Client, resolve.Filter("instance-state-name", string(model.InstanceRunning)))
		if err != nil || len(running) == 0 {
			return nil, err
		}
		for _, i := range running {
			ids = append(ids, ec2types.Value(i.InstanceId))
		}
	}
	out, err := s.DescribeInstanceDetails(ctx, &bundttypes.DescribeInstanceDetailsInput{InstanceIds: ids})
	if err != nil {
		return nil, err
	}
	var all []interfaceTraffic
	for _, d := range out.InstanceDetails {
		for _, t := range d.Traffic {
			all = append(all, interfaceTraffic{d.InstanceId, t})
		}
	}
	return all, nil
}
