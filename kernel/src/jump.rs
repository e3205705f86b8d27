//! The jump: out of long mode, into the entry of the successor.
//!
//! ```text
//! long mode, this generation's page tables
//!   | early page tables of this image: the image, the direct map and the first 4 GiB as they are
//!   v
//! the same code at its physical address -- flat 32-bit segments -- paging off -- long mode off
//!   | ebx = the successor's start info: the state that a PVH loader leaves
//!   v
//! the successor's pvh_start
//! ```
//!
//! Nothing of this generation is needed after the last instruction: the successor has page tables, stacks, descriptors and
//! statics of its own. What goes over are two addresses, and the memory that they lead to.
#![expect(unsafe_code, reason = "assembly that leaves for good")]

use core::arch::asm;

use crate::entry::early_page_tables;
use crate::paging::IMAGE;

/// A successor in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Successor {
    /// The physical address of its entry.
    pub(crate) entry: u32,
    /// The physical address of its start info.
    pub(crate) start_info: u32,
}

/// Leaves for the successor. `image_physical` is where the image of this generation lies, below 4 GiB.
///
/// # Safety
///
/// - At the entry lies a kernel that is entered as PVH prescribes; it reads its start info before it writes anything else.
pub(crate) unsafe fn jump(successor: Successor, image_physical: u64) -> ! {
    let tables = early_page_tables() - IMAGE + image_physical;
    // SAFETY: the early tables map this image where it is and, as all images lie below 4 GiB, also at its physical address, with
    // all rights. The stack is not used after the far return, nor any memory after paging is off but the code itself. The
    // caller answers for what is at the entry.
    unsafe {
        asm!(
            "cli",
            "mov cr3, r8",
            // From the image's virtual address to its physical one.
            "lea rax, [rip + 2f]",
            "add rax, r9",
            "jmp rax",
            "2:",
            "lea rax, [rip + early_gdt]",
            "sub rsp, 16",
            "mov word ptr [rsp], 31",
            "mov qword ptr [rsp + 2], rax",
            "lgdt [rsp]",
            "lea rax, [rip + 3f]",
            "push 16",
            "push rax",
            "retfq",
            ".code32",
            "3:",
            "mov eax, 24",
            "mov ds, eax",
            "mov es, eax",
            "mov ss, eax",
            "mov fs, eax",
            "mov gs, eax",
            // Paging off, and with it long mode; then what made it possible.
            "mov eax, 0x11",
            "mov cr0, eax",
            "mov ecx, 0xc0000080",
            "rdmsr",
            "and eax, 0xfffff6ff",
            "wrmsr",
            "xor eax, eax",
            "mov cr4, eax",
            "mov cr3, eax",
            "mov ebx, esi",
            "jmp edi",
            ".code64",
            in("r8") tables,
            in("r9") image_physical.wrapping_sub(IMAGE),
            in("edi") successor.entry,
            in("esi") successor.start_info,
            options(noreturn),
        )
    }
}
