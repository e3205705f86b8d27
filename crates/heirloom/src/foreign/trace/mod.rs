//! Tracing: what is allocated, and reachable from no root.
//!
//! ```text
//! roots record: names, places, types --shapes--> a graph of types          ground: every slot, allocated? reached?
//!                                                     |                                    ^
//!                                                     +------------------ walk ------------+
//!                                                                          |
//!                            what was not reached --likely--> its type, as far as can be told
//! ```
//!
//! It is driven by the descriptions of the types that the heap itself carries, so it works over the heap of any program,
//! read-only, and over one that nobody has open. `collections` knows the layouts; `pages` makes many small reads cheap.
//!
//! # Invariants
//!
//! - *no false leak*: whatever could not be followed makes the answer a doubt: a reference that leads nowhere, a collection of a
//!   version that this program does not know, a heap that changes meanwhile. Only without any doubt is an object that was not
//!   reached called a leak.
//! - *bounded*: see `walk`. Memory is two bits a slot, and at most one frame for each block.
//! - *distrust*: every byte is foreign; none makes it panic, loop, or look outside.
//!
//! A program that keeps addresses of its own allocations in integers hides what they refer to: such objects are
//! reported, as no type says that they are in use.

mod collections;
mod ground;
mod likely;
mod locks;
mod pages;
mod shapes;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use heirloom_abi::pool::{Memory, PoolError, PoolReader};
use heirloom_abi::types::TypesError;

pub(crate) use collections::{Block, Contents, Holding};
use ground::{Ground, Slot};
pub(crate) use locks::is_locked;
pub(crate) use shapes::{Node, Parts, Shapes};
use walk::{Findings, Walk};

/// What a heap holds that no root reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Objects that a root reaches, the roots' own included.
    pub reached: u64,
    /// Objects that were not reached.
    pub objects: u64,
    /// Bytes of their slots.
    pub bytes: u64,
    /// The same by cache and type, most bytes first.
    pub rows: Vec<LeakRow>,
    /// Why what was not reached may be in use all the same. Empty: it is not, these are leaks.
    pub doubts: Vec<String>,
}

/// Objects of one cache and, as far as can be told, of one type, that were not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakRow {
    /// The name of the cache; `large` for large objects.
    pub cache: String,
    /// Bytes of a slot; of the largest of large objects.
    pub slot_size: u64,
    /// What they likely are: inferred from their bytes, as a heap keeps no type for each object. `None` where no type of the
    /// roots fits.
    pub likely: Option<String>,
    /// How many.
    pub objects: u64,
    /// Bytes of their slots.
    pub bytes: u64,
}

impl Leaks {
    /// True where nothing is in doubt: what was not reached is not in use.
    pub fn is_certain(&self) -> bool {
        self.doubts.is_empty()
    }
}

/// A root to start from.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Its name.
    pub name: &'a str,
    /// The byte form of its type.
    pub form: &'a [u8],
    /// Where its object lies, as an offset.
    pub offset: u64,
}

/// Why a heap cannot be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The pool's records are broken: what lies where is not known.
    #[error("pool: {0}")]
    Pool(#[from] PoolError),
    /// The description of a root's type is broken.
    #[error("type of a root: {0}")]
    Type(#[from] TypesError),
}

/// A heap that was traced.
pub struct Traced<'m, M: ?Sized> {
    memory: &'m M,
    base: u64,
    shapes: Shapes,
    ground: Ground,
    findings: Findings,
}

/// Traces the heap in `memory`, whose pool `reader` reads; it has `len` bytes and is mapped at `base` by its owner, from its roots. `kept` are offsets of
/// objects that the heap itself keeps.
///
/// # Errors
///
/// [`TraceError`].
pub fn trace<'m, M: Memory + ?Sized, R: Memory + ?Sized>(
    memory: &'m M,
    reader: &PoolReader<'_, R>,
    base: u64,
    len: u64,
    starts: &[Start<'_>],
    kept: &[u64],
) -> Result<Traced<'m, M>, TraceError> {
    let ground = Ground::read(memory, reader, base, len)?;
    let mut shapes = Shapes::default();
    let nodes = starts.iter().map(|start| shapes.add(start.form)).collect::<Result<Vec<_>, TypesError>>()?;
    let mut walk = Walk::new(memory, &shapes, ground, base);
    for &offset in kept {
        if let Some(slot) = walk.ground.allocated_at(offset) {
            walk.ground.reach(&slot);
        }
    }
    for (start, node) in starts.iter().zip(nodes) {
        walk.root(start.name, node, start.offset);
    }
    walk.settle_weak();
    let Walk { ground, findings, .. } = walk;
    Ok(Traced { memory, base, shapes, ground, findings })
}

