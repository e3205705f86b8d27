//! One design through many generations.
//!
//! ```text
//!   boot, wake        verify, survey, scan      populate, churn              freeze, jump
//!  |-----------------|------------------------|-----------------------------|-------------|
//!   restore_us        the Row of this handover   preserve_ns, alloc_ns        freeze_us
//! ```
//!
//! A [`Row`] is one handover: what the predecessor paid for it, and what the successor found before it allocated anything.

use std::time::Instant;

use heirloom_mm::hosted::Hardware;
use heirloom_mm::{GuardOptions, Machine, MemoryRange, Options};
use serde::Serialize;

use crate::design::{Awake, Design, Object};
use crate::kernel::{GuardHits, Kernel};
use crate::owners::Owners;
use crate::picture::{self, PageMap};
use crate::ram::Ram;
use crate::{LabError, Workload};

/// Where the machine's memory starts.
const MEMORY_START: u64 = 1 << 20;

/// Bytes of its second bank.
const SECOND_BANK_BYTES: u64 = 32 << 20;

/// How a chain is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Handovers.
    pub generations: u32,
    /// Where the pseudo-random numbers start.
    pub seed: u64,
    /// The guard pool serves each so many-th object; 0: none.
    pub guard_every: u32,
    /// The guard pool serves the root of the map once in so many boots, under the design that has it from `kzalloc`.
    pub root_once_in: u32,
    /// Ordinary objects that are freed and allocated between two handovers, in percent of all.
    pub churn_percent: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { generations: 100, seed: 1, guard_every: 1000, root_once_in: 10, churn_percent: 100 }
    }
}

/// One handover under one design. Bytes are what the successor found, before it allocated anything.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The design's name.
    pub design: &'static str,
    /// Objects that are preserved, in percent of all.
    pub share: u32,
    /// The successor's generation; the first kernel, which inherited nothing, is 0.
    pub generation: u32,
    /// Bytes of the preserved objects.
    pub live_bytes: u64,
    /// Bytes of the preserved pages that they lie on.
    pub preserved_bytes: u64,
    /// Bytes of those pages that hold no live object and that the successor cannot allocate from.
    pub stranded_bytes: u64,
    /// Bytes of those pages that hold what an object left which is no more.
    pub stale_bytes: u64,
    /// Those of them that are of an object which was never to be handed over.
    pub foreign_stale_bytes: u64,
    /// Bytes of the map, the tree and of records.
    pub metadata_bytes: u64,
    /// Objects that were handed over and not found.
    pub lost: u64,
    /// Objects that were found changed.
    pub corrupt: u64,
    /// Nanoseconds to allocate an object and mark it, in the predecessor.
    pub preserve_ns: f64,
    /// Microseconds that the predecessor's freeze took.
    pub freeze_us: f64,
    /// Microseconds of the successor's boot, until all objects were there and marked for the next handover.
    pub restore_us: f64,
    /// Nanoseconds to allocate and free an ordinary object, in the successor.
    pub alloc_ns: f64,
    /// Objects that came through.
    #[serde(skip)]
    pub nr_live: u64,
    /// What the guard pool served, in the predecessor.
    #[serde(skip)]
    pub guard_hits: GuardHits,
}

impl Row {
    /// Bytes of preserved pages that hold no live object, and that the successor can allocate from.
    pub fn idle_bytes(&self) -> u64 {
        self.preserved_bytes.saturating_sub(self.live_bytes + self.stranded_bytes)
    }
}

/// All handovers of a design.
#[derive(Clone, Debug)]
pub struct Chain {
    /// One row each.
    pub rows: Vec<Row>,
    /// The last generation's memory, page by page, after its churn.
    pub picture: PageMap,
}

