//! The traits of [`VecDeque`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Index, IndexMut};

use super::VecDeque;
use crate::alloc::AllocError;
use crate::or_panic;
use crate::vec::Vec;

impl<T: Clone> VecDeque<T> {
    /// Clones the deque.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full.
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        let mut clone = Vec::try_with_capacity(self.len())?;
        let (front, back) = self.as_slices();
        clone.try_extend_from_slice(front)?;
        clone.try_extend_from_slice(back)?;
        Ok(clone.into())
    }
}

impl<T> VecDeque<T> {
    /// Appends what `iter` yields.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the heap is full; the deque then holds what came before.
    pub fn try_extend(&mut self, iter: impl IntoIterator<Item = T>) -> Result<(), AllocError> {
        let iter = iter.into_iter();
        self.try_reserve(iter.size_hint().0)?;
        for value in iter {
            self.try_push_back(value)?;
        }
        Ok(())
    }
}

impl<T> Index<usize> for VecDeque<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        self.get(index).expect("the index is below the length")
    }
}

impl<T> IndexMut<usize> for VecDeque<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.get_mut(index).expect("the index is below the length")
    }
}

impl<T> Default for VecDeque<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Clone for VecDeque<T> {
    fn clone(&self) -> Self {
        or_panic(self.try_clone())
    }
}

impl<T> FromIterator<T> for VecDeque<T> {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        iter.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Extend<T> for VecDeque<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, iter: I) {
        or_panic(self.try_extend(iter));
    }
}

impl<'a, T: Copy + 'a> Extend<&'a T> for VecDeque<T> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, iter: I) {
        self.extend(iter.into_iter().copied());
    }
}

impl<T, const N: usize> From<[T; N]> for VecDeque<T> {
    fn from(values: [T; N]) -> Self {
        Vec::from(values).into()
    }
}

impl<T> From<std::vec::Vec<T>> for VecDeque<T> {
    fn from(values: std::vec::Vec<T>) -> Self {
        Vec::from(values).into()
    }
}

impl<T: fmt::Debug> fmt::Debug for VecDeque<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: PartialEq> PartialEq for VecDeque<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl<T: Eq> Eq for VecDeque<T> {}

impl<T: PartialEq> PartialEq<[T]> for VecDeque<T> {
    fn eq(&self, other: &[T]) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for VecDeque<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        *self == *other.as_slice()
    }
}

impl<T: PartialEq> PartialEq<std::collections::VecDeque<T>> for VecDeque<T> {
    fn eq(&self, other: &std::collections::VecDeque<T>) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl<T: PartialOrd> PartialOrd for VecDeque<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.iter().partial_cmp(other)
    }
}

impl<T: Ord> Ord for VecDeque<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other)
    }
}

impl<T: Hash> Hash for VecDeque<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As std's does, so that equal contents hash alike however they lie.
        state.write_usize(self.len());
        self.iter().for_each(|value| value.hash(state));
    }
}
