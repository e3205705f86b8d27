//! The first instructions: from the state in which a PVH boot leaves the processor to Rust in long mode.
//!
//! ```text
//! loader (QEMU, or the predecessor's jump)
//!    |  32 bits, no paging, flat segments, ebx = physical address of hvm_start_info
//!    v
//! pvh_start -- finds out where it lies -- early page tables -- long mode -- the image's own address --> start_rust
//! ```
//!
//! There is one entry for all generations, and it makes no difference between them: the jump ([`crate::jump`]) puts the processor
//! in the very state that the PVH convention prescribes. What differs is one boot module (`boot_protocol::record`).
//!
//! Early page tables, in the image's own `.bss`, which the loader zeroed:
//!
//! ```text
//! 0x0000_0000_0000_0000  the first 4 GiB, as they are     (goes away with `crate::paging`; serves again for the jump)
//! 0xffff_8000_0000_0000  the first 4 GiB: the direct map
//! 0xffff_ffff_8000_0000  16 MiB: the image, wherever it lies
//! ```
#![expect(unsafe_code, reason = "assembly, and symbols that the linker defines")]

use core::arch::global_asm;

use boot_protocol::formats::{NOTES, Notes};

use crate::paging::{DIRECT_MAP, IMAGE};

/// Bytes of the stack that everything but exceptions runs on. The page below it is never mapped.
pub(crate) const STACK_BYTES: usize = 256 * 1024;

/// A stack with room below it for the page that is taken away.
#[repr(C, align(4096))]
pub(crate) struct Stack {
    /// Unmapped once the page tables are in force: running out of stack is a fault, and not a write into other statics.
    pub(crate) guard: [u8; 4096],
    bytes: [u8; STACK_BYTES],
}

/// The stack of this generation.
#[unsafe(no_mangle)]
pub(crate) static mut BOOT_STACK: Stack = Stack { guard: [0; 4096], bytes: [0; STACK_BYTES] };

const _: () = assert!(IMAGE == 0xffff_ffff_8000_0000 && DIRECT_MAP == 0xffff_8000_0000_0000);

/// What this kernel says of itself to a predecessor.
#[used]
#[unsafe(link_section = ".note.Heirloom")]
static READS: Notes = NOTES;

// The Xen note that tells a PVH loader where to enter: type 18, XEN_ELFNOTE_PHYS32_ENTRY.
global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 8
    .long 18
    .asciz "Xen"
    .quad LOAD
    .previous
    "#
);

global_asm!(
    r#"
    .section .text.boot, "ax", @progbits
    .code32
    .global pvh_start
pvh_start:
    cli
    cld

    # Where are we? Only a call tells, and a call needs a stack: the word below 0x7c00, where boot loaders of PCs have
    # always had theirs. Memory below 1 MiB holds nothing of ours in any generation.
    mov $0x7c00, %esp
    call 2f
2:  pop %ebp
    sub $(2b - pvh_start), %ebp

    # 2048 pages of 2 MiB: present, writable, large.
    lea early_pd - pvh_start(%ebp), %edi
    mov $0x83, %eax
    mov $2048, %ecx
3:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $0x200000, %eax
    add $8, %edi
    dec %ecx
    jnz 3b

    # Four page directories under one table, which both the identity map and the direct map use.
    lea early_pdpt - pvh_start(%ebp), %edi
    lea early_pd - pvh_start + 3(%ebp), %eax
    mov $4, %ecx
4:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    dec %ecx
    jnz 4b

    # The image: 8 pages of 2 MiB from where it lies.
    lea early_pd_image - pvh_start(%ebp), %edi
    lea 0x83(%ebp), %eax
    mov $8, %ecx
5:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    dec %ecx
    jnz 5b
    lea early_pdpt_image - pvh_start(%ebp), %edi
    lea early_pd_image - pvh_start + 3(%ebp), %eax
    mov %eax, 510 * 8(%edi)

    lea early_pml4 - pvh_start(%ebp), %edi
    lea early_pdpt - pvh_start + 3(%ebp), %eax
    mov %eax, (%edi)
    mov %eax, 256 * 8(%edi)
    lea early_pdpt_image - pvh_start + 3(%ebp), %eax
    mov %eax, 511 * 8(%edi)
    mov %edi, %cr3

    # CR4: PAE; SSE with its exceptions, since the compiler believes that it writes for a host where SSE is on.
    mov $0x620, %eax
    mov %eax, %cr4
    # EFER: long mode, and no-execute pages.
    mov $0xc0000080, %ecx
    rdmsr
    or $0x900, %eax
    wrmsr
    # CR0: paging, write protection also for us, native FPU errors, monitor coprocessor, protected mode.
    mov $0x80010033, %eax
    mov %eax, %cr0

    lea early_gdt - pvh_start(%ebp), %eax
    sub $8, %esp
    movw $31, (%esp)
    mov %eax, 2(%esp)
    lgdt (%esp)
    lea 6f - pvh_start(%ebp), %eax
    push $8
    push %eax
    lret

    .code64
6:  movabs $7f, %rax
    jmp *%rax
7:  xor %eax, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    lea BOOT_STACK + {stack_bytes}(%rip), %rsp
    xor %ebp, %ebp
    mov %ebx, %edi
    # The physical address of the image, out of the page table that we have just filled.
    mov early_pd_image(%rip), %rsi
    and $-0x200000, %rsi
    call start_rust
    ud2

    # Null; 64-bit code; 32-bit code and data, both flat, which only the jump uses.
    .balign 8
    .global early_gdt
early_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .previous

    .section .bss.early, "aw", @nobits
    .balign 4096
    .global early_pml4
early_pml4:       .skip 4096
early_pdpt:       .skip 4096
early_pdpt_image: .skip 4096
early_pd_image:   .skip 4096
early_pd:         .skip 4 * 4096
    .previous
    "#,
    stack_bytes = const 4096 + STACK_BYTES,
    // The other syntax has no way to write the distance of two symbols in an address.
    options(att_syntax),
);

unsafe extern "C" {
    static image_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
    static early_pml4: u8;
}

/// Where the parts of the image lie, as virtual addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageLayout {
    pub(crate) start: u64,
    pub(crate) text_end: u64,
    pub(crate) rodata_end: u64,
    pub(crate) end: u64,
}

impl ImageLayout {
    /// Asks the linker.
    pub(crate) fn of_this_kernel() -> Self {
        Self {
            start: (&raw const image_start).addr() as u64,
            text_end: (&raw const text_end).addr() as u64,
            rodata_end: (&raw const rodata_end).addr() as u64,
            end: (&raw const image_end).addr() as u64,
        }
    }
}

/// The virtual address of the early page tables' root.
pub(crate) fn early_page_tables() -> u64 {
    (&raw const early_pml4).addr() as u64
}
