//! One design through many generations: the owners of objects, who see to it that everything happens, and look whether it came through.
//!
//! ```text
//!   boot, wake        verify, survey, scan      populate, churn              freeze, jump
//!  |-----------------|------------------------|-----------------------------|-------------|
//!   restore_us        the Row of this handover   preserve_ns, alloc_ns        freeze_us
//! ```
//!
//! A [`Row`] is one handover: what the predecessor paid for it, and what the successor found before it allocated anything.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use heirloom_mm::hosted::Hardware;
use heirloom_mm::{GuardOptions, Machine, MemoryRange, Options};
use serde::Serialize;

use crate::design::{Awake, Design, Life, Object};
use crate::kernel::{GuardHits, Kernel};
use crate::marks;
use crate::picture::{self, PageMap};
use crate::ram::Ram;
use crate::random::Random;
use crate::survey::{Survey, scan};
use crate::workload::{NEVER, Span};
use crate::{LabError, Workload};

/// Where the machine's memory starts.
const MEMORY_START: u64 = 1 << 20;

/// Bytes of its second bank.
const SECOND_BANK_BYTES: u64 = 32 << 20;

/// Ordinary objects that are allocated and freed to measure that.
const NR_TIMED: usize = 1024;

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
    let banks = banks(workload);
    let hardware = Hardware::new(banks.to_vec())?;
    let ram = Ram::new(&hardware, &banks);
    let memory = MEMORY_START..banks[1].range.end;
    let mut owners = Owners::new(workload, settings);
    let mut rows = Vec::new();
    let mut sent = Sent::default();
    loop {
        let is_root_sampled = owners.random.once_in(settings.root_once_in);
        let options = design.options(base_options(workload, settings), is_root_sampled);
        let power = hardware.power();
        let started = Instant::now();
        let (machine, is_refused) = boot(&hardware, &power, options)?;
        let mut kernel = Kernel::new(&machine, ram, workload, settings.guard_every);
        let inherited: Vec<Object> = owners.slots.iter().filter_map(|slot| slot.object).collect();
        let handed = if is_refused { &[][..] } else { &inherited[..] };
        let Awake { mut life, mut lost } = design.wake(&mut kernel, workload, handed)?;
        machine.finish();
        let restore_us = started.elapsed().as_secs_f64() * 1e6;
        if is_refused {
            lost = inherited.iter().map(|object| object.id).collect();
        }
        if owners.generation > 0 {
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
            row.corrupt += std::mem::take(&mut owners.nr_spoiled);
        }
        kernel.slub.check()?;
        progress(owners.generation);
        if owners.generation == settings.generations {
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

/// Whoever owns objects: they know where theirs are, over all generations.
struct Owners<'w> {
    workload: &'w Workload,
    random: Random,
    churn_percent: u32,
    generation: u32,
    next_id: u32,
    /// Preserved objects.
    slots: Vec<Slot>,
    /// Ordinary objects of this generation.
    ordinary: Vec<Object>,
    /// Ordinary objects that were found changed.
    nr_spoiled: u64,
    /// Time spent on preserving, and for how many objects.
    spent_ns: f64,
    nr_kept: u32,
    clock_ns: f64,
}

/// The place of one preserved object, and of who follows it.
struct Slot {
    kind: u16,
    span: Span,
    object: Option<Object>,
    /// Generation in which it ends.
    end: u32,
}

impl<'w> Owners<'w> {
    fn new(workload: &'w Workload, settings: &Settings) -> Self {
        let nr = workload.nr_preserved();
        let slot = |index| Slot {
            kind: workload.spread(index, nr),
            span: Workload::span(index),
            object: None,
            end: NEVER,
        };
        Self {
            workload,
            random: Random::new(settings.seed),
            churn_percent: settings.churn_percent,
            generation: 0,
            next_id: 0,
            slots: (0..nr).map(slot).collect(),
            ordinary: Vec::new(),
            nr_spoiled: 0,
            spent_ns: 0.0,
            nr_kept: 0,
            clock_ns: clock_ns(),
        }
    }

    /// Looks at everything that was inherited. What is lost is forgotten.
    fn receive(&mut self, kernel: &Kernel<'_, '_>, survey: &Survey, lost: &[u32]) -> Row {
        let lost: std::collections::HashSet<u32> = lost.iter().copied().collect();
        let mut live = HashMap::new();
        let (mut live_bytes, mut corrupt) = (0, 0);
        for slot in &mut self.slots {
            let Some(object) = slot.object else { continue };
            if lost.contains(&object.id) {
                slot.object = None;
                continue;
            }
            if !marks::is_whole(&kernel.ram, object.phys, object.bytes, object.id, true) {
                corrupt += 1;
                marks::fill(&kernel.ram, object.phys, object.bytes, object.id, true);
            }
            live.insert(object.id, (object.phys, object.bytes));
            live_bytes += object.bytes;
        }
        let stale = scan(&kernel.ram, &survey.regions, &live);
        let preserved_bytes = survey.preserved_bytes();
        Row {
            design: "",
            share: self.workload.share,
            generation: self.generation,
            live_bytes,
            preserved_bytes,
            stranded_bytes: preserved_bytes.saturating_sub(live_bytes + survey.allocatable_bytes),
            stale_bytes: stale.bytes,
            foreign_stale_bytes: stale.foreign_bytes,
            metadata_bytes: 0,
            lost: lost.len() as u64,
            corrupt,
            preserve_ns: 0.0,
            freeze_us: 0.0,
            restore_us: 0.0,
            alloc_ns: 0.0,
            nr_live: live.len() as u64,
            guard_hits: GuardHits::default(),
        }
    }

    /// The kernel's ordinary objects, and preserved ones for all places that have none, in random order.
    fn populate(&mut self, kernel: &mut Kernel<'_, '_>, life: &mut dyn Life) -> Result<(), LabError> {
        let nr = self.workload.nr_ordinary();
        let mut kinds: Vec<u16> = (0..nr).map(|index| self.workload.spread(index, nr)).collect();
        self.random.shuffle(&mut kinds);
        let mut empty: Vec<usize> =
            (0..self.slots.len()).filter(|&at| self.slots[at].object.is_none()).collect();
        self.random.shuffle(&mut empty);
        while !(kinds.is_empty() && empty.is_empty()) {
            if self.random.below(kinds.len() + empty.len()) < empty.len() {
                if let Some(at) = empty.pop() {
                    self.begin(kernel, life, at)?;
                }
            } else if let Some(kind) = kinds.pop() {
                let object = self.alloc_ordinary(kernel, kind)?;
                self.ordinary.push(object);
            }
        }
        Ok(())
    }

    /// Frees and allocates ordinary objects; preserved ones whose time has come end among that, and others follow them a little later.
    fn churn(&mut self, kernel: &mut Kernel<'_, '_>, life: &mut dyn Life) -> Result<(), LabError> {
        let nr_steps = (u64::from(self.workload.nr_objects) * u64::from(self.churn_percent) / 100) as usize;
        let mut ending: Vec<usize> =
            (0..self.slots.len()).filter(|&at| self.slots[at].end <= self.generation).collect();
        self.random.shuffle(&mut ending);
        let mut waiting = std::collections::VecDeque::new();
        for left in (1..=nr_steps.max(ending.len())).rev() {
            if self.random.below(left) < ending.len()
                && let Some(at) = ending.pop()
            {
                if let Some(object) = self.slots[at].object.take() {
                    life.release(kernel, &object)?;
                }
                waiting.push_back(at);
                if waiting.len() > 16
                    && let Some(at) = waiting.pop_front()
                {
                    self.begin(kernel, life, at)?;
                }
            }
            if self.ordinary.is_empty() {
                continue;
            }
            let at = self.random.below(self.ordinary.len());
            let object = self.ordinary[at];
            self.nr_spoiled +=
                u64::from(!marks::is_whole(&kernel.ram, object.phys, object.bytes, object.id, false));
            kernel.free(object.phys)?;
            let kind = self.workload.draw(&mut self.random);
            self.ordinary[at] = self.alloc_ordinary(kernel, kind)?;
        }
        for at in waiting {
            self.begin(kernel, life, at)?;
        }
        Ok(())
    }

    /// Allocates a preserved object for a place.
    fn begin(&mut self, kernel: &mut Kernel<'_, '_>, life: &mut dyn Life, at: usize) -> Result<(), LabError> {
        let Slot { kind, span, .. } = self.slots[at];
        let started = Instant::now();
        let phys = life.keep(kernel, kind)?;
        self.spent_ns += started.elapsed().as_nanos() as f64 - self.clock_ns;
        self.nr_kept += 1;
        let object = Object { id: self.take_id(), kind, phys, bytes: self.workload.bytes(kind) };
        marks::fill(&kernel.ram, phys, object.bytes, object.id, true);
        self.slots[at].object = Some(object);
        self.slots[at].end = Workload::end_of(span, self.generation, &mut self.random);
        Ok(())
    }

    fn alloc_ordinary(&mut self, kernel: &mut Kernel<'_, '_>, kind: u16) -> Result<Object, LabError> {
        let phys = kernel.alloc(kernel.caches[usize::from(kind)])?;
        let object = Object { id: self.take_id(), kind, phys, bytes: self.workload.bytes(kind) };
        marks::fill(&kernel.ram, phys, object.bytes, object.id, false);
        Ok(object)
    }

    /// Nanoseconds to allocate and free an ordinary object.
    fn time_ordinary(&mut self, kernel: &mut Kernel<'_, '_>) -> Result<f64, LabError> {
        let draw = |_| kernel.caches[usize::from(self.workload.draw(&mut self.random))];
        let caches: Vec<_> = (0..NR_TIMED).map(draw).collect();
        let mut objects = vec![0; NR_TIMED];
        let started = Instant::now();
        for (object, &cache) in objects.iter_mut().zip(&caches) {
            *object = black_box(kernel.alloc_unsampled(cache)?);
        }
        for &object in &objects {
            kernel.free(object)?;
        }
        Ok(started.elapsed().as_nanos() as f64 / NR_TIMED as f64)
    }

    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = (id + 1) % marks::MAX_OBJECTS;
        id
    }

    /// Nanoseconds for each object that was preserved in this generation.
    fn preserve_ns(&mut self) -> f64 {
        let nr = std::mem::take(&mut self.nr_kept);
        let spent = std::mem::take(&mut self.spent_ns);
        if nr == 0 { 0.0 } else { (spent / f64::from(nr)).max(0.0) }
    }

    /// Ordinary objects are no more.
    fn jumped(&mut self) {
        self.ordinary.clear();
        self.generation += 1;
    }

    /// Where objects lie, and whether they are preserved.
    fn pieces(&self) -> impl Iterator<Item = (u64, u64, bool)> {
        let preserved = self.slots.iter().filter_map(|slot| slot.object).map(|object| (object, true));
        let ordinary = self.ordinary.iter().map(|&object| (object, false));
        preserved.chain(ordinary).map(|(object, is_preserved)| (object.phys, object.bytes, is_preserved))
    }
}

/// Nanoseconds that asking for the time takes by itself.
fn clock_ns() -> f64 {
    let started = Instant::now();
    for _ in 0..1000 {
        black_box(Instant::now());
    }
    started.elapsed().as_nanos() as f64 / 1000.0
}
