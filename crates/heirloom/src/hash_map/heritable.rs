//! What a map tells the next binary about itself.

#![expect(unsafe_code, reason = "Heritable is an unsafe trait")]

use super::{FORMAT_VERSION, HashMap};
use crate::heritable::{Heritable, TypeDesc};

// SAFETY: keys and values lie in a block of the heap, are owned, and described by their own types. The hash is part of
// the format; what a key feeds to it may change, and the map then rebuilds itself.
unsafe impl<K: Heritable, V: Heritable> Heritable for HashMap<K, V> {
    const TYPE: &'static TypeDesc = &TypeDesc::collection(
        "HashMap",
        FORMAT_VERSION,
        size_of::<Self>(),
        align_of::<Self>(),
        &[K::TYPE, V::TYPE],
    );
}
