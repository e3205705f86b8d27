//! The conversion: plans are carried out, from objects that stay as they are into new ones.
//!
//! ```text
//! old object --Fields--> new object          blocks that are made are noted, and values that the program's code has made:
//!   | Vec --Sequence-->    | a new block     a conversion that fails gives all of it back
//!   | Arc --Shared-->      | one new block, whoever leads there; or the old one, where nothing in it changes
//! ```
//!
//! The old objects are only read: as long as nothing refers to the new ones, nothing has happened. That is why a text is copied
//! and not taken along: what both reached, one of them would change or free. What several own is another matter: others may have
//! it who do not change. If nothing in it changes the new pointer leads to the old block, and is counted there, in the last moment
//! before the new objects are the roots': [`Conversion::count_kept`].
//!
//! One [`Conversion`] is for all roots that change together, since they may share values.
//!
//! - `walk`: the steps, and what is still to be done. `blocks`, `tree`: collections. `custom`: the program's own code. `ground`: which addresses
//!   are followed.
//!
//! # Invariants
//!
//! - *whole*: no byte of the old objects is written, but for the counts of shared values that stay, at the end.
//! - *undone*: a conversion that is dropped before it is kept leaves nothing of what it made.
//! - *shared*: what was one value for several pointers is one value for those that they become.
#![expect(unsafe_code, reason = "gives back what was made, and counts pointers")]

mod blocks;
mod custom;
mod error;
mod ground;
mod tree;
mod walk;

use std::alloc::Layout;
use std::collections::HashMap;
use std::panic::catch_unwind;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use heirloom_abi::types::{DropFn, Hook};

use super::plan::Plan;
use crate::alloc;

pub use error::ConvertError;
pub(crate) use ground::Ground;

use walk::Walk;

/// Carries out the plans of some roots.
pub(crate) struct Conversion {
    ground: Ground,
    made: Vec<Made>,
    /// Shared values that are made anew, by the addresses of their old blocks.
    moved: HashMap<usize, Moved>,
    /// Shared values that stay, by the addresses of their blocks, and what is to be added to their counts.
    kept: HashMap<usize, u64>,
    is_counted: bool,
    nr: u64,
}

enum Made {
    Block(NonNull<u8>, Layout),
    Value(*mut u8, DropFn),
}

/// A shared value that is made anew.
#[derive(Clone, Copy)]
struct Moved {
    block: *mut u8,
    identity: u64,
    /// The value is made, or about to be.
    has_value: bool,
}

impl Conversion {
    pub(crate) fn new(ground: Ground) -> Self {
        let (made, moved, kept) = Default::default();
        Self { ground, made, moved, kept, is_counted: false, nr: 0 }
    }

    /// Makes a value at `to` from the one at `from`, and returns how many values that were. `progress` is called with the number of values so
    /// far, now and then. After an error the conversion is good for nothing but to be dropped.
    ///
    /// # Safety
    ///
    /// - A value of the plan's old type lies at `from`, and nobody changes what it reaches until this is kept or dropped.
    /// - `to` is valid for writing a value of its new type, all zeroes, and nobody looks at it until this is kept.
    /// - The hooks are those of the form with rules from which the plan was made.
    pub(crate) unsafe fn run(
        &mut self,
        plan: &Plan,
        hooks: &[Option<Hook>],
        progress: &mut dyn FnMut(u64),
        from: *const u8,
        to: *mut u8,
    ) -> Result<u64, ConvertError> {
        self.nr = 0;
        let mut walk = Walk::new(self, plan, hooks, progress);
        // SAFETY: passed on.
        unsafe { walk.fully(plan.root, from, to)? };
        Ok(self.nr)
    }

    /// Makes a block, zeroed: what lies between fields and behind the last element is nobody's business.
    pub(crate) fn block(&mut self, layout: Layout) -> Result<NonNull<u8>, ConvertError> {
        let block = alloc::allocate_zeroed(layout)?;
        self.made.push(Made::Block(block, layout));
        Ok(block)
    }

    /// Counts the new pointers to shared values that stay. A kill behind this and before the new objects are the roots' leaves them
    /// counted too high, which is a leak at worst.
    ///
    /// # Safety
    ///
    /// Nobody changes the counts of what the old objects reach.
    pub(crate) unsafe fn count_kept(&mut self) {
        self.is_counted = true;
        for (&block, &count) in &self.kept {
            // SAFETY: a block of counts and a value starts there: a pointer to it was followed.
            unsafe { counts(block) }.fetch_add(count, Relaxed);
        }
    }

    /// Leaves what was made to whoever refers to it.
    pub(crate) fn keep(mut self) {
        self.made.clear();
        self.kept.clear();
    }
}

impl Conversion {
    /// Gives back what was made since there was so much.
    fn undo_to(&mut self, mark: usize) {
        for made in self.made.drain(mark.min(self.made.len())..).rev() {
            // SAFETY: it was made by this conversion, which failed: nobody has it. Values come after the block they lie in.
            unsafe {
                match made {
                    Made::Block(block, layout) => alloc::deallocate(block, layout),
                    Made::Value(at, drop) => {
                        let _ = catch_unwind(|| drop(at));
                    }
                }
            }
        }
    }
}

impl Drop for Conversion {
    fn drop(&mut self) {
        self.undo_to(0);
        for (block, count) in self.kept.drain().filter(|_| self.is_counted) {
            // SAFETY: as they were counted; the old pointers are counted too, so that none of the halves comes to 0.
            unsafe { counts(block) }.fetch_sub(count, Relaxed);
        }
    }
}

/// # Safety
///
/// The block of a shared value starts there.
unsafe fn counts<'a>(block: usize) -> &'a AtomicU64 {
    // SAFETY: by the caller: the counts come first.
    unsafe { &*std::ptr::with_exposed_provenance(block) }
}
