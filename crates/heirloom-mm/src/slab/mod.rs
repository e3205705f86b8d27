//! Slab caches over the buddy allocator: the ordinary pool and the preserve pool, kmalloc classes, named caches.
//!
//! ```text
//! alloc(size, gfp) --> kmalloc class --.                       ordinary pool    blocks of 64 KiB, unmarked
//!                                       >-- gfp has PRESERVE? <
//! alloc_from(cache, gfp) --------------'                       preserve pool    blocks of 64 KiB, each marked in the map
//! ```
//!
//! Both pools are `heirloom_slab::Pool`; what differs is their host: a block of the preserve pool is preserved from the moment it
//! is taken until it is given back. Ordinary caches of like size and flags merge; a preserved cache never merges with an ordinary
//! one, for they share no pool.

mod host;
mod kmalloc;
mod layout;
mod merge;

pub(crate) use host::{BlockHost, geometry};
pub use kmalloc::{KMALLOC_SIZES, PRESERVED_KMALLOC_SIZES, kmalloc_bytes};
pub use layout::LayoutError;
pub(crate) use layout::check_layout;
pub(crate) use merge::CacheTable;
pub(crate) use merge::Choice;
pub use merge::{Cache, CacheError, CacheFlags};
