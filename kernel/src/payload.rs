//! Counts generations through a page.
#![expect(unsafe_code, reason = "a page of physical memory is the payload")]

use boot_protocol::range::PhysRange;
use boot_protocol::record::{Record, read_scratch_list};
use boot_protocol::start_info::StartInfo;

use crate::exit::{Verdict, exit};
use crate::serial::println;
use crate::{clock, jump, paging, physical, successor};

const COUNTER: PhysRange = PhysRange { start: 0x400_0000, end: 0x400_1000 };
const SCRATCH: PhysRange = PhysRange { start: 0x600_0000, end: 0x800_0000 };
const GUARD: u64 = 0x500_0000;

pub(crate) fn run(info: &StartInfo, own_image: PhysRange) -> ! {
    // SAFETY: test payload.
    let page = unsafe { physical::bytes_mut(COUNTER) }.expect("memory");
    if let Some(range) = info.record {
        // SAFETY: test payload.
        let record = Record::read(unsafe { physical::bytes(range) }.expect("memory")).expect("record");
        // SAFETY: test payload.
        let list = unsafe { physical::bytes(record.scratch_list) }.expect("memory");
        println!("{record:?} {:?}", read_scratch_list(list));
    } else {
        page.fill(0);
    }
    page[0] += 1;
    let address = physical::virtual_address(GUARD);
    paging::set_present(address, false);
    // SAFETY: test payload.
    unsafe { core::ptr::write_volatile(address as *mut u8, 7) };
    println!("generation {} at {own_image} us {}", page[0], clock::now_ns() / 1000);
    if info.option("generations") == Some("20") && page[0] == 20 {
        exit(Verdict::Success);
    }
    // SAFETY: test payload.
    let next = unsafe { successor::place(info, own_image, COUNTER, &[SCRATCH]) }.expect("place");
    println!("{next:x?}");
    // SAFETY: test payload.
    unsafe { jump::jump(next, own_image.start) }
}

pub(crate) fn handle_page_fault(address: u64, is_write: bool, instruction: u64) -> bool {
    println!("fault {address:#x} {is_write} {instruction:#x}");
    if address == physical::virtual_address(GUARD) {
        paging::set_present(address, true);
        return true;
    }
    false
}
