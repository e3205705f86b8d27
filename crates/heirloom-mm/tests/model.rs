//! Random churn over many generations, in lock-step with a slow map of everything that was handed out.
#![allow(unsafe_code, reason = "fills and frees objects")]

mod common;

use std::collections::BTreeMap;
use std::ptr::NonNull;

use common::{Random, boot, hand_over, hardware};
use heirloom_mm::hosted::Hardware;
use heirloom_mm::kho::VmallocArea;
use heirloom_mm::slab::{Cache, CacheFlags};
use heirloom_mm::{Gfp, GuardOptions, Machine, Options};

#[derive(Clone, Copy, Debug)]
struct Object {
    size: usize,
    mark: u8,
}

#[derive(Clone, Copy, Debug)]
enum Pages {
    Folio(u64, u32),
    Range(u64, u64),
    Area(VmallocArea),
}

/// What the machine should hold.
#[derive(Debug, Default)]
struct Model {
    /// Preserved objects, by physical address.
    kept: BTreeMap<u64, Object>,
    /// The rest: gone with the next jump.
    passing: BTreeMap<u64, Object>,
    pages: Vec<(Pages, u8)>,
}

const CACHES: [(&str, usize, usize); 3] = [("model-a", 48, 8), ("model-b", 320, 64), ("model-c", 1500, 16)];

struct Bench<'a> {
    machine: Machine<'a, Hardware>,
    caches: Vec<Cache>,
}

impl<'a> Bench<'a> {
    fn boot(hardware: &'a Hardware, options: Options) -> Self {
        let machine = boot(hardware, options);
        let cache =
            |(name, size, align)| machine.create_cache(name, size, align, CacheFlags::PRESERVE).unwrap();
        let caches = CACHES.map(cache).to_vec();
        Self { machine, caches }
    }

    fn fill(&self, phys: u64, size: usize, mark: u8) {
        // SAFETY: the bytes are the caller's.
        unsafe { self.machine.address(phys).write_bytes(mark, size) };
    }

    fn is_whole(&self, phys: u64, size: usize, mark: u8) -> bool {
        // SAFETY: the bytes are the caller's, and nobody writes them meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts(self.machine.address(phys), size) };
        bytes.iter().all(|&byte| byte == mark)
    }

    fn free(&self, phys: u64, object: Object) {
        assert!(self.is_whole(phys, object.size, object.mark), "{phys:#x}: {object:?}");
        let at = NonNull::new(self.machine.address(phys)).unwrap();
        // SAFETY: the model held it, and holds it no longer.
        unsafe { self.machine.free(at) }.unwrap();
    }

    fn allocate(&self, model: &mut Model, random: &mut Random) {
        let mut gfp = [Gfp::empty(), Gfp::PRESERVE][random.below(2) as usize];
        gfp.set(Gfp::ZERO, random.below(3) == 0);
        gfp.set(Gfp::ATOMIC, random.below(5) == 0);
        let (object, size) = match random.below(6) {
            at @ 0..3 => (self.machine.alloc_from(self.caches[at as usize], gfp), CACHES[at as usize].1),
            _ => {
                let most = [40, 300, 2000, 5000, 70_000][random.below(40).saturating_sub(35) as usize];
                let size = 1 + random.below(most) as usize;
                (self.machine.alloc(size, gfp), size)
            }
        };
        let Ok(object) = object else { return };
        let phys = self.machine.phys(object);
        if gfp.contains(Gfp::ZERO) {
            assert!(self.is_whole(phys, size, 0), "{phys:#x} is not zero");
        }
        let mark = random.below(255) as u8 + 1;
        self.fill(phys, size, mark);
        for held in [&model.kept, &model.passing] {
            let before = held.range(..phys + size as u64).next_back();
            let apart = before.is_none_or(|(&at, object)| at + object.size as u64 <= phys);
            assert!(apart, "{phys:#x} was handed out twice");
        }
        let held = if gfp.contains(Gfp::PRESERVE) { &mut model.kept } else { &mut model.passing };
        held.insert(phys, Object { size, mark });
    }

