//! Shared ownership among threads; see [`shared`] for the layout and for what a kill leaves.

pub use crate::shared::FORMAT_VERSION;
use crate::shared::{self, Atomic, Shared};

/// Owns one value together with other pointers, of any thread.
///
/// ```no_run
/// use heirloom::arc::Arc;
///
/// let one = Arc::new(5);
/// let two = one.clone();
/// std::thread::spawn(move || assert_eq!(*two, 5)).join().unwrap();
/// assert_eq!(Arc::strong_count(&one), 1);
/// ```
pub type Arc<T> = Shared<T, Atomic>;

/// Names a value of an [`Arc`], as long as somebody owns it.
pub type Weak<T> = shared::Weak<T, Atomic>;
