package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Ext4Options determine an ext4 file system completely: equal options and an
// equal Tree give equal bytes.
type Ext4Options struct {
	Label    string
	UUID     string
	HashSeed string    // UUID that seeds directory hashing
	Time     time.Time // every time stamp
}

// journalMiB is the size of a file system's journal: as mke2fs has it by default, and no
// smaller, or the kernel has no room in a transaction to grow the file system at once.
func journalMiB(size int64) int {
	switch {
	case size < 512<<20:
		return 4
	case size < 2<<30:
		return 16
	}
	return 64
}

// mke2fsConfig replaces the host's mke2fs.conf, whose defaults differ between
// distributions and would show in the bytes.
const mke2fsConfig = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
		inode_size = 256
	}
`

// WriteExt4 makes an ext4 file system with the tree's content inside the file
// image, at offset and size bytes long. It needs no privilege: mke2fs makes the
// file system and debugfs fills it, in the tree's order and with the tree's
// owners.
func WriteExt4(ctx context.Context, image string, offset, size int64, tree *Tree, o Ext4Options) error {
	scratch, err := os.MkdirTemp(filepath.Dir(image), "ext4-*")
	if err != nil {
		return fmt.Errorf("making a scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	config := filepath.Join(scratch, "mke2fs.conf")
	if err := os.WriteFile(config, []byte(mke2fsConfig), 0o600); err != nil {
		return err
	}
	stamp := strconv.FormatInt(o.Time.Unix(), 10)
	env := append(os.Environ(), "MKE2FS_CONFIG="+config, "E2FSPROGS_FAKE_TIME="+stamp, "MKE2FS_SYNC=0", "TZ=UTC", "LC_ALL=C")

	dir, base := filepath.Split(image)
	mkfs := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-m", "1", "-L", o.Label, "-U", o.UUID,
		"-J", fmt.Sprintf("size=%d", journalMiB(size)),
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0", offset, o.HashSeed),
		base, strconv.FormatInt(size/1024, 10)+"k")
	mkfs.Dir, mkfs.Env = dir, env
	if _, err := runTool(mkfs); err != nil {
		return fmt.Errorf("making an ext4 file system: %w", err)
	}

	script := filepath.Join(scratch, "debugfs.cmd")
	commands, err := debugfsScript(tree, o.Time)
	if err != nil {
		return err
	}
	if err := os.WriteFile(script, commands, 0o600); err != nil {
		return err
	}
	fill := exec.CommandContext(ctx, "debugfs", "-w", "-f", script, fmt.Sprintf("%s?offset=%d", base, offset))
	fill.Dir, fill.Env = dir, env
	stderr, err := runTool(fill)
	if err != nil {
		return fmt.Errorf("filling the ext4 file system: %w", err)
	}
	return debugfsErrors(stderr)
}

// debugfsScript writes the commands that put the tree into an empty file system.
func debugfsScript(tree *Tree, now time.Time) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "set_current_time @%d\n", now.Unix())
	const typeDir, typeFile = 0o040000, 0o100000
	cwd := "/"
	for _, name := range tree.Paths() {
		e, _ := tree.Lookup(name)
		// debugfs makes things in its current directory: for "/boot" too, wherever
		// that is.
		if d := path.Dir(name); d != cwd {
			fmt.Fprintf(&b, "cd \"%s\"\n", d)
			cwd = d
		}
		base := path.Base(name)
		switch {
		case name == "/":
			setInode(&b, name, typeDir, e)
		case e.Mode.IsDir():
			fmt.Fprintf(&b, "mkdir \"%s\"\n", base)
			setInode(&b, name, typeDir, e)
		case e.Mode&fs.ModeSymlink != 0:
			fmt.Fprintf(&b, "symlink \"%s\" \"%s\"\n", base, e.Target)
		case e.Mode.IsRegular():
			if strings.ContainsAny(e.File, "\"\n") {
				return nil, fmt.Errorf("%s: the work directory's path holds a quote or a line break", name)
			}
			fmt.Fprintf(&b, "write \"%s\" \"%s\"\n", e.File, base)
			setInode(&b, name, typeFile, e)
		default:
			return nil, fmt.Errorf("%s: a tree holds directories, files and symbolic links only, not %s", name, e.Mode.Type())
		}
	}
	return b.Bytes(), nil
}

func setInode(b *bytes.Buffer, name string, fileType uint32, e Entry) {
	mode := fileType | uint32(e.Mode.Perm())
	for bit, flag := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if e.Mode&bit != 0 {
			mode |= flag
		}
	}
	fmt.Fprintf(b, "sif \"%s\" mode 0%o\nsif \"%s\" uid %d\nsif \"%s\" gid %d\n", name, mode, name, e.UID, name, e.GID)
}

// debugfsErrors finds debugfs's complaints: its exit status is 0 whatever happens.
func debugfsErrors(stderr string) error {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "debugfs 1."):
		case strings.Contains(line, "Could not allocate block") || strings.Contains(line, "No free space"):
			return fmt.Errorf("filling the ext4 file system: %w: %s", ErrTooSmall, line)
		default:
			return fmt.Errorf("filling the ext4 file system: debugfs: %s", line)
		}
	}
	return nil
}

// ErrTooSmall means that a disk's content does not fit into its size.
var ErrTooSmall = errors.New("the content does not fit: make the disk larger (blockDevices[0].size)")

// MissingToolError names a program that has to be installed.
type MissingToolError struct {
	Tool           string
	Debian, Fedora string // packages
}

func (e *MissingToolError) Error() string {
	return fmt.Sprintf("%s is not installed: install the package %s (Debian, Ubuntu: apt install %s) or %s (Fedora: dnf install %s)",
		e.Tool, e.Debian, e.Debian, e.Fedora, e.Fedora)
}

var toolPackages = map[string]MissingToolError{
	"mke2fs":  {Debian: "e2fsprogs", Fedora: "e2fsprogs"},
	"debugfs": {Debian: "e2fsprogs", Fedora: "e2fsprogs"},
}

// FindTool returns a program's path. Beside PATH it looks where Debian keeps
// administrators' tools, which an ordinary user's PATH lacks.
func FindTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	missing := toolPackages[name]
	missing.Tool = name
	return "", &missing
}

// runTool runs a program found by FindTool and returns its standard error.
func runTool(cmd *exec.Cmd) (string, error) {
	name := cmd.Args[0]
	p, err := FindTool(name)
	if err != nil {
		return "", err
	}
	cmd.Path, cmd.Err = p, nil
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return stderr.String(), fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return stderr.String(), nil
}
