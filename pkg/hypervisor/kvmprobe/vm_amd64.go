package kvmprobe

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

const (
	kvmSetRegs  = 0x4090ae82
	kvmGetSregs = 0x8138ae83
	kvmSetSregs = 0x4138ae84

	exitReason = 5 // KVM_EXIT_HLT

	codeAt  = 0x1000
	stackAt = 0x8000
	pml4At  = 0x10000
)

// loop is the guest: 64-bit ring 0 code that counts RCX down.
var loop = []byte{
	0x48, 0xff, 0xc9, // 1: dec rcx
	0x75, 0xfb, //       jnz 1b
	0xf4, //             hlt
}

type regs struct {
	rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp uint64
	r8, r9, r10, r11, r12, r13, r14, r15   uint64
	rip, rflags                            uint64
}

type segment struct {
	base                         uint64
	limit                        uint32
	selector                     uint16
	kind, present, dpl, db, s, l uint8
	g, avl, unusable, padding    uint8
}

type table struct {
	base    uint64
	limit   uint16
	padding [3]uint16
}

type sregs struct {
	cs, ds, es, fs, gs, ss, tr, ldt     segment
	gdt, idt                            table
	cr0, cr2, cr3, cr4, cr8, efer, apic uint64
	interrupts                          [4]uint64
}

// prepare puts the CPU in long mode at the start of the loop, with the first
// gigabyte mapped by one page.
func (v *vm) prepare() error {
	copy(v.memory[codeAt:], loop)
	const presentWritable, largePage = 0x3, 0x80
	binary.LittleEndian.PutUint64(v.memory[pml4At:], pml4At+0x1000|presentWritable)
	binary.LittleEndian.PutUint64(v.memory[pml4At+0x1000:], pml4At+0x2000|presentWritable)
	binary.LittleEndian.PutUint64(v.memory[pml4At+0x2000:], largePage|presentWritable)

	var s sregs
	if _, err := ioctl(v.cpu, kvmGetSregs, uintptr(unsafe.Pointer(&s))); err != nil {
		return fmt.Errorf("reading the virtual CPU's state: %w", err)
	}
	s.cr3 = pml4At
	s.cr4 = 1 << 5                  // PAE
	s.cr0 = 1<<31 | 1<<5 | 1<<4 | 1 // PG, NE, ET, PE
	s.efer = 1<<10 | 1<<8           // LMA, LME
	code := segment{limit: 0xffffffff, selector: 8, present: 1, kind: 11, s: 1, l: 1, g: 1}
	data := segment{limit: 0xffffffff, selector: 16, present: 1, kind: 3, s: 1, db: 1, g: 1}
	s.cs = code
	s.ds, s.es, s.fs, s.gs, s.ss = data, data, data, data, data
	if _, err := ioctl(v.cpu, kvmSetSregs, uintptr(unsafe.Pointer(&s))); err != nil {
		return fmt.Errorf("setting the virtual CPU's state: %w", err)
	}
	r := regs{rcx: iterations, rsp: stackAt, rip: codeAt, rflags: 2}
	if _, err := ioctl(v.cpu, kvmSetRegs, uintptr(unsafe.Pointer(&r))); err != nil {
		return fmt.Errorf("setting the virtual CPU's registers: %w", err)
	}
	return nil
}
