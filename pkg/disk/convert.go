package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoQemuImg: a program that Convert needs is not installed.
var ErrNoQemuImg = errors.New("qemu-img is not installed; install qemu-utils (Debian, Ubuntu), qemu-img (Fedora) or qemu (Homebrew, Arch)")

const (
	// convertMemory bounds qemu-img's address space; its threads' stacks count.
	convertMemory = 2 << 30
	// convertFiles is what qemu-img needs, with room for event descriptors.
	convertFiles = 64
	// defaultConvertCPU bounds qemu-img's processor time.
	defaultConvertCPU = time.Hour
	killDelay         = 5 * time.Second
)

// ConvertOptions bound and shape a conversion.
type ConvertOptions struct {
	// Compress stores clusters compressed: a smaller file, slower to read.
	Compress bool
	// MaxBytes bounds the size of the new file; 0 means no bound but
	// MaxVirtualBytes.
	MaxBytes int64
	// MaxCPU bounds the processor time, rounded up to seconds; 0 means an hour.
	MaxCPU time.Duration
	// Progress, if not nil, is told how many per cent are done.
	Progress func(percent int)
	// Packed says that the source may be compressed, which its beginning tells;
	// MaxBytes bounds what it is unpacked, too: more is ErrHostile.
	Packed bool
	// Unpacking, if not nil, is told how many bytes have been read of a source that
	// is compressed; its error ends the work.
	Unpacking func(read int64) error
}

// Convert makes a flat qcow2 file dst, which must not exist, of the image src,
// and returns when it is on stable storage (the directory's entry is the caller's
// to synchronise). srcFormat is "raw", "qcow2", "vmdk" or "vpc" (VHD) and never
// probed. What is not raw is inspected first, because such formats can name files
// on the host that QEMU would read. A raw disk is read once, from its beginning to
// its end, unpacked meanwhile if it is compressed; other formats are unpacked into a
// file beside dst before. On an error dst does not exist.
func Convert(ctx context.Context, src, srcFormat, dst string, o ConvertOptions) error {
	plain := src
	if o.Packed && srcFormat != FormatRaw {
		plain = dst + ".plain"
		defer os.Remove(plain)
		packed, err := Unpack(ctx, src, plain, o.most(), o.Unpacking)
		if err != nil {
			return fmt.Errorf("converting %s to qcow2: %w", src, err)
		}
		if packed == Uncompressed {
			plain = src
		}
	}
	err := checkSource(plain, srcFormat)
	if err == nil && srcFormat == FormatRaw && !o.Compress {
		err = convertRaw(ctx, src, dst, o)
	} else if err == nil {
		err = convert(ctx, plain, srcFormat, dst, "qcow2", o)
	}
	if err != nil {
		return fmt.Errorf("converting %s to qcow2: %w", src, err)
	}
	return nil
}

func (o ConvertOptions) most() int64 {
	if o.MaxBytes == 0 {
		return MaxVirtualBytes
	}
	return o.MaxBytes
}

// convertRaw makes a flat qcow2 file of a raw disk in one pass.
func convertRaw(ctx context.Context, src, dst string, o ConvertOptions) error {
	if o.MaxBytes < 0 {
		return errors.New("limits must not be negative")
	}
	return newFile(dst, func(out *os.File) error {
		in, err := os.Open(src)
		if err != nil {
			return err
		}
		defer in.Close()
		if o.Packed {
			_, err := unpacked(ctx, in, o.most(), o.Unpacking, func(plain io.Reader) error {
				return flatten(ctx, plain, out, MaxVirtualBytes) // what is read is bounded already
			})
			if err == nil || !errors.Is(err, errNotPacked) {
				return err
			}
		}
		st, err := in.Stat()
		if err != nil {
			return err
		}
		return flatten(ctx, &rawFile{f: in, size: st.Size(), tell: o.percent(st.Size())}, out, o.most())
	})
}

// percent makes a function that tells Progress of bytes that were read.
func (o ConvertOptions) percent(size int64) func(read int64) {
	last := int64(-1)
	return func(read int64) {
		if p := 100 * read / max(size, 1); o.Progress != nil && p != last {
			last = p
			o.Progress(int(p))
		}
	}
}

// Export makes a file dst, which must not exist, of the disk in the qcow2 file
// src, which is trusted and may have backing files. format is "raw", "qcow2",
// "vmdk" or "vpc" (VHD). Otherwise it is like Convert.
func Export(ctx context.Context, src, dst, format string, o ConvertOptions) error {
	if err := convert(ctx, src, "qcow2", dst, format, o); err != nil {
		return fmt.Errorf("exporting %s as %s: %w", src, format, err)
	}
	return nil
}

