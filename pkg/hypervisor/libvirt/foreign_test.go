package libvirt

import (
	"encoding/xml"
	"errors"
	"reflect"
	"strings"
	"testing"

	"libvirt.org/go/libvirtxml"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/model"
)

const foreignDomain = `<domain type="kvm"><name>mail</name><uuid>u-1</uuid>
<os firmware="efi"><type arch="x86_64" machine="pc-q35-7.2">hvm</type></os>
<devices>
<disk type="file" device="cdrom"><source file="/iso"/><target dev="sda"/></disk>
<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="/data.raw"/><target dev="vda"/></disk>
<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="/root.qcow2"/><target dev="vdb"/><boot order="1"/></disk>
</devices></domain>`

func parseForeign(t *testing.T, text string) (model.ForeignMachine, error) {
	t.Helper()
	x := &libvirtxml.Domain{}
	if err := xml.Unmarshal([]byte(text), x); err != nil {
		t.Fatal(err)
	}
	return foreign(x)
}

func TestForeign(t *testing.T) {
	got, err := parseForeign(t, foreignDomain)
	want := model.ForeignMachine{Name: "mail", UUID: "u-1", Arch: model.X8664, UEFI: true, Disks: []model.ForeignDisk{
		{Name: "vdb", Path: "/root.qcow2", Format: model.FormatQcow2}, {Name: "vda", Path: "/data.raw", Format: model.FormatRaw},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for name, tc := range map[string]struct{ old, new, want string }{
		"another architecture": {"x86_64", "ppc64", "ppc64"},
		"a block device":       {`type="file" device="disk"><driver name="qemu" type="raw"/><source file=`, `type="block" device="disk"><driver name="qemu" type="raw"/><source dev=`, "vda is no file"},
		"another format":       {`type="qcow2"`, `type="qed"`, "format qed"},
		"an overlay":           {`<target dev="vdb"/>`, `<backingStore type="file"><format type="raw"/><source file="/b"/></backingStore><target dev="vdb"/>`, "overlay"},
		"an encrypted disk":    {`<source file="/root.qcow2"/>`, `<source file="/root.qcow2"><encryption format="luks"/></source>`, "encrypted"},
		"no disks":             {`device="disk"`, `device="cdrom"`, "no disks"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseForeign(t, strings.ReplaceAll(foreignDomain, tc.old, tc.new))
			if !errors.Is(err, hypervisor.ErrUnsupported) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
