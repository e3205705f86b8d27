//! What a predecessor left is foreign: a record that is wrong in any word is an error or another set of slabs, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use heirloom_mm::hosted::Hardware;
use heirloom_mm::{Machine, PAGE_BYTES};

use super::order_bitmap::OrderBitmap;
use super::{Design as _, Object};
use crate::kernel::Kernel;
use crate::ram::Ram;
use crate::random::Random;
use crate::run::{banks, base_options};
use crate::slabinfo::BUILD_MACHINE;
use crate::{LabError, Settings, Workload};

const DESIGN: OrderBitmap = OrderBitmap { is_scrubbed: true };

/// Keeps objects, hands them over with `spoil` done to the record in between, and takes them back: how many came through.
fn hand_over(spoil: impl FnOnce(&Hardware, u64)) -> Result<usize, LabError> {
    let workload = Workload::new(BUILD_MACHINE, 200, 20).expect("a real table");
    let settings = Settings { guard_every: 0, ..Settings::default() };
    let banks = banks(&workload);
    let hardware = Hardware::new(banks.to_vec())?;
    let options = DESIGN.options(base_options(&workload, &settings), false);
    let ram = Ram::new(&hardware, &banks);
    let mut objects = Vec::new();
    {
        let power = hardware.power();
        let machine = Machine::boot(&hardware, &power.info(options))?;
        let mut kernel = Kernel::new(&machine, ram, &workload, 0);
        let mut life = DESIGN.wake(&mut kernel, &workload, &[])?.life;
        for (id, kind) in (0..40).zip((0..8).cycle()) {
            let phys = life.keep(&mut kernel, kind)?;
            objects.push(Object { id, kind, phys, bytes: workload.bytes(kind) });
        }
        life.freeze(&mut kernel)?;
        let record = life.survey(&kernel).regions.last().map_or(0, |region| region.phys);
        let frozen = machine.freeze()?;
        let entry = machine.load_successor().ok_or(LabError::NoSuccessor)?;
        spoil(&hardware, record);
        machine.jump(entry, frozen);
    }
    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(options))?;
    let mut kernel = Kernel::new(&machine, ram, &workload, 0);
    let awake = DESIGN.wake(&mut kernel, &workload, &objects)?;
    kernel.slub.check()?;
    Ok(objects.len() - awake.lost.len())
}

#[test]
fn a_record_that_is_whole_brings_everything_back() {
    assert!(matches!(hand_over(|_, _| ()), Ok(40)));
}

#[test]
fn a_record_that_is_spoiled_is_an_error_or_tells_of_other_slabs() {
    let mut nr_refused = 0;
    for seed in 0..120 {
        let mut random = Random::new(seed);
        let at = 8 * random.below(24) as u64;
        let value = match random.below(4) {
            0 => random.next(),
            1 => 1 << random.below(64),
            2 => PAGE_BYTES * random.below(1 << 14) as u64 + random.below(16) as u64,
            _ => u64::MAX,
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            hand_over(|hardware, record| hardware.store(record + at, value))
        }));
        match result {
            Ok(Ok(nr)) => assert!(nr <= 40),
            Ok(Err(LabError::Record(_) | LabError::Restore(_))) => nr_refused += 1,
            Ok(Err(error)) => panic!("seed {seed}: {at} = {value:#x}: {error}"),
            Err(_) => panic!("seed {seed}: {at} = {value:#x}: a panic"),
        }
    }
    assert!(nr_refused > 60, "{nr_refused} of 120 were refused");
}
