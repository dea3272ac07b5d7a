// Package ova owns reading and writing OVA archives: virtual machines in one file, a tar of an OVF
// descriptor and disks (DMTF DSP0243). What is read is not trusted. It may import pkg/disk only.
package ova

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // what manifests are made with
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/disk"
)

// ErrRefused: the archive is damaged, or has what bundt does not allow or know; the
// error says what.
var ErrRefused = errors.New("OVA refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

const (
	maxFiles      = 64
	maxText       = 4 << 20  // of a descriptor or manifest
	maxDisks      = 26       // names of devices
	checkEvery    = 64 << 20 // bytes between two looks at the space
	diskResource  = "17"     // of CIM's resource types
	descriptorEnd = ".ovf"
	manifestEnd   = ".mf"
)

// Machine is what an archive has.
type Machine struct {
	Name  string
	Disks []string // files in the directory, VMDK; the one that it boots from first
	UEFI  bool
	// To write: the disks' virtual sizes in bytes, and whether the guest is of 32 bits.
	Sizes  []int64
	Bits32 bool
}

// Extract writes the files of an archive into a directory that is empty, checks them
// against the manifest, if there is one, and reads the descriptor. check is asked from
// time to time if there is space. Signatures by a certificate are not looked at.
func Extract(ctx context.Context, archive, dir string, check func() error) (*Machine, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := unpack(ctx, bufio.NewReaderSize(f, 1<<20), dir, check)
	if err != nil {
		return nil, err
	}
	if err := verify(ctx, dir, names); err != nil {
		return nil, err
	}
	text, err := readText(dir, names[0])
	if err != nil {
		return nil, err
	}
	return parse(text, names)
}

// unpack writes the files and returns their names, the descriptor's first.
func unpack(ctx context.Context, r io.Reader, dir string, check func() error) (names []string, err error) {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, refused("it is no tar archive: %v", err)
		}
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil, refused("%q is no regular file", h.Name)
		case h.Name == "" || path.Base(h.Name) != h.Name || strings.ContainsAny(h.Name, "/\\\x00") || h.Name == "..":
			return nil, refused("%q is not the name of a file beside the descriptor", h.Name)
		case slices.Contains(names, h.Name):
			return nil, refused("%s is there twice", h.Name)
		case len(names) >= maxFiles:
			return nil, refused("it has more than %d files", maxFiles)
		case len(names) == 0 && !strings.HasSuffix(h.Name, descriptorEnd):
			return nil, refused("its first file, %s, is not the descriptor", h.Name)
		}
		names = append(names, h.Name)
		if err := write(ctx, t, filepath.Join(dir, h.Name), check); err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", h.Name, err)
		}
	}
	if len(names) == 0 {
		return nil, refused("it is empty")
	}
	return names, nil
}

func write(ctx context.Context, r io.Reader, to string, check func() error) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	for {
		if err = errors.Join(ctx.Err(), check()); err != nil {
			break
		}
		_, err = io.CopyN(out, r, checkEvery)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = refused("it is cut off")
		}
		if err != nil {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return disk.NoSpace(errors.Join(err, out.Close()))
}

func readText(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(b) > maxText {
		err = refused("%s has more than %d bytes", name, maxText)
	}
	return b, err
}

// manifestLine is like "SHA256(disk1.vmdk)= 00ff…".
var manifestLine = regexp.MustCompile(`^(SHA1|SHA256|SHA512) ?\((.+)\) ?= ?([0-9a-fA-F]+)$`)

// verify checks files against the manifest. One that has some has to have all.
func verify(ctx context.Context, dir string, names []string) error {
	i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, manifestEnd) })
	if i < 0 {
		return nil
	}
	text, err := readText(dir, names[i])
	if err != nil {
		return err
	}
	checked := map[string]bool{names[i]: true}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		m := manifestLine.FindStringSubmatch(line)
		if m == nil || !slices.Contains(names, m[2]) {
			return refused("the manifest's line %.100q is of no file", line)
		}
		sum, err := digest(ctx, filepath.Join(dir, m[2]), m[1])
		if err != nil {
			return err
		}
		if !strings.EqualFold(sum, m[3]) {
			return refused("%s is not what the manifest says: its %s is %s", m[2], m[1], sum)
		}
		checked[m[2]] = true
	}
	for _, n := range names {
		if !checked[n] && !strings.HasSuffix(n, ".cert") {
			return refused("the manifest lacks %s", n)
		}
	}
	return nil
}

