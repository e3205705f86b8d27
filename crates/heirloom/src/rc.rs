//! Shared ownership within one thread; see [`shared`] for the layout and for what a kill leaves.
//!
//! An `Rc` does not leave its thread, and so cannot lie in a root, which any thread may look at: there use [`Arc`](crate::arc::Arc).
//! It is for graphs that one thread builds in the heap and takes apart again.

pub use crate::shared::FORMAT_VERSION;
use crate::shared::{self, Local, Shared};

/// Owns one value together with other pointers of the same thread.
///
/// ```no_run
/// use heirloom::rc::Rc;
///
/// let one = Rc::new(5);
/// let two = one.clone();
/// assert_eq!((*two, Rc::strong_count(&one)), (5, 2));
/// ```
pub type Rc<T> = Shared<T, Local>;

/// Names a value of an [`Rc`], as long as somebody owns it.
pub type Weak<T> = shared::Weak<T, Local>;
