//! `RadixMap` over borrowed pages, as a kernel has them.

use std::convert::Infallible;
use std::hint::black_box;
use std::ops::ControlFlow;

use heirloom_abi::kho::radix::{Limits, PAGE_BYTES, PageArray, RadixMap};

use super::contestant::{Contestant, Op};
use super::memory::Memory;
use super::pattern::Frames;

/// Address of the first page for nodes.
const BASE: u64 = 1 << 41;

pub(super) struct Heirloom {
    memory: Memory,
    nr_used: usize,
    map: RadixMap,
}

impl Heirloom {
    pub(super) fn new(nr_pages: usize, huge_pages: bool) -> Self {
        let memory = Memory::new(nr_pages, huge_pages);
        Self { memory, nr_used: 0, map: RadixMap::at(0) }
    }
}

impl Contestant for Heirloom {
    fn name(&self) -> &'static str {
        "heirloom"
    }

    fn reset(&mut self) {
        let mut pages = PageArray::new(BASE, self.memory.pages(), 0);
        self.map = RadixMap::create(&mut pages).expect("a page");
        self.nr_used = pages.nr_used();
    }

    fn run(&mut self, op: Op, frames: &Frames) -> Option<u64> {
        let mut pages = PageArray::new(BASE, self.memory.pages(), self.nr_used);
        let (pages, map) = (&mut pages, &mut self.map);
        let nr_done = match op {
            Op::Mark => mark(map, pages, frames),
            Op::Lookup => lookup(map, pages, frames),
            Op::Walk => walk(map, pages),
            Op::WalkRuns => walk_runs(map, pages),
            Op::Check => check(map, pages),
            Op::Unmark => unmark(map, pages, frames),
            Op::MarkAll => map.mark_all(pages, frames.each()).map(|()| frames.len()).expect(DISTINCT),
            Op::UnmarkAll => map.unmark_all(pages, frames.each()).map(|()| frames.len()).expect(MARKED),
            Op::MarkRun => mark_runs(map, pages, frames),
            Op::UnmarkRun => unmark_runs(map, pages, frames),
        };
        self.nr_used = pages.nr_used();
        Some(nr_done)
    }

    fn metadata_bytes(&self) -> u64 {
        self.nr_used as u64 * PAGE_BYTES
    }
}

const SOUND: &str = "a sound tree";
const DISTINCT: &str = "no frame comes twice";
const MARKED: &str = "each was marked";

// A function each, as a caller's loop would be.

#[inline(never)]
fn mark(map: &mut RadixMap, pages: &mut PageArray<'_>, frames: &Frames) -> u64 {
    for &frame in frames.each() {
        map.mark(pages, frame).expect(DISTINCT);
    }
    frames.len()
}

#[inline(never)]
fn unmark(map: &mut RadixMap, pages: &mut PageArray<'_>, frames: &Frames) -> u64 {
    for &frame in frames.each() {
        map.unmark(pages, frame).expect(MARKED);
    }
    frames.len()
}

#[inline(never)]
fn lookup(map: &RadixMap, pages: &PageArray<'_>, frames: &Frames) -> u64 {
    frames.each().iter().map(|&frame| u64::from(map.contains(pages, frame).expect(SOUND))).sum()
}

#[inline(never)]
fn walk(map: &RadixMap, pages: &PageArray<'_>) -> u64 {
    let (mut nr_frames, mut sum) = (0, 0);
    let walked = map.walk(pages, |frame| {
        nr_frames += 1;
        sum ^= frame.phys();
        ControlFlow::<Infallible>::Continue(())
    });
    walked.expect(SOUND);
    black_box(sum);
    nr_frames
}

#[inline(never)]
fn walk_runs(map: &RadixMap, pages: &PageArray<'_>) -> u64 {
    let (mut nr_frames, mut sum) = (0, 0);
    let walked = map.walk_runs(pages, |run| {
        nr_frames += run.nr_frames();
        sum ^= run.first().phys();
        ControlFlow::<Infallible>::Continue(())
    });
    walked.expect(SOUND);
    black_box(sum);
    nr_frames
}

#[inline(never)]
fn check(map: &RadixMap, pages: &PageArray<'_>) -> u64 {
    let nr_nodes = pages.nr_used() as u64;
    let nodes = BASE..BASE + nr_nodes * PAGE_BYTES;
    let limits = Limits { nodes, max_nodes: nr_nodes, ..Limits::within(0..BASE) };
    map.check(pages, &limits, |_| true).expect(SOUND).nr_frames
}

#[inline(never)]
fn mark_runs(map: &mut RadixMap, pages: &mut PageArray<'_>, frames: &Frames) -> u64 {
    for range in frames.ranges() {
        map.mark_range(pages, range, frames.order()).expect(DISTINCT);
    }
    frames.len()
}

#[inline(never)]
fn unmark_runs(map: &mut RadixMap, pages: &mut PageArray<'_>, frames: &Frames) -> u64 {
    for range in frames.ranges() {
        map.unmark_range(pages, range, frames.order()).expect(MARKED);
    }
    frames.len()
}
