//! `Interner`: a pool of unique strings, each named by a handle of four bytes.
//!
//! ```text
//!  0  strings  Vec<BoxStr>: string n is named by the handle n + 1
//! 24  table    swiss table of handles, as that of a HashMap: control, mask, len, growth_left
//! 56  seed     key of SipHash-1-3 over the bytes of a string, two words
//! 72
//! ```
//!
//! Two handles of one pool are equal exactly if their strings are, so that comparing and hashing text costs what it costs for a number. Strings
//! stay as long as the pool. A string costs its block, 16 bytes, and 4 bytes and one in the table, which is an eighth to a half empty.
//!
//! The bytes are hashed as they are, so that no version of std has a say in it, and an inherited pool need not prove its order.

#![expect(unsafe_code, reason = "Heritable is an unsafe trait, and a handle is looked at in the table")]

use std::fmt;
use std::num::NonZero;
use std::ops::Index;

use crate::alloc::AllocError;
use crate::boxed::BoxStr;
use crate::hash_map::seed::Seed;
use crate::hash_map::shape::buckets_for;
use crate::hash_map::table::{Place, Table};
use crate::heritable::{Heritable, TypeDesc, ZeroNiche};
use crate::or_panic;
use crate::vec::Vec;

/// Version of the layout of [`Interner`] and of [`Symbol`].
pub const FORMAT_VERSION: u32 = 1;

/// The handle of a string in a pool. It means nothing in another pool.
///
/// Handles are ordered by when their strings came, not by the strings.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(NonZero<u32>);

const _: () = assert!(size_of::<Symbol>() == 4 && size_of::<Option<Symbol>>() == 4);

// SAFETY: a number without zero.
unsafe impl Heritable for Symbol {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("Symbol", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[]);
}

// SAFETY: zero is the one value that is missing, and `Option` is specified to use it.
unsafe impl ZeroNiche for Symbol {}

/// A pool of unique strings.
///
/// ```no_run
/// use heirloom::Interner;
///
/// let mut names = Interner::new();
/// let (one, two) = (names.intern("host"), names.intern("host"));
/// assert!(one == two && &names[one] == "host");
/// ```
///
/// # Invariants
///
/// - The table holds the handle of every string, where a probe for the hash of its bytes finds it.
/// - No two strings are equal.
#[repr(C)]
pub struct Interner {
    strings: Vec<BoxStr>,
    table: Table<Symbol>,
    seed: Seed,
}

const _: () = assert!(size_of::<Interner>() == 72 && align_of::<Interner>() == 8);
const _: () =
    assert!(std::mem::offset_of!(Interner, table) == 24 && std::mem::offset_of!(Interner, seed) == 56);

// SAFETY: strings and handles lie in blocks of the heap and are owned. The hash is part of the format.
unsafe impl Heritable for Interner {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("Interner", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[]);
}

impl Symbol {
    /// Returns the number of the string in its pool, counted from 0.
    #[inline]
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// Names string `index` of a pool.
    fn of(index: usize) -> Option<Self> {
        u32::try_from(index).ok()?.checked_add(1).and_then(NonZero::new).map(Self)
    }
}

impl Interner {
    /// Creates an empty pool.
    pub const fn new() -> Self {
        Self { strings: Vec::new(), table: Table::new(), seed: Seed::NONE }
    }

    /// Returns how many strings the pool holds.
    pub const fn len(&self) -> usize {
        self.strings.len()
    }

    /// Returns whether the pool holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    /// Returns the handle of a string, after adding it if it is new.
    ///
    /// # Panics
    ///
    /// If the heap is full, or the pool holds 2^32 - 1 strings.
    #[inline]
    pub fn intern(&mut self, text: &str) -> Symbol {
        or_panic(self.try_intern(text))
    }

    /// Returns the handle of a string, after adding it if it is new.
    ///
    /// # Errors
    ///
    /// [`AllocError`] if the string is new and the heap is full, or the pool holds 2^32 - 1 strings; the pool is then unchanged.
    pub fn try_intern(&mut self, text: &str) -> Result<Symbol, AllocError> {
        if !self.table.has_block() {
            self.seed = Seed::draw();
            self.grow()?;
        }
        let hash = self.seed.hash_bytes(text.as_bytes());
        let strings = &self.strings;
        let index = match self.table.place(hash, |&symbol| is(strings, symbol, text)) {
            Place::Found(index) => return Ok(*self.table.occupied(index).get()),
            Place::Vacant(index) => index,
        };
        let symbol = Symbol::of(self.len()).ok_or(AllocError::TOO_LARGE)?;
        // Whatever can fail comes first; then what leads to the string, which leads nowhere until, last, the string is there.
        let owned = BoxStr::try_from_str(text)?;
        self.strings.try_reserve(1)?;
        let index = if self.table.may_fill(index) {
            index
        } else {
            self.grow()?;
            self.table.vacant(hash)
        };
        self.table.fill(index, hash, symbol);
        self.strings.push(owned);
        Ok(symbol)
    }

    /// Returns the handle of a string, if the pool holds it.
    pub fn get(&self, text: &str) -> Option<Symbol> {
        self.table
            .get(self.seed.hash_bytes(text.as_bytes()), |&symbol| is(&self.strings, symbol, text))
            .copied()
    }

    /// Returns the string of a handle, if the pool has given such a handle out.
    #[inline]
    pub fn resolve(&self, symbol: Symbol) -> Option<&str> {
        self.strings.get(symbol.index()).map(|text| &**text)
    }

    /// Visits all strings and their handles, in the order in which they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Symbol, &str)> + DoubleEndedIterator {
        self.strings
            .iter()
            .enumerate()
            .map(|(index, text)| (Symbol::of(index).expect("the pool has given that handle out"), &**text))
    }

    /// Moves to a larger table.
    fn grow(&mut self) -> Result<(), AllocError> {
        let buckets = buckets_for(self.len() + 1)?.max(self.table.buckets() * 2);
        let (strings, seed) = (&self.strings, self.seed);
        self.table.resize(buckets, |symbol| {
            // A handle of no string, which only a kill in the middle could leave, has no hash: it is kept, and never found.
            strings.get(symbol.index()).map_or(0, |text| seed.hash_bytes(text.as_bytes()))
        })
    }
}

/// Whether a handle names this text.
#[inline]
fn is(strings: &[BoxStr], symbol: Symbol, text: &str) -> bool {
    strings.get(symbol.index()).is_some_and(|other| **other == *text)
}

impl Default for Interner {
    fn default() -> Self {
        Self::new()
    }
}

impl Index<Symbol> for Interner {
    type Output = str;

    #[inline]
    fn index(&self, symbol: Symbol) -> &str {
        self.resolve(symbol).expect("the handle is of this pool")
    }
}

impl fmt::Debug for Interner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(symbol, text)| (symbol.index(), text))).finish()
    }
}

impl<'a> Extend<&'a str> for Interner {
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, iter: I) {
        iter.into_iter().for_each(|text| {
            self.intern(text);
        });
    }
}

impl<'a> FromIterator<&'a str> for Interner {
    fn from_iter<I: IntoIterator<Item = &'a str>>(iter: I) -> Self {
        let mut pool = Self::new();
        pool.extend(iter);
        pool
    }
}

#[cfg(test)]
mod tests;