    fn release(&self, held: &mut BTreeMap<u64, Object>, random: &mut Random) {
        if held.is_empty() {
            return;
        }
        let at = *held.keys().nth(random.below(held.len() as u64) as usize).unwrap();
        let object = held.remove(&at).unwrap();
        self.free(at, object);
    }

    /// Each piece of memory of some pages.
    fn pieces(&self, pages: Pages) -> Vec<(u64, usize)> {
        match pages {
            Pages::Folio(phys, order) => vec![(phys, 4096 << order)],
            Pages::Range(start, end) => vec![(start, (end - start) as usize)],
            Pages::Area(area) => {
                let mut pieces = Vec::new();
                self.machine.for_each_frame(&area, |phys| pieces.push((phys, 4096 << area.order())));
                assert_eq!(pieces.len(), (area.nr_pages() >> area.order()) as usize);
                pieces
            }
        }
    }

    fn preserve(&self, pages: Pages) {
        match pages {
            Pages::Folio(phys, order) => assert_eq!(self.machine.preserve_folio(phys), Ok(order)),
            Pages::Range(start, end) => self.machine.preserve_pages(&(start..end)).unwrap(),
            Pages::Area(area) => self.machine.preserve_area(&area).unwrap(),
        }
    }

    fn unpreserve(&self, pages: Pages) {
        match pages {
            Pages::Folio(phys, _) => self.machine.unpreserve_folio(phys).unwrap(),
            Pages::Range(start, end) => self.machine.unpreserve_pages(&(start..end)).unwrap(),
            Pages::Area(area) => self.machine.unpreserve_area(&area).unwrap(),
        }
    }

    fn restore(&self, pages: Pages) {
        match pages {
            Pages::Folio(phys, order) => assert_eq!(self.machine.restore_folio(phys), Ok(order)),
            Pages::Range(start, end) => self.machine.restore_pages(&(start..end)).unwrap(),
            Pages::Area(area) => assert_eq!(self.machine.restore_area(&area.to_bytes()), Ok(area)),
        }
    }

    fn take_pages(&self, model: &mut Model, random: &mut Random) {
        let gfp = [Gfp::empty(), Gfp::PRESERVE][random.below(2) as usize];
        let pages = match random.below(3) {
            0 => {
                let order = random.below(7) as u32;
                Pages::Folio(self.machine.alloc_pages(order, gfp).unwrap(), order)
            }
            1 => {
                let range = self.machine.alloc_page_range(1 + random.below(40), gfp).unwrap();
                Pages::Range(range.start, range.end)
            }
            _ => {
                let nr_pages =
                    1 + if random.below(20) == 0 { random.below(1200) } else { random.below(60) } as u32;
                Pages::Area(self.machine.alloc_area(nr_pages, random.below(3) as u32, gfp).unwrap())
            }
        };
        let mark = random.below(255) as u8 + 1;
        for (phys, size) in self.pieces(pages) {
            self.fill(phys, size, mark);
        }
        self.preserve(pages);
        model.pages.push((pages, mark));
    }

    fn give_pages(&self, model: &mut Model, random: &mut Random) {
        if model.pages.is_empty() {
            return;
        }
        let (pages, mark) = model.pages.swap_remove(random.below(model.pages.len() as u64) as usize);
        for (phys, size) in self.pieces(pages) {
            assert!(self.is_whole(phys, size, mark), "{pages:x?}");
        }
        self.unpreserve(pages);
        match pages {
            Pages::Folio(phys, order) => self.machine.free_pages(phys, order).unwrap(),
            Pages::Range(start, end) => self.machine.free_page_range(&(start..end)).unwrap(),
            Pages::Area(area) => self.machine.free_area(&area).unwrap(),
        }
    }

    /// One generation's churn.
    fn churn(&self, model: &mut Model, random: &mut Random, check_each: bool) {
        for _ in 0..40 + random.below(120) {
            match random.below(20) {
                0..=8 => self.allocate(model, random),
                9..=12 => self.release(&mut model.kept, random),
                13..=16 => self.release(&mut model.passing, random),
                17 => self.take_pages(model, random),
                18 => self.give_pages(model, random),
                _ => {
                    // A handover that is called off.
                    let frozen = self.machine.freeze().unwrap();
                    if random.below(2) == 0 {
                        self.machine.load_successor().unwrap();
                    }
                    self.machine.thaw(frozen);
                }
            }
            if check_each {
                self.machine.check().unwrap();
            }
        }
        // Keep the live set within bounds.
        while model.kept.len() > 300 {
            self.release(&mut model.kept, random);
        }
        while model.pages.len() > 6 {
            self.give_pages(model, random);
        }
    }

