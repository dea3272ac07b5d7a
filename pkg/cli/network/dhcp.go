package network

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/client"
)

// NewDHCPOptionsCommand returns the command "dhcp-options" with all its verbs.
func NewDHCPOptionsCommand(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use: "dhcp-options VERB", Short: "Manage DHCP options: what VPCs tell their guests",
		Long: `Manage DHCP options: the domain, name servers and time servers that DHCP tells guests.
bundt vpc edit VPC --dhcp-options OPTIONS gives them to a VPC. They never change.`,
	}
	type options = ec2types.DhcpOptions
	cmd.AddCommand(lister[options]{
		what: "DHCP options", all: resolve.DHCPOptions, id: func(d options) *string { return d.DhcpOptionsId },
		columns: []output.Column[options]{
			command.Text("OPTIONS", func(d options) *string { return d.DhcpOptionsId }),
			{Title: "VALUES", Text: showOptions},
			command.Name(func(d options) []ec2types.Tag { return d.Tags }),
		},
	}.Command(f), newOptionsCreateCommand(f), remover[ec2types.DeleteDhcpOptionsInput, ec2types.DeleteDhcpOptionsOutput]{
		use: "delete OPTIONS", short: "Delete DHCP options that no VPC has", object: "DHCP options", complete: complete.DHCPOptions(f), find: resolve.DHCPOption, action: "DeleteDhcpOptions",
		request: func(id string, dry *bool) *ec2types.DeleteDhcpOptionsInput {
			return &ec2types.DeleteDhcpOptionsInput{DhcpOptionsId: &id, DryRun: dry}
		},
		send: (*client.Client).DeleteDhcpOptions,
	}.Command(f))
	return cmd
}

// showOptions is the inverse of the arguments of "create".
func showOptions(d ec2types.DhcpOptions) string {
	var out []string
	for _, c := range d.DhcpConfigurations {
		var values []string
		for _, v := range c.Values {
			values = append(values, ec2types.Value(v.Value))
		}
		out = append(out, ec2types.Value(c.Key)+"="+strings.Join(values, ","))
	}
	return strings.Join(out, " ")
}

func newOptionsCreateCommand(f *factory.Factory) *cobra.Command {
	var name string
	return command.Verb{
		Use: "create KEY=VALUE[,VALUE…]…", Short: "Make DHCP options", Object: "DHCP options", Args: cobra.MinimumNArgs(1),
		Long: `Make DHCP options. The keys are EC2's: domain-name, domain-name-servers and ntp-servers.
AmazonProvidedDNS is the VPC's own name server.`,
		Example: `  bundt dhcp-options create domain-name=lab.test domain-name-servers=AmazonProvidedDNS --name lab
  bundt vpc edit lab --dhcp-options lab`,
		Flags: func(cmd *cobra.Command) { command.NameFlag(cmd, &name, "options") },
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			in := &ec2types.CreateDhcpOptionsInput{TagSpecifications: command.NameTag("dhcp-options", name), DryRun: s.Plan.Flag()}
			for _, text := range args {
				key, values, ok := strings.Cut(text, "=")
				if !ok || key == "" || values == "" {
					return failure.Usagef("%q is not of the form KEY=VALUE[,VALUE…]", text)
				}
				in.DhcpConfigurations = append(in.DhcpConfigurations, ec2types.NewDhcpConfiguration{Key: &key, Values: strings.Split(values, ",")})
			}
			out, err := command.Send(ctx, s, "CreateDhcpOptions", in, s.CreateDhcpOptions)
			if err != nil || out == nil {
				return err
			}
			return s.Print(ec2types.Value(out.DhcpOptions.DhcpOptionsId))
		},
	}.Command(f)
}
