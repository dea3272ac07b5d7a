package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func inspectPath(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	return InspectOverlay(f, st.Size())
}

// image is a small qcow2 file to damage: header, refcount table, refcount block,
// L1 table, one L2 table and one data cluster of 64 KiB each.
type image []byte

const (
	testCluster = 1 << 16
	testL1      = 3 * testCluster
	testL2      = 4 * testCluster
	testData    = 5 * testCluster
)

func newImage() image {
	const size = 1 << 30
	o := Overlay{SizeBytes: size}
	b := make(image, 6*testCluster)
	parts, _ := o.parts()
	for offset, part := range parts {
		copy(b[offset:], part)
	}
	copy(b[overlayBlock*testCluster:], bytes.Repeat([]byte{0, 1}, 6))
	b.u64(testL1, entryCopied|testL2)
	b.u64(testL2, entryCopied|testData)
	return b
}

func (b image) u32(at int, v uint32) { binary.BigEndian.PutUint32(b[at:], v) }
func (b image) u64(at int, v uint64) { binary.BigEndian.PutUint64(b[at:], v) }

// extension puts one header extension where the end marker was.
func (b image) extension(kind uint32, data string) {
	at := 112
	b.u32(at, kind)
	b.u32(at+4, uint32(len(data)))
	copy(b[at+8:], data)
	b.u64(at+8+(len(data)+7)&^7, 0)
}

func (b image) backing(name string) {
	b.u64(8, 512)
	b.u32(16, uint32(len(name)))
	copy(b[512:], name)
}

// aliasBomb is a file of 384 KiB that claims 1 TiB: every L1 entry names one L2
// table, whose every entry names one data cluster.
func aliasBomb() image {
	b := newImage()
	b.u64(24, 1<<40)
	b.u32(36, 2048)
	for i := range 2048 {
		b.u64(testL1+8*i, testL2)
	}
	for i := range testCluster / 8 {
		b.u64(testL2+8*i, testData)
	}
	return b
}

