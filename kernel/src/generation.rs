//! One generation: the machine is booted with what the start info says, and does the run that the host does too.
//!
//! ```text
//! start info                     boot information of heirloom-mm
//! memory map: RAM          --->  memory (one node: PVH tells of no others)
//! first MiB, image, module --->  reserved
//! handover record          --->  handover
//! command line             --->  options, plan
//! ```
//!
//! Options on the command line, each `name=number`: `generations`, `objects`, `seed`, `guard_every`; and `spoil=all`
//! ([`crate::poison`]). They are the same in every generation, since a successor's start info carries on its predecessor's.

use core::ops::Range;
use core::str::FromStr;

use arrayvec::ArrayVec;
use boot_protocol::range::PhysRange;
use boot_protocol::start_info::StartInfo;
use heirloom_mm::run::{Outcome, Plan, generation};
use heirloom_mm::{BootInfo, GuardOptions, Handover, MAX_ZONES, MemoryRange, Options};

use crate::exit::{Verdict, exit};
use crate::hardware::{FIRST_MIB, Hardware};
use crate::paging::MAX_RAM;
use crate::serial::println;

/// The guard pool serves each so many-th ordinary allocation, unless the command line says otherwise.
const GUARD_EVERY: u32 = 7;

/// Runs this generation to its jump, or to the end of the run.
pub(crate) fn run(hardware: &'static Hardware) -> ! {
    let told = hardware.told();
    let verdict = match attempt(hardware, told) {
        Ok(Outcome::Last(report)) => {
            let totals = report.totals;
            let bad = [
                totals.lost,
                totals.corrupt,
                totals.stale_bytes,
                totals.stranded_bytes,
                totals.metadata_in_scratch,
            ];
            if bad.iter().all(|count| *count == 0) { Verdict::Success } else { Verdict::Failure }
        }
        Ok(Outcome::Jumped(_)) => {
            println!("came back from a jump");
            Verdict::Failure
        }
        Err(Refused) => Verdict::Failure,
    };
    exit(verdict);
}

/// It has been said why.
struct Refused;

fn attempt(hardware: &'static Hardware, told: &StartInfo) -> Result<Outcome, Refused> {
    let handover = hardware.handover().map_err(|error| {
        println!("cannot take over: {error}");
        Refused
    })?;
    match handover {
        None => println!("booted at {}, cold", hardware.own_image()),
        Some(Handover { fdt, scratch, .. }) => {
            println!("jumped to {}; tree {fdt:#x}, scratch list {scratch:#x}", hardware.own_image());
        }
    }
    let (memory, reserved) = (memory(told), reserved(told, hardware.own_image()));
    let plan = Plan {
        generations: number(told, "generations", Plan::default().generations)?,
        objects: number(told, "objects", Plan::default().objects)?,
        seed: number(told, "seed", Plan::default().seed)?,
        ..Plan::default()
    };
    let every = number(told, "guard_every", GUARD_EVERY)?;
    let options = Options { guard: GuardOptions { every, ..GuardOptions::default() }, ..Options::default() };
    let info = BootInfo { memory: &memory, reserved: &reserved, handover, options };
    generation(hardware, &info, &plan).map_err(|error| {
        println!("the generation failed: {error}");
        Refused
    })
}

/// Memory above the first MiB; a firmware with more ranges than the machine takes has its smallest left out.
fn memory(told: &StartInfo) -> ArrayVec<MemoryRange, MAX_ZONES> {
    let mut memory = ArrayVec::<MemoryRange, MAX_ZONES>::new();
    for ram in told.ram(MAX_RAM) {
        let range = ram.start.max(FIRST_MIB.end)..ram.end;
        if range.is_empty() {
            continue;
        }
        let size_bytes = |range: &Range<u64>| range.end - range.start;
        if memory.is_full() {
            let smallest = memory.iter_mut().min_by_key(|memory| size_bytes(&memory.range));
            if let Some(smallest) =
                smallest.filter(|smallest| size_bytes(&smallest.range) < size_bytes(&range))
            {
                smallest.range = range;
            }
        } else {
            memory.push(MemoryRange { range, node: 0 });
        }
    }
    memory
}

/// What stands in memory and stays. The start info has been read, and the handover is the machine's affair.
fn reserved(told: &StartInfo, own_image: PhysRange) -> ArrayVec<Range<u64>, 3> {
    let range = |range: PhysRange| range.start..range.end;
    let module = told.successor.map(range);
    [Some(range(FIRST_MIB)), Some(range(own_image)), module].into_iter().flatten().collect()
}

fn number<T: FromStr>(told: &StartInfo, name: &str, default: T) -> Result<T, Refused> {
    let Some(word) = told.option(name) else { return Ok(default) };
    word.parse().map_err(|_| {
        println!("{name}={word} on the command line is no number that fits");
        Refused
    })
}
