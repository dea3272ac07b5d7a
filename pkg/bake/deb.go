package bake

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// readDeb calls visit for every regular file, hard link and symbolic link in a
// Debian package (deb(5): an ar archive whose data.tar holds the files). Names
// are clean and relative; a name that would leave the package's root is an error.
func readDeb(r io.Reader, visit func(name string, h *tar.Header, content io.Reader) error) error {
	data, err := openMember(bufio.NewReaderSize(r, 1<<16), "data.tar")
	if err != nil {
		return fmt.Errorf("reading the package: %w", err)
	}
	for t := tar.NewReader(data); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the package: %w", err)
		}
		name, err := packagePath(h.Name)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeSymlink, tar.TypeLink:
			if err := visit(name, h, t); err != nil {
				return err
			}
		}
	}
}

// packagePath cleans a name of a package's archive.
func packagePath(s string) (string, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(s, "."), "/")
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("the package holds the path %q, which leaves its root", s)
		}
	}
	if strings.ContainsAny(name, "\"\n\r\x00") {
		return "", fmt.Errorf("the package holds the path %q", s)
	}
	return path.Clean(name), nil
}

// maxControl bounds what a package says of itself.
const maxControl = 1 << 20

// debControl returns the control file of a package: one paragraph of fields.
func debControl(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	control, err := openMember(bufio.NewReader(f), "control.tar")
	if err != nil {
		return nil, fmt.Errorf("reading the package: %w", err)
	}
	for t := tar.NewReader(control); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil, errors.New("the package has no control file")
		}
		if err != nil {
			return nil, fmt.Errorf("reading the package: %w", err)
		}
		if path.Clean(h.Name) == "control" {
			return io.ReadAll(io.LimitReader(t, maxControl))
		}
	}
}

// openMember finds the member of this name, before its extension, and returns its tar stream.
func openMember(r *bufio.Reader, wanted string) (io.Reader, error) {
	magic := make([]byte, 8)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "!<arch>\n" {
		return nil, errors.New("not a Debian package")
	}
	for {
		name, size, err := arHeader(r)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, wanted) {
			return decompress(name, io.LimitReader(r, size))
		}
		if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
			return nil, err
		}
	}
}

// arHeader reads the header of an ar member: name 16, time 12, owner 6, group 6,
// mode 8, size 10, end 2 bytes.
func arHeader(r io.Reader) (string, int64, error) {
	h := make([]byte, 60)
	if _, err := io.ReadFull(r, h); err != nil {
		return "", 0, fmt.Errorf("it ends before what is looked for: %w", err)
	}
	size, err := strconv.ParseInt(string(bytes.TrimSpace(h[48:58])), 10, 64)
	if err != nil || size < 0 || string(h[58:]) != "`\n" {
		return "", 0, errors.New("a member's header is malformed")
	}
	return strings.TrimRight(strings.TrimSpace(string(h[:16])), "/"), size, nil
}

func decompress(name string, r io.Reader) (io.Reader, error) {
	switch path.Ext(name) {
	case ".tar":
		return r, nil
	case ".xz":
		return xz.NewReader(r)
	case ".gz":
		return gzip.NewReader(r)
	case ".zst":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	}
	return nil, fmt.Errorf("the compression of %s is not known", name)
}
