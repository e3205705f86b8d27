//! Stores that a kill finds made or not, of any size.
//!
//! ```text
//! up to a word          one store
//! two words             one store: control and mask of a table, start and capacity of a block     `two_words`
//! any number of places  old bytes into the thread's diary -> it covers them -> new bytes -> it covers nothing     `guarded`, `Undo`
//! ```
//!
//! A kill leaves a thread at a prefix of its program order, between two instructions. What one instruction stores is therefore all there or
//! not at all: a fault in its middle begins it anew. What takes several is written down first (`heap::diary`), and the recovery
//! puts the old bytes back.
//!
//! # Invariants
//!
//! - *one store*: on x86-64 and aarch64 two words are stored by one instruction, which is written out, as a compiler may split what it
//!   makes itself. Elsewhere they are two stores, the first word first, and a kill between them is not covered.
//! - *noted*: what is written under an [`Undo`] is in the diary before, if it lies in the heap that is open, and if that has room for a diary: a thread
//!   has one from its first such change on. Memory outside the heap dies with its process and needs none.

#![expect(unsafe_code, reason = "stores through pointers, with the instructions that it names")]

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering::SeqCst, compiler_fence};

use crate::alloc::AllocError;
use crate::heap::diary::Note;

/// Bytes that are going to be written.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
}

impl Place {
    /// The bytes of `count` values from `start` on.
    ///
    /// # Safety
    ///
    /// `start` is not null.
    #[inline(always)]
    pub(crate) unsafe fn of<T>(start: *mut T, count: usize) -> Self {
        // SAFETY: by the caller.
        Self { start: unsafe { NonNull::new_unchecked(start.cast()) }, bytes: count * size_of::<T>() }
    }
}

/// Keeps the compiler from moving stores across: the processor does not, as far as a kill can tell.
#[inline(always)]
pub(crate) fn step() {
    compiler_fence(SeqCst);
}

/// Puts a value into a place and returns the one that was there: a kill leaves the one or the other.
#[inline(always)]
pub(crate) fn replace<T>(place: &mut T, value: T) -> T {
    let at: *mut T = place;
    let value = ManuallyDrop::new(value);
    // SAFETY: the place is borrowed; its old value is returned, and the new one is there instead.
    unsafe {
        let old = at.read();
        step();
        write(at, &raw const *value);
        step();
        old
    }
}

/// Copies one value's bytes.
///
/// # Safety
///
/// `from` can be read, `to` be written, and they are two.
#[inline(always)]
unsafe fn write<T>(to: *mut T, from: *const T) {
    // SAFETY: by the caller, for all of them; sizes and alignments are compared. Padding is copied as what it is: not initialized.
    unsafe {
        match (size_of::<T>(), align_of::<T>()) {
            (0, _) => {}
            (1, _) => to.cast::<MaybeUninit<u8>>().write_volatile(from.cast::<MaybeUninit<u8>>().read()),
            (2, 2) => to.cast::<MaybeUninit<u16>>().write_volatile(from.cast::<MaybeUninit<u16>>().read()),
            (4, 4) => to.cast::<MaybeUninit<u32>>().write_volatile(from.cast::<MaybeUninit<u32>>().read()),
            (8, 8) => to.cast::<MaybeUninit<u64>>().write_volatile(from.cast::<MaybeUninit<u64>>().read()),
            (16, 8 | 16) if ONE_STORE => arch::copy_two_words(to.cast(), from.cast()),
            _ => guarded([Place::of(to, 1)], || to.copy_from_nonoverlapping(from, 1)),
        }
    }
}

/// Stores two words side by side.
///
/// # Safety
///
/// `at` is valid for writing them.
#[inline(always)]
pub(crate) unsafe fn two_words(at: *mut [u64; 2], words: [u64; 2]) {
    step();
    // SAFETY: by the caller.
    unsafe { arch::store_two_words(at, words) };
    step();
}

