package cloud

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// EC2's limits of tags.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

func checkTags(sets ...model.Tags) error {
	for _, tags := range sets {
		if len(tags) > maxTags {
			return model.Errorf(model.CodeTagLimitExceeded, "The maximum number of tags per resource is %d; this has %d", maxTags, len(tags))
		}
		for k, v := range tags {
			if k == "" || utf8.RuneCountInString(k) > maxTagKey {
				return model.Errorf(model.CodeInvalidParameterValue, "Tag key %q must have 1 to %d characters", k, maxTagKey)
			}
			if utf8.RuneCountInString(v) > maxTagValue {
				return model.Errorf(model.CodeInvalidParameterValue, "Tag value for %q exceeds the maximum length of %d characters", k, maxTagValue)
			}
			if strings.HasPrefix(strings.ToLower(k), "aws:") {
				return model.Errorf(model.CodeInvalidParameterValue, "Tag keys starting with 'aws:' are reserved: %q", k)
			}
		}
	}
	return nil
}

// EditTags changes the tags of resources in one transaction. edit gets a copy it
// may change.
func (c *Cloud) EditTags(ctx context.Context, ids []string, edit func(model.Tags)) error {
	if len(ids) == 0 {
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter ResourceId")
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			if err := editTags(tx, id, edit); err != nil {
				return err
			}
		}
		return nil
	})
}

func editTags(tx *store.Tx, id string, edit func(model.Tags)) error {
	prefix, _, _ := strings.Cut(id, "-")
	switch model.IDPrefix(prefix) {
	case model.InstancePrefix:
		return retag(tx, records.Instances, id, instanceNotFound(id), edit, func(i *model.Instance) *model.Tags { return &i.Tags })
	case model.ImagePrefix:
		return retag(tx, records.Images, id, imageNotFound(id), edit, func(i *model.Image) *model.Tags { return &i.Tags })
	case model.SnapshotPrefix:
		return retag(tx, records.Snapshots, id, snapshotNotFound(id), edit, func(s *model.Snapshot) *model.Tags { return &s.Tags })
	case model.VolumePrefix:
		return retag(tx, records.Volumes, id, volumeNotFound(id), edit, func(v *model.Volume) *model.Tags { return &v.Tags })
	case model.KeyPairPrefix:
		return retag(tx, records.KeyPairs, id, model.Errorf(model.CodeKeyPairNotFound, "The key pair '%s' does not exist", id), edit, func(k *model.KeyPair) *model.Tags { return &k.Tags })
	}
	return model.Errorf(model.CodeInvalidID, "The ID '%s' is not valid", id)
}

func retag[T any](tx *store.Tx, col store.Collection[T], id string, notFound *model.Error, edit func(model.Tags), tags func(*T) *model.Tags) error {
	v, err := col.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return notFound
	}
	if err != nil {
		return err
	}
	t := tags(&v)
	if *t == nil {
		*t = model.Tags{}
	}
	edit(*t)
	if err := checkTags(*t); err != nil {
		return err
	}
	return col.Put(tx, &v)
}
