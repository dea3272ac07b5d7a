package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
)

func (a *Actions) registerEndpoint(t *api.Table) {
	api.Register(t, api.Action[bundttypes.DescribeEndpointInput, bundttypes.DescribeEndpointOutput]{
		Name: "DescribeEndpoint",
		Handler: func(context.Context, *bundttypes.DescribeEndpointInput) (*bundttypes.DescribeEndpointOutput, error) {
			return ptr(a.node.Endpoint()), nil
		},
	})
	api.Register(t, api.Action[bundttypes.CreateConsoleLinkInput, bundttypes.CreateConsoleLinkOutput]{
		Name: "CreateConsoleLink",
		Handler: func(ctx context.Context, _ *bundttypes.CreateConsoleLinkInput) (*bundttypes.CreateConsoleLinkOutput, error) {
			return a.node.ConsoleLink(api.PrincipalFrom(ctx))
		},
	})
}