// hostileImages are named ways to harm a host or to lie.
var hostileImages = map[string]func(image) image{
	"alias bomb":        func(image) image { return aliasBomb() },
	"backing host file": func(b image) image { b.backing("/etc/passwd"); return b },
	"backing network":   func(b image) image { b.backing("nbd:127.0.0.1:10809"); return b },
	"backing json":      func(b image) image { b.backing(`json:{"driver":"file","filename":"/etc/passwd"}`); return b },
	// Found by comparison with QEMU, which refuses these as well.
	"snapshot table not aligned":    func(b image) image { b.u64(64, 1); return b },
	"snapshot table out of range":   func(b image) image { b.u64(64, 1<<63); return b },
	"end of extensions with length": func(b image) image { b.u32(116, testCluster); return b },
	"extension cut off by backing": func(b image) image {
		b.extension(extFeatureNames, "")
		b.u64(8, 124)
		b.u32(16, 10)
		copy(b[124:], "/etc/passwd")
		return b
	},

	"backing name of length 0":      func(b image) image { b.u64(8, 512); return b },
	"backing name too long":         func(b image) image { b.u64(8, 512); b.u32(16, 1024); return b },
	"backing name in header":        func(b image) image { b.u64(8, 8); b.u32(16, 10); return b },
	"backing name beyond cluster":   func(b image) image { b.u64(8, testCluster-2); b.u32(16, 10); return b },
	"backing offset overflow":       func(b image) image { b.u64(8, 1<<63); b.u32(16, 10); return b },
	"external data file":            func(b image) image { b.u64(72, 4); b.extension(0x44415441, "/etc/passwd"); return b },
	"data file extension only":      func(b image) image { b.extension(0x44415441, "/etc/passwd"); return b },
	"raw external data":             func(b image) image { b.u64(88, 2); return b },
	"bitmaps":                       func(b image) image { b.u64(88, 1); return b },
	"dirty":                         func(b image) image { b.u64(72, 1); return b },
	"corrupt":                       func(b image) image { b.u64(72, 2); return b },
	"extended L2":                   func(b image) image { b.u64(72, 16); return b },
	"unknown incompatible feature":  func(b image) image { b.u64(72, 1<<40); return b },
	"unknown compatible feature":    func(b image) image { b.u64(80, 1<<40); return b },
	"AES":                           func(b image) image { b.u32(32, 1); return b },
	"LUKS":                          func(b image) image { b.u32(32, 2); return b },
	"LUKS extension":                func(b image) image { b.extension(0x0537be77, "0123456789abcdef"); return b },
	"unknown extension":             func(b image) image { b.extension(0x12345678, "x"); return b },
	"extension too long":            func(b image) image { b.extension(extFeatureNames, ""); b.u32(116, 1<<31); return b },
	"internal snapshots":            func(b image) image { b.u32(60, 1); return b },
	"version 1":                     func(b image) image { b.u32(4, 1); return b },
	"version 4":                     func(b image) image { b.u32(4, 4); return b },
	"clusters of 256 bytes":         func(b image) image { b.u32(20, 8); return b },
	"clusters of 4 MiB":             func(b image) image { b.u32(20, 22); return b },
	"cluster bits overflow":         func(b image) image { b.u32(20, 0xffffffff); return b },
	"virtual size 0":                func(b image) image { b.u64(24, 0); return b },
	"virtual size 1 PiB":            func(b image) image { b.u64(24, 1<<50); return b },
	"virtual size overflow":         func(b image) image { b.u64(24, 1<<63); return b },
	"L1 too short":                  func(b image) image { b.u32(36, 1); return b },
	"L1 huge":                       func(b image) image { b.u32(36, 0xffffffff); return b },
	"L1 beyond file":                func(b image) image { b.u64(40, 1<<40); return b },
	"L1 offset overflow":            func(b image) image { b.u64(40, 0xffffffffffff0000); return b },
	"L1 not aligned":                func(b image) image { b.u64(40, testL1+8); return b },
	"L1 on header":                  func(b image) image { b.u64(40, 0); return b },
	"L1 on refcount table":          func(b image) image { b.u64(40, testCluster); return b },
	"refcount table beyond file":    func(b image) image { b.u64(48, 1<<40); return b },
	"refcount table huge":           func(b image) image { b.u32(56, 1<<30); return b },
	"refcount table empty":          func(b image) image { b.u32(56, 0); return b },
	"refcount block on header":      func(b image) image { b.u64(testCluster+8, testCluster); return b },
	"refcount block beyond file":    func(b image) image { b.u64(testCluster, 1<<50); return b },
	"refcount block not aligned":    func(b image) image { b.u64(testCluster, 2*testCluster+512); return b },
	"refcount block overflow":       func(b image) image { b.u64(testCluster, 1<<63); return b },
	"refcounts of 128 bits":         func(b image) image { b.u32(96, 7); return b },
	"header length short":           func(b image) image { b.u32(100, 96); return b },
	"header length odd":             func(b image) image { b.u32(100, 105); return b },
	"header length huge":            func(b image) image { b.u32(100, 1<<31); return b },
	"compression type unknown":      func(b image) image { b.u64(72, 8); b[104] = 2; return b },
	"compression type without flag": func(b image) image { b[104] = 1; return b },
	"L2 shared by two L1 entries":   func(b image) image { b.u64(testL1+8, testL2); return b },
	"L2 on L1":                      func(b image) image { b.u64(testL1, testL1); return b },
	"L2 on header":                  func(b image) image { b.u64(testL1, entryCopied); return b },
	"L2 beyond file":                func(b image) image { b.u64(testL1, 1<<40); return b },
	"L2 not aligned":                func(b image) image { b.u64(testL1, testL2+512); return b },
	"L2 cut off":                    func(b image) image { b.u64(testL1, testData); return b[:testData+4096] },
	"L1 reserved bits":              func(b image) image { b.u64(testL1, testL2|1); return b },
	"data shared":                   func(b image) image { b.u64(testL2+8, testData); return b },
	"data is metadata":              func(b image) image { b.u64(testL2, testL2); return b },
	"data is the header":            func(b image) image { b.u64(testL2, entryCopied); return b },
	"data beyond file":              func(b image) image { b.u64(testL2, 1<<40); return b },
	"data not aligned":              func(b image) image { b.u64(testL2, testData+512); return b },
	"L2 reserved bits":              func(b image) image { b.u64(testL2, testData|2); return b },
	"zero data shared":              func(b image) image { b.u64(testL2+8, testData|entryZero); return b },
	"compressed on metadata":        func(b image) image { b.u64(testL2, entryCompressed|testL1); return b },
	"compressed on data":            func(b image) image { b.u64(testL2+8, entryCompressed|testData+17); return b },
	"data on compressed": func(b image) image {
		b.u64(testL2, entryCompressed|testData+17)
		b.u64(testL2+8, testData)
		return b
	},
	"compressed beyond file": func(b image) image { b.u64(testL2, entryCompressed|1<<40); return b },
	"compressed and copied":  func(b image) image { b.u64(testL2, entryCopied|entryCompressed|testData); return b },
	"compressed alias bomb": func(b image) image {
		b.u64(24, 1<<40)
		b.u32(36, 2048)
		b = append(b, make(image, 8*testCluster)...)
		for i := range 8 {
			at := testData + (i+1)*testCluster
			b.u64(testL1+8*i, uint64(at))
			for j := range testCluster / 8 {
				b.u64(at+8*j, entryCompressed|testData+17)
			}
		}
		b.u64(testL1, uint64(testData+testCluster))
		return b
	},
	"zero flag in version 2": func(b image) image {
		b.u32(4, 2)
		b.u64(72, 0)
		b.u64(testL2, testData|entryZero)
		return b
	},
	"cut off in header": func(b image) image { return b[:70] },
	"cut off in tables": func(b image) image { return b[:testL1+100] },
	"header only":       func(b image) image { return b[:4096] },
}

