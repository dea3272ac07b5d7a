# The source of recipe.yaml's bytes, for the GNU assembler:
#
#   as --32 boot.S -o boot.o && ld -m elf_i386 --oformat binary -Ttext 0x7c00 boot.o -o boot.bin
#
# The BIOS loads this sector to 0x7c00 and jumps to it in real mode. It writes a
# line to the first serial port and from then on a dot about every second,
# sleeping in hlt between the timer's interrupts: a machine that visibly lives,
# in the simplest code that does so.
	.code16
	.globl _start
_start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp		# the stack grows down from here
	cld
	movw	$marker, %si
line:
	lodsb
	testb	%al, %al
	jz	beat
	call	put
	jmp	line
beat:
	movw	$18, %cx		# the BIOS timer ticks 18.2 times a second
tick:
	sti
	hlt
	loop	tick
	movb	$'.', %al
	call	put
	jmp	beat
put:					# write AL to COM1
	movb	%al, %ah
	movw	$0x3fd, %dx		# line status
full:
	inb	%dx, %al
	testb	$0x20, %al		# is the transmitter empty?
	jz	full
	movb	%ah, %al
	movw	$0x3f8, %dx
	outb	%al, %dx
	ret
marker:
	.asciz	"bundt boot sector: up\r\n"
	.org	510
	.byte	0x55, 0xaa		# what makes it bootable
