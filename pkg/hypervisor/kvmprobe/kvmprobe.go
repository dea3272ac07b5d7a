// Package kvmprobe finds out whether /dev/kvm executes guests at hardware speed.
// That the device opens proves nothing: it may be served by an emulator in the
// host's kernel, under which ordinary guests hang. So a tiny guest runs a loop on
// a virtual CPU and its time is taken. It may import pkg/hypervisor only.
package kvmprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
)

const (
	// Device is the KVM device file.
	Device = "/dev/kvm"
	// iterations of the guest's loop: about 0.03 ms on hardware, 10 ms or more
	// where each instruction is emulated.
	iterations = 20_000
	// threshold separates the two with room for a slow and busy host.
	threshold = 3 * time.Millisecond
	// attempts: the best one counts, as a busy host only makes times longer.
	attempts = 3
	// timeout bounds all attempts together.
	timeout = 2 * time.Second
)

// errHung: the guest did not finish its loop in time.
var errHung = errors.New("the probe guest did not finish")

// Probe runs the probe guest. It always gives an answer: what goes wrong is the
// answer's Reason.
func Probe(ctx context.Context) hypervisor.KVM {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dev, err := os.OpenFile(Device, os.O_RDWR, 0)
	if err != nil {
		return cannotOpen(err)
	}
	defer dev.Close()
	best, err := run(ctx, dev)
	return judge(best, err)
}

func cannotOpen(err error) hypervisor.KVM {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return hypervisor.KVM{
			Reason: Device + " does not exist",
			Fix: "enable virtualization in the firmware setup (or nested virtualization on the machine that hosts this one), " +
				"then load the module: sudo modprobe kvm_intel || sudo modprobe kvm_amd",
		}
	case errors.Is(err, os.ErrPermission):
		return hypervisor.KVM{
			Reason: Device + " may not be opened by this user",
			Fix:    "add the user to the group kvm (sudo usermod -aG kvm $USER) and log in again",
		}
	}
	return hypervisor.KVM{
		Reason: fmt.Sprintf("opening %s: %v", Device, errors.Unwrap(err)),
		Fix:    "see the kernel's log for kvm: sudo dmesg | grep -i kvm",
	}
}

func judge(best time.Duration, err error) hypervisor.KVM {
	kvm := hypervisor.KVM{Present: true, LoopTime: best}
	const elsewhere = "use a host with hardware virtualization, or nested virtualization enabled; force KVM on an instance to try it all the same"
	switch {
	case errors.Is(err, errHung):
		kvm.Reason = fmt.Sprintf("%s hung executing a loop of %d iterations, hardware needs 0.03 ms", Device, iterations)
		kvm.Fix = elsewhere
	case err != nil:
		kvm.Reason = fmt.Sprintf("the probe guest failed: %v", err)
		kvm.Fix = elsewhere
	case best > threshold:
		kvm.Reason = fmt.Sprintf("%s executes guests in software: the probe loop took %.1f ms, hardware needs 0.03 ms",
			Device, float64(best)/float64(time.Millisecond))
		kvm.Fix = elsewhere
	default:
		kvm.Usable = true
		kvm.Reason = fmt.Sprintf("the probe loop took %.2f ms", float64(best)/float64(time.Millisecond))
	}
	return kvm
}
