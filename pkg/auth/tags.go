package auth

import (
	"context"
	"maps"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// TagChange sets tags and then removes those of some keys.
type TagChange struct {
	Set    model.Tags
	Remove []string
}

func (ch TagChange) apply(tags *model.Tags) error {
	next := maps.Clone(*tags)
	if next == nil {
		next = model.Tags{}
	}
	maps.Copy(next, ch.Set)
	for _, key := range ch.Remove {
		delete(next, key)
	}
	*tags = next
	return checkTags(next)
}

// TagUser changes a user's tags.
func (d *Directory) TagUser(ctx context.Context, account, name string, ch TagChange) error {
	return d.ChangeUser(ctx, account, name, func(_ *store.Tx, u *model.User) error { return ch.apply(&u.Tags) })
}

// TagRole changes a role's tags.
func (d *Directory) TagRole(ctx context.Context, account, name string, ch TagChange) error {
	return d.ChangeRole(ctx, account, name, func(_ *store.Tx, r *model.Role) error { return ch.apply(&r.Tags) })
}

// TagProfile changes an instance profile's tags.
func (d *Directory) TagProfile(ctx context.Context, account, name string, ch TagChange) error {
	return d.changeProfile(ctx, account, name, func(_ *store.Tx, p *model.InstanceProfile) error { return ch.apply(&p.Tags) })
}

// TagPolicy changes the tags of a managed policy of the account's own.
func (d *Directory) TagPolicy(ctx context.Context, account, arn string, ch TagChange) error {
	return d.changePolicy(ctx, account, arn, func(tx *store.Tx, p *model.ManagedPolicy) error {
		if err := ch.apply(&p.Tags); err != nil {
			return err
		}
		return records.Policies.Put(tx, p)
	})
}
