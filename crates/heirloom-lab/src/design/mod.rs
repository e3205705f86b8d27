//! The designs: how an object is kept, what goes to the successor, how it is taken back.
//!
//! | file | design | what its proponent says |
//! | --- | --- | --- |
//! | [`page_each`] | a page for each object | what Linux does today |
//! | [`order_bitmap`] | mixed pages, order and bitmap recorded; also scrubbed | "record what order is stored in that page and a bit map of which parts are allocated" |
//! | [`plain_mixed`] | mixed pages without a record | what "partial-page preservation" comes to without one |
//! | [`special_cache`] | a cache of their own for preserved objects; merged as SLUB merges, or not | "isn't a solution either, since slab caches are often merged" |
//! | [`flag_pool`] | a flag, and a pool of pages that are preserved whole | "a dedicated pool of pages ... also retrieved as slabs" |
//! | [`kzalloc_metadata`] | the original bug: the map's root by `kzalloc`, with the guard pool on | "kzalloc() calls can be randomly intercepted" |
//!
//! A design is told where its objects were: in each of them an owner has to remember that by itself, and it is not counted.

pub mod flag_pool;
mod kept_slabs;
pub mod kzalloc_metadata;
pub mod order_bitmap;
pub mod page_each;
pub mod plain_mixed;
pub mod special_cache;

use heirloom_mm::Options;

use crate::kernel::Kernel;
use crate::survey::Survey;
use crate::{LabError, Workload};

/// A preserved object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its number.
    pub id: u32,
    /// Its kind in the workload.
    pub kind: u16,
    /// Where it lies, in every generation.
    pub phys: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// A way to hand objects over.
pub trait Design: Sync {
    /// Its name in tables of numbers.
    fn name(&self) -> &'static str;

    /// What it is, in a few words.
    fn title(&self) -> &'static str;

    /// What its kernel is booted with. `is_root_sampled`: the guard pool's turn comes with the first allocation of the boot.
    fn options(&self, base: Options, is_root_sampled: bool) -> Options {
        let _ = is_root_sampled;
        // Only one design has the machine's own pool.
        Options { preserve_blocks: 0, ..base }
    }

    /// Starts a generation: takes back what the predecessor left.
    ///
    /// # Errors
    ///
    /// The run cannot go on. An object that is lost is no error.
    fn wake(
        &self,
        kernel: &mut Kernel<'_, '_>,
        workload: &Workload,
        inherited: &[Object],
    ) -> Result<Awake, LabError>;
}

/// A generation that has started.
pub struct Awake {
    /// The design at work.
    pub life: Box<dyn Life>,
    /// Numbers of the objects that did not come through.
    pub lost: Vec<u32>,
}

/// A design at work in one generation. The jump drops it: what the successor is to know must be in preserved memory.
pub trait Life {
    /// Allocates an object of this kind that is to survive, and marks it: its address.
    ///
    /// # Errors
    ///
    /// There is no memory.
    fn keep(&mut self, kernel: &mut Kernel<'_, '_>, kind: u16) -> Result<u64, LabError>;

    /// Frees a preserved object, of this generation or inherited.
    ///
    /// # Errors
    ///
    /// The object is none.
    fn release(&mut self, kernel: &mut Kernel<'_, '_>, object: &Object) -> Result<(), LabError>;

    /// Writes what the successor needs to know.
    ///
    /// # Errors
    ///
    /// There is no memory.
    fn freeze(&mut self, kernel: &mut Kernel<'_, '_>) -> Result<(), LabError> {
        let _ = kernel;
        Ok(())
    }

    /// Sums up what is in preserved pages now.
    fn survey(&self, kernel: &Kernel<'_, '_>) -> Survey;
}

/// All designs, in the order of the tables.
pub const ALL_DESIGNS: [&dyn Design; 8] = [
    &page_each::PageEach,
    &plain_mixed::PlainMixed,
    &order_bitmap::OrderBitmap { is_scrubbed: false },
    &order_bitmap::OrderBitmap { is_scrubbed: true },
    &special_cache::SpecialCache { is_merged: true },
    &special_cache::SpecialCache { is_merged: false },
    &flag_pool::FlagPool,
    &kzalloc_metadata::KzallocMetadata,
];

#[cfg(test)]
mod tests;
