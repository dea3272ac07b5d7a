package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// VolumeKeys makes the keys that volumes are encrypted with.
type VolumeKeys interface {
	// New makes a data key for an account, encrypted with the account's own.
	New(account string, now time.Time) (model.DataKey, error)
	// AccountKey is the id that the account's own key goes by.
	AccountKey(account string) (string, error)
}

// Encryption is what a request says about a volume's or a copy's encryption.
type Encryption struct {
	Encrypted *bool  // nil: as the snapshot, or as the account's settings say
	KeyID     string // names the account's key, the only one there is; "" is the same
}

// ebsAlias is the name of the key that EBS uses unless it is told another one.
const ebsAlias = "alias/aws/ebs"

const codeParameterDependency = "InvalidParameterDependency"

// KeyARN is the name of the key that encrypts the account's volumes.
func (c *Account) KeyARN() (string, error) {
	if c.keys == nil {
		return "", noKeys()
	}
	id, err := c.keys.AccountKey(c.id)
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", c.info.Region, c.id, id), err
}

func noKeys() *model.Error {
	return model.Errorf(model.CodeUnsupportedOperation, "This cloud has no key to encrypt volumes with")
}

// check returns EC2's error unless the request can be met; encrypted is whether
// what the volume is made of is.
func (c *Account) checkEncryption(e Encryption, encrypted bool) error {
	on := e.Encrypted != nil && *e.Encrypted
	switch {
	case e.KeyID != "" && !on:
		return model.Errorf(codeParameterDependency, "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	case encrypted && e.Encrypted != nil && !on:
		return model.Errorf(model.CodeInvalidParameterCombination, "What is made of an encrypted snapshot is encrypted: Encrypted cannot be false").
			WithHint("to have the data without encryption, copy it in a guest to a volume that is not encrypted")
	case e.KeyID == "":
		return nil
	}
	arn, err := c.KeyARN()
	if err != nil {
		return err
	}
	// A key goes by its id or an alias, or by the ARN of either.
	own, _, _ := strings.Cut(arn, ":key/")
	if strings.TrimPrefix(e.KeyID, own+":") != ebsAlias && e.KeyID != arn && own+":key/"+e.KeyID != arn {
		return model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter KmsKeyId is invalid. The key does not exist.", e.KeyID).
			WithHint("every account has one key, %s: leave KmsKeyId out", ebsAlias)
	}
	return nil
}

// dataKey is the key of a new volume: that of its snapshot, which its layers share,
// a new one if it is to be encrypted, or "".
func (c *Account) dataKey(tx *store.Tx, snapshotKey string, e Encryption) (string, error) {
	if err := c.checkEncryption(e, snapshotKey != ""); err != nil || snapshotKey != "" {
		return snapshotKey, err
	}
	if e.Encrypted == nil || !*e.Encrypted {
		rules, err := c.volumeRules(tx)
		if err != nil || !rules.Encrypt {
			return "", err
		}
	}
	return c.newDataKey(tx)
}

func (c *Account) newDataKey(tx *store.Tx) (string, error) {
	if c.keys == nil {
		return "", noKeys()
	}
	k, err := c.keys.New(c.id, c.Now())
	if err != nil {
		return "", err
	}
	return k.ID, records.DataKeys.Put(tx, &k)
}

// keyOfLayer is the id of the data key that a layer is encrypted with, or "".
func keyOfLayer(tx *store.Tx, id string) (string, error) {
	l, err := records.Layers.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return l.Key, err
}

func (c *Account) volumeRules(tx *store.Tx) (model.VolumeSettings, error) {
	rules, err := records.VolumeRules.Get(tx, c.id)
	if errors.Is(err, store.ErrNotFound) {
		return model.VolumeSettings{OwnerID: c.id}, nil
	}
	return rules, err
}

// EncryptByDefault reports whether new volumes are encrypted that nobody asked to be.
func (c *Account) EncryptByDefault(ctx context.Context) (on bool, err error) {
	err = c.store.View(ctx, func(tx *store.Tx) error {
		rules, err := c.volumeRules(tx)
		on = rules.Encrypt
		return err
	})
	return on, err
}

// SetEncryptByDefault changes that for volumes and copies to come.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableEbsEncryptionByDefault.html
func (c *Account) SetEncryptByDefault(ctx context.Context, on bool) error {
	if on && c.keys == nil {
		return noKeys()
	}
	return c.store.Update(ctx, func(tx *store.Tx) error {
		rules, err := c.volumeRules(tx)
		if err != nil {
			return err
		}
		rules.Encrypt = on
		return records.VolumeRules.Put(tx, &rules)
	})
}

// SetDefaultKey is for the account's own key, which is the default: there is no other.
func (c *Account) SetDefaultKey(keyID string) (arn string, err error) {
	on := true
	if err := c.checkEncryption(Encryption{Encrypted: &on, KeyID: keyID}, false); err != nil {
		return "", err
	}
	return c.KeyARN()
}

// mayTravel refuses to send what an encrypted disk holds where its key is not.
func mayTravel(img *model.Image, done string) error {
	for _, b := range img.BlockDevices {
		if b.SnapshotID != "" && b.Encrypted {
			return model.Errorf(model.CodeUnsupportedOperation, "The image %s has the encrypted snapshot %s: it cannot be %s", img.ID, b.SnapshotID, done).
				WithHint("the key that opens it stays with its account")
		}
	}
	return nil
}
