package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
)

// Mode is a file's permission bits, written in octal as text: "0755".
type Mode int64

func (m *Mode) parse(s string) error {
	v, err := strconv.ParseUint(s, 8, 32)
	if err != nil || v > 0o7777 || len(s) < 3 {
		return fmt.Errorf("%q is not an octal mode such as \"0755\"", clip(s))
	}
	*m = Mode(v)
	return nil
}

// Size is a number of bytes, written with a binary unit: "512MiB", "1GiB".
type Size int64

// The units of sizes, and the largest volume that EC2 makes.
const (
	MiB     = Size(1) << 20
	GiB     = Size(1) << 30
	TiB     = Size(1) << 40
	maxSize = 16 * TiB
)

var sizePattern = regexp.MustCompile(`^([0-9]{1,8})(MiB|GiB|TiB)$`)

func (z *Size) parse(s string) error {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("%q is not a size such as \"512MiB\" or \"1GiB\"", clip(s))
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return err
	}
	unit := map[string]Size{"MiB": MiB, "GiB": GiB, "TiB": TiB}[m[2]]
	switch {
	case n == 0:
		return errors.New("a disk cannot be empty")
	case n > int64(maxSize/unit):
		return fmt.Errorf("%s is more than the largest disk, 16TiB", s)
	}
	*z = Size(n) * unit
	return nil
}

// readLimited reads a file that people write by hand: at most 1 MiB.
func readLimited(fsys fs.FS, name string) ([]byte, error) {
	const limit = 1 << 20
	fi, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("%s is larger than 1 MiB", name)
	}
	return fs.ReadFile(fsys, name)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
