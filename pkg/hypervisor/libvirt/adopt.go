//go:build libvirt

package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"

	"libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

// Foreign returns the domain of that name or UUID, unless it is a driver's of bundt.
func (d *driver) Foreign(ctx context.Context, name string) (m model.ForeignMachine, err error) {
	if err := ctx.Err(); err != nil {
		return m, err
	}
	c, err := d.connection()
	if err != nil {
		return m, err
	}
	dom, err := c.LookupDomainByName(name)
	if is(err, libvirt.ERR_NO_DOMAIN) {
		dom, err = c.LookupDomainByUUIDString(name)
	}
	if is(err, libvirt.ERR_NO_DOMAIN) || is(err, libvirt.ERR_INVALID_ARG) {
		return m, fmt.Errorf("domain %s: %w", name, hypervisor.ErrNotFound)
	}
	if err != nil {
		return m, fmt.Errorf("looking for the domain %s: %w", name, err)
	}
	defer func() { _ = dom.Free() }()
	if _, err := dom.GetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, namespace, 0); err == nil {
		return m, fmt.Errorf("the domain %s is bundt's already: %w", name, hypervisor.ErrUnsupported)
	}
	text, err := dom.GetXMLDesc(0)
	if err != nil {
		return m, absent(err)
	}
	x := &libvirtxml.Domain{}
	if err := xml.Unmarshal([]byte(text), x); err != nil {
		return m, fmt.Errorf("reading the domain %s: %w", name, err)
	}
	if m, err = foreign(x); err != nil {
		return m, err
	}
	m.Running, err = dom.IsActive()
	return m, err
}
