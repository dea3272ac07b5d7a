package inventory

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/rootfs"
)

// rpmDatabases are where rpm has its database, newest place first; older ones lead there.
var rpmDatabases = []string{"/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite"}

// rpmPackages lists what rpm has installed. Databases of before 2020, Berkeley DB's, are
// not read.
func rpmPackages(f *rootfs.FS) (out []Package, err error) {
	for _, at := range rpmDatabases {
		db, err := f.ReadFile(at, maxDatabase)
		if err != nil {
			return nil, err
		}
		if db == nil {
			continue
		}
		wal, err := f.ReadFile(at+"-wal", maxDatabase)
		if err != nil {
			return nil, err
		}
		return parseRPM(db, wal)
	}
	return nil, nil
}

func parseRPM(db, wal []byte) (out []Package, err error) {
	s, err := openSqlite(db, wal)
	if err != nil {
		return nil, err
	}
	err = s.rows("Packages", func(columns [][]byte) error {
		if len(columns) < 2 {
			return fmt.Errorf("%w: a package has %d columns", errDatabase, len(columns))
		}
		h, err := parseRPMHeader(columns[1])
		if err != nil {
			return err
		}
		// Keys are kept as if they were packages.
		if h.text(rpmName) != "" && h.text(rpmName) != "gpg-pubkey" {
			out = append(out, rpm(h))
		}
		return nil
	})
	return out, err
}

// Tags of a package's header
// (https://rpm-software-management.github.io/rpm/manual/tags.html).
const (
	rpmName    = 1000
	rpmVersion = 1001
	rpmRelease = 1002
	rpmEpoch   = 1003
	rpmSummary = 1004
	rpmVendor  = 1011
	rpmLicense = 1014
	rpmAuthor  = 1015
	rpmURL     = 1020
	rpmArch    = 1022
	rpmSource  = 1044
)

// rpm is a package by its header.
func rpm(h rpmHeader) Package {
	p := Package{
		Manager: RPM, Name: h.text(rpmName), Version: h.text(rpmVersion) + "-" + h.text(rpmRelease), Arch: h.text(rpmArch), Maintainer: h.text(rpmAuthor),
		Homepage: h.text(rpmURL), License: h.text(rpmLicense), Summary: h.text(rpmSummary),
	}
	if p.Maintainer == "" {
		p.Maintainer = h.text(rpmVendor)
	}
	if epoch, ok := h.number(rpmEpoch); ok {
		p.Version = strconv.FormatUint(uint64(epoch), 10) + ":" + p.Version
	}
	// NAME-VERSION-RELEASE.src.rpm, of which neither of the last two has a dash.
	source := strings.TrimSuffix(strings.TrimSuffix(h.text(rpmSource), ".rpm"), ".src")
	if parts := strings.Split(source, "-"); len(parts) >= 3 {
		n := len(parts) - 2
		p.Source, p.SourceVersion = strings.Join(parts[:n], "-"), parts[n]+"-"+parts[n+1]
	}
	return p
}

// rpmHeader is what a package says of itself: values by tags.
type rpmHeader map[uint32]rpmValue

type rpmValue struct {
	kind uint32
	data []byte // from its beginning on
}

// parseRPMHeader reads a header: how many values there are, in how many bytes; of each value its
// tag, its type, where it is and how many it is; and the values
// (https://rpm-software-management.github.io/rpm/manual/format_header.html).
func parseRPMHeader(b []byte) (rpmHeader, error) {
	const entry = 16
	if len(b) < 8 {
		return nil, fmt.Errorf("%w: a package of %d bytes", errDatabase, len(b))
	}
	count, size := uint64(be.Uint32(b)), uint64(be.Uint32(b[4:]))
	if count*entry+size > uint64(len(b)-8) {
		return nil, fmt.Errorf("%w: a package with %d values in %d bytes", errDatabase, count, size)
	}
	index, data := b[8:][:count*entry], b[8+count*entry:][:size]
	h := rpmHeader{}
	for ; len(index) > 0; index = index[entry:] {
		if at := be.Uint32(index[8:]); uint64(at) < size {
			h[be.Uint32(index)] = rpmValue{be.Uint32(index[4:]), data[at:]}
		}
	}
	return h, nil
}

// text is a string, or the first of several: of a translated text that is the original.
func (h rpmHeader) text(tag uint32) string {
	v := h[tag]
	if v.kind != 6 && v.kind != 8 && v.kind != 9 {
		return ""
	}
	text, _, _ := bytes.Cut(v.data, []byte{0})
	return string(text)
}

func (h rpmHeader) number(tag uint32) (uint32, bool) {
	v := h[tag]
	if v.kind != 4 || len(v.data) < 4 {
		return 0, false
	}
	return be.Uint32(v.data), true
}
