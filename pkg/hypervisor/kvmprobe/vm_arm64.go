package kvmprobe

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

const (
	kvmARMPreferredTarget = 0x8020aeaf
	kvmARMVCPUInit        = 0x4020aeae
	kvmSetOneReg          = 0x4010aeac

	exitReason = 6 // KVM_EXIT_MMIO

	codeAt = 0x1000
	mmioAt = 0x8000_0000 // outside of the guest's memory

	// KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE; core registers are
	// numbered by their offset in struct kvm_regs in words of 32 bits.
	coreReg = 0x6030_0000_0010_0000
	regX0   = coreReg + 0*2
	regX1   = coreReg + 1*2
	regPC   = coreReg + 32*2
)

// loop is the guest: it counts X0 down, then stores where no memory is, which
// leaves the virtual CPU (wfi would stay in the kernel).
var loop = []uint32{
	0xf1000400, // 1: subs x0, x0, #1
	0x54ffffe1, //    b.ne 1b
	0xf9000020, //    str x0, [x1]
	0x14000000, //    b .
}

type vcpuInit struct {
	target   uint32
	features [7]uint32
}

type oneReg struct{ id, addr uint64 }

// prepare resets the CPU (EL1, caches and MMU off) to the start of the loop.
func (v *vm) prepare() error {
	for i, instruction := range loop {
		binary.LittleEndian.PutUint32(v.memory[codeAt+4*i:], instruction)
	}
	var init vcpuInit
	if _, err := ioctl(v.fd, kvmARMPreferredTarget, uintptr(unsafe.Pointer(&init))); err != nil {
		return fmt.Errorf("asking for the CPU model: %w", err)
	}
	if _, err := ioctl(v.cpu, kvmARMVCPUInit, uintptr(unsafe.Pointer(&init))); err != nil {
		return fmt.Errorf("resetting the virtual CPU: %w", err)
	}
	for _, r := range []struct{ id, value uint64 }{{regX0, iterations}, {regX1, mmioAt}, {regPC, codeAt}} {
		reg := oneReg{id: r.id, addr: uint64(uintptr(unsafe.Pointer(&r.value)))}
		if _, err := ioctl(v.cpu, kvmSetOneReg, uintptr(unsafe.Pointer(&reg))); err != nil {
			return fmt.Errorf("setting a register of the virtual CPU: %w", err)
		}
	}
	return nil
}
