//! `RadixMap` over borrowed pages, as a kernel has them.

use std::convert::Infallible;
use std::hint::black_box;
use std::ops::ControlFlow;

use heirloom_abi::kho::radix::{PAGE_BYTES, PageArray, RadixMap};

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

    fn work(&mut self, op: Op, frames: &Frames) -> Option<u64> {
        let mut pages = PageArray::new(BASE, self.memory.pages(), self.nr_used);
        let (pages, map) = (&mut pages, &mut self.map);
        let nr_done = match op {
            Op::Mark => {
                for &frame in frames.each() {
                    map.mark(pages, frame).expect("no frame comes twice");
                }
                frames.len()
            }
            Op::Lookup => {
                let is_marked = |frame| map.contains(pages, frame).expect("a sound tree");
                frames.each().iter().map(|&frame| u64::from(is_marked(frame))).sum()
            }
            Op::Walk => {
                let (mut nr_frames, mut sum) = (0, 0);
                let walked = map.walk(pages, |frame| {
                    nr_frames += 1;
                    sum ^= frame.phys();
                    ControlFlow::<Infallible>::Continue(())
                });
                walked.expect("a sound tree");
                black_box(sum);
                nr_frames
            }
            Op::Unmark => {
                for &frame in frames.each() {
                    map.unmark(pages, frame).expect("each was marked");
                }
                frames.len()
            }
        };
        self.nr_used = pages.nr_used();
        Some(nr_done)
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
        self.work(op, frames)
    }

    fn metadata_bytes(&self) -> u64 {
        self.nr_used as u64 * PAGE_BYTES
    }
}
