//! `BoxSlice` and `BoxStr`: values, or text, of a length that does not change, owned.
//!
//! ```text
//! 0  start   address of the first value; the alignment of T if there are no bytes
//! 8  len     values
//! 16
//! ```
//!
//! The block has the layout of `[T; len]`: 8 bytes less than a `Vec` and no room to spare. `BoxStr` is a `BoxSlice<u8>` that is UTF-8. They are
//! types of their own because the language does not say which half of a pointer to a slice comes first.

#![expect(unsafe_code, reason = "owns the block that its pointer names")]

use std::alloc::Layout;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::{fmt, slice, str};

use crate::alloc::{self, AllocError};
use crate::heritable::{Heritable, TypeDesc};
use crate::or_panic;
use crate::string::String;
use crate::vec::Vec;

/// Version of the layout of [`BoxSlice`].
pub const SLICE_FORMAT_VERSION: u32 = 1;
/// Version of the layout of [`BoxStr`].
pub const STR_FORMAT_VERSION: u32 = 1;

/// Owns some values that lie side by side in the heap.
///
/// # Invariants
///
/// The `len` values from `start` on are live, in a block of the layout of `[T; len]` unless that has no bytes.
#[repr(C)]
pub struct BoxSlice<T> {
    start: NonNull<T>,
    len: u64,
    owns: PhantomData<T>,
}

const _: () = assert!(size_of::<BoxSlice<u8>>() == 16 && std::mem::offset_of!(BoxSlice<u8>, len) == 8);

// SAFETY: a slice owns its values and shares nothing else.
unsafe impl<T: Send> Send for BoxSlice<T> {}
// SAFETY: a shared slice gives out nothing but `&T`.
unsafe impl<T: Sync> Sync for BoxSlice<T> {}

// SAFETY: the values lie in a block of the heap, are owned, and described by their own type.
unsafe impl<T: Heritable> Heritable for BoxSlice<T> {
    const TYPE: &'static TypeDesc = &TypeDesc::collection(
        "BoxSlice",
        SLICE_FORMAT_VERSION,
        size_of::<Self>(),
        align_of::<Self>(),
        &[T::TYPE],
    );
}

impl<T> BoxSlice<T> {
    /// Takes the values of a vector and gives its room to spare back.
    ///
    /// # Errors
    ///
    /// The vector, if the heap is too full for a move to a smaller block.
    pub fn try_from_vec(vec: Vec<T>) -> Result<Self, Vec<T>> {
        let mut vec = ManuallyDrop::new(vec);
        let (start, len, capacity) = (vec.as_mut_ptr(), vec.len(), vec.capacity());
        if size_of::<T>() == 0 || len == 0 {
            if len == 0 {
                drop(ManuallyDrop::into_inner(vec));
            }
            // INVARIANT: so many values have no bytes, and those of the vector are not dropped.
            return Ok(Self { start: NonNull::dangling(), len: len as u64, owns: PhantomData });
        }
        // SAFETY: the vector's block has room for its capacity, which passed `Layout` then, and is used by nobody else.
        let moved = unsafe {
            let old = Layout::array::<T>(capacity).unwrap_unchecked();
            alloc::reallocate(NonNull::new_unchecked(start.cast()), old, len * size_of::<T>())
        };
        match moved {
            // INVARIANT: the block now has the layout of the live values.
            Ok(start) => Ok(Self { start: start.cast(), len: len as u64, owns: PhantomData }),
            Err(AllocError { .. }) => Err(ManuallyDrop::into_inner(vec)),
        }
    }

    /// Takes the values back into a vector, which can grow.
    pub fn into_vec(self) -> Vec<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the block has the layout of so many values, all of them live; the slice is never used again.
        unsafe { Vec::from_parts(this.start.as_ptr(), this.len as usize, this.len as usize) }
    }
}

impl<T> Drop for BoxSlice<T> {
    fn drop(&mut self) {
        // SAFETY: the slice is going, and the vector takes its place.
        drop(unsafe { ptr::read(self) }.into_vec());
    }
}

impl<T> Deref for BoxSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: by the type invariant so many values are live, and `self` is borrowed as long as they are.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl<T> DerefMut for BoxSlice<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

impl<T> From<Vec<T>> for BoxSlice<T> {
    /// # Panics
    ///
    /// If the heap is too full for a move to a smaller block.
    fn from(vec: Vec<T>) -> Self {
        let size_bytes = vec.len() * size_of::<T>();
        or_panic(Self::try_from_vec(vec).map_err(|_| AllocError { size_bytes }))
    }
}

impl<T> From<BoxSlice<T>> for Vec<T> {
    fn from(slice: BoxSlice<T>) -> Self {
        slice.into_vec()
    }
}

impl<T: Clone> From<&[T]> for BoxSlice<T> {
    fn from(values: &[T]) -> Self {
        Vec::from(values).into()
    }
}

impl<T, const N: usize> From<[T; N]> for BoxSlice<T> {
    fn from(values: [T; N]) -> Self {
        Vec::from(values).into()
    }
}

impl<T> FromIterator<T> for BoxSlice<T> {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        iter.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> IntoIterator for BoxSlice<T> {
    type Item = T;
    type IntoIter = crate::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a BoxSlice<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> slice::Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut BoxSlice<T> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> slice::IterMut<'a, T> {
        self.iter_mut()
    }
}

