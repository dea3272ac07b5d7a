package cloud

import (
	"cmp"
	"context"
	"fmt"

	"github.com/bundt/bundt/pkg/model"
)

// Adoption is what AdoptDomain asks for.
type Adoption struct {
	Name        string // of the image; "" is the machine's
	Description string
	ClientToken string
}

// Adopt writes the intent to make an image of a foreign machine's disks. The machine
// stays what it is.
func (c *Account) Adopt(ctx context.Context, m *model.ForeignMachine, r Adoption) (model.ImportTask, error) {
	if m.Running {
		return model.ImportTask{}, model.Errorf(model.CodeIncorrectState, "The domain %s runs: its disks change while they are read", m.Name).
			WithHint("shut it down first (virsh shutdown %s), and start it again when the image is available", m.Name)
	}
	in := ImageImport{
		Description: cmp.Or(r.Description, fmt.Sprintf("Adopted from the libvirt domain %s (%s)", m.Name, m.UUID)),
		Arch:        m.Arch, Mode: m.BootMode(), Domain: m.UUID, ClientToken: r.ClientToken,
		Tags: model.Tags{ImageNameTag: cmp.Or(r.Name, m.Name)},
	}
	for _, d := range m.Disks {
		in.Disks = append(in.Disks, model.ImportDisk{File: d.Path, Format: d.Format, Description: d.Name})
	}
	return c.ImportImage(ctx, in)
}
