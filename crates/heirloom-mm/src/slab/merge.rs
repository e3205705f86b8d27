//! Named caches, and which of them are the same.
//!
//! SLUB's rule: an ordinary cache is served by an existing one whose slot is as large, or larger by less than a pointer, as well aligned, and
//! whose flags are the same; unless either forbids it. kmalloc classes take part. So two names can be one cache, which is why "a cache of
//! my own" is no way to keep objects apart.
//!
//! With [`CacheFlags::PRESERVE`] a name has a second cache, in the preserve pool. That one merges with nothing, and a successor that makes it
//! again under the same name, size and alignment gets the one with its objects.

use heirloom_slab::FormatError;

use super::kmalloc::KMALLOC_SIZES;

bitflags::bitflags! {
    /// What is particular about a cache.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CacheFlags: u32 {
        /// Its objects can be allocated with `Gfp::PRESERVE` too.
        const PRESERVE = 1 << 0;
        /// Never merges: its user counts on objects of its own in its slabs.
        const NO_MERGE = 1 << 1;
        /// Its objects are charged to who allocates them. Merges only with caches for which that holds too.
        const ACCOUNT = 1 << 2;
        /// Its objects can be reclaimed. Merges only with caches for which that holds too.
        const RECLAIM = 1 << 3;
    }
}

/// Flags that caches which merge have in common.
const SAME: CacheFlags = CacheFlags::ACCOUNT.union(CacheFlags::RECLAIM);

/// A slot may be larger by less than this.
const POINTER_BYTES: usize = size_of::<usize>();

/// Bytes that a cache's name may have.
const NAME_BYTES: usize = 31;

/// Named caches that a machine can have.
const MAX_NAMED: usize = 64;

/// A named cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache(usize);

/// A cache was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The name is too long.
    #[error("a cache's name has at most {NAME_BYTES} bytes, not {len}")]
    Name {
        /// Its bytes.
        len: usize,
    },
    /// The name is in use for objects of another size, alignment or flags.
    #[error("there is a cache of this name with objects of {size} bytes aligned to {align}")]
    Taken {
        /// Its object size.
        size: usize,
        /// Its alignment.
        align: usize,
    },
    /// All entries are in use.
    #[error("the table of {MAX_NAMED} named caches is full")]
    Full,
    /// A pool refused it.
    #[error(transparent)]
    Pool(#[from] FormatError),
    /// There is no preserve pool.
    #[error("this machine has no preserve pool")]
    NoPreservePool,
    /// The machine is frozen: the preserve pool's table of caches must not change any more.
    #[error("the machine is frozen")]
    Frozen,
}

/// One name.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    name: [u8; NAME_BYTES],
    name_len: usize,
    size: usize,
    align: usize,
    flags: CacheFlags,
    /// Bytes of a slot in the ordinary pool.
    slot: usize,
    /// Its cache in the ordinary pool.
    pub(crate) ordinary: usize,
    /// Its cache in the preserve pool.
    pub(crate) preserved: Option<usize>,
}

/// All names.
pub(crate) struct CacheTable {
    entries: [Option<Named>; MAX_NAMED],
    nr: usize,
}

/// Where a new cache's ordinary objects go.
pub(crate) enum Choice {
    /// To the cache of a kmalloc class of this many bytes.
    Kmalloc(usize),
    /// To a cache that exists.
    Merged(usize),
    /// To a new one.
    New,
}

impl CacheTable {
    pub(crate) const fn new() -> Self {
        Self { entries: [None; MAX_NAMED], nr: 0 }
    }

    /// The cache of this name, size, alignment and flags, if there is one.
    pub(crate) fn find(
        &self,
        name: &str,
        size: usize,
        align: usize,
        flags: CacheFlags,
    ) -> Result<Option<Cache>, CacheError> {
        if name.len() > NAME_BYTES {
            return Err(CacheError::Name { len: name.len() });
        }
        let Some(at) = self.named().position(|named| &named.name[..named.name_len] == name.as_bytes()) else {
            if self.nr == MAX_NAMED {
                return Err(CacheError::Full);
            }
            return Ok(None);
        };
        match self.get(Cache(at)) {
            Some(named) if (named.size, named.align, named.flags) == (size, align, flags) => {
                Ok(Some(Cache(at)))
            }
            Some(named) => Err(CacheError::Taken { size: named.size, align: named.align }),
            None => Ok(None),
        }
    }