    /// A successor finds all of it, and nothing else.
    fn take_over(&self, model: &mut Model) {
        model.passing.clear();
        for (&phys, object) in &model.kept {
            assert!(self.machine.is_preserved_object(phys), "{phys:#x} is lost: {object:?}");
            assert!(self.is_whole(phys, object.size, object.mark), "{phys:#x} is spoiled: {object:?}");
        }
        for &(pages, mark) in &model.pages {
            self.restore(pages);
            for (phys, size) in self.pieces(pages) {
                assert!(self.is_whole(phys, size, mark), "{pages:x?} are spoiled");
            }
            self.preserve(pages);
        }
        assert_eq!(self.machine.finish(), 0, "pages were handed over that nobody knows of");
    }
}

/// Runs so many generations; panics with the seed in the message.
fn run(seed: u64, generations: u32, options: Options, check_each: bool) {
    let told = std::panic::catch_unwind(|| {
        let hardware = hardware();
        let (mut model, mut random) =
            (Model::default(), Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        for generation in 0..generations {
            let bench = Bench::boot(&hardware, options);
            bench.take_over(&mut model);
            bench.churn(&mut model, &mut random, check_each);
            bench.machine.check().unwrap_or_else(|broken| panic!("generation {generation}: {broken}"));
            let frozen = bench.machine.freeze().unwrap();
            let tally = bench.machine.preserve_tally(true);
            assert_eq!(tally.live_objects, model.kept.len() as u64, "generation {generation}");
            assert_eq!(tally.stale_bytes, 0, "generation {generation}");
            assert_eq!(frozen.tally().metadata_in_scratch, 0, "generation {generation}");
            assert_eq!(bench.machine.nr_faults(), 0, "generation {generation}");
            bench.machine.thaw(frozen);
            hand_over(bench.machine);
            assert!(hardware.is_image_whole());
        }
    });
    if let Err(panic) = told {
        eprintln!("the seed was {seed}, sampling {:?}", options.guard);
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_thousand_generations_of_random_churn() {
    run(1, 1000, Options::default(), false);
}

#[test]
fn each_step_of_a_few_generations_leaves_every_invariant_whole() {
    for seed in 2..5 {
        run(seed, 4, Options::default(), true);
    }
}

#[test]
fn a_chain_with_every_ordinary_allocation_sampled() {
    let guard = GuardOptions { nr_objects: 127, every: 1, interval_us: 0, quarantine: 16 };
    run(10, 200, Options { guard, ..Options::default() }, false);
}

/// The same sizes freed and allocated again, generation after generation: the pages that are handed over stay the same.
#[test]
fn a_constant_live_set_keeps_a_constant_number_of_pages() {
    let hardware = hardware();
    let mut random = Random(99);
    let mut live: Vec<(u64, usize)> = Vec::new();
    let mut pages = Vec::new();
    for generation in 0..200 {
        let machine = boot(&hardware, Options::default());
        if generation == 0 {
            for _ in 0..2000 {
                let size = 1 + random.below(1000) as usize;
                live.push((machine.phys(machine.alloc(size, Gfp::PRESERVE).unwrap()), size));
            }
        }
        for _ in 0..live.len() / 3 {
            let at = random.below(live.len() as u64) as usize;
            let object = NonNull::new(machine.address(live[at].0)).unwrap();
            // SAFETY: the list is all that knows of it.
            unsafe { machine.free(object) }.unwrap();
            live[at].0 = machine.phys(machine.alloc(live[at].1, Gfp::PRESERVE).unwrap());
        }
        let frozen = machine.freeze().unwrap();
        pages.push(frozen.tally().preserved_pages);
        machine.thaw(frozen);
        hand_over(machine);
    }
    let (first, last) = (pages[0], pages[199]);
    assert!(pages.iter().all(|&nr| nr == first), "{first} to {last} pages: {pages:?}");
}
