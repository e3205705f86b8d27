//! Hosted machines for tests.
#![allow(dead_code, reason = "each test uses its part")]

use std::ptr::NonNull;

use heirloom_mm::hosted::{Hardware, small_map};
use heirloom_mm::{Gfp, Machine, Options};

pub(crate) fn hardware() -> Hardware {
    Hardware::new(small_map()).unwrap()
}

/// Boots what the power says.
pub(crate) fn boot(hardware: &Hardware, options: Options) -> Machine<'_, Hardware> {
    let power = hardware.power();
    Machine::boot(hardware, &power.info(options)).unwrap_or_else(|error| panic!("{error}"))
}

/// Freezes and jumps.
pub(crate) fn hand_over(machine: Machine<'_, Hardware>) {
    let frozen = machine.freeze().unwrap();
    let entry = machine.load_successor().unwrap();
    machine.jump(entry, frozen);
}

#[track_caller]
pub(crate) fn alloc(machine: &Machine<'_, Hardware>, size: usize, gfp: Gfp) -> NonNull<u8> {
    machine.alloc(size, gfp).unwrap()
}

/// Numbers that are the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 9) % limit
    }
}