/// Runs a design. `progress` is called with each generation that is done.
///
/// # Errors
///
/// [`LabError`]: the run could not go on. What is lost on the way is no error.
pub fn run(
    design: &dyn Design,
    workload: &Workload,
    settings: &Settings,
    mut progress: impl FnMut(u32),
) -> Result<Chain, LabError> {
    if settings.guard_every == 1 {
        return Err(LabError::Settings(
            "the guard pool cannot serve every object: then none could be preserved",
        ));
    }
    let banks = banks(workload);
    let hardware = Hardware::new(banks.to_vec())?;
    let ram = Ram::new(&hardware, &banks);
    let memory = MEMORY_START..banks[1].range.end;
    let mut owners = Owners::new(workload, settings);
    let mut rows = Vec::new();
    let mut sent = Sent::default();
    loop {
        let is_root_sampled = owners.draw_once_in(settings.root_once_in);
        let options = design.options(base_options(workload, settings), is_root_sampled);
        let power = hardware.power();
        let started = Instant::now();
        let (machine, is_refused) = boot(&hardware, &power, options)?;
        let mut kernel = Kernel::new(&machine, ram, workload, settings.guard_every);
        let inherited: Vec<Object> = owners.preserved().collect();
        let handed = if is_refused { &[][..] } else { &inherited[..] };
        let Awake { mut life, mut lost } = design.wake(&mut kernel, workload, handed)?;
        machine.finish();
        let restore_us = started.elapsed().as_secs_f64() * 1e6;
        if is_refused {
            lost = inherited.iter().map(|object| object.id).collect();
        }
        if owners.generation() > 0 {
            let survey = life.survey(&kernel);
            let mut row = owners.receive(&kernel, &survey, &lost);
            row.design = design.name();
            row.metadata_bytes = sent.map_bytes + survey.record_bytes();
            (row.preserve_ns, row.freeze_us, row.restore_us) = (sent.preserve_ns, sent.freeze_us, restore_us);
            row.guard_hits = sent.guard_hits;
            rows.push(row);
        }
        owners.populate(&mut kernel, &mut *life)?;
        owners.churn(&mut kernel, &mut *life)?;
        let alloc_ns = owners.time_ordinary(&mut kernel)?;
        if let Some(row) = rows.last_mut() {
            row.alloc_ns = alloc_ns;
            row.corrupt += owners.take_nr_spoiled();
        }
        kernel.slub.check()?;
        progress(owners.generation());
        if owners.generation() == settings.generations {
            let picture = picture::of_kernel(&kernel, &life.survey(&kernel), &memory, owners.pieces());
            return Ok(Chain { rows, picture });
        }

        let started = Instant::now();
        life.freeze(&mut kernel)?;
        let frozen = machine.freeze()?;
        sent.freeze_us = started.elapsed().as_secs_f64() * 1e6;
        let tally = frozen.tally();
        sent.map_bytes = tally.metadata_pages * heirloom_mm::PAGE_BYTES;
        sent.preserve_ns = owners.preserve_ns();
        sent.guard_hits = GuardHits { metadata: tally.metadata_in_scratch, ..kernel.hits };
        drop(life);
        drop(kernel);
        let entry = machine.load_successor().ok_or(LabError::NoSuccessor)?;
        machine.jump(entry, frozen);
        owners.jumped();
    }
}

/// The machine's memory: two banks, which are two nodes. Pages are taken from the first while it has any; what needs a run that it does not
/// have any more, such as the tables of the machine's own allocator after pages were preserved all over, is in the second.
pub(crate) fn banks(workload: &Workload) -> [MemoryRange; 2] {
    let middle = MEMORY_START + workload.memory_bytes();
    [(MEMORY_START..middle, 0), (middle..middle + SECOND_BANK_BYTES, 1)]
        .map(|(range, node)| MemoryRange { range, node })
}

/// What the predecessor knows of a handover.
#[derive(Default)]
struct Sent {
    map_bytes: u64,
    preserve_ns: f64,
    freeze_us: f64,
    guard_hits: GuardHits,
}

/// Boots. A handover that is refused is given up, and the machine starts cold: then the answer is true.
fn boot<'h>(
    hardware: &'h Hardware,
    power: &heirloom_mm::hosted::Power,
    options: Options,
) -> Result<(Machine<'h, Hardware>, bool), LabError> {
    match Machine::boot(hardware, &power.info(options)) {
        Ok(machine) => Ok((machine, false)),
        Err(_) if power.handover().is_some() => {
            hardware.cut_power();
            Ok((Machine::boot(hardware, &hardware.power().info(options))?, true))
        }
        Err(error) => Err(error.into()),
    }
}

/// The guard pool serves every allocation that the machine itself is asked for; the lab asks it only now and then.
///
/// The preserve pool may grow to twice what the workload keeps, as its table of blocks has a size that is chosen once.
pub(crate) fn base_options(workload: &Workload, settings: &Settings) -> Options {
    let nr_objects = if settings.guard_every == 0 && settings.root_once_in == 0 { 0 } else { 63 };
    let guard = GuardOptions { nr_objects, every: 1, interval_us: 0, quarantine: 8 };
    let preserve_blocks = 64 + (workload.preserved_bytes() / (32 << 10)) as u32;
    Options { guard, preserve_blocks, ..Options::default() }
}

/// Nanoseconds of a boot with nothing handed over, on a machine for this workload: what every `restore_us` has in it.
///
/// # Errors
///
/// The machine does not boot.
pub fn time_cold_boot(workload: &Workload, settings: &Settings) -> Result<f64, LabError> {
    let hardware = Hardware::new(banks(workload).to_vec())?;
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..9 {
        let power = hardware.power();
        let started = Instant::now();
        let options = Options { preserve_blocks: 0, ..base_options(workload, settings) };
        let _machine = Machine::boot(&hardware, &power.info(options))?;
        times.push(started.elapsed().as_secs_f64() * 1e9);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
