//! What a byte string tells the next binary about itself.

#![expect(unsafe_code, reason = "Heritable is an unsafe trait")]

use super::{ByteString, FORMAT_VERSION};
use crate::heritable::{Heritable, TypeDesc};

// SAFETY: the bytes lie in the string or in a block of the heap, are owned, and mean the same everywhere.
unsafe impl Heritable for ByteString {
    const TYPE: &'static TypeDesc =
        &TypeDesc::collection("ByteString", FORMAT_VERSION, size_of::<Self>(), align_of::<Self>(), &[]);
}
