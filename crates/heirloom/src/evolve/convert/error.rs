//! Why a conversion was given up.

use crate::alloc::AllocError;

/// Why a conversion was given up. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The heap has no room for what would be made beside what is there.
    #[error("no room for the new objects beside the old ones: {0}")]
    NoRoom(#[from] AllocError),
    /// A number is larger than the narrower type can hold.
    #[error("{path}a value does not fit in the narrower type")]
    Narrow {
        /// The way to it.
        path: String,
    },
    /// A value is of a variant that the other type does not have.
    #[error("{path}: a value is of variant `{variant}`, which the other type does not have")]
    Variant {
        /// The way to it.
        path: String,
        /// The name.
        variant: String,
    },
    /// A value is of no variant at all.
    #[error("{path}: a value has the tag {found}, which is no variant's")]
    Tag {
        /// The way to it.
        path: String,
        /// What stands there.
        found: i128,
    },
    /// The program's own code has panicked.
    #[error("the program's own conversion panicked: {message}")]
    Panicked {
        /// With what.
        message: String,
    },
    /// Values that the program's own code makes own such values, without end for this walk.
    #[error(
        "values that the program's own code makes from an ancestor lie within each other more than {} levels deep: make them anew \
         in a `from` of a type around them",
        super::custom::DEEPEST
    )]
    TooDeep,
    /// Pointers that share a value are to become pointers to different types.
    #[error("{path}a value is shared with pointers to another type")]
    Shared {
        /// The way to it.
        path: String,
    },
    /// The objects do not have the shape that their description says.
    #[error("an object has not the shape that its description says")]
    Shape,
}
