//! The serial console: a 16550 on the first port, and `print!` to it.
//!
//! What a person reads, what `cargo xtask kernel` reads and what a panic says all go this way. The port is polled, never
//! interrupts, and never waits forever: a port without a reader costs characters, not the machine.
#![expect(unsafe_code, reason = "input and output ports")]

use core::fmt;

use spin::Mutex;
use x86_64::instructions::port::Port;

/// The first serial port of a PC.
const COM1: u16 = 0x3f8;

/// How often the port is asked whether it is ready for a character.
const MAX_POLLS: u32 = 100_000;

static CONSOLE: Mutex<Serial> = Mutex::new(Serial { base: COM1 });

/// A 16550.
struct Serial {
    base: u16,
}

/// Prepares the port: 115,200 baud, 8 bits, no parity, one stop bit, its buffers on, no interrupts.
pub(crate) fn init() {
    let mut port = CONSOLE.lock();
    for (register, value) in [(1, 0x00), (3, 0x80), (0, 0x01), (1, 0x00), (3, 0x03), (2, 0xc7), (4, 0x03)] {
        port.write_register(register, value);
    }
}

/// Writes to the console. Whoever interrupted somebody else's line (an exception) writes into the middle of it.
pub(crate) fn write(arguments: fmt::Arguments<'_>) {
    use fmt::Write as _;
    match CONSOLE.try_lock() {
        Some(mut port) => _ = port.write_fmt(arguments),
        None => _ = Serial { base: COM1 }.write_fmt(arguments),
    }
}

/// Prints a line to the serial console.
macro_rules! println {
    ($($argument:tt)*) => { $crate::serial::write(format_args!("{}\n", format_args!($($argument)*))) };
}

pub(crate) use println;

impl Serial {
    fn write_register(&mut self, register: u16, value: u8) {
        // SAFETY: the registers of the serial port have no effect on memory.
        unsafe { Port::new(self.base + register).write(value) };
    }

    fn is_ready(&self) -> bool {
        // SAFETY: as above; reading the line status has no effect but to clear error bits.
        let status: u8 = unsafe { Port::new(self.base + 5).read() };
        status & 0x20 != 0
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            for _ in 0..MAX_POLLS {
                if self.is_ready() {
                    break;
                }
            }
            self.write_register(0, byte);
        }
        Ok(())
    }
}
