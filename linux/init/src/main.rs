//! The first program of a machine that `cargo xtask module` boots: loads the module, drives its sample through debugfs, says on the
//! console what it found, and replaces the kernel below itself.
//!
//! ```text
//! kernel 1 --init: build, churn, check--> kexec --> kernel 2 --init: verify, churn, check--> kexec --> ...
//!             command line: heirloom.plan=chain heirloom.generation=1 of=5
//! ```
//!
//! What it says starts with `@`; the xtask reads it, beside what the kernel says, and judges. This program judges nothing but whether
//! it can go on: a step that fails is said and ends the machine.

mod plans;
mod sys;
mod tree;

use std::fs;
use std::io::{self, Error};

/// Where debugfs is.
pub(crate) const DEBUG: &str = "/sys/kernel/debug";

/// What this kernel was asked to do, by its command line.
pub(crate) struct Order {
    pub(crate) line: String,
}

impl Order {
    /// The word behind `heirloom.NAME=`.
    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        let key = format!("heirloom.{name}=");
        self.line.split_ascii_whitespace().find_map(|word| word.strip_prefix(&key))
    }

    /// The number behind `heirloom.NAME=`.
    pub(crate) fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.word(name).and_then(|word| word.parse().ok()).unwrap_or(otherwise)
    }

    /// The command line of the next kernel.
    pub(crate) fn next(&self) -> String {
        let (old, new) = (self.number("generation", 1), self.number("generation", 1) + 1);
        self.line.trim().replace(&format!("heirloom.generation={old}"), &format!("heirloom.generation={new}"))
    }
}

fn main() {
    match run() {
        Ok(()) => say("done"),
        Err(error) => say(&format!("failed {error}")),
    }
    // Whatever it was, there is nothing left to do.
    let error = sys::restart();
    say(&format!("failed to restart: {error}"));
    loop {
        std::thread::park();
    }
}

fn run() -> io::Result<()> {
    for (kind, at) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("debugfs", DEBUG), ("tmpfs", "/tmp")]
    {
        // The kernel has mounted devtmpfs itself.
        if let Err(error) = sys::mount(kind, at)
            && error.raw_os_error() != Some(libc_ebusy())
        {
            return Err(named(at, error));
        }
    }
    let order = Order { line: fs::read_to_string("/proc/cmdline")? };
    say(&format!("generation {}", order.number("generation", 1)));
    plans::run(&order)
}

fn libc_ebusy() -> i32 {
    libc::EBUSY
}

/// Says something to the xtask.
pub(crate) fn say(what: &str) {
    println!("@{what}");
}

/// An error with what it is about.
pub(crate) fn named(what: &str, error: Error) -> Error {
    Error::new(error.kind(), format!("{what}: {error}"))
}