impl<M: Memory + ?Sized> Traced<'_, M> {
    /// Why what was not reached may be in use all the same.
    pub fn doubts(&self) -> Vec<String> {
        let Findings { broken, nr_broken, unknown, is_cut_short } = &self.findings;
        let mut doubts = broken.clone();
        if *nr_broken > broken.len() as u64 {
            doubts.push(format!("and {} more references lead nowhere", nr_broken - broken.len() as u64));
        }
        doubts.extend(unknown.iter().map(|(name, version)| {
            let what = match version {
                0 => format!("type `{name}`"),
                version => format!("collection `{name}` of version {version}"),
            };
            format!("{what} is not known to this program: what it holds was not looked at")
        }));
        if *is_cut_short {
            doubts.push("the types of the roots lead to more than a whole heap can hold".to_owned());
        }
        doubts
    }

    /// What was not reached: offset, bytes, and whether it is a large object.
    pub fn unreached(&self) -> impl Iterator<Item = Unreached> {
        self.ground.unreached().map(|slot| Unreached {
            offset: slot.start,
            bytes: slot.bytes,
            cache: slot.cache,
        })
    }

    /// Keeps as not reached only what `other`, a trace of the same heap at another time, did not reach either.
    pub fn and(&mut self, other: &Self) {
        let reached: Vec<Slot> =
            self.ground.unreached().filter(|slot| !other.was_unreached(slot.start)).collect();
        for slot in reached {
            self.ground.reach(&slot);
        }
    }

    fn was_unreached(&self, offset: u64) -> bool {
        self.ground.allocated_at(offset).is_some_and(|slot| !self.ground.is_reached(&slot))
    }

    /// Sums up what was not reached, by cache and likely type.
    pub fn leaks<R: Memory + ?Sized>(&self, reader: &PoolReader<'_, R>) -> Leaks {
        let slots: Vec<Slot> = self.ground.unreached().collect();
        let mut walk = Walk::new(self.memory, &self.shapes, self.ground.clone(), self.base);
        let names = likely::name(&mut walk, &slots);
        let mut rows: BTreeMap<(Option<u32>, Option<&str>), LeakRow> = BTreeMap::new();
        for slot in &slots {
            let likely = names.get(&slot.number()).map(String::as_str);
            let row = rows.entry((slot.cache, likely)).or_insert_with(|| LeakRow {
                cache: cache_name(reader, slot.cache),
                slot_size: slot.bytes,
                likely: likely.map(str::to_owned),
                objects: 0,
                bytes: 0,
            });
            row.objects += 1;
            row.bytes = row.bytes.saturating_add(slot.bytes);
            row.slot_size = row.slot_size.max(slot.bytes);
        }
        let mut rows: Vec<LeakRow> = rows.into_values().collect();
        rows.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.cache.cmp(&b.cache)));
        Leaks {
            reached: self.ground.slots().filter(|slot| self.ground.is_reached(slot)).count() as u64,
            objects: slots.len() as u64,
            bytes: slots.iter().map(|slot| slot.bytes).fold(0, u64::saturating_add),
            rows,
            doubts: self.doubts(),
        }
    }
}

/// An object that was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// Its first byte.
    pub offset: u64,
    /// Bytes of its slot, or of the large object.
    pub bytes: u64,
    /// Its cache; `None` for a large object.
    pub cache: Option<u32>,
}

fn cache_name<M: Memory + ?Sized>(reader: &PoolReader<'_, M>, cache: Option<u32>) -> String {
    match cache.map(|cache| reader.cache(cache)) {
        None => "large".to_owned(),
        Some(Ok(cache)) => cache.name().to_owned(),
        Some(Err(_)) => "?".to_owned(),
    }
}
