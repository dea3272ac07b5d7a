package node

import (
	"context"
	"fmt"
	"time"

	"github.com/bundt/bundt/pkg/metadata"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
)

// Roles hand instances the roles of their instance profiles.
type Roles interface {
	// InstanceRole returns the role that an instance's profile hands out now. A
	// *model.Error says why it hands out none; it comes with the role if there is
	// one that may not be assumed.
	InstanceRole(ctx context.Context, account string, p *model.ProfileAssociation) (model.Role, error)
	// InstanceCredentials makes credentials of a role for an instance.
	InstanceCredentials(r model.Role, instanceID string) (metadata.Credentials, error)
}

// grant is what an instance's metadata service says of its profile.
type grant struct {
	association string // its id
	role        string // id; "" if there is none
	renew       time.Time
	profile     *metadata.Profile
}

// grantRoles brings what the machines here are told of their instance profiles up
// to date: credentials stay as they are until half of their time is over, unless
// the profile hands out another role by then. netMu is held.
func (n *Node) grantRoles(ctx context.Context, instances []*model.Instance) error {
	grants := map[string]grant{}
	var next time.Time
	read, err := n.rolesChanged(ctx)
	if err != nil {
		return err
	}
	for _, inst := range instances {
		if inst.Profile == nil || inst.Node != n.ID || n.Roles == nil || inst.State == model.InstanceTerminated {
			continue
		}
		last, known := n.grants[inst.ID]
		g := last
		if read != n.grantsRead || !known || last.association != inst.Profile.ID || last.due(n.Now()) {
			if g, err = n.grantRole(ctx, inst, last); err != nil {
				return fmt.Errorf("handing the role of %s to %s: %w", inst.Profile.ARN, inst.ID, err)
			}
		}
		grants[inst.ID] = g
		if !g.renew.IsZero() && (next.IsZero() || g.renew.Before(next)) {
			next = g.renew
		}
	}
	n.grants, n.grantsRead = grants, read
	if n.renewal != nil {
		n.renewal.Stop()
	}
	if !next.IsZero() {
		n.renewal = time.AfterFunc(next.Sub(n.Now()), n.wakeNetwork)
	}
	return nil
}

// due says if the credentials are to be made anew.
func (g *grant) due(now time.Time) bool { return !g.renew.IsZero() && !now.Before(g.renew) }

// rolesChanged rises with each change of what roles and profiles hand out. It is no
// answer twice if there is nobody to ask: then all is read.
func (n *Node) rolesChanged(ctx context.Context) (int64, error) {
	if n.Store == nil {
		return n.grantsRead + 1, nil
	}
	read, err := n.Store.LastChange(ctx, records.Profiles.Name(), records.Roles.Name())
	if err != nil {
		return 0, fmt.Errorf("looking for changes of roles: %w", err)
	}
	return read, nil
}

func (n *Node) grantRole(ctx context.Context, inst *model.Instance, last grant) (grant, error) {
	now := n.Now().UTC()
	g := grant{association: inst.Profile.ID}
	g.profile = &metadata.Profile{ARN: inst.Profile.ARN, ID: inst.Profile.ProfileID, Updated: now}
	role, err := n.Roles.InstanceRole(ctx, inst.OwnerID, inst.Profile)
	if err != nil && model.CodeOf(err) == "" {
		return g, err
	}
	g.profile.Role, g.role = role.Name, role.ID
	if err != nil {
		g.profile.Problem = err.Error()
	}
	same := last.profile != nil && last.association == g.association && last.role == g.role && last.profile.Problem == g.profile.Problem
	if same && (last.renew.IsZero() || now.Before(last.renew)) {
		return last, nil
	}
	if g.profile.Problem != "" {
		return g, nil
	}
	if g.profile.Credentials, err = n.Roles.InstanceCredentials(role, inst.ID); err != nil {
		return g, err
	}
	g.renew = now.Add(g.profile.Credentials.Expires.Sub(now) / 2)
	return g, nil
}