func digest(ctx context.Context, file, algorithm string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := map[string]func() hash.Hash{"SHA1": sha1.New, "SHA256": sha256.New, "SHA512": sha512.New}[algorithm]()
	for {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		_, err := io.CopyN(h, f, checkEvery)
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// envelope is what is read of a descriptor; namespaces do not matter.
type envelope struct {
	Files []struct {
		ID    string `xml:"id,attr"`
		Href  string `xml:"href,attr"`
		Chunk string `xml:"chunkSize,attr"`
	} `xml:"References>File"`
	Disks []struct {
		ID     string `xml:"diskId,attr"`
		File   string `xml:"fileRef,attr"`
		Format string `xml:"format,attr"`
		Parent string `xml:"parentRef,attr"`
	} `xml:"DiskSection>Disk"`
	Systems []struct {
		Name  string `xml:"Name"`
		ID    string `xml:"id,attr"`
		Items []struct {
			Type string   `xml:"ResourceType"`
			Host []string `xml:"HostResource"`
		} `xml:"VirtualHardwareSection>Item"`
		Config []struct {
			Key   string `xml:"key,attr"`
			Value string `xml:"value,attr"`
		} `xml:"VirtualHardwareSection>Config"`
	} `xml:"VirtualSystem"`
	Collection *struct{} `xml:"VirtualSystemCollection"`
}

func parse(text []byte, names []string) (*Machine, error) {
	var e envelope
	if err := xml.Unmarshal(text, &e); err != nil {
		return nil, refused("its descriptor: %v", err)
	}
	if e.Collection != nil || len(e.Systems) != 1 {
		return nil, refused("it has %d machines; one is what an image is made of", len(e.Systems))
	}
	s := e.Systems[0]
	m := &Machine{Name: s.Name}
	if m.Name == "" {
		m.Name = s.ID
	}
	for _, c := range s.Config {
		m.UEFI = m.UEFI || c.Key == "firmware" && c.Value == "efi"
	}
	var ids []string // of disks, in the order of the machine's hardware
	for _, item := range s.Items {
		if item.Type != diskResource {
			continue
		}
		for _, host := range item.Host {
			if at := strings.LastIndex(host, "/disk/"); at >= 0 {
				ids = append(ids, host[at+len("/disk/"):])
			}
		}
	}
	if len(ids) == 0 {
		for _, d := range e.Disks {
			ids = append(ids, d.ID)
		}
	}
	for _, id := range ids {
		file, err := e.file(id, names)
		if err != nil {
			return nil, err
		}
		m.Disks = append(m.Disks, file)
	}
	if len(m.Disks) == 0 || len(m.Disks) > maxDisks {
		return nil, refused("its machine has %d disks", len(m.Disks))
	}
	return m, nil
}

// file is that of a disk.
func (e *envelope) file(id string, names []string) (string, error) {
	for _, d := range e.Disks {
		if d.ID != id {
			continue
		}
		switch {
		case d.Parent != "":
			return "", refused("the disk %s has a parent", id)
		case d.File == "":
			return "", refused("the disk %s is empty, and no file: make it a volume of the launch", id)
		case !strings.Contains(strings.ToLower(d.Format), "vmdk"):
			return "", refused("the disk %s has the format %q, not VMDK", id, d.Format)
		}
		for _, f := range e.Files {
			if f.ID != d.File {
				continue
			}
			if f.Chunk != "" || !slices.Contains(names, f.Href) {
				return "", refused("the disk %s is in the file %q, which is not in the archive as a whole", id, f.Href)
			}
			return f.Href, nil
		}
	}
	return "", refused("the disk %s, which the machine has, is not described", id)
}
