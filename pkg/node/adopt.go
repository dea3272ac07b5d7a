package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Foreign returns a machine of this host that somebody else made.
func (n *Node) Foreign(ctx context.Context, name string) (model.ForeignMachine, error) {
	a, ok := n.Driver.(hypervisor.Adopter)
	if !ok {
		return model.ForeignMachine{}, model.Errorf(model.CodeUnsupportedOperation, "The hypervisor driver %s knows no machines but its own", n.Driver.Name()).
			WithHint("domains are adopted by a daemon that uses their libvirt: bundtd-libvirt --hypervisor qemu:///system")
	}
	m, err := a.Foreign(ctx, name)
	switch {
	case errors.Is(err, hypervisor.ErrNotFound):
		return m, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter Domain is invalid: there is no such domain", name).
			WithHint("virsh list --all shows them, of the libvirt that bundtd uses")
	case errors.Is(err, hypervisor.ErrUnsupported):
		return m, model.Errorf(model.CodeUnsupportedOperation, "It cannot be adopted: %v", err)
	}
	return m, err
}

// foreignFile looks at a disk of a foreign machine.
func foreignFile(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("opening a disk of the domain: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return info, nil
}

// foreignState refuses to read disks of a machine that runs, and returns what refuses
// what was read if somebody wrote meanwhile. It is nothing for other disks.
func (n *Node) foreignState(ctx context.Context, t *model.ImportTask, i int) (unchanged func() error, err error) {
	path := t.Disks[i].File
	if path == "" {
		return func() error { return nil }, nil
	}
	m, err := n.Foreign(ctx, t.Domain)
	if err != nil {
		return nil, err
	}
	if m.Running {
		return nil, fmt.Errorf("the domain %s was started: its disks change while they are read", m.Name)
	}
	state := func() (string, error) {
		info, err := foreignFile(path)
		if err != nil {
			return "", err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return "", fmt.Errorf("%s has no state that could be told", path)
		}
		return fileState(st), nil
	}
	before, err := state()
	return func() error {
		after, err := state()
		if err == nil && after != before {
			err = fmt.Errorf("%s was written to while it was read: adopt the domain %s while it does not run", path, m.Name)
		}
		return err
	}, err
}
