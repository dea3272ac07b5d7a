package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/uuid"
)

// vmdk is the start of a sparse VMDK with this descriptor.
func vmdk(capacity uint64, descriptor string) []byte {
	b := make([]byte, 40*512)
	copy(b, vmdkMagic)
	binary.LittleEndian.PutUint64(b[vmdkCapacityAt:], capacity)
	binary.LittleEndian.PutUint64(b[vmdkDescriptorAt:], 1)
	binary.LittleEndian.PutUint64(b[vmdkDescriptorLen:], 20)
	copy(b[512:], descriptor)
	return b
}

// vhd is a disk image with a footer of this type, and with a copy at the start.
func vhd(typ uint32, start bool) []byte {
	b := make([]byte, 8*512)
	for _, at := range []int{0, len(b) - 512} {
		if at == 0 && !start {
			continue
		}
		copy(b[at:], vhdCookie)
		binary.BigEndian.PutUint32(b[at+60:], typ)
	}
	return b
}

func TestInspectForeign(t *testing.T) {
	late := vmdk(1, "# Disk DescriptorFile\nparentCID=ffffffff\n")
	copy(late[512+15*512:], "parentFileNameHint=\"/etc/passwd\"")
	far := vmdk(1, "")
	binary.LittleEndian.PutUint64(far[vmdkDescriptorAt:], 1<<40)
	mixed := vhd(vhdDynamic, true)
	binary.BigEndian.PutUint32(mixed[60:], 4)
	posing := vhd(vhdFixed, true)
	binary.BigEndian.PutUint32(posing[60:], 4)
	for name, test := range map[string]struct {
		format string
		data   []byte
		ok     bool
	}{
		"sparse VMDK":                   {FormatVMDK, vmdk(1, "parentCID=ffffffff"), true},
		"VMDK with a parent":            {FormatVMDK, vmdk(1, `parentFileNameHint="/etc/passwd"`), false},
		"VMDK with a parent further on": {FormatVMDK, late, false},
		"VMDK without data":             {FormatVMDK, vmdk(0, ""), false},
		"VMDK descriptor":               {FormatVMDK, []byte("# Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0\n" + string(make([]byte, 600))), false},
		"VMDK descriptor outside":       {FormatVMDK, far, false},
		"short VMDK":                    {FormatVMDK, []byte(vmdkMagic), false},
		"fixed VHD":                     {FormatVPC, vhd(vhdFixed, false), true},
		"dynamic VHD":                   {FormatVPC, vhd(vhdDynamic, true), true},
		"differencing VHD":              {FormatVPC, vhd(4, true), false},
		"VHD of two minds":              {FormatVPC, mixed, false},
		"VHD that only ends fixed":      {FormatVPC, posing, false},
		"dynamic VHD without a start":   {FormatVPC, vhd(vhdDynamic, false), false},
		"no VHD":                        {FormatVPC, make([]byte, 4096), false},
		"short VHD":                     {FormatVPC, []byte(vhdCookie), false},
	} {
		err := inspectForeign(bytes.NewReader(test.data), int64(len(test.data)), test.format)
		if test.ok && err != nil || !test.ok && !errors.Is(err, ErrHostile) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := inspectForeign(nil, 0, "vvfat"); err == nil {
		t.Error("vvfat is accepted")
	}
}

// table is a disk's start with a GPT of partitions of these types.
func table(code bool, types ...string) []byte {
	b := make([]byte, 64*512)
	b[510], b[511] = 0x55, 0xaa
	if code {
		b[0] = 0xeb
	}
	b[450] = mbrGPT
	copy(b[512:], "EFI PART")
	le := binary.LittleEndian
	le.PutUint64(b[512+72:], 2)
	le.PutUint32(b[512+80:], 128)
	le.PutUint32(b[512+84:], 128)
	for i, typ := range types {
		id := uuid.MustParse(typ)
		entry := b[1024+128*i:]
		for to, from := range []int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
			entry[to] = id[from]
		}
		le.PutUint64(entry[32:], uint64(2048*(i+1)))
	}
	return b
}