func TestInspectAccepts(t *testing.T) {
	b := newImage()
	b.u64(testL2+8, entryZero)
	info, err := Inspect(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if info.SizeBytes != 1<<30 || info.DataClusters != 1 || info.Version != 3 {
		t.Errorf("got %+v", info)
	}
	b = newImage()
	b.u64(testL2, entryCompressed|testData+17)
	b.u64(testL2+8, entryCompressed|testData+917)
	b.extension(extFeatureNames, "names")
	if info, err = Inspect(bytes.NewReader(b), int64(len(b))); err != nil || info.CompressedClusters != 2 {
		t.Errorf("compressed: got %+v, %v", info, err)
	}
}

func TestInspectRefuses(t *testing.T) {
	for name, damage := range hostileImages {
		t.Run(name, func(t *testing.T) {
			b := damage(newImage())
			if _, err := Inspect(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrHostile) {
				t.Errorf("got %v, want ErrHostile", err)
			}
		})
	}
	for _, s := range []string{"", "QFI", "\x7fELF and more", "# Disk DescriptorFile\n"} {
		if _, err := Inspect(bytes.NewReader([]byte(s)), int64(len(s))); !errors.Is(err, ErrNotQcow2) {
			t.Errorf("%q: got %v, want ErrNotQcow2", s, err)
		}
	}
}

// TestInspectIsCheap checks goal R1: a hostile file costs at most 50 ms and 16
// MiB.
func TestInspectIsCheap(t *testing.T) {
	for name, damage := range hostileImages {
		b := damage(newImage())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, _ = Inspect(bytes.NewReader(b), int64(len(b)))
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 || took > 50*time.Millisecond {
			t.Errorf("%s: %v and %d bytes", name, took, used)
		}
	}
}

func TestOverlayCompleteness(t *testing.T) {
	dir := t.TempDir()
	o := Overlay{Backing: "base.qcow2", BackingFormat: "qcow2", SizeBytes: 1 << 30}
	path := filepath.Join(dir, "o.qcow2")
	if err := WriteOverlay(path, o); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(n int) image { return append(image{}, whole[:n]...) }
	blank := func(from, to int) image { b := cut(len(whole)); clear(b[from:to]); return b }
	tests := []struct {
		name     string
		content  image
		complete bool
		wantErr  bool
	}{
		{"fresh", whole, true, false},
		{"grown", append(cut(len(whole)), make(image, testCluster)...), true, false},
		{"empty file", nil, false, false},
		{"only length", make(image, len(whole)), false, false},
		{"half a header", cut(60), false, false},
		{"without tables", cut(4096), false, false},
		{"without L1", cut(3 * testCluster), false, false},
		{"header lost", blank(0, 4096), false, false},
		{"refcount table lost", blank(testCluster, testCluster+8), false, false},
		{"refcounts lost", blank(2*testCluster, 2*testCluster+64), false, false},
		{"something else", image("important data of somebody"), false, true},
		{"another size", func() image { b := cut(len(whole)); b.u64(24, 1<<29); return b }(), false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			complete, err := CheckOverlay(path, o)
			if complete != tt.complete || (err != nil) != tt.wantErr {
				t.Errorf("got %v, %v", complete, err)
			}
		})
	}
}

func TestWriteOverlayRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]Overlay{
		"no size":         {"b", "qcow2", 0, ""},
		"odd size":        {"b", "qcow2", 1000, ""},
		"too large":       {"b", "qcow2", MaxVirtualBytes + 512, ""},
		"probed format":   {"b", "", 512, ""},
		"unsafe format":   {"b", "vmdk", 512, ""},
		"protocol":        {"nbd:host", "raw", 512, ""},
		"format only":     {"", "qcow2", 512, ""},
		"name too long":   {string(bytes.Repeat([]byte("x"), 1024)), "raw", 512, ""},
		"zero in name":    {"a\x00b", "raw", 512, ""},
		"negative number": {"b", "qcow2", -512, ""},
	} {
		path := filepath.Join(dir, "x")
		if err := WriteOverlay(path, o); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: left a file", name)
		}
	}
	path := filepath.Join(dir, "taken")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteOverlay(path, Overlay{"b", "qcow2", 512, ""}); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v, want ErrExist", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "data" {
		t.Errorf("the existing file changed: %q, %v", b, err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte(newImage()))
	for _, damage := range hostileImages {
		f.Add([]byte(damage(newImage())))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Inspect(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrHostile) && !errors.Is(err, ErrNotQcow2) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		if info.Backing != "" || info.SizeBytes <= 0 || info.SizeBytes > MaxVirtualBytes {
			t.Fatalf("accepted %+v", info)
		}
		if stored := info.DataClusters << info.ClusterBits; stored > int64(len(b))+info.clusterBytes() {
			t.Fatalf("a file of %d bytes claims %d", len(b), stored)
		}
	})
}
