//! One number out of KHO's tree: where the root of its map lies.
//!
//! ```text
//! header: magic, total, offset of structure (8), ..      big-endian, as everything but KHO's numbers
//! structure: 1 name | 2 | 3 length name-offset value | 4 | 9
//! ```
//!
//! KHO's debugfs file shows as many bytes as the tree had when it was made, and the names of the properties, which lie at its end, are cut
//! off by now. So the number is known by its place: of the root node's properties it is the only one of eight bytes.

/// The first property of eight bytes in the root node.
pub(crate) fn map_root(tree: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u32::from_be_bytes(tree.get(at..at + 4)?.try_into().ok()?) as usize);
    if word(0)? != 0xd00d_feed {
        return None;
    }
    let mut at = word(8)?;
    // The root node has no name.
    if word(at)? != 1 || word(at + 4)? != 0 {
        return None;
    }
    at += 8;
    while word(at)? == 3 {
        let len = word(at + 4)?;
        at += 12;
        if len == 8 {
            return Some(u64::from_ne_bytes(tree.get(at..at + 8)?.try_into().ok()?));
        }
        at += len.next_multiple_of(4);
    }
    None
}

/// A number as KHO's files have it: `0x..`.
pub(crate) fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
