package uefi

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"reflect"
	"testing"
	"unicode/utf16"
)

var vendor = guid("61dfe48bca93d211aa0d00e098032b8c")

func wide(s string) (b []byte) {
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// entry is a variable as EDK II stores it.
func entry(state byte, v Variable) []byte {
	name := wide(v.Name)
	b := append([]byte{0xaa, 0x55, state, 0}, binary.LittleEndian.AppendUint32(nil, v.Attributes)...)
	b = append(append(b, make([]byte, 8)...), v.Timestamp[:]...)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v.Data)))
	b = append(append(append(b, v.Vendor[:]...), name...), v.Data...)
	for len(b)%4 != 0 {
		b = append(b, 0xff)
	}
	return b
}

// flash is a volume with a store of those entries.
func flash(entries ...[]byte) []byte {
	const size = 4096
	b := make([]byte, 72, 8192)
	copy(b[40:], "_FVH")
	binary.LittleEndian.PutUint16(b[48:], 72)
	b = append(b, authenticatedStore[:]...)
	b = binary.LittleEndian.AppendUint32(b, size)
	b = append(b, 0x5a, 0xfe, 0, 0, 0, 0, 0, 0)
	b = append(b, bytes.Join(entries, nil)...)
	return append(b, bytes.Repeat([]byte{0xff}, 8192-len(b))...)
}

func certificate(name string, digest []byte) []byte {
	w := wide(name)
	node := append([]byte{}, vendor[:]...)
	for _, n := range []int{28 + len(w) + len(digest), len(w) / 2, len(digest)} {
		node = binary.LittleEndian.AppendUint32(node, uint32(n))
	}
	node = append(append(node, w...), digest...)
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(node)+4)), node...)
}

func TestParse(t *testing.T) {
	boot := Variable{Name: "Boot0001", Vendor: vendor, Attributes: 7, Data: []byte("a disk")}
	order := Variable{Name: "BootOrder", Vendor: vendor, Attributes: 7, Data: []byte{1, 0}}
	old := order
	old.Data = []byte{0, 0}
	digest := bytes.Repeat([]byte{9}, 32)
	mine := Variable{Name: "Mine", Vendor: vendor, Attributes: 0x27, Data: []byte("signed"), Timestamp: [16]byte{0xe9, 7, 3}}
	db := Variable{Name: "certdb", Vendor: certificates, Attributes: 0x27, Data: certificate("Mine", digest)}
	signedMine := mine
	signedMine.Digest = digest
	unsized := entry(0xff, order)
	copy(unsized[36:44], bytes.Repeat([]byte{0xff}, 8))
	for name, test := range map[string]struct {
		flash []byte
		want  []Variable
	}{
		"half written header":          {flash(entry(0x3f, boot), unsized), []Variable{boot}},
		"zeros":                        {make([]byte, 4096), nil},
		"ones":                         {bytes.Repeat([]byte{0xff}, 4096), nil},
		"formatted":                    {flash(), nil},
		"two":                          {flash(entry(0x3f, boot), entry(0x3f, order)), []Variable{boot, order}},
		"deleted":                      {flash(entry(0x3c, old), entry(0x3f, order)), []Variable{order}},
		"half written":                 {flash(entry(0x3f, boot), entry(0x7f, order)), []Variable{boot}},
		"going, without its successor": {flash(entry(0x3d, old), entry(0x7f, order)), []Variable{old}},
		"going, with its successor":    {flash(entry(0x3d, old), entry(0x3f, order)), []Variable{order}},
		"signed":                       {flash(entry(0x3f, mine), entry(0x3f, db)), []Variable{signedMine}},
	} {
		got, err := Parse(test.flash)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v (%v), want %+v", name, got, err, test.want)
		}
	}
}

func TestParseOfWhatIsNoStore(t *testing.T) {
	long := entry(0x3f, Variable{Name: "x", Vendor: vendor})
	binary.LittleEndian.PutUint32(long[40:], 1<<31)
	short := flash()
	other := flash()
	other[72] ^= 1
	for name, b := range map[string][]byte{
		"text":                   bytes.Repeat([]byte("text"), 100),
		"cut off":                short[:100],
		"another format":         other,
		"variable without end":   flash(long),
		"certificate cut off":    flash(entry(0x3f, Variable{Name: "certdb", Vendor: certificates, Data: certificate("x", nil)[:20]})),
		"certificate of nothing": flash(entry(0x3f, Variable{Name: "certdb", Vendor: certificates, Data: certificate("x", make([]byte, 9))[:38]})),
	} {
		if got, err := Parse(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(flash(entry(0x3f, Variable{Name: "certdb", Vendor: certificates, Data: certificate("x", nil)})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Parse(b); err != nil && !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	})
}

// TestData reads the form as uefivars does.
func TestData(t *testing.T) {
	text, err := Data([]Variable{
		{Name: "Lang", Vendor: vendor, Attributes: 7, Data: []byte("eng")},
		{Name: "db", Vendor: vendor, Attributes: 0x27, Data: []byte("key"), Timestamp: [16]byte{1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || string(b[:8]) != "AMZNUEFI" {
		t.Fatalf("%q: %v", b, err)
	}
	if sum := crc32.Checksum(b[12:], crc32.MakeTable(crc32.Castagnoli)); sum != binary.LittleEndian.Uint32(b[8:]) {
		t.Errorf("the checksum is %#x", sum)
	}
	if version := binary.LittleEndian.Uint32(b[12:]); version != 0 {
		t.Errorf("version %d", version)
	}
	z, err := zlib.NewReader(bytes.NewReader(b[16:]))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	v := string(vendor[:])
	want := "\x02\x00\x00\x00\x00\x00\x00\x00" +
		"\x04\x00\x00\x00\x00\x00\x00\x00Lang" + "\x03\x00\x00\x00\x00\x00\x00\x00eng" + v + "\x07\x00\x00\x00" +
		"\x02\x00\x00\x00\x00\x00\x00\x00db" + "\x03\x00\x00\x00\x00\x00\x00\x00key" + v + "\x27\x00\x00\x00" +
		"\x01" + string(make([]byte, 15)) + "\x20\x00\x00\x00\x00\x00\x00\x00" + string(make([]byte, 32))
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