    /// Decides where a new cache's ordinary objects go.
    pub(crate) fn choose(&self, size: usize, align: usize, flags: CacheFlags) -> Choice {
        if flags.contains(CacheFlags::NO_MERGE) {
            return Choice::New;
        }
        let slot = slot_bytes(size, align);
        let fits = |theirs: usize| {
            theirs >= slot && theirs - slot < POINTER_BYTES && theirs % align.max(POINTER_BYTES) == 0
        };
        let is_like = |named: &&Named| {
            !named.flags.contains(CacheFlags::NO_MERGE) && named.flags & SAME == flags & SAME
        };
        if let Some(named) = self.named().filter(is_like).find(|named| fits(named.slot)) {
            return Choice::Merged(named.ordinary);
        }
        // A class serves requests of all kinds: only caches with no flag to share can be one with it.
        let class = KMALLOC_SIZES.into_iter().find(|&class| fits(class) && class <= 4096);
        match class.filter(|_| (flags & SAME).is_empty()) {
            Some(class) => Choice::Kmalloc(class),
            None => Choice::New,
        }
    }

    /// Adds a name; [`CacheTable::find`] has found room for it.
    pub(crate) fn add(
        &mut self,
        (name, size, align, flags): (&str, usize, usize, CacheFlags),
        ordinary: usize,
        preserved: Option<usize>,
    ) -> Cache {
        let mut padded = [0; NAME_BYTES];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        let slot = slot_bytes(size, align);
        let named =
            Named { name: padded, name_len: name.len(), size, align, flags, slot, ordinary, preserved };
        self.entries[self.nr] = Some(named);
        self.nr += 1;
        Cache(self.nr - 1)
    }

    pub(crate) fn get(&self, cache: Cache) -> Option<&Named> {
        self.entries.get(cache.0)?.as_ref()
    }

    fn named(&self) -> impl Iterator<Item = &Named> {
        self.entries[..self.nr].iter().flatten()
    }
}

impl Named {
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn align(&self) -> usize {
        self.align
    }
}

fn slot_bytes(size: usize, align: usize) -> usize {
    size.max(1).checked_next_multiple_of(align.max(POINTER_BYTES)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with one cache, of slots of 200 bytes, served by cache 40.
    fn table(flags: CacheFlags) -> CacheTable {
        let mut table = CacheTable::new();
        table.add(("first", 200, 8, flags), 40, None);
        table
    }

    fn is_merged(choice: Choice) -> bool {
        matches!(choice, Choice::Merged(40))
    }

    #[test]
    fn caches_of_like_size_and_flags_merge() {
        let none = CacheFlags::empty();
        let table = table(none);
        assert!(is_merged(table.choose(200, 8, none)));
        assert!(is_merged(table.choose(193, 8, none)), "193 rounds up to the same slot");
        assert!(matches!(table.choose(192, 8, none), Choice::Kmalloc(192)));
        assert!(matches!(table.choose(208, 8, none), Choice::New), "the slot is too small");
        assert!(matches!(table.choose(200, 16, none), Choice::New), "208 aligned to 16, no such slot");
    }

    #[test]
    fn flags_keep_caches_apart() {
        let none = CacheFlags::empty();
        for flags in [CacheFlags::ACCOUNT, CacheFlags::RECLAIM] {
            assert!(!is_merged(table(none).choose(200, 8, flags)));
            assert!(!is_merged(table(flags).choose(200, 8, none)));
            assert!(is_merged(table(flags).choose(200, 8, flags)));
            assert!(matches!(table(none).choose(64, 8, flags), Choice::New), "kmalloc classes have no flags");
        }
        assert!(!is_merged(table(CacheFlags::NO_MERGE).choose(200, 8, none)));
        assert!(!is_merged(table(none).choose(200, 8, CacheFlags::NO_MERGE)));
    }

    #[test]
    fn preserving_does_not_keep_the_ordinary_side_from_merging() {
        assert!(is_merged(table(CacheFlags::PRESERVE).choose(200, 8, CacheFlags::empty())));
    }

    #[test]
    fn a_name_is_one_cache() {
        let none = CacheFlags::empty();
        let table = table(none);
        assert_eq!(table.find("first", 200, 8, none), Ok(Some(Cache(0))));
        assert_eq!(table.find("first", 96, 8, none), Err(CacheError::Taken { size: 200, align: 8 }));
        assert_eq!(table.find("second", 96, 8, none), Ok(None));
        let long = "a name of more than thirty-one bytes";
        assert_eq!(table.find(long, 96, 8, none), Err(CacheError::Name { len: long.len() }));
    }
}
