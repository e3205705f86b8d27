//! Which caches are one.
//!
//! SLUB serves a new cache from an existing one if both can merge, the existing slot is as large or larger by less than a pointer, as
//! well aligned, and the flags that count are the same. A cache cannot merge that has a constructor or is type-safe under RCU, or that asked not
//! to. `/proc/slabinfo` shows neither flags nor which names share a line; what is known of the kernel's own caches is in
//! [`Flags::of_name`].
//!
//! Kernels with `CONFIG_HARDENED_USERCOPY` do not merge with the `kmalloc` caches; others do, and so does the lab.

use super::Layout;

/// What decides whether caches merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Objects are charged to a control group.
    pub account: bool,
    /// Objects can be reclaimed.
    pub reclaim: bool,
    /// It never merges.
    pub no_merge: bool,
}

impl Flags {
    /// A cache that never merges.
    pub const NO_MERGE: Self = Self { account: false, reclaim: false, no_merge: true };

    /// The flags of a cache of Linux, by its name.
    pub fn of_name(name: &str) -> Self {
        let is_inode = name.ends_with("inode_cache") || name.ends_with("_inode");
        let has_constructor = is_inode || name == "radix_tree_node";
        let typesafe = ["sighand_cache", "anon_vma", "filp", "vm_area_struct", "nf_conntrack"]
            .contains(&name)
            || ["TCP", "UDP", "RAW", "PING"].iter().any(|protocol| name.starts_with(protocol));
        let accounted =
            ["task_struct", "mm_struct", "signal_cache", "files_cache", "anon_vma_chain", "dentry", "pid"];
        let reclaimable = ["dentry", "buffer_head", "radix_tree_node", "extent_status"];
        Self {
            account: is_inode || name.starts_with("kmalloc-cg-") || accounted.contains(&name),
            reclaim: is_inode || name.starts_with("kmalloc-rcl-") || reclaimable.contains(&name),
            no_merge: has_constructor || typesafe,
        }
    }
}

/// Whether a new cache is served by an existing one.
pub(super) fn is_one(theirs: Layout, their_flags: Flags, ours: Layout, our_flags: Flags) -> bool {
    let pointer = size_of::<u64>() as u64;
    let fits = theirs.slot_bytes >= ours.slot_bytes && theirs.slot_bytes - ours.slot_bytes < pointer;
    fits && !their_flags.no_merge && their_flags == our_flags
}
