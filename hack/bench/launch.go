package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// userspace is what the tiny guest's init prints first on the console.
const userspace = "[init "

const (
	benchType   = "b1.nano"
	benchMemory = "128"
)

// launches is P1, P2 and P12: RunInstances to exec of QEMU and to the guest's
// userspace, and terminating, against the bare QEMU doing the same.
func (b *bench) launches(ctx context.Context, image string) error {
	bzImage, err := b.bzImage()
	if err != nil {
		return err
	}
	var exec1, greeting, guest, bareGuest, cpu, bareCPU, end, bareEnd []float64
	for i := range b.rounds {
		l, err := b.launch(ctx, image)
		if err != nil {
			return err
		}
		r, err := b.bare(ctx, bzImage, l.initrd, l.cmdline, l.base, i)
		if err != nil {
			return err
		}
		exec1, greeting = append(exec1, l.exec), append(greeting, r.greeting)
		guest, bareGuest = append(guest, l.guest), append(bareGuest, r.guest)
		cpu, bareCPU = append(cpu, l.cpu), append(bareCPU, r.cpu)
		end, bareEnd = append(end, l.end), append(bareEnd, r.end)
	}
	b.add("P1", "RunInstances to exec of QEMU / exec to QMP greeting (G)", 0.3, exec1, greeting)
	b.add("P2", "RunInstances to guest userspace / bare qemu -kernel", 0.88, guest, bareGuest)
	b.add("P2", "the same in QEMU's CPU time, for busy machines", 0.88, cpu, bareCPU)
	b.add("P12", "terminate, everything freed / SIGKILL + wait", 1.2, end, bareEnd)
	return nil
}

// bzImage finds the kernel as its distribution has it among the daemon's blobs.
func (b *bench) bzImage() (string, error) {
	blobs, err := filepath.Glob(filepath.Join(b.daemon.Data(), "blobs", "*"))
	if err != nil {
		return "", err
	}
	for _, name := range blobs {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		if len(data) > 0x206 && string(data[0x202:0x206]) == "HdrS" {
			return name, nil
		}
	}
	return "", errors.New("the image's kernel is not among the blobs")
}

type launched struct {
	exec, guest, cpu, end float64
	initrd, cmdline, base string
}

func (b *bench) launch(ctx context.Context, image string) (l launched, err error) {
	start := time.Now()
	id, err := b.daemon.Launch(ctx, image, benchType, "")
	if err != nil {
		return l, err
	}
	// Asked before the guest is up, so that its time is read at that moment.
	var det *bundttypes.InstanceDetails
	err = harness.Until(ctx, time.Minute, "QEMU starts", func() (err error) {
		if det, err = b.daemon.Details(ctx, id); err == nil && det.StartedAt == nil {
			err = errors.New("the daemon does not say when it was started")
		}
		return err
	})
	if err != nil {
		return l, err
	}
	l.exec = det.StartedAt.Sub(start).Seconds()
	log := filepath.Join(b.daemon.Data(), "machines", id, "console.log")
	if err := awaitText(ctx, log, userspace); err != nil {
		return l, err
	}
	l.guest = time.Since(start).Seconds()
	if l.cpu, err = cpuTime(int(det.Pid)); err != nil {
		return l, err
	}
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", det.Pid))
	if err != nil {
		return l, err
	}
	args := strings.Split(string(argv), "\x00")
	for i, a := range args {
		switch a {
		case "-initrd":
			l.initrd = args[i+1]
		case "-append":
			l.cmdline = args[i+1]
		}
	}
	chain := det.Volumes[0].LayerIds
	l.base = filepath.Join(b.daemon.Data(), "layers", chain[len(chain)-1]+".qcow2")
	if err := b.daemon.State(ctx, id, "running"); err != nil {
		return l, err
	}
	l.end, err = timed(func() error {
		if _, err := b.daemon.API.TerminateInstances(ctx, &ec2types.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
			return err
		}
		for {
			i, err := b.daemon.Instance(ctx, id)
			if err != nil || *i.State.Name == "terminated" {
				return err
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	return l, err
}

type bareRun struct{ greeting, guest, cpu, end float64 }

// cpuTime is the processor time of a process so far, in seconds (proc(5)).
func cpuTime(pid int) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	const utime, stime, perSecond = 11, 12, 100 // fields behind the command's name; USER_HZ
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) <= stime {
		return 0, fmt.Errorf("reading /proc/%d/stat: %q", pid, stat)
	}
	user, err1 := strconv.ParseFloat(f[utime], 64)
	system, err2 := strconv.ParseFloat(f[stime], 64)
	return (user + system) / perSecond, errors.Join(err1, err2)
}

// bare boots the same guest with nothing but QEMU.
func (b *bench) bare(ctx context.Context, kernel, initrd, cmdline, base string, n int) (r bareRun, err error) {
	overlay := filepath.Join(b.dir, fmt.Sprintf("bare%d.qcow2", n))
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, overlay, "1G").CombinedOutput(); err != nil {
		return r, fmt.Errorf("running qemu-img: %w: %s", err, out)
	}
	qmp, console := filepath.Join(b.daemon.Run(), "bare.qmp"), filepath.Join(b.dir, fmt.Sprintf("bare%d.log", n))
	start := time.Now()
	cmd := exec.Command("qemu-system-x86_64", "-nodefaults", "-M", "q35", "-accel", "tcg", "-m", benchMemory, "-display", "none",
		"-kernel", kernel, "-initrd", initrd, "-append", cmdline, "-drive", "if=virtio,format=qcow2,file="+overlay,
		"-device", "virtio-rng-pci", "-serial", "file:"+console, "-qmp", "unix:"+qmp+",server=on,wait=off")
	// In a session of its own, as bundt's: Linux shares out a busy processor by sessions.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return r, fmt.Errorf("starting bare QEMU: %w", err)
	}
	kill := func() error {
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		_ = cmd.Wait() // it was killed
		return nil
	}
	if err := greet(ctx, qmp); err != nil {
		return r, errors.Join(err, kill())
	}
	r.greeting = time.Since(start).Seconds()
	if err := awaitText(ctx, console, userspace); err != nil {
		return r, errors.Join(err, kill())
	}
	r.guest = time.Since(start).Seconds()
	if r.cpu, err = cpuTime(cmd.Process.Pid); err != nil {
		return r, errors.Join(err, kill())
	}
	r.end, err = timed(kill)
	return r, errors.Join(err, os.Remove(qmp))
}

