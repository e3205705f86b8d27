//! What a machine is booted with: the firmware's map, what stands in memory already, the handover, and the options.

use core::ops::Range;

use crate::platform::Handover;

/// A range of usable memory, as the firmware tells it. Page aligned inwards by the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// Physical addresses, half-open.
    pub range: Range<u64>,
    /// NUMA node, below [`MAX_NODES`](crate::MAX_NODES).
    pub node: u32,
}

/// All that a boot starts from.
#[derive(Clone, Copy, Debug)]
pub struct BootInfo<'i> {
    /// Usable memory. In any order, with holes, without overlaps, at most [`MAX_ZONES`](crate::MAX_ZONES) ranges.
    pub memory: &'i [MemoryRange],
    /// What stands in memory and stays: the running image, its page tables and stacks, boot modules. May overlap each other and
    /// lie outside `memory`.
    pub reserved: &'i [Range<u64>],
    /// What the predecessor passed on; `None` on a cold boot.
    pub handover: Option<Handover>,
    /// Choices.
    pub options: Options,
}

/// Choices of a boot.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sizes of the scratch areas. Only a cold boot chooses; successors keep the ranges.
    pub scratch: ScratchSizes,
    /// The guard pool.
    pub guard: GuardOptions,
    /// Blocks (64 KiB each) that the preserve pool may have; 0: no preserve pool, and [`Gfp::PRESERVE`](crate::Gfp) fails. A
    /// successor keeps its predecessor's number.
    pub preserve_blocks: u32,
    /// Blocks (64 KiB each) that the ordinary pool may have.
    pub ordinary_blocks: u32,
    /// How the machine departs from what is right, for tests.
    pub policy: Policy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scratch: ScratchSizes::default(),
            guard: GuardOptions::default(),
            preserve_blocks: 1024,
            ordinary_blocks: 1024,
            policy: Policy::default(),
        }
    }
}

/// How large the scratch areas are made by a cold boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScratchSizes {
    /// By what this boot has in use before its page allocator is up, twice over, as the successor will need the same and
    /// may be larger.
    #[default]
    Rule,
    /// By hand, in bytes, each rounded up to page blocks of 4 MiB; 0 for no such area.
    Bytes {
        /// The area below 4 GiB.
        low: u64,
        /// The area anywhere.
        global: u64,
        /// The area of each node.
        per_node: u64,
    },
}

/// The guard pool's size, and how often it serves an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardOptions {
    /// Objects that it can hold: two pages each, and two more. 0: no guard pool.
    pub nr_objects: u32,
    /// Serves each `every`-th ordinary allocation; 0: not by count.
    pub every: u32,
    /// Serves one ordinary allocation each so many microseconds; 0: not by interval.
    pub interval_us: u64,
    /// Freed objects that stay closed, at least, before the oldest is used again. At most `nr_objects - 1` of them count.
    pub quarantine: u32,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self { nr_objects: 63, every: 0, interval_us: 100_000, quarantine: 16 }
    }
}

/// Departures from what is right: each shows in a test what the production checks are for. All off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Takes the root of the preserved-memory map from the ordinary slab, where the guard pool may serve it, as Linux 7.2 does.
    pub root_from_slab: bool,
    /// Carves the guard pool while only scratch may be used, before the inherited map is read, as Linux does.
    pub guard_in_scratch: bool,
    /// Switches the checks for scratch and the guard pool off, and takes an all-zero map for one of nothing, as Linux does.
    pub unchecked: bool,
}
