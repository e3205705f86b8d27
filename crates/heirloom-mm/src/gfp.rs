//! `Gfp`: what one request for memory asks for beside its size.

bitflags::bitflags! {
    /// Flags of one allocation request. Empty is the ordinary kernel allocation: it may wait, and its bytes are whatever they are.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Gfp: u32 {
        /// From the preserve pool: handed over to the successor, and never sampled by the guard pool.
        const PRESERVE = 1 << 0;
        /// All bytes are zero.
        const ZERO = 1 << 1;
        /// Never waits: not for the machine's lock, not for memory to be reclaimed. May use the last pages, which are kept for it.
        const ATOMIC = 1 << 2;
        /// The pages may lie in scratch: their owner can do without them when a successor is placed. Never preserved, and
        /// for whole pages only.
        const MOVABLE = 1 << 3;
    }
}