func TestProbeTable(t *testing.T) {
	mbr := func(code bool, types ...byte) []byte {
		b := make([]byte, 1024)
		b[510], b[511] = 0x55, 0xaa
		if code {
			b[0] = 0xeb
		}
		for i, typ := range types {
			b[446+16*i+4] = typ
			binary.LittleEndian.PutUint32(b[446+16*i+8:], uint32(2048*(i+1)))
		}
		return b
	}
	broken := table(true, gptESP)
	binary.LittleEndian.PutUint32(broken[512+84:], 1)
	for name, test := range map[string]struct {
		data []byte
		want BootInfo
		esp  int64
	}{
		"BIOS by MBR":         {mbr(true, 0x83), BootInfo{BIOS: true}, 0},
		"no boot code":        {mbr(false, 0x83), BootInfo{}, 0},
		"UEFI by MBR":         {mbr(false, 0x83, mbrESP), BootInfo{UEFI: true}, 4096 * 512},
		"both":                {table(true, gptBIOSBoot, gptESP, RootTypeX8664), BootInfo{UEFI: true, BIOS: true, Arch: archX8664}, 4096 * 512},
		"arm64":               {table(false, RootTypeARM64, gptESP), BootInfo{UEFI: true, Arch: archARM64}, 4096 * 512},
		"no place for GRUB":   {table(true, gptESP), BootInfo{UEFI: true}, 2048 * 512},
		"entries too small":   {broken, BootInfo{}, 0},
		"nothing":             {make([]byte, 4096), BootInfo{}, 0},
		"less than a sector":  {[]byte{1}, BootInfo{}, 0},
		"a GPT that is cut":   {table(true, gptESP)[:1024], BootInfo{}, 0},
		"only an empty table": {table(false), BootInfo{}, 0},
	} {
		got, esp := probeTable(test.data)
		if got != test.want || esp != test.esp {
			t.Errorf("%s: got %+v at %d, want %+v at %d", name, got, esp, test.want, test.esp)
		}
	}
}

func TestLoaderArch(t *testing.T) {
	fat := make([]byte, 4096)
	if got := loaderArch(fat); got != "" {
		t.Errorf("an empty partition is for %q", got)
	}
	copy(fat[64:], "BOOTAA64EFI")
	if got := loaderArch(fat[:100]); got != archARM64 {
		t.Errorf("got %q", got)
	}
}

func TestPercentWriter(t *testing.T) {
	var got []int
	w := &percentWriter{tell: func(p int) { got = append(got, p) }, last: -1}
	for _, s := range []string{"    (0.00/1", "00%)\r    (0.50/100%)\r", "    (42.10/100%)\r noise ) (x/100%)", "    (100.00/100%)\r\n"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
	}
	if len(got) != 3 || got[0] != 0 || got[1] != 42 || got[2] != 100 {
		t.Errorf("got %v", got)
	}
}

// Whatever a file says of itself, inspecting it ends, with no more memory than its
// tables are bounded to.
func FuzzForeign(f *testing.F) {
	vhdx := make([]byte, 1<<20)
	copy(vhdx, vhdxSignature)
	for _, at := range []int{64 << 10, 128 << 10} {
		copy(vhdx[at:], "head")
	}
	copy(vhdx[192<<10:], "regi")
	f.Add(vhdx[:300<<10])
	vmdk := make([]byte, 64<<10)
	copy(vmdk, vmdkMagic)
	vmdk[vmdkCapacityAt], vmdk[vmdkDescriptorAt], vmdk[vmdkDescriptorLen] = 1, 1, 20
	f.Add(vmdk)
	vhd := make([]byte, 2048)
	copy(vhd, vhdCookie)
	vhd[63] = vhdDynamic
	f.Add(vhd)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, format := range []string{FormatVMDK, FormatVPC, FormatVHDX} {
			if err := inspectForeign(bytes.NewReader(b), int64(len(b)), format); err != nil && !errors.Is(err, ErrHostile) {
				t.Errorf("%s: an error of another kind: %v", format, err)
			}
		}
	})
}
