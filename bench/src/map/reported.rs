//! Linux's figures: reported, not measured in a run of this program.
//!
//! They are of Linux 7.2's own functions for this tree, taken out of the kernel and run in user space on a machine of the kind that
//! docs/performance.md names. Linux is GPL-2.0, so its functions cannot be part of this program; whoever wants to compare
//! on another machine has to do the same there.

use super::contestant::Op;
use super::pattern::Pattern;

/// The column's name.
pub(super) const NAME: &str = "linux";

const MI: u64 = 1 << 20;

/// Nanoseconds a frame: mark, unmark, walk.
const TIMES: [(Pattern, u64, [f64; 3]); 7] = [
    (Pattern::Sequential, MI, [13.9, 13.1, 3.8]),
    (Pattern::Sequential, 16 * MI, [13.2, 12.6, 3.6]),
    (Pattern::Random, MI, [62.0, 52.0, 13.8]),
    (Pattern::Random, 16 * MI, [62.0, 50.0, 5.6]),
    (Pattern::Runs, MI, [13.7, 12.8, 4.5]),
    (Pattern::Runs, 16 * MI, [13.9, 13.1, 3.9]),
    (Pattern::SequentialO9, MI / 2, [13.6, 12.8, 3.5]),
];

/// Bytes of metadata a frame.
const METADATA: [(Pattern, u64, f64); 7] = [
    (Pattern::Sequential, MI, 0.145),
    (Pattern::Sequential, 16 * MI, 0.126),
    (Pattern::Random, MI, 32.1),
    (Pattern::Random, 16 * MI, 2.07),
    (Pattern::Runs, MI, 7.1),
    (Pattern::Runs, 16 * MI, 2.0),
    (Pattern::SequentialO9, MI / 2, 0.164),
];

/// The reported time of `op`, if there is one.
pub(super) fn ns_per_page(op: Op, pattern: Pattern, nr_frames: u64) -> Option<f64> {
    let (.., [mark, unmark, walk]) =
        TIMES.into_iter().find(|&(other, nr, _)| (other, nr) == (pattern, nr_frames))?;
    match op {
        Op::Mark => Some(mark),
        Op::Unmark => Some(unmark),
        Op::Walk => Some(walk),
        _ => None,
    }
}

/// The reported metadata, if there is a figure.
pub(super) fn metadata_per_page(pattern: Pattern, nr_frames: u64) -> Option<f64> {
    METADATA.into_iter().find(|&(other, nr, _)| (other, nr) == (pattern, nr_frames)).map(|(.., bytes)| bytes)
}
