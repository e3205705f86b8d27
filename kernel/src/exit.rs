//! The end of the machine, with a word on how it went.
//!
//! QEMU's `isa-debug-exit` ends QEMU with the status `(code << 1) | 1`; `cargo xtask kernel` knows the two codes.
#![expect(unsafe_code, reason = "an output port")]

use x86_64::instructions::{hlt, port::Port};

/// Where `isa-debug-exit` listens: `-device isa-debug-exit,iobase=0xf4,iosize=0x04`.
const PORT: u16 = 0xf4;

/// How the run went. The codes are none that QEMU ends with by itself.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Verdict {
    /// QEMU ends with 33.
    Success = 0x10,
    /// QEMU ends with 35.
    Failure = 0x11,
}

/// Ends the machine, or stops it where nobody listens.
pub(crate) fn exit(verdict: Verdict) -> ! {
    // SAFETY: the port belongs to the device that ends the machine, or to nobody.
    unsafe { Port::new(PORT).write(verdict as u32) };
    loop {
        hlt();
    }
}
