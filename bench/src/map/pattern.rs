//! Which frames are marked, and in which order.
//!
//! Random frames are a permutation of the numbers below a power of two, so none comes twice: the map refuses what is marked.

use std::fmt;

use clap::ValueEnum;
use heirloom_abi::kho::radix::{Frame, Order};
use serde::Serialize;

/// Binary logarithm of the memory's bytes: 1 TiB.
const MEMORY_SHIFT: u32 = 40;

/// Frames of a run, in `runs`.
const RUN: u64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pattern {
    /// Pages one after the other, from address 0.
    Sequential,
    /// Pages anywhere in 1 TiB.
    Random,
    /// Runs of 512 neighbouring pages, each anywhere in 1 TiB.
    Runs,
    /// 2 MiB frames one after the other.
    #[value(name = "sequential-o9")]
    #[serde(rename = "sequential-o9")]
    SequentialO9,
}

pub(super) const ALL: [Pattern; 4] =
    [Pattern::Sequential, Pattern::Random, Pattern::Runs, Pattern::SequentialO9];

impl Pattern {
    /// How many frames to mark: those asked for, or as many as Linux's figures were reported for.
    pub(super) fn sizes(self, chosen: &[u64]) -> Vec<u64> {
        match (self, chosen) {
            (Self::SequentialO9, []) => vec![512 << 10],
            (_, []) => vec![1 << 20, 16 << 20],
            (_, chosen) => chosen.to_vec(),
        }
    }

    fn order(self) -> Order {
        let order = if self == Self::SequentialO9 { 9 } else { 0 };
        Order::new(order).expect("an order")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_possible_value().expect("no value is hidden").get_name())
    }
}

/// The frames of a cell, in the order in which they are marked.
pub(super) struct Frames {
    pattern: Pattern,
    frames: Vec<Frame>,
    /// Frames that one range operation takes.
    run: u64,
}

impl Frames {
    pub(super) fn new(pattern: Pattern, nr_frames: u64) -> Result<Self, String> {
        let order = pattern.order();
        let nr_slots = 1u64 << (MEMORY_SHIFT - order.bytes().ilog2());
        if nr_frames == 0
            || nr_frames > nr_slots
            || (pattern == Pattern::Runs && !nr_frames.is_multiple_of(RUN))
        {
            return Err(format!(
                "{pattern}: {nr_frames} frames do not fit; 1 TiB has {nr_slots}, a run {RUN}"
            ));
        }
        let number = |index: u64| match pattern {
            Pattern::Sequential | Pattern::SequentialO9 => index,
            Pattern::Random => permute(index, nr_slots.ilog2()),
            Pattern::Runs => permute(index / RUN, (nr_slots / RUN).ilog2()) * RUN + index % RUN,
        };
        let frame = |index| Frame::new(number(index) * order.bytes(), order).expect("inside the memory");
        let run = match pattern {
            Pattern::Sequential | Pattern::SequentialO9 => nr_frames,
            Pattern::Random => 1,
            Pattern::Runs => RUN,
        };
        Ok(Self { pattern, frames: (0..nr_frames).map(frame).collect(), run })
    }

    pub(super) fn pattern(&self) -> Pattern {
        self.pattern
    }

    pub(super) fn order(&self) -> Order {
        self.pattern.order()
    }

    pub(super) fn len(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Each frame by itself.
    pub(super) fn each(&self) -> &[Frame] {
        &self.frames
    }

    /// The ranges of addresses that the frames make up, in the order in which they are marked.
    pub(super) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<u64>> {
        self.frames.chunks(self.run as usize).map(|run| run[0].phys()..run[run.len() - 1].end())
    }

    /// Pages that a tree of these frames can need: a leaf for each one that is touched, and what stands above.
    pub(super) fn most_nodes(&self) -> usize {
        let leaves = (1u64 << (MEMORY_SHIFT - self.order().bytes().ilog2())).div_ceil(1 << 15);
        (leaves + leaves / 512 + 8) as usize
    }
}

/// A fixed permutation of the numbers of `bits` bits: each step can be taken back.
fn permute(index: u64, bits: u32) -> u64 {
    let mask = (1 << bits) - 1;
    let mut number = index;
    for factor in [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0xa24b_aed4_963e_e407u64] {
        number = number.wrapping_mul(factor) & mask;
        number ^= number >> (bits / 2);
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_comes_twice() {
        for pattern in ALL {
            let frames = Frames::new(pattern, 1 << 16).unwrap();
            let mut sorted: Vec<Frame> = frames.each().to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 1 << 16, "{pattern}");
            let in_ranges: u64 = frames.ranges().map(|range| range.end - range.start).sum();
            assert_eq!(in_ranges, frames.order().bytes() << 16);
        }
    }

    #[test]
    fn more_than_the_memory_is_refused() {
        assert!(Frames::new(Pattern::SequentialO9, (512 << 10) + 1).is_err());
        assert!(Frames::new(Pattern::Runs, 1000).is_err());
        assert!(Frames::new(Pattern::Random, 0).is_err());
    }
}
