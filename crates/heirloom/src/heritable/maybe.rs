//! `Option` and `Result` with a layout that is promised.
//!
//! std's have none, but for a few types of which the language says where `None` is kept; so values of other types are stored
//! as one of these, and handled as std's.

use crate::Heritable;

/// What `Option` is, with a fixed layout.
///
/// ```
/// use heirloom::Maybe;
///
/// let mut last: Maybe<u32> = Some(7).into();
/// assert_eq!(last.as_ref().map(|n| n + 1), Some(8));
/// assert_eq!(last.take(), Some(7));
/// assert!(last.is_none());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Heritable)]
#[repr(C, u8)]
pub enum Maybe<T> {
    /// No value.
    #[default]
    None = 0,
    /// A value.
    Some(T) = 1,
}

/// What `Result` is, with a fixed layout.
///
/// ```
/// use heirloom::Outcome;
///
/// let outcome: Outcome<u32, u8> = "7".parse().map_err(|_| 1).into();
/// assert_eq!(outcome.into_result(), Ok(7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Heritable)]
#[repr(C, u8)]
#[must_use = "this may be an error, which should be handled"]
pub enum Outcome<T, E> {
    /// What was wanted.
    Ok(T) = 0,
    /// Why not.
    Err(E) = 1,
}

impl<T> Maybe<T> {
    /// Moves into std's type, with all that it can do.
    #[inline]
    pub fn into_option(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }

    /// Borrows the value.
    #[inline]
    pub const fn as_ref(&self) -> Option<&T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }

    /// Borrows the value, to be changed.
    #[inline]
    pub const fn as_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }

    /// True where there is a value.
    #[inline]
    pub const fn is_some(&self) -> bool {
        matches!(self, Self::Some(_))
    }

    /// True where there is none.
    #[inline]
    pub const fn is_none(&self) -> bool {
        !self.is_some()
    }

    /// Takes the value out.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        std::mem::take(self).into_option()
    }

    /// Puts a value in, and returns the one that was there.
    #[inline]
    pub fn replace(&mut self, value: T) -> Option<T> {
        std::mem::replace(self, Self::Some(value)).into_option()
    }

    /// Returns the value, after it has put one in if there was none.
    #[inline]
    pub fn get_or_insert_with(&mut self, make: impl FnOnce() -> T) -> &mut T {
        if self.is_none() {
            *self = Self::Some(make());
        }
        match self {
            Self::Some(value) => value,
            Self::None => unreachable!("a value was put in"),
        }
    }

    /// Applies a function to the value.
    #[inline]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Maybe<U> {
        self.into_option().map(f).into()
    }

    /// Returns the value.
    ///
    /// # Panics
    ///
    /// Where there is none.
    #[inline]
    #[track_caller]
    pub fn unwrap(self) -> T {
        self.into_option().unwrap()
    }

    /// Returns the value, or `other`.
    #[inline]
    pub fn unwrap_or(self, other: T) -> T {
        self.into_option().unwrap_or(other)
    }

    /// Iterates over the value, if there is one.
    #[inline]
    pub fn iter(&self) -> std::option::IntoIter<&T> {
        self.as_ref().into_iter()
    }
}

impl<T, E> Outcome<T, E> {
    /// Moves into std's type, with all that it can do, `?` included.
    #[inline]
    pub fn into_result(self) -> Result<T, E> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Err(error) => Err(error),
        }
    }

    /// Borrows what is inside.
    #[inline]
    pub const fn as_ref(&self) -> Result<&T, &E> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Err(error) => Err(error),
        }
    }

    /// Borrows what is inside, to be changed.
    #[inline]
    pub const fn as_mut(&mut self) -> Result<&mut T, &mut E> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Err(error) => Err(error),
        }
    }

    /// True for what was wanted.
    #[inline]
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }

    /// True for an error.
    #[inline]
    pub const fn is_err(&self) -> bool {
        !self.is_ok()
    }

    /// Returns what was wanted, if it is there.
    #[inline]
    pub fn ok(self) -> Option<T> {
        self.into_result().ok()
    }
}

impl<T> From<Option<T>> for Maybe<T> {
    #[inline]
    fn from(option: Option<T>) -> Self {
        option.map_or(Self::None, Self::Some)
    }
}

impl<T> From<Maybe<T>> for Option<T> {
    #[inline]
    fn from(maybe: Maybe<T>) -> Self {
        maybe.into_option()
    }
}

impl<T> From<T> for Maybe<T> {
    #[inline]
    fn from(value: T) -> Self {
        Self::Some(value)
    }
}

impl<T: PartialEq> PartialEq<Option<T>> for Maybe<T> {
    fn eq(&self, other: &Option<T>) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl<T, E> From<Result<T, E>> for Outcome<T, E> {
    #[inline]
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Err(error),
        }
    }
}

impl<T, E> From<Outcome<T, E>> for Result<T, E> {
    #[inline]
    fn from(outcome: Outcome<T, E>) -> Self {
        outcome.into_result()
    }
}

impl<T> IntoIterator for Maybe<T> {
    type Item = T;
    type IntoIter = std::option::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_option().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Maybe<T> {
    type Item = &'a T;
    type IntoIter = std::option::IntoIter<&'a T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
