//! The program's own code: defaults of fields that were added, and conversions that names cannot say.
//!
//! ```text
//! old --by names--> an ancestor, outside the heap --From--> new          forward, where the ancestor is not what lies in the heap
//! new --From--> an ancestor, outside the heap --by names--> older        back
//! ```
//!
//! What the code sees is either an old value, which is whole, or one that was made on the way, complete and shared with nobody. It may
//! panic: that is an error like any other.
#![expect(unsafe_code, reason = "calls code of the program for values of its types")]

use std::alloc::Layout;
use std::panic::{AssertUnwindSafe, catch_unwind};

use heirloom_abi::types::Hook;

use super::walk::Walk;
use super::{ConvertError, Ground, Made};
use crate::alloc::AllocError;
use crate::evolve::plan::{Between, Fill, Move, With};

/// A conversion within a conversion is a walk of its own, on the stack.
pub(super) const DEEPEST: usize = 128;

/// # Safety
///
/// For all of these: as for [`Conversion::run`](super::Conversion::run), for the types of the step.
impl Walk<'_> {
    pub(super) unsafe fn fields(
        &mut self,
        moves: &[Move],
        fills: &[Fill],
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        // SAFETY: passed on.
        unsafe {
            for field in moves {
                self.node(field.node, from.add(field.from), to.add(field.to))?;
            }
            for fill in fills {
                let at = to.add(fill.to);
                match &fill.with {
                    With::Hook(hook) => {
                        let Some(Hook::Default(write, drop)) = self.hook(*hook) else {
                            return Err(ConvertError::Shape);
                        };
                        caught(|| write(at))?;
                        self.conversion.made.push(Made::Value(at, drop));
                    }
                    // The rest is zero already, as every block is.
                    With::Bytes(bytes) => {
                        for (offset, bytes) in bytes {
                            at.add(*offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) unsafe fn custom(
        &mut self,
        hook: u16,
        before: &Option<Between>,
        after: &Option<Between>,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        let Some(Hook::Convert { convert, drop_made, drop_other }) = self.hook(hook) else {
            return Err(ConvertError::Shape);
        };
        // SAFETY: the hook belongs to the form, and leads from one of these types to the other; the rest is passed on.
        unsafe {
            match (before, after) {
                (None, None) => {
                    caught(|| convert(from, to))?;
                    self.conversion.made.push(Made::Value(to, drop_made));
                }
                (Some(between), _) => {
                    let place = Place::new(between)?;
                    let mark = self.conversion.made.len();
                    if let Err(error) = self.within(between, from, place.at) {
                        // Some of it lies in the place, which goes now.
                        self.conversion.undo_to(mark);
                        return Err(error);
                    }
                    // What it is made of is its own, and goes with it; so it is not ours to give back any more.
                    self.conversion.made.truncate(mark);
                    let done = caught(|| convert(place.at, to));
                    if done.is_ok() {
                        self.conversion.made.push(Made::Value(to, drop_made));
                    }
                    let dropped = caught(|| drop_other(place.at));
                    done?;
                    dropped?;
                }
                (None, Some(between)) => {
                    let place = Place::new(between)?;
                    caught(|| convert(from, place.at))?;
                    // It was made just now, and lies wherever the program's code has put it.
                    let ground = std::mem::replace(&mut self.conversion.ground, Ground::everywhere());
                    let done = self.within(between, place.at, to);
                    self.conversion.ground = ground;
                    let dropped = caught(|| drop_made(place.at));
                    done?;
                    dropped?;
                }
            }
        }
        Ok(())
    }

    unsafe fn within(&mut self, between: &Between, from: *const u8, to: *mut u8) -> Result<(), ConvertError> {
        if self.depth == DEEPEST {
            return Err(ConvertError::TooDeep);
        }
        self.depth += 1;
        // SAFETY: passed on.
        let done = unsafe { self.fully(between.node, from, to) };
        self.depth -= 1;
        done
    }
}

/// Room outside the heap for a value on the way.
struct Place {
    at: *mut u8,
    layout: Layout,
}

impl Place {
    fn new(between: &Between) -> Result<Self, ConvertError> {
        let layout = Layout::from_size_align(between.size.max(1), between.align);
        let layout = layout.map_err(|_| ConvertError::Shape)?;
        // SAFETY: the size is not zero.
        let at = unsafe { std::alloc::alloc_zeroed(layout) };
        if at.is_null() {
            return Err(AllocError { size_bytes: layout.size() }.into());
        }
        Ok(Self { at, layout })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`.
        unsafe { std::alloc::dealloc(self.at, self.layout) };
    }
}

/// Runs the program's code, whose panic is an error.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, ConvertError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
        ConvertError::Panicked { message: message.unwrap_or_else(|| "without a word".to_owned()) }
    })
}
