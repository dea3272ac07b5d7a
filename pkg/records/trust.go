package records

import (
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// TrustedBy returns the keys that an account trusts.
func TrustedBy(tx *store.Tx, account string) (keys []model.TrustedKey, err error) {
	all, err := TrustedKeys.List(tx)
	for _, k := range all {
		if k.OwnerID == account {
			keys = append(keys, k)
		}
	}
	return keys, err
}