impl<T> Default for BoxSlice<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Clone> Clone for BoxSlice<T> {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

/// Text of a length that does not change, in the heap.
///
/// # Invariants
///
/// The bytes are UTF-8.
#[repr(transparent)]
#[derive(Clone, Default)]
pub struct BoxStr {
    bytes: BoxSlice<u8>,
}

// SAFETY: the text lies in a block of the heap and is owned; UTF-8 is the same everywhere.
unsafe impl Heritable for BoxStr {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("BoxStr", STR_FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[]);
}

impl BoxStr {
    /// Copies text into the heap.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_from_str(text: &str) -> Result<Self, AllocError> {
        let mut vec = Vec::try_with_capacity(text.len())?;
        vec.try_extend_from_copy(text.as_bytes())?;
        let bytes = BoxSlice::try_from_vec(vec).map_err(|_| AllocError { size_bytes: text.len() })?;
        // INVARIANT: the bytes of text are UTF-8.
        Ok(Self { bytes })
    }

    /// Takes the text back into a string, which can grow.
    pub fn into_string(self) -> String {
        String::from_utf8(self.bytes.into_vec()).expect("text is UTF-8")
    }
}

impl Deref for BoxStr {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        // SAFETY: by the type invariant the bytes are UTF-8.
        unsafe { str::from_utf8_unchecked(&self.bytes) }
    }
}

impl From<&str> for BoxStr {
    fn from(text: &str) -> Self {
        or_panic(Self::try_from_str(text))
    }
}

impl From<String> for BoxStr {
    fn from(text: String) -> Self {
        // INVARIANT: the bytes of text are UTF-8.
        Self { bytes: text.into_bytes().into() }
    }
}

impl From<BoxStr> for String {
    fn from(text: BoxStr) -> Self {
        text.into_string()
    }
}

impl fmt::Display for BoxStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: PartialOrd> PartialOrd for BoxSlice<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl PartialOrd for BoxStr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Implements what both take from what they hold.
macro_rules! like_contents {
    ($([$($generic:ident)?] $name:ty, $target:ty;)*) => {$(
        impl<$($generic: fmt::Debug)?> fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }

        impl<$($generic)?> AsRef<$target> for $name {
            fn as_ref(&self) -> &$target {
                self
            }
        }

        impl<$($generic)?> Borrow<$target> for $name {
            fn borrow(&self) -> &$target {
                self
            }
        }

        impl<$($generic: PartialEq)?> PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                **self == **other
            }
        }

        impl<$($generic: PartialEq)?> PartialEq<$target> for $name {
            fn eq(&self, other: &$target) -> bool {
                **self == *other
            }
        }

        impl<$($generic: PartialEq)?> PartialEq<&$target> for $name {
            fn eq(&self, other: &&$target) -> bool {
                **self == **other
            }
        }

        impl<$($generic: Eq)?> Eq for $name {}

        impl<$($generic: Ord)?> Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                (**self).cmp(&**other)
            }
        }

        impl<$($generic: Hash)?> Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                (**self).hash(state);
            }
        }
    )*};
}

like_contents! {
    [T] BoxSlice<T>, [T];
    [] BoxStr, str;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::alloc::{fail_after, never_fail};
    use crate::testing::{Counted, Grenade, Live, panics};

    #[test]
    fn values_go_from_vectors_to_slices_and_back() {
        let live = Live::default();
        for nr in [0, 1, 3, 4, 5, 100] {
            let mut slice: BoxSlice<Counted> = (0..nr).map(|id| Counted::new(id, &live)).collect();
            slice.reverse();
            assert!(slice.iter().map(|value| value.id).eq((0..nr).rev()));
            let clone = slice.clone();
            assert_eq!((&clone, live.get()), (&slice, i64::from(nr) * 2));
            let mut vec = slice.into_vec();
            assert_eq!(vec.capacity(), vec.len(), "no room is spared");
            vec.push(Counted::new(9, &live));
            drop(vec);
            assert!(clone.into_iter().map(|value| value.id).eq((0..nr).rev()));
            assert_eq!(live.get(), 0);
        }
        assert_eq!(BoxSlice::from([(), ()]).into_vec().len(), 2);
    }

    #[test]
    fn a_full_heap_gives_the_vector_back() {
        let mut vec = Vec::with_capacity(100);
        vec.extend([1_u64, 2, 3]);
        fail_after(0);
        let refused = BoxSlice::try_from_vec(vec);
        let text = BoxStr::try_from_str("text");
        let empty = (BoxSlice::<u8>::default(), BoxStr::default());
        never_fail();
        assert_eq!(refused.unwrap_err(), [1, 2, 3]);
        assert!(text.is_err() && empty.0.is_empty() && empty.1.is_empty());
    }

    #[test]
    fn a_value_that_panics_is_dropped_with_the_others() {
        let dropped = Cell::new(0);
        let slice: BoxSlice<Grenade<'_>> = (0..5).map(|i| Grenade(i == 2, &dropped)).collect();
        assert!(panics(|| drop(slice)));
        assert_eq!(dropped.get(), 5);
    }

    #[test]
    fn text_behaves_like_a_str() {
        let text = BoxStr::from("naïve");
        assert_eq!((text.len(), text.chars().count()), (6, 5));
        assert!(text == *"naïve" && text == "naïve" && text.cmp(&BoxStr::from("z")).is_lt());
        assert_eq!(format!("{text}|{text:?}"), "naïve|\"naïve\"");
        assert_eq!(text.into_string(), "naïve");
        let long = "a text that is too long to lie in a string itself";
        assert_eq!(String::from(BoxStr::from(String::from(long))), long);
    }
}
