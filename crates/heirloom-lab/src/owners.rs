//! Whoever owns objects: they have them allocated, freed and handed over, and look whether they came through. The same under every design.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hint::black_box;
use std::time::Instant;

use crate::design::{Life, Object};
use crate::kernel::{GuardHits, Kernel};
use crate::marks;
use crate::random::Random;
use crate::run::{Row, Settings};
use crate::survey::{Survey, scan};
use crate::workload::{NEVER, Span};
use crate::{LabError, Workload};

/// Ordinary objects that are allocated and freed to measure that.
const NR_TIMED: usize = 1024;

/// The owners: they know where their objects are, over all generations.
pub(crate) struct Owners<'w> {
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
    pub(crate) fn new(workload: &'w Workload, settings: &Settings) -> Self {
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

    /// The generation that runs: 0 is the first.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Preserved objects, as far as they were allocated.
    pub(crate) fn preserved(&self) -> impl Iterator<Item = Object> {
        self.slots.iter().filter_map(|slot| slot.object)
    }

    /// True once in `of` times.
    pub(crate) fn draw_once_in(&mut self, of: u32) -> bool {
        self.random.once_in(of)
    }

    /// Ordinary objects that were found changed since this was asked.
    pub(crate) fn take_nr_spoiled(&mut self) -> u64 {
        std::mem::take(&mut self.nr_spoiled)
    }

    /// Looks at everything that was inherited. What is lost is forgotten.
    pub(crate) fn receive(&mut self, kernel: &Kernel<'_, '_>, survey: &Survey, lost: &[u32]) -> Row {
        let lost: HashSet<u32> = lost.iter().copied().collect();
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
    pub(crate) fn populate(
        &mut self,
        kernel: &mut Kernel<'_, '_>,
        life: &mut dyn Life,
    ) -> Result<(), LabError> {
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
    pub(crate) fn churn(&mut self, kernel: &mut Kernel<'_, '_>, life: &mut dyn Life) -> Result<(), LabError> {
        let nr_steps = (u64::from(self.workload.nr_objects) * u64::from(self.churn_percent) / 100) as usize;
        let mut ending: Vec<usize> =
            (0..self.slots.len()).filter(|&at| self.slots[at].end <= self.generation).collect();
        self.random.shuffle(&mut ending);
        let mut waiting = VecDeque::new();
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
    pub(crate) fn time_ordinary(&mut self, kernel: &mut Kernel<'_, '_>) -> Result<f64, LabError> {
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
    pub(crate) fn preserve_ns(&mut self) -> f64 {
        let nr = std::mem::take(&mut self.nr_kept);
        let spent = std::mem::take(&mut self.spent_ns);
        if nr == 0 { 0.0 } else { (spent / f64::from(nr)).max(0.0) }
    }

    /// Ordinary objects are no more.
    pub(crate) fn jumped(&mut self) {
        self.ordinary.clear();
        self.generation += 1;
    }

    /// Where objects lie, and whether they are preserved.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, u64, bool)> {
        let preserved = self.preserved().map(|object| (object, true));
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
