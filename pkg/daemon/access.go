package daemon

import (
	"context"
	"net/http"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/authz"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/identity"
	"github.com/bundt/bundt/pkg/cloud"
)

// dispatcher makes a dispatcher of what is registered, whose every call is
// authorised, limited and audited.
func (d *Daemon) dispatcher(register ...func(*api.Table)) (*api.Dispatcher, error) {
	table := api.NewTable()
	for _, r := range register {
		r(table)
	}
	return api.NewDispatcher(table, api.Options{
		Authorize: d.authorizer().Authorize, Log: d.log,
		Interceptors: append(slices.Clone(d.watch), d.audit.Intercept, d.limiter.Intercept),
	})
}

// registerCloud adds EC2's actions and bundt's own.
func (d *Daemon) registerCloud(t *api.Table) {
	actions.Register(t, d.cloud, &view{daemon: d})
	d.identity().RegisterAccounts(t, d.cloud.Release)
}

// registerMonitoring adds CloudWatch's actions.
func (d *Daemon) registerMonitoring(t *api.Table) { actions.RegisterMonitoring(t, d.cloud, d.metrics) }

func (d *Daemon) identity() *identity.Actions {
	return identity.New(d.accounts, d.cloud.Info().Secret)
}

// authorizer decides about calls, by the accounts and what the cloud has.
func (d *Daemon) authorizer() *authz.Authorizer {
	return authz.New(d.accounts, func(ctx context.Context, account, ref string) (cloud.Attributes, bool, error) {
		return d.cloud.Account(account).Attributes(ctx, ref)
	})
}

// socketPrincipal is who speaks over the unix socket. Who may open the socket may
// do everything, and so act as every account's root and as every user.
func (d *Daemon) socketPrincipal(r *http.Request) (api.Principal, error) {
	id, err := d.accounts.Acting(r.Context(), r.Header.Get(bundttypes.AccountHeader), r.Header.Get(bundttypes.UserHeader))
	return api.Principal{AccountID: id.AccountID, Name: "unix-socket", Identity: id}, err
}
