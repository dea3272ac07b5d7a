package records

import (
	"errors"
	"regexp"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/store"
)

// imageName is EC2's rule for AMI names.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html
var imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)

// CheckImageName returns a *model.Error for what is no name of an image.
func CheckImageName(name string) error {
	if !imageName.MatchString(name) {
		return model.Errorf(model.CodeImageNameMalformed, "The AMI name %q is not valid: 3 to 128 letters, digits, spaces and ( ) [ ] . / - ' @ _", name)
	}
	return nil
}

// TakeImageName reserves the name of an account's image, or returns a *model.Error:
// it is no name of an image, or another image of the account has it.
func TakeImageName(tx *store.Tx, account, name, id string) error {
	if err := CheckImageName(name); err != nil {
		return err
	}
	old, err := Names.Get(tx, NameKey(model.ImagePrefix, account, name))
	if err == nil {
		return model.Errorf(model.CodeImageNameDuplicate, "AMI name %s is already in use by AMI %s", name, old.ID).
			WithHint("choose another name, or remove the old image: bundt image delete %s", old.ID)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return Names.Put(tx, &Name{Kind: model.ImagePrefix, OwnerID: account, Name: name, ID: id})
}
