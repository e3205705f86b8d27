//! Deeds that must end the run, each with a word: `provoke=NAME` on the command line does one, and `cargo xtask`'s tests look at
//! what comes of it. A protection that nobody has seen at work is none.
#![expect(unsafe_code, reason = "it does what must not be done")]

use core::arch::asm;
use core::hint::black_box;

use crate::entry::ImageLayout;
use crate::physical;
use crate::serial::println;

/// Does the deed of that name. Returns if there is none, or if it went unpunished.
pub(crate) fn deed(name: &str, own_image: u64) {
    let layout = ImageLayout::of_this_kernel();
    // SAFETY: each of them faults before it has an effect, and a fault ends the run: that is what is tried here. Should one not
    // fault, what it has spoiled is this image, whose run ends a few lines below.
    unsafe {
        match name {
            "null" => asm!("mov byte ptr [{}], 1", in(reg) 0_u64),
            "text" => asm!("mov byte ptr [{}], 1", in(reg) layout.start),
            "rodata" => asm!("mov byte ptr [{}], 1", in(reg) layout.text_end),
            "execute" => asm!("call {}", in(reg) physical::virtual_address(own_image)),
            "hole" => asm!("mov al, [{}]", in(reg) physical::virtual_address(1 << 45), out("al") _),
            "divide" => asm!("div {0:e}", in(reg) 0_u32, inout("eax") 1 => _, inout("edx") 0 => _),
            "invalid" => asm!("ud2"),
            "stack" => _ = bottomless(&[0; 64]),
            _ => {}
        }
    }
    if name == "panic" {
        panic!("as the command line asked");
    }
    println!("provoke={name} was not punished");
}

/// Calls itself until there is no stack left.
#[expect(unconditional_recursion, reason = "the point")]
fn bottomless(above: &[u64; 64]) -> u64 {
    let own = black_box([above[0] + 1; 64]);
    bottomless(&own) + own[1]
}
