//go:build linux && (amd64 || arm64)

package kvmprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctls and constants of linux/kvm.h that both architectures share.
const (
	kvmGetAPIVersion       = 0xae00
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmRun                 = 0xae80

	kvmAPIVersion = 12

	memorySize = 1 << 20

	// offsets in struct kvm_run
	runImmediateExit = 1
	runExitReason    = 8
)

type memoryRegion struct {
	slot, flags                uint32
	guestPhys, size, userspace uint64
}

// vm is a guest with one CPU and a megabyte of memory.
type vm struct {
	fd, cpu int
	memory  []byte
	run     []byte // struct kvm_run
}

func ioctl(fd int, request, arg uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
		if errno == unix.EINTR && request != kvmRun {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(r), nil
	}
}

func newVM(dev *os.File) (_ *vm, err error) {
	kvm := int(dev.Fd())
	version, err := ioctl(kvm, kvmGetAPIVersion, 0)
	if err != nil {
		return nil, fmt.Errorf("asking for KVM's version: %w", err)
	}
	if version != kvmAPIVersion {
		return nil, fmt.Errorf("KVM has API version %d, not %d", version, kvmAPIVersion)
	}
	v := &vm{fd: -1, cpu: -1}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if v.fd, err = ioctl(kvm, kvmCreateVM, 0); err != nil {
		return nil, fmt.Errorf("creating a virtual machine: %w", err)
	}
	if v.memory, err = unix.Mmap(-1, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS); err != nil {
		return nil, fmt.Errorf("mapping guest memory: %w", err)
	}
	region := memoryRegion{size: memorySize, userspace: uint64(uintptr(unsafe.Pointer(&v.memory[0])))}
	if _, err = ioctl(v.fd, kvmSetUserMemoryRegion, uintptr(unsafe.Pointer(&region))); err != nil {
		return nil, fmt.Errorf("setting guest memory: %w", err)
	}
	if v.cpu, err = ioctl(v.fd, kvmCreateVCPU, 0); err != nil {
		return nil, fmt.Errorf("creating a virtual CPU: %w", err)
	}
	size, err := ioctl(kvm, kvmGetVCPUMmapSize, 0)
	if err != nil {
		return nil, fmt.Errorf("asking for the size of kvm_run: %w", err)
	}
	if v.run, err = unix.Mmap(v.cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mapping kvm_run: %w", err)
	}
	return v, nil
}

func (v *vm) close() {
	if v.run != nil {
		_ = unix.Munmap(v.run)
	}
	if v.cpu >= 0 {
		_ = unix.Close(v.cpu)
	}
	if v.fd >= 0 {
		_ = unix.Close(v.fd)
	}
	if v.memory != nil {
		_ = unix.Munmap(v.memory)
	}
}

// result is one finished or failed series of attempts.
type result struct {
	best time.Duration
	err  error
}

// run returns the best time of the probe loop. The virtual CPU runs on a thread
// of its own, which a signal takes out of KVM_RUN when ctx ends; if even that
// does not help the thread is given up, with the guest that it may still use.
func run(ctx context.Context, dev *os.File) (time.Duration, error) {
	v, err := newVM(dev)
	if err != nil {
		return 0, err
	}
	var thread atomic.Int64
	var stop atomic.Bool
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread.Store(int64(unix.Gettid()))
		best, err := v.bestOf(attempts, &stop)
		thread.Store(0)
		done <- result{best, err}
	}()
	select {
	case r := <-done:
		v.close()
		return r.best, r.err
	case <-ctx.Done():
	}
	stop.Store(true)
	for range 50 {
		v.run[runImmediateExit] = 1
		if tid := thread.Load(); tid != 0 {
			// SIGURG: Go's runtime expects it at any time and ignores it.
			_ = unix.Tgkill(unix.Getpid(), int(tid), unix.SIGURG)
		}
		select {
		case <-done:
			v.close()
			return 0, errHung
		case <-time.After(10 * time.Millisecond):
		}
	}
	return 0, errHung
}

func (v *vm) bestOf(n int, stop *atomic.Bool) (time.Duration, error) {
	var best time.Duration
	for i := range n {
		if err := v.prepare(); err != nil {
			return 0, err
		}
		begun := time.Now()
		if err := v.enter(stop); err != nil {
			return 0, err
		}
		if took := time.Since(begun); i == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// enter runs the virtual CPU until the guest has finished its loop.
func (v *vm) enter(stop *atomic.Bool) error {
	for {
		_, err := ioctl(v.cpu, kvmRun, 0)
		switch {
		case stop.Load():
			return errHung
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("running the virtual CPU: %w", err)
		}
		reason := *(*uint32)(unsafe.Pointer(&v.run[runExitReason]))
		if reason != exitReason {
			return fmt.Errorf("the guest stopped with KVM exit reason %d, not %d", reason, exitReason)
		}
		return nil
	}
}
