//! The traits of shared pointers: they behave like the value.

#![expect(unsafe_code, reason = "follows the pointer")]

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use super::{Count, Shared};

/// # Panics
///
/// If the program was killed while it dropped the pointer, which leads nowhere since then.
impl<T, C: Count> Deref for Shared<T, C> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        #[cold]
        fn leads_nowhere() -> ! {
            panic!("the pointer was being dropped when its program was killed")
        }
        let Some(block) = self.block() else { leads_nowhere() };
        // SAFETY: as long as a strong pointer is counted the value is live.
        unsafe { block.value.assume_init_ref() }
    }
}

impl<T, C: Count> AsRef<T> for Shared<T, C> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T, C: Count> Borrow<T> for Shared<T, C> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T, C: Count> From<T> for Shared<T, C> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default, C: Count> Default for Shared<T, C> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug, C: Count> fmt::Debug for Shared<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: fmt::Display, C: Count> fmt::Display for Shared<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: PartialEq, C: Count> PartialEq for Shared<T, C> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, C: Count> Eq for Shared<T, C> {}

impl<T: PartialOrd, C: Count> PartialOrd for Shared<T, C> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        T::partial_cmp(self, other)
    }
}

impl<T: Ord, C: Count> Ord for Shared<T, C> {
    fn cmp(&self, other: &Self) -> Ordering {
        T::cmp(self, other)
    }
}

impl<T: Hash, C: Count> Hash for Shared<T, C> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        T::hash(self, state);
    }
}
