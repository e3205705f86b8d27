//! What two sets make: union, intersection, differences; and how they relate. Both are walked side by side.

use std::cmp::Ordering;
use std::fmt;
use std::iter::{FusedIterator, Peekable};
use std::ops::{BitAnd, BitOr, BitXor, Sub};

use super::{BTreeSet, Iter};

/// Both sets, in one order: each value comes with the sets that have it.
struct Pairs<'a, T> {
    left: Peekable<Iter<'a, T>>,
    right: Peekable<Iter<'a, T>>,
}

impl<'a, T: Ord> Iterator for Pairs<'a, T> {
    type Item = (Option<&'a T>, Option<&'a T>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.left.peek(), self.right.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.cmp(right),
        };
        Some(match order {
            Ordering::Less => (self.left.next(), None),
            Ordering::Equal => (self.left.next(), self.right.next()),
            Ordering::Greater => (None, self.right.next()),
        })
    }
}

macro_rules! operation {
    ($($(#[$of:meta] #[$method_doc:meta])* $name:ident $method:ident $operator:ident $operate:ident, $pick:expr;)*) => {$(
        $(#[$of])*
        pub struct $name<'a, T>(Pairs<'a, T>);

        impl<T: Ord> BTreeSet<T> {
            $(#[$method_doc])*
            pub fn $method<'a>(&'a self, other: &'a Self) -> $name<'a, T> {
                $name(Pairs { left: self.iter().peekable(), right: other.iter().peekable() })
            }
        }

        impl<'a, T: Ord> Iterator for $name<'a, T> {
            type Item = &'a T;

            fn next(&mut self) -> Option<&'a T> {
                self.0.find_map($pick)
            }
        }

        impl<T: Ord> FusedIterator for $name<'_, T> {}

        impl<T> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        /// Clones the values into a set of their own.
        impl<T: Clone + Ord> $operator for &BTreeSet<T> {
            type Output = BTreeSet<T>;

            fn $operate(self, other: Self) -> BTreeSet<T> {
                self.$method(other).cloned().collect()
            }
        }
    )*};
}

operation! {
    /// Iterator over the values in either of two sets, in order; made by [`BTreeSet::union`].
    /// Visits the values in either of two sets, each once, in order.
    Union union BitOr bitor, |(left, right)| left.or(right);
    /// Iterator over the values in both of two sets, in order; made by [`BTreeSet::intersection`].
    /// Visits the values in both of two sets, in order.
    Intersection intersection BitAnd bitand, |(left, right)| left.filter(|_| right.is_some());
    /// Iterator over the values in one set but not in another, in order; made by [`BTreeSet::difference`].
    /// Visits the values in this set but not in `other`, in order.
    Difference difference Sub sub, |(left, right)| left.filter(|_| right.is_none());
    /// Iterator over the values in one of two sets but not in both, in order; made by [`BTreeSet::symmetric_difference`].
    /// Visits the values in one of two sets but not in both, in order.
    SymmetricDifference symmetric_difference BitXor bitxor, |(left, right)| left.xor(right);
}

impl<T: Ord> BTreeSet<T> {
    /// Returns whether no value is in both sets.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).next().is_none()
    }

    /// Returns whether every value of this set is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.difference(other).next().is_none()
    }

    /// Returns whether every value of `other` is in this set.
    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }
}