func convert(ctx context.Context, src, srcFormat, dst, dstFormat string, o ConvertOptions) error {
	// Absolute names cannot be taken for options or protocols.
	src, errSrc := filepath.Abs(src)
	dst, errDst := filepath.Abs(dst)
	args, errArgs := convertArgs(srcFormat, dstFormat, o)
	if err := errors.Join(errSrc, errDst, errArgs); err != nil {
		return err
	}
	return newFile(dst, func(*os.File) error {
		if srcFormat == FormatVMDK {
			src = sourceWithoutParent(srcFormat, src)
		}
		return runQemuImg(ctx, append(args, src, dst), o.Progress)
	})
}

// newFile makes a file, has it filled and waits until it is on stable storage. On
// an error it does not exist.
func newFile(path string, fill func(*os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return NoSpace(err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(NoSpace(err), os.Remove(path))
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	return f.Sync()
}

func checkSource(src, format string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	switch format {
	case "raw":
		return nil
	case "qcow2":
		_, err := Inspect(f, st.Size())
		return err
	default:
		return inspectForeign(f, st.Size(), format)
	}
}

// convertArgs is the command line up to the files, prlimit included: limits that
// were set on the running child would come late.
func convertArgs(srcFormat, dstFormat string, o ConvertOptions) ([]string, error) {
	if o.MaxBytes < 0 || o.MaxCPU < 0 {
		return nil, errors.New("limits must not be negative")
	}
	args, err := limitedQemuImg(o)
	if err != nil {
		return nil, err
	}
	args = append(args, "convert", "-O", dstFormat)
	if srcFormat != FormatVMDK { // which sourceWithoutParent names
		args = append(args, "-f", srcFormat)
	}
	if o.Progress == nil {
		args = append(args, "-q")
	} else {
		args = append(args, "-p")
	}
	if o.Compress {
		args = append(args, "-c")
	}
	if dstFormat == FormatVMDK {
		args = append(args, "-o", "subformat=streamOptimized")
	}
	return append(args, "--"), nil
}

// limitedQemuImg is the command line of qemu-img under limits, up to its verb.
func limitedQemuImg(o ConvertOptions) ([]string, error) {
	maxCPU := o.MaxCPU
	if maxCPU == 0 {
		maxCPU = defaultConvertCPU
	}
	prlimit, err := exec.LookPath("prlimit")
	if err != nil {
		return nil, fmt.Errorf("prlimit is not installed; install util-linux: %w", err)
	}
	qemuImg, err := exec.LookPath("qemu-img")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoQemuImg, err)
	}
	return []string{
		prlimit,
		fmt.Sprintf("--as=%d", int64(convertMemory)),
		fmt.Sprintf("--fsize=%d", o.most()),
		fmt.Sprintf("--cpu=%d", int64((maxCPU+time.Second-1)/time.Second)),
		fmt.Sprintf("--nofile=%d", convertFiles),
		"--core=0",
		"--", qemuImg,
	}, nil
}

// sourceWithoutParent names a file so that QEMU opens no parent of it, whatever
// it says of one.
func sourceWithoutParent(format, path string) string {
	name, err := json.Marshal(map[string]any{
		"driver": format, "backing": nil, "file": map[string]string{"driver": "file", "filename": path},
	})
	if err != nil {
		panic(err) // texts are always encoded
	}
	return "json:" + string(name)
}

func runQemuImg(ctx context.Context, args []string, progress func(int), files ...*os.File) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	cmd.Stderr = &stderr
	if progress != nil {
		cmd.Stdout = &percentWriter{tell: progress, last: -1}
	}
	cmd.WaitDelay, cmd.ExtraFiles = killDelay, files
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return explainQemuImg(err, cmd.ProcessState, stderr.String())
}

// percentWriter reads what qemu-img -p prints: "    (12.34/100%)\r".
type percentWriter struct {
	tell func(int)
	rest []byte
	last int
}

func (w *percentWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		end := bytes.IndexByte(w.rest, ')')
		if end < 0 {
			w.rest = w.rest[max(0, len(w.rest)-64):]
			return len(b), nil
		}
		line := w.rest[:end]
		w.rest = w.rest[end+1:]
		start := bytes.LastIndexByte(line, '(')
		number, _, _ := strings.Cut(string(line[start+1:]), "/")
		if p, err := strconv.ParseFloat(number, 64); err == nil && int(p) != w.last {
			w.last = int(p)
			w.tell(w.last)
		}
	}
}

func explainQemuImg(err error, state *os.ProcessState, stderr string) error {
	err = fmt.Errorf("qemu-img: %w: %s", err, strings.TrimSpace(stderr))
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		switch status.Signal() {
		case syscall.SIGXFSZ:
			return fmt.Errorf("%w: the image is larger than allowed: %w", ErrNoSpace, err)
		case syscall.SIGXCPU:
			return fmt.Errorf("it took more processor time than allowed: %w", err)
		}
	}
	if strings.Contains(stderr, "No space left on device") || strings.Contains(stderr, "File too large") ||
		strings.Contains(stderr, "Disk quota exceeded") {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
