//! The record of one page.

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Never given to the allocator: the image, a table, the guard pool.
    Absent = 0,
    /// First page of a free block.
    Free = 1,
    /// First page of a block that was handed out.
    Used = 2,
    /// First page of a frame that a predecessor preserved and nobody has claimed yet.
    Inherited = 3,
    /// Another page of a block: the block's first page speaks.
    Body = 4,
}

/// Whose a block is, so that `free` finds out from the address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Owner {
    /// Whoever took it.
    Pages = 0,
    /// A block of the ordinary pool.
    OrdinaryPool = 1,
    /// A block of the preserve pool.
    PreservePool = 2,
    /// The handover's own: the map, the tree, the list of scratch areas, a pool's control area.
    Handover = 3,
}

/// The record. All zeros is an absent page.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Page {
    /// Neighbours on the list of free blocks, as indices in the zone; [`NONE`] at its ends.
    pub(crate) next: u32,
    pub(crate) prev: u32,
    pub(crate) order: u8,
    pub(crate) state: State,
    pub(crate) owner: Owner,
    /// Marked in the map that goes to the successor. In every page of a frame, for frames of all orders may come to overlap.
    pub(crate) is_preserved: bool,
}

/// No page.
pub(crate) const NONE: u32 = u32::MAX;

const _: () = assert!(size_of::<Page>() == 12);