func greet(ctx context.Context, socket string) error {
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			defer c.Close()
			_, err = bufio.NewReader(c).ReadString('\n')
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func awaitText(ctx context.Context, file, text string) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(file)
		if err == nil && bytes.Contains(data, []byte(text)) {
			return nil
		}
	}
	return fmt.Errorf("waiting for %q in %s: %w", text, file, errors.Join(ctx.Err(), os.ErrDeadlineExceeded))
}

// stalls is P5: the longest write in a guest that writes all the time, while
// images are made of it, against the same guest left alone.
func (b *bench) stalls(ctx context.Context, image string) error {
	with, without, err := b.gaps(ctx, image, 0)
	if err != nil {
		return err
	}
	b.add("P5", "longest guest write while imaged / left alone (goal: +1 ms)", 1.1, with, without)
	return nil
}

// gaps are the longest writes of a guest while it is imaged, with so many volumes
// besides its root volume, and while it is left alone.
func (b *bench) gaps(ctx context.Context, image string, volumes int) (with, without []float64, err error) {
	name := fmt.Sprintf("bench%d", volumes)
	tool, key := filepath.Join(b.dir, "gap"), filepath.Join(b.dir, name)
	build := exec.CommandContext(ctx, "go", "build", "-o", tool, "./hack/bench/gap")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("building the guest's tool: %w: %s", err, out)
	}
	if _, err := b.daemon.Bundt(ctx, "key", "create", name, "--file", key); err != nil {
		return nil, nil, err
	}
	id, err := b.daemon.Bundt(ctx, "run", image, "--type", benchType, "--key", name, "-o", "name")
	if err != nil {
		return nil, nil, err
	}
	for range volumes {
		vol, err := b.daemon.Bundt(ctx, "volume", "create", "--size", "1")
		if err != nil {
			return nil, nil, err
		}
		if _, err := b.daemon.Bundt(ctx, "volume", "attach", vol, id); err != nil {
			return nil, nil, err
		}
	}
	copyIn := b.daemon.CLI(ctx, "ssh", "-i", key, id, "--", "cat > /tmp/gap && chmod 755 /tmp/gap")
	f, err := os.Open(tool)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	copyIn.Stdin = f
	if out, err := copyIn.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("copying the tool into the guest: %w: %s", err, out)
	}
	for i := range b.rounds {
		for _, imaging := range []bool{false, true} {
			worst, err := b.worstGap(ctx, id, key, imaging, fmt.Sprintf("%s %d", name, i))
			if err != nil {
				return nil, nil, err
			}
			if imaging {
				with = append(with, worst)
			} else {
				without = append(without, worst)
			}
		}
	}
	return with, without, nil
}

// worstGap is the longest of the guest\'s writes within three seconds, in seconds.
func (b *bench) worstGap(ctx context.Context, id, key string, imaging bool, name string) (float64, error) {
	cmd := b.daemon.CLI(ctx, "ssh", "-i", key, id, "--", "/tmp/gap 3")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if imaging {
		time.Sleep(1500 * time.Millisecond)
		if _, err := b.daemon.Bundt(ctx, "create-image", id, "--no-reboot", "--name", name); err != nil {
			return 0, errors.Join(err, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("writing in the guest: %w", err)
	}
	var took []float64
	for line := range strings.Lines(out.String()) {
		us, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		if err != nil {
			return 0, fmt.Errorf("reading the guest's times: %w", err)
		}
		took = append(took, us/1e6)
	}
	if len(took) == 0 {
		return 0, errors.New("the guest wrote nothing")
	}
	return quantile(took, 1), nil
}
