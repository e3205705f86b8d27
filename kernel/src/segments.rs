//! Segments and the stacks of exceptions.
//!
//! ```text
//! exception           stack
//! page fault          PAGE_FAULT_STACK    reports of the guard pool are written here
//! double fault        DOUBLE_FAULT_STACK  when even the above did not work
//! all others          OTHER_STACK
//! ```
//!
//! Every exception changes stacks. The code is compiled for the host's own target, where 128 bytes below the stack pointer
//! belong to the function that runs (the red zone); an exception that pushed there would destroy them.
#![expect(unsafe_code, reason = "descriptor tables are loaded into the processor")]

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment as _};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// The stack of each kind of exception, as an index into the interrupt stack table.
pub(crate) const PAGE_FAULT_STACK: u16 = 0;
pub(crate) const DOUBLE_FAULT_STACK: u16 = 1;
pub(crate) const OTHER_STACK: u16 = 2;

const NR_STACKS: usize = 3;
const STACK_BYTES: usize = 64 * 1024;

#[repr(C, align(16))]
struct ExceptionStacks([[u8; STACK_BYTES]; NR_STACKS]);

static mut STACKS: ExceptionStacks = ExceptionStacks([[0; STACK_BYTES]; NR_STACKS]);
static TASK: Once<TaskStateSegment> = Once::new();
static TABLE: Once<GlobalDescriptorTable> = Once::new();

/// Loads descriptors and the interrupt stack table.
pub(crate) fn init() {
    let task = TASK.call_once(|| {
        let mut task = TaskStateSegment::new();
        let lowest = VirtAddr::from_ptr(&raw const STACKS);
        for stack in 0..NR_STACKS {
            task.interrupt_stack_table[stack] = lowest + ((stack + 1) * STACK_BYTES) as u64;
        }
        task
    });
    let mut table = GlobalDescriptorTable::new();
    let code = table.append(Descriptor::kernel_code_segment());
    let task = table.append(Descriptor::tss_segment(task));
    TABLE.call_once(|| table).load();
    // SAFETY: both selectors are of the table that has just been loaded, and of the kind that each instruction wants.
    unsafe {
        CS::set_reg(code);
        load_tss(task);
    }
}