/// Swaps two values, which may be the same: a kill leaves them swapped or not.
///
/// # Safety
///
/// Both are valid for reading and writing.
#[inline]
pub(crate) unsafe fn swap<T>(one: *mut T, other: *mut T) {
    if one != other {
        // SAFETY: by the caller.
        unsafe { guarded([Place::of(one, 1), Place::of(other, 1)], || one.swap(other)) };
    }
}

/// Stores an address and a word behind it.
///
/// # Safety
///
/// `at` is valid for writing both.
#[inline(always)]
pub(crate) unsafe fn address_and_word<T>(at: *mut *mut T, address: *mut T, word: u64) {
    // SAFETY: by the caller.
    unsafe { two_words(at.cast(), [address.expose_provenance() as u64, word]) };
}

/// Runs `change`, which writes nothing but the places, and does not panic: after a kill it has happened or not.
///
/// # Safety
///
/// The places can be read, and there is one.
#[inline(always)]
pub(crate) unsafe fn guarded<const N: usize, T>(places: [Place; N], change: impl FnOnce() -> T) -> T {
    let mut undo = Undo::begin(places[0].start);
    // SAFETY: by the caller.
    unsafe { undo.note(places) };
    let outcome = change();
    undo.retire();
    outcome
}

/// As [`guarded`], for who can do without: `change` is not run where there is no room for a diary.
///
/// # Safety
///
/// As [`guarded`].
pub(crate) unsafe fn guarded_or_not_at_all<const N: usize, T>(
    places: [Place; N],
    change: impl FnOnce() -> T,
) -> Result<T, AllocError> {
    let mut note = Note::begin(places[0].start)?;
    if let Some(note) = &mut note {
        // SAFETY: by the caller.
        unsafe { note.add(&places)? };
    }
    let outcome = change();
    Undo(note).retire();
    Ok(outcome)
}

/// What a change of several steps has written down so far; without a diary for it, nothing.
///
/// The change allocates before its first note, frees behind the last write, and does not panic in between.
pub(crate) struct Undo(Option<Note>);

impl Undo {
    /// Begins a change of something that lies in the heap if `place` does.
    #[inline(always)]
    pub(crate) fn begin(place: NonNull<u8>) -> Self {
        // Where the heap has not one page for a diary, the change is made all the same.
        Self(Note::begin(place).unwrap_or(None))
    }

    /// For what nobody can reach yet.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Writes places down that are written next.
    ///
    /// # Safety
    ///
    /// The places can be read.
    #[inline(always)]
    pub(crate) unsafe fn note<const N: usize>(&mut self, places: [Place; N]) {
        if let Some(note) = &mut self.0 {
            // SAFETY: by the caller.
            let _without_where_it_does_not_fit = unsafe { note.add(&places) };
        }
    }

    /// All is written: the change has happened.
    #[inline(always)]
    pub(crate) fn retire(self) {
        step();
        if let Some(note) = self.0 {
            note.retire();
        }
    }
}

