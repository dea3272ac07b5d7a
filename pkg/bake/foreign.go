package bake

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/bundt/bundt/pkg/model"
)

// ErrForeign means that this host cannot run an architecture's programs, as installing
// a distribution does.
var ErrForeign = errors.New("this host cannot run programs of this architecture")

// runsItself reports whether a host of a GOARCH runs an architecture's programs as its own.
func runsItself(goarch string, a model.Arch) bool {
	switch goarch {
	case "amd64":
		return a == model.X8664 || a == model.I386
	case "arm64":
		return a == model.ARM64
	}
	return false
}

// emulator is QEMU's user mode emulation of an architecture.
// https://www.qemu.org/docs/master/user/main.html
type emulator struct {
	name    string // as QEMU and the kernel's binfmt_misc call it, "qemu-aarch64"
	class   byte   // of its ELF files
	machine byte
}

var emulators = map[model.Arch]emulator{
	model.X8664: {"qemu-x86_64", byte(elf.ELFCLASS64), byte(elf.EM_X86_64)},
	model.I386:  {"qemu-i386", byte(elf.ELFCLASS32), byte(elf.EM_386)},
	model.ARM64: {"qemu-aarch64", byte(elf.ELFCLASS64), byte(elf.EM_AARCH64)},
}

const binfmtDir = "/proc/sys/fs/binfmt_misc"

// registered reports whether the kernel starts the emulator by itself, also in another
// root: with the flag F it has opened it already.
// https://docs.kernel.org/admin-guide/binfmt-misc.html
func (e emulator) registered() bool {
	b, err := os.ReadFile(filepath.Join(binfmtDir, e.name))
	if err != nil || !bytes.HasPrefix(b, []byte("enabled\n")) {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if flags, ok := strings.CutPrefix(line, "flags: "); ok {
			return strings.Contains(flags, "F")
		}
	}
	return false
}

// registration is the line that has the kernel start the program for the
// architecture's ELF files, of any OS ABI, executables and shared objects.
func (e emulator) registration(program string) string {
	magic := [20]byte{0x7f, 'E', 'L', 'F', e.class, 1, 1, 16: 2, 18: e.machine}
	mask := [20]byte{}
	for i := range mask {
		mask[i] = 0xff
	}
	mask[7], mask[16] = 0, 0xfe
	hex := func(b [20]byte) string {
		var s strings.Builder
		for _, c := range b {
			fmt.Fprintf(&s, `\x%02x`, c)
		}
		return s.String()
	}
	return fmt.Sprintf(":%s:M::%s:%s:%s:F", e.name, hex(magic), hex(mask), program)
}

// find returns the path of the emulator, which must need no library: there is none of
// this host's where it runs.
func (e emulator) find() (string, error) {
	for _, name := range []string{e.name + "-static", e.name} {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if program, err = filepath.Abs(program); err != nil {
			return "", err
		}
		f, err := elf.Open(program)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", program, err)
		}
		dynamic := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
		if err := f.Close(); err != nil {
			return "", err
		}
		if !dynamic && !strings.Contains(program, ":") {
			return program, nil
		}
	}
	return "", fmt.Errorf("%w: install the package qemu-user-static, for a static %s", ErrForeign, e.name)
}

// setUp runs in namespaces of its own: the kernel is told of the emulator there alone, and
// then the command is run. Since Linux 6.7 each user namespace can have its own binfmt_misc.
const setUp = `mount -t proc proc /proc && mount -t binfmt_misc binfmt_misc ` + binfmtDir + ` && printf %s "$1" > ` + binfmtDir + `/register || exit 125
shift
exec "$@"`

// setUpFailed is the exit status of setUp when the command was not run.
const setUpFailed = 125

// ids is how many users and groups a distribution's packages may have files of.
const ids = 65536

// execution is how this host runs an architecture's programs in another root.
type execution struct {
	register string // an emulator, of which to tell the kernel in namespaces of our own; "" if there is no need
}

func executionOf(arch model.Arch) (x execution, err error) {
	if runsItself(runtime.GOARCH, arch) {
		return x, nil
	}
	e := emulators[arch]
	if e.registered() {
		return x, nil
	}
	program, err := e.find()
	if err == nil {
		x.register = e.registration(program)
	}
	return x, err
}

// command prepares a program in whose other roots the architecture's programs run. Where
// that takes namespaces of our own, it is root in them.
func (x execution) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if x.register == "" {
		return exec.CommandContext(ctx, program, args...)
	}
	inside := append([]string{"sh", "-c", setUp, "sh", x.register, program}, args...)
	if os.Geteuid() != 0 {
		return exec.CommandContext(ctx, "unshare", append([]string{"--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--kill-child", "--"}, inside...)...)
	}
	cmd := exec.CommandContext(ctx, inside[0], inside[1:]...)
	own := []syscall.SysProcIDMap{{Size: ids}} // each stays who it is
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, UidMappings: own, GidMappings: own, GidMappingsEnableSetgroups: true,
	}
	return cmd
}

// explain says of a command that has failed if it was because of the namespaces.
func (x execution) explain(err error) error {
	var exit *exec.ExitError
	if x.register != "" && errors.As(err, &exit) && exit.ExitCode() == setUpFailed {
		return fmt.Errorf("%w: the kernel does not know its emulator, and telling it in a namespace, as can be done since Linux 6.7, failed: install qemu-user-static or qemu-user-binfmt, which tell it for the whole host: %w", ErrForeign, err)
	}
	return err
}
