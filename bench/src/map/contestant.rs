//! What is timed, and who takes part.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::heirloom::Heirloom;
use super::pattern::Frames;
use super::sketch::{Locked, Sketch};

/// Something done to all frames of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Op {
    /// Mark each frame, in a tree that has only a root.
    Mark,
    /// Ask for each frame, all of which are marked.
    Lookup,
    /// Visit each marked frame.
    Walk,
    /// Visit each run of neighbouring frames.
    WalkRuns,
    /// Validate the tree as one that another generation left.
    Check,
    /// Take the mark of each frame back.
    Unmark,
    /// Mark all frames in one call, in a tree that has only a root.
    MarkAll,
    /// Take all marks back in one call.
    UnmarkAll,
    /// Mark each range of frames, in a tree that has only a root.
    MarkRun,
    /// Take the marks of each range back.
    UnmarkRun,
}

/// A round: from empty to full and back, three times.
pub(super) const ROUND: [Op; 10] = [
    Op::Mark,
    Op::Lookup,
    Op::Walk,
    Op::WalkRuns,
    Op::Check,
    Op::Unmark,
    Op::MarkAll,
    Op::UnmarkAll,
    Op::MarkRun,
    Op::UnmarkRun,
];

impl Op {
    /// Whether the operation is on a tree that has only a root.
    pub(super) fn begins_anew(self) -> bool {
        matches!(self, Self::Mark | Self::MarkAll | Self::MarkRun)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A tree that does as it is told.
pub(super) trait Contestant {
    /// Its name in the tables.
    fn name(&self) -> &'static str;

    /// Begins an empty tree. Not timed.
    fn reset(&mut self);

    /// Does `op` to all frames and returns how many it did; `None` if it has no such operation.
    ///
    /// # Panics
    ///
    /// If a frame is refused, or not found.
    fn run(&mut self, op: Op, frames: &Frames) -> Option<u64>;

    /// Bytes of all its nodes.
    fn metadata_bytes(&self) -> u64;
}

/// All contestants, each with memory enough.
pub(super) fn all(frames: &Frames, huge_pages: bool) -> Vec<Box<dyn Contestant>> {
    let nr_pages = frames.most_nodes();
    vec![
        Box::new(Heirloom::new(nr_pages, huge_pages)),
        Box::new(Sketch::new(nr_pages, huge_pages)),
        Box::new(Locked::new(Sketch::new(nr_pages, huge_pages))),
    ]
}

/// Times an operation.
///
/// # Panics
///
/// If it did not do it to every frame.
pub(super) fn timed(contestant: &mut dyn Contestant, op: Op, frames: &Frames) -> Option<Duration> {
    let start = Instant::now();
    let nr_done = contestant.run(op, frames);
    let time = start.elapsed();
    let nr_done = nr_done?;
    assert_eq!(nr_done, frames.len(), "{op} of {}", contestant.name());
    Some(time)
}