/// True where two words are stored at once.
const ONE_STORE: bool = cfg!(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)));

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod arch {
    use std::arch::asm;

    /// # Safety
    ///
    /// `at` is valid for writing two words.
    #[inline(always)]
    pub(super) unsafe fn store_two_words(at: *mut [u64; 2], [first, second]: [u64; 2]) {
        // SAFETY: by the caller; SSE2 is part of the architecture.
        unsafe {
            asm!(
                "movq {low}, {first}",
                "movq {high}, {second}",
                "punpcklqdq {low}, {high}",
                "movups xmmword ptr [{at}], {low}",
                first = in(reg) first,
                second = in(reg) second,
                at = in(reg) at,
                low = out(xmm_reg) _,
                high = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    ///
    /// `from` is valid for reading two words, which need not be initialized, and `to` for writing them.
    #[inline(always)]
    pub(super) unsafe fn copy_two_words(to: *mut u8, from: *const u8) {
        // SAFETY: by the caller; SSE2 is part of the architecture.
        unsafe {
            asm!(
                "movups {both}, xmmword ptr [{from}]",
                "movups xmmword ptr [{to}], {both}",
                from = in(reg) from,
                to = in(reg) to,
                both = out(xmm_reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod arch {
    use std::arch::asm;

    /// # Safety
    ///
    /// `at` is valid for writing two words.
    #[inline(always)]
    pub(super) unsafe fn store_two_words(at: *mut [u64; 2], [first, second]: [u64; 2]) {
        // SAFETY: by the caller.
        unsafe {
            asm!(
                "stp {first}, {second}, [{at}]",
                first = in(reg) first,
                second = in(reg) second,
                at = in(reg) at,
                options(nostack, preserves_flags),
            );
        }
    }

    /// # Safety
    ///
    /// `from` is valid for reading two words, which need not be initialized, and `to` for writing them.
    #[inline(always)]
    pub(super) unsafe fn copy_two_words(to: *mut u8, from: *const u8) {
        // SAFETY: by the caller.
        unsafe {
            asm!(
                "ldp {first}, {second}, [{from}]",
                "stp {first}, {second}, [{to}]",
                from = in(reg) from,
                to = in(reg) to,
                first = out(reg) _,
                second = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod arch {
    /// # Safety
    ///
    /// `at` is valid for writing two words.
    pub(super) unsafe fn store_two_words(at: *mut [u64; 2], [first, second]: [u64; 2]) {
        // As addresses, which one of them is: who reads it back as one may follow it.
        let at = at.cast::<*const u8>();
        let [first, second] = [first, second].map(|word| std::ptr::with_exposed_provenance(word as usize));
        // SAFETY: by the caller.
        unsafe {
            at.write_volatile(first);
            super::step();
            at.add(1).write_volatile(second);
        }
    }

    /// # Safety
    ///
    /// As for those that do it at once; not called where nobody does.
    pub(super) unsafe fn copy_two_words(to: *mut u8, from: *const u8) {
        // SAFETY: by the caller.
        unsafe { to.copy_from_nonoverlapping(from, 16) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Debug, PartialEq)]
    struct Padded(u8, u64, u16);

    #[test]
    fn a_value_of_any_size_is_replaced() {
        fn check<T: Clone + PartialEq + std::fmt::Debug>(old: &T, new: &T) {
            let mut place = old.clone();
            assert_eq!(replace(&mut place, new.clone()), *old);
            assert_eq!(place, *new);
        }
        check(&(), &());
        check(&1_u8, &2);
        check(&1_u16, &2);
        check(&[1_u8, 2], &[3, 4]);
        check(&1_u32, &2);
        check(&1_u64, &2);
        check(&[1_u64, 2], &[3, 4]);
        check(&1_u128, &u128::MAX);
        check(&Padded(1, 2, 3), &Padded(4, 5, 6));
        check(&String::from("one"), &String::from("another"));
    }

    #[test]
    fn two_words_are_stored_in_their_order() {
        let mut words = [0_u64; 4];
        // SAFETY: two words lie behind the first.
        unsafe { two_words(words.as_mut_ptr().add(1).cast(), [1, 2]) };
        assert_eq!(words, [0, 1, 2, 0]);
        let mut value = 5_u64;
        let mut pair = (std::ptr::null_mut::<u64>(), 0_u64);
        // SAFETY: an address and a word, laid out in this order by the address of its first.
        unsafe {
            let mut both = [std::mem::MaybeUninit::<*mut u64>::uninit(); 2];
            address_and_word(both.as_mut_ptr().cast(), &raw mut value, 7);
            pair.0 = both[0].assume_init();
            pair.1 = both.as_ptr().add(1).cast::<u64>().read();
            assert_eq!((*pair.0, pair.1), (5, 7));
        }
    }
}
