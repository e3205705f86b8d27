//! What two sets make: union, intersection, differences; and how they relate.

use std::fmt;
use std::hash::Hash;
use std::iter::{Chain, FusedIterator};
use std::ops::{BitAnd, BitOr, BitXor, Sub};

use super::{HashSet, Iter};

/// Iterator over the values in either of two sets; made by [`HashSet::union`].
pub struct Union<'a, T>(Chain<Iter<'a, T>, Difference<'a, T>>);

/// Iterator over the values in both of two sets; made by [`HashSet::intersection`].
pub struct Intersection<'a, T> {
    values: Iter<'a, T>,
    other: &'a HashSet<T>,
}

/// Iterator over the values in one set but not in another; made by [`HashSet::difference`].
pub struct Difference<'a, T> {
    values: Iter<'a, T>,
    other: &'a HashSet<T>,
}

/// Iterator over the values in one of two sets but not in both; made by [`HashSet::symmetric_difference`].
pub struct SymmetricDifference<'a, T>(Chain<Difference<'a, T>, Difference<'a, T>>);

impl<T: Eq + Hash> HashSet<T> {
    /// Visits the values in either of two sets, each once.
    pub fn union<'a>(&'a self, other: &'a Self) -> Union<'a, T> {
        let (large, small) = if self.len() >= other.len() { (self, other) } else { (other, self) };
        Union(large.iter().chain(small.difference(large)))
    }

    /// Visits the values in both of two sets.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> Intersection<'a, T> {
        let (large, small) = if self.len() >= other.len() { (self, other) } else { (other, self) };
        Intersection { values: small.iter(), other: large }
    }

    /// Visits the values in this set but not in `other`.
    pub fn difference<'a>(&'a self, other: &'a Self) -> Difference<'a, T> {
        Difference { values: self.iter(), other }
    }

    /// Visits the values in one of two sets but not in both.
    pub fn symmetric_difference<'a>(&'a self, other: &'a Self) -> SymmetricDifference<'a, T> {
        SymmetricDifference(self.difference(other).chain(other.difference(self)))
    }

    /// Returns whether no value is in both sets.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).next().is_none()
    }

    /// Returns whether every value of this set is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|value| other.contains(value))
    }

    /// Returns whether every value of `other` is in this set.
    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }
}

impl<'a, T: Eq + Hash> Iterator for Intersection<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.values.find(|value| self.other.contains(*value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.values.len()))
    }
}

impl<'a, T: Eq + Hash> Iterator for Difference<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.values.find(|value| !self.other.contains(*value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.values.len().saturating_sub(self.other.len()), Some(self.values.len()))
    }
}

macro_rules! chained {
    ($($name:ident)*) => {$(
        impl<'a, T: Eq + Hash> Iterator for $name<'a, T> {
            type Item = &'a T;

            fn next(&mut self) -> Option<&'a T> {
                self.0.next()
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }
    )*};
}

chained! { Union SymmetricDifference }

macro_rules! common {
    ($($name:ident)*) => {$(
        impl<T: Eq + Hash> FusedIterator for $name<'_, T> {}

        impl<T> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

common! { Union Intersection Difference SymmetricDifference }

macro_rules! operator {
    ($($operator:ident $method:ident $by:ident;)*) => {$(
        /// Clones the values into a set of their own.
        impl<T: Clone + Eq + Hash> $operator for &HashSet<T> {
            type Output = HashSet<T>;

            fn $method(self, other: Self) -> HashSet<T> {
                self.$by(other).cloned().collect()
            }
        }
    )*};
}

operator! {
    BitOr bitor union;
    BitAnd bitand intersection;
    BitXor bitxor symmetric_difference;
    Sub sub difference;
}
