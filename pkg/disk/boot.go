package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// BootInfo is what a disk's partitions tell of how it boots.
type BootInfo struct {
	UEFI bool   // it has an EFI system partition
	BIOS bool   // it has boot code, and with a GPT a place for the rest of it
	Arch string // EC2's name, "" if nothing tells
}

const (
	probeTableBytes = 1 << 20
	// probeESPBytes is how much of an EFI system partition is searched for loaders.
	probeESPBytes = 64 << 20

	gptESP      = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	gptBIOSBoot = "21686148-6449-6e6f-744e-656564454649"
	mbrESP      = 0xef
	mbrGPT      = 0xee

	archX8664 = "x86_64"
	archARM64 = "arm64"
	archI386  = "i386"
)

// rootTypes tell the architecture by the root partition's type, lower case.
var rootTypes = map[string]string{
	strings.ToLower(RootTypeX8664): archX8664, strings.ToLower(RootTypeARM64): archARM64, strings.ToLower(RootTypeI386): archI386,
}

// loaders are the short names that FAT directories have for the loaders that UEFI
// starts by itself, on each architecture.
var loaders = map[string]string{"BOOTX64 EFI": archX8664, "BOOTAA64EFI": archARM64, "BOOTIA32EFI": archI386}

// ProbeBoot finds out how the disk in a qcow2 file boots, which may have backing
// files and is trusted; workDir is for temporary files.
func ProbeBoot(ctx context.Context, path, workDir string) (BootInfo, error) {
	table, err := readGuest(ctx, path, workDir, 0, probeTableBytes)
	if err != nil {
		return BootInfo{}, fmt.Errorf("reading the partition table: %w", err)
	}
	info, esp := probeTable(table)
	if info.Arch != "" || !info.UEFI {
		if info.Arch == "" && info.BIOS {
			info.Arch = archX8664 // EC2's guess too
		}
		return info, nil
	}
	dir, err := readGuest(ctx, path, workDir, esp, probeESPBytes)
	if err != nil {
		return BootInfo{}, fmt.Errorf("reading the EFI system partition: %w", err)
	}
	info.Arch = loaderArch(dir)
	return info, nil
}

// probeTable reads a partition table and returns where the EFI system partition begins.
func probeTable(b []byte) (info BootInfo, esp int64) {
	if len(b) < 2*sectorBytes || b[510] != 0x55 || b[511] != 0xaa {
		return info, 0
	}
	code := len(bytes.Trim(b[:440], "\x00")) > 0
	if string(b[sectorBytes:sectorBytes+8]) == "EFI PART" {
		return probeGPT(b, code)
	}
	for at := 446; at < 510; at += 16 {
		switch b[at+4] {
		case mbrESP:
			info.UEFI, esp = true, int64(binary.LittleEndian.Uint32(b[at+8:]))*sectorBytes
		case 0, mbrGPT:
		default:
			info.BIOS = info.BIOS || code
		}
	}
	return info, esp
}

func probeGPT(b []byte, code bool) (info BootInfo, esp int64) {
	le := binary.LittleEndian
	header := b[sectorBytes:]
	at, count, size := le.Uint64(header[72:])*sectorBytes, uint64(le.Uint32(header[80:])), uint64(le.Uint32(header[84:]))
	if size < 128 || size > 4096 || count > 1024 || at > uint64(len(b)) {
		return info, 0
	}
	for i := uint64(0); i < count && at+(i+1)*size <= uint64(len(b)); i++ {
		entry := b[at+i*size:]
		switch typ := guid(entry[:16]); typ {
		case gptESP:
			if !info.UEFI {
				info.UEFI, esp = true, int64(le.Uint64(entry[32:]))*sectorBytes
			}
		case gptBIOSBoot:
			info.BIOS = code
		default:
			if a, ok := rootTypes[typ]; ok {
				info.Arch = a
			}
		}
	}
	return info, esp
}

// guid is the text of a GUID, of which three fields are little-endian on disk.
func guid(b []byte) string {
	return uuid.UUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}.String()
}

func loaderArch(fat []byte) string {
	const entry = 32
	for at := 0; at+entry <= len(fat); at += entry {
		if a, ok := loaders[string(fat[at:at+11])]; ok {
			return a
		}
	}
	return ""
}

// readGuest reads length bytes of the disk in a trusted qcow2 file, fewer at its end.
func readGuest(ctx context.Context, path, workDir string, offset, length int64) ([]byte, error) {
	h, err := ReadHeader(path)
	if err != nil {
		return nil, err
	}
	if length = min(length, h.SizeBytes-offset); length <= 0 {
		return nil, nil
	}
	args, err := limitedQemuImg(ConvertOptions{})
	if err != nil {
		return nil, err
	}
	out := filepath.Join(workDir, "probe.raw")
	defer os.Remove(out)
	source := fmt.Sprintf("driver=raw,offset=%d,size=%d,file.driver=qcow2,file.file.driver=file,file.file.filename=%s",
		offset, length, strings.ReplaceAll(path, ",", ",,"))
	if err := runQemuImg(ctx, append(args, "convert", "-q", "--image-opts", "-O", "raw", source, out), nil); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}
