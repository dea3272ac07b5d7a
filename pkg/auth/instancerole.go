package auth

import (
	"context"
	"time"

	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// ec2Service is who assumes the roles of instance profiles.
const ec2Service = "ec2.amazonaws.com"

// instanceSession is how long the credentials of an instance last, as on EC2.
const instanceSession = 6 * time.Hour

// InstanceRole returns the role of the instance profile of that name and id: an
// error of the code NoSuchEntity if there is no such profile any more or it has no
// role, AccessDenied if the role's trust policy does not let EC2 assume it.
func (d *Directory) InstanceRole(ctx context.Context, account, name, id string) (model.Role, error) {
	r, err := view(ctx, d, func(tx *store.Tx) (model.Role, error) {
		p, err := named(tx, records.Profiles, "instance profile", account, name)
		if err == nil && (p.ID != id || p.Role == "") {
			err = noSuch("instance profile", name)
		}
		if err != nil {
			return model.Role{}, err
		}
		return getRole(tx, account, p.Role)
	})
	if err != nil {
		return r, err
	}
	trust, err := policy.Parse([]byte(r.Trust), policy.Trust)
	if err != nil {
		return r, err
	}
	request := policy.Request{Action: "sts:AssumeRole", Resource: r.ARN(), Keys: func(string) ([]string, bool) { return nil, false }}
	if trust.Trusts(policy.Caller{Service: ec2Service}, request) != policy.TrustsCaller {
		return r, model.Errorf(CodeAccessDenied, "EC2 cannot assume the role %s: its trust policy does not name the service %s", r.Name, ec2Service)
	}
	return r, nil
}

// InstanceCredentials makes credentials of a role for an instance, which is what
// the session is called.
func (d *Directory) InstanceCredentials(r model.Role, instanceID string) (Credentials, error) {
	return d.NewSession(model.Identity{AccountID: r.AccountID, Role: r.Name, Session: instanceID, Path: r.Path, ID: r.ID}, instanceSession)
}
