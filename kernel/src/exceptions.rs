//! Exceptions: page faults go to the guard pool, everything else ends the run with a word on what happened.
//!
//! ```text
//! processor --> exception_N --> exception_common --> handle_exception --> guard pool's fault? report, go on
//!               (vector, code)  (registers, SSE)                      \-> any other: print, fail
//! ```
//!
//! A handler that returns must leave everything as it was, SSE registers included: the code it interrupted did not expect a call. A
//! fault of the guard pool is mended by mapping the page, and the instruction that faulted runs again.
//!
//! Interrupts stay off for good: the timer is polled, and nothing else is waited for.
#![expect(unsafe_code, reason = "assembly, and the interrupt descriptor table")]

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::port::Port;
use x86_64::registers::control::Cr2;
use x86_64::structures::idt::InterruptDescriptorTable;

use crate::exit::{Verdict, exit};
use crate::hardware;
use crate::segments::{DOUBLE_FAULT_STACK, OTHER_STACK, PAGE_FAULT_STACK};
use crate::serial::println;

const PAGE_FAULT: u64 = 14;
const NR_VECTORS: usize = 32;

static IS_HANDLING: AtomicBool = AtomicBool::new(false);
static TABLE: Once<InterruptDescriptorTable> = Once::new();

// Vectors 8, 10 to 14, 17, 21, 29 and 30 come with an error code; the others get a zero, so that all frames are alike.
global_asm!(
    r#"
    .section .text.exceptions, "ax", @progbits
    .macro exception_stub vector
    .balign 16
    exception_\vector:
    .if !((0x60227d00 >> \vector) & 1)
        push 0
    .endif
        push \vector
        jmp exception_common
    .endm

    .irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    exception_stub \vector
    .endr

exception_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rbp, rsp
    sub rsp, 512
    and rsp, -16
    fxsave64 [rsp]
    cld
    mov rdi, rbp
    call handle_exception
    fxrstor64 [rsp]
    mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq
    .previous

    .section .rodata.exceptions, "a", @progbits
    .balign 8
    .global exception_stubs
exception_stubs:
    .irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .quad exception_\vector
    .endr
    .previous
    "#
);

unsafe extern "C" {
    safe static exception_stubs: [u64; NR_VECTORS];
}

/// What `exception_common` and the processor have pushed, from the last to the first.
#[repr(C)]
#[derive(Debug)]
struct Frame {
    registers: [u64; 15],
    vector: u64,
    error_code: u64,
    instruction: u64,
    code_segment: u64,
    flags: u64,
    stack: u64,
    stack_segment: u64,
}

/// Loads the interrupt descriptor table, and keeps the interrupt controller of old quiet.
pub(crate) fn init() {
    TABLE.call_once(table).load();
    // SAFETY: these ports are the masks of the interrupt controllers: nothing but interrupts is switched off.
    unsafe {
        Port::new(0x21).write(0xff_u8);
        Port::new(0xa1).write(0xff_u8);
    }
}

fn table() -> InterruptDescriptorTable {
    let mut table = InterruptDescriptorTable::new();
    let stub = |vector: usize| VirtAddr::new(exception_stubs[vector]);
    // SAFETY: each stub is made for its vector: it knows whether there is an error code, preserves all registers, and returns by
    // `iretq`. Each stack is one of the table that `segments` has loaded, and no two kinds of exceptions nest in one.
    unsafe {
        let other = |vector| (stub(vector), OTHER_STACK);
        macro_rules! set {
            ($field:ident, $vector:expr) => {
                let (stub, stack) = other($vector);
                table.$field.set_handler_addr(stub).set_stack_index(stack);
            };
        }
        set!(divide_error, 0);
        set!(debug, 1);
        set!(non_maskable_interrupt, 2);
        set!(breakpoint, 3);
        set!(overflow, 4);
        set!(bound_range_exceeded, 5);
        set!(invalid_opcode, 6);
        set!(device_not_available, 7);
        table.double_fault.set_handler_addr(stub(8)).set_stack_index(DOUBLE_FAULT_STACK);
        set!(invalid_tss, 10);
        set!(segment_not_present, 11);
        set!(stack_segment_fault, 12);
        set!(general_protection_fault, 13);
        table.page_fault.set_handler_addr(stub(14)).set_stack_index(PAGE_FAULT_STACK);
        set!(x87_floating_point, 16);
        set!(alignment_check, 17);
        set!(machine_check, 18);
        set!(simd_floating_point, 19);
        set!(virtualization, 20);
    }
    table
}

/// Decides what an exception means.
#[unsafe(no_mangle)]
extern "C" fn handle_exception(frame: &Frame) {
    // The stack of the first would be overwritten by the second, and so on without end.
    if IS_HANDLING.swap(true, Ordering::Relaxed) {
        println!("exception {} at {:#x} while another was handled", frame.vector, frame.instruction);
        exit(Verdict::Failure);
    }
    if frame.vector == PAGE_FAULT {
        let address = Cr2::read_raw();
        let is_write = frame.error_code & 2 != 0;
        if hardware::handle_page_fault(address, is_write) {
            IS_HANDLING.store(false, Ordering::Relaxed);
            return;
        }
        println!(
            "page fault: {} {address:#x} at {:#x}, error code {:#x}",
            if is_write { "write to" } else { "read of" },
            frame.instruction,
            frame.error_code
        );
    } else {
        println!(
            "exception {} at {:#x}, error code {:#x}",
            frame.vector, frame.instruction, frame.error_code
        );
    }
    println!("stack {:#x}, registers {:x?}", frame.stack, frame.registers);
    exit(Verdict::Failure);
}
