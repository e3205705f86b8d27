//! The first Rust: from what the loader says to a machine on which memory can be managed.
#![expect(unsafe_code, reason = "the entry calls in by name")]

use boot_protocol::range::PhysRange;
use boot_protocol::start_info::StartInfo;

use crate::entry::{BOOT_STACK, ImageLayout};
use crate::exit::{Verdict, exit};
use crate::hardware::Hardware;
use crate::serial::println;
use crate::{clock, exceptions, generation, paging, physical, provoke, segments, serial};

/// Called by `entry`, in long mode, on the early page tables, with the physical addresses of the start info and of the image.
#[unsafe(no_mangle)]
extern "C" fn start_rust(start_info: u64, image_physical: u64) -> ! {
    serial::init();
    clock::init();
    let info = match StartInfo::read(start_info, physical::read) {
        Ok(info) => info,
        Err(error) => {
            println!("cannot start: {error}");
            exit(Verdict::Failure);
        }
    };

    let ram = || info.ram(paging::MAX_RAM);
    let stack_guard = (&raw const BOOT_STACK).addr() as u64;
    paging::load(ram(), image_physical, stack_guard);
    physical::set_ram(ram());
    segments::init();
    exceptions::init();

    let layout = ImageLayout::of_this_kernel();
    let size_bytes = layout.end - layout.start;
    let own_image = PhysRange { start: image_physical, end: image_physical + size_bytes };
    if let Some(name) = info.option("provoke") {
        provoke::deed(name, image_physical);
        exit(Verdict::Failure);
    }
    generation::run(Hardware::init(info, own_image));
}
