package daemon

import (
	"context"

	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/model"
)

// roles are the instance profiles' for the node.
type roles struct{ directory *auth.Directory }

func (r roles) InstanceRole(ctx context.Context, account string, p *model.ProfileAssociation) (model.Role, error) {
	return r.directory.InstanceRole(ctx, account, p.Name, p.ProfileID)
}

func (r roles) InstanceCredentials(role model.Role, instanceID string) (metadata.Credentials, error) {
	c, err := r.directory.InstanceCredentials(role, instanceID)
	return metadata.Credentials{AccessKeyID: c.AccessKeyID, Secret: c.Secret, Token: c.Token, Expires: c.Expires}, err
}
