//! The collections that are measured, each behind a trait that std's and Heirloom's both keep.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::contestant::HeirloomHash;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Collection {
    MapU64,
    MapString,
    TreeU64,
    TreeString,
    Vec,
    Queue,
    String,
    StringLong,
    Box,
    Arc,
}

/// All of them.
pub(super) const ALL: [Collection; 10] = [
    Collection::MapU64,
    Collection::MapString,
    Collection::TreeU64,
    Collection::TreeString,
    Collection::Vec,
    Collection::Queue,
    Collection::String,
    Collection::StringLong,
    Collection::Box,
    Collection::Arc,
];

impl Collection {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MapU64 => "map-u64",
            Self::MapString => "map-string",
            Self::TreeU64 => "tree-u64",
            Self::TreeString => "tree-string",
            Self::Vec => "vec",
            Self::Queue => "queue",
            Self::String => "string",
            Self::StringLong => "string-long",
            Self::Box => "box",
            Self::Arc => "arc",
        }
    }

    /// What one life consists of, in the order of its figures.
    pub(super) fn ops(self) -> &'static [&'static str] {
        match self {
            Self::MapU64 | Self::MapString | Self::TreeU64 | Self::TreeString => {
                &["insert", "insert-capacity", "hit", "miss", "iterate", "replace", "remove", "drop"]
            }
            Self::Vec => &[
                "push",
                "push-capacity",
                "extend",
                "extend-slice",
                "iterate",
                "index",
                "clone",
                "pop",
                "drop",
            ],
            Self::Queue => &["push", "iterate", "index", "cycle", "pop"],
            Self::String | Self::StringLong => &["new", "push", "push-str", "clone", "read", "drop"],
            Self::Box | Self::Arc => &["new", "read", "drop"],
        }
    }

    /// About how much memory is held at the peak: two maps while one grows, and what an allocator keeps of the one before.
    pub(super) fn most_bytes(self, n: usize) -> u64 {
        let each = match self {
            Self::MapU64 | Self::TreeU64 => 120,
            Self::MapString | Self::TreeString => 320,
            Self::Vec | Self::Queue => 40,
            Self::String | Self::Box | Self::Arc => 160,
            Self::StringLong => 400,
        };
        n as u64 * each
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Collection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALL.into_iter().find(|collection| collection.name() == text);
        found.ok_or_else(|| format!("no collection `{text}`"))
    }
}

/// A family of collections: std's or Heirloom's.
pub(super) trait Family {
    type MapU64: Map<Probe = u64>;
    type MapString: Map<Probe = str>;
    type TreeU64: Map<Probe = u64>;
    type TreeString: Map<Probe = str>;
    type Vec: List;
    type Queue: Queue;
    type String: Text;
    type Box: Boxed;
    type Arc: Boxed;
}

/// A map to `u64`. It is asked with `Probe`, and makes the key that it keeps of one.
pub(super) trait Map: Default {
    type Probe: ?Sized;

    fn with_capacity(capacity: usize) -> Self;
    fn insert(&mut self, key: &Self::Probe, value: u64);
    fn get(&self, key: &Self::Probe) -> Option<u64>;
    fn remove(&mut self, key: &Self::Probe) -> Option<u64>;
    /// Visits all, and sums the values up.
    fn sum(&self) -> u64;
}

/// A vector of `u64`.
pub(super) trait List: Default + Clone {
    fn with_capacity(capacity: usize) -> Self;
    fn push(&mut self, value: u64);
    fn pop(&mut self) -> Option<u64>;
    fn extend_with(&mut self, values: impl Iterator<Item = u64>);
    fn extend_from_slice(&mut self, values: &[u64]);
    fn get(&self, index: usize) -> u64;
    fn sum(&self) -> u64;
}

/// A queue of `u64`.
pub(super) trait Queue: Default {
    fn push_back(&mut self, value: u64);
    fn push_front(&mut self, value: u64);
    fn pop_front(&mut self) -> Option<u64>;
    fn get(&self, index: usize) -> u64;
    fn sum(&self) -> u64;
}

/// A string.
pub(super) trait Text: Default + Clone {
    fn new(text: &str) -> Self;
    fn push(&mut self, character: char);
    fn push_str(&mut self, text: &str);
    fn as_str(&self) -> &str;
}

/// A value in a box.
pub(super) trait Boxed {
    fn new(value: [u64; 8]) -> Self;
    fn first(&self) -> u64;
}

pub(super) struct Heirloom;

impl Family for Heirloom {
    type MapU64 = heirloom::HashMap<u64, u64>;
    type MapString = heirloom::HashMap<heirloom::String, u64>;
    type TreeU64 = heirloom::BTreeMap<u64, u64>;
    type TreeString = heirloom::BTreeMap<heirloom::String, u64>;
    type Vec = heirloom::Vec<u64>;
    type Queue = heirloom::VecDeque<u64>;
    type String = heirloom::String;
    type Box = heirloom::Box<[u64; 8]>;
    type Arc = heirloom::arc::Arc<[u64; 8]>;
}

/// std's collections, maps with the hash `S`.
pub(super) struct Std<S = HeirloomHash>(S);

impl<S: std::hash::BuildHasher + Default> Family for Std<S> {
    type MapU64 = std::collections::HashMap<u64, u64, S>;
    type MapString = std::collections::HashMap<String, u64, S>;
    type TreeU64 = std::collections::BTreeMap<u64, u64>;
    type TreeString = std::collections::BTreeMap<String, u64>;
    type Vec = Vec<u64>;
    type Queue = std::collections::VecDeque<u64>;
    type String = String;
    type Box = Box<[u64; 8]>;
    type Arc = std::sync::Arc<[u64; 8]>;
}

macro_rules! map {
    ($map:ty, [$($hash:ident)?], $probe:ty, $own:expr, $with_capacity:expr) => {
        impl$(<$hash: std::hash::BuildHasher + Default>)? Map for $map {
            type Probe = $probe;

            #[inline(always)]
            fn with_capacity(capacity: usize) -> Self {
                $with_capacity(capacity)
            }

            #[inline(always)]
            fn insert(&mut self, key: &$probe, value: u64) {
                self.insert($own(key), value);
            }

            #[inline(always)]
            fn get(&self, key: &$probe) -> Option<u64> {
                self.get(key).copied()
            }

            #[inline(always)]
            fn remove(&mut self, key: &$probe) -> Option<u64> {
                self.remove(key)
            }

            #[inline(always)]
            fn sum(&self) -> u64 {
                let mut sum = 0;
                for (_, value) in self.iter() {
                    sum += value;
                }
                sum
            }
        }
    };
}

map!(heirloom::HashMap<u64, u64>, [], u64, |key: &u64| *key, heirloom::HashMap::with_capacity);
map!(heirloom::HashMap<heirloom::String, u64>, [], str, heirloom::String::from, heirloom::HashMap::with_capacity);
map!(std::collections::HashMap<u64, u64, S>, [S], u64, |key: &u64| *key, |capacity| {
    std::collections::HashMap::with_capacity_and_hasher(capacity, S::default())
});
map!(std::collections::HashMap<String, u64, S>, [S], str, String::from, |capacity| {
    std::collections::HashMap::with_capacity_and_hasher(capacity, S::default())
});

map!(heirloom::BTreeMap<u64, u64>, [], u64, |key: &u64| *key, |_| heirloom::BTreeMap::new());
map!(heirloom::BTreeMap<heirloom::String, u64>, [], str, heirloom::String::from, |_| heirloom::BTreeMap::new());
map!(std::collections::BTreeMap<u64, u64>, [], u64, |key: &u64| *key, |_| std::collections::BTreeMap::new());
map!(std::collections::BTreeMap<String, u64>, [], str, String::from, |_| std::collections::BTreeMap::new());

macro_rules! queue {
    ($queue:ty) => {
        impl Queue for $queue {
            #[inline(always)]
            fn push_back(&mut self, value: u64) {
                self.push_back(value);
            }

            #[inline(always)]
            fn push_front(&mut self, value: u64) {
                self.push_front(value);
            }

            #[inline(always)]
            fn pop_front(&mut self) -> Option<u64> {
                self.pop_front()
            }

            #[inline(always)]
            fn get(&self, index: usize) -> u64 {
                self[index]
            }

            #[inline(always)]
            fn sum(&self) -> u64 {
                self.iter().sum()
            }
        }
    };
}

queue!(heirloom::VecDeque<u64>);
queue!(std::collections::VecDeque<u64>);

macro_rules! list {
    ($list:ty) => {
        impl List for $list {
            #[inline(always)]
            fn with_capacity(capacity: usize) -> Self {
                <$list>::with_capacity(capacity)
            }

            #[inline(always)]
            fn push(&mut self, value: u64) {
                self.push(value);
            }

            #[inline(always)]
            fn pop(&mut self) -> Option<u64> {
                self.pop()
            }

            #[inline(always)]
            fn extend_with(&mut self, values: impl Iterator<Item = u64>) {
                Extend::extend(self, values);
            }

            #[inline(always)]
            fn extend_from_slice(&mut self, values: &[u64]) {
                self.extend_from_slice(values);
            }

            #[inline(always)]
            fn get(&self, index: usize) -> u64 {
                self[index]
            }

            #[inline(always)]
            fn sum(&self) -> u64 {
                let mut sum = 0u64;
                for value in self {
                    sum = sum.wrapping_add(*value);
                }
                sum
            }
        }
    };
}

list!(heirloom::Vec<u64>);
list!(Vec<u64>);

macro_rules! text {
    ($text:ty) => {
        impl Text for $text {
            #[inline(always)]
            fn new(text: &str) -> Self {
                text.into()
            }

            #[inline(always)]
            fn push(&mut self, character: char) {
                self.push(character);
            }

            #[inline(always)]
            fn push_str(&mut self, text: &str) {
                self.push_str(text);
            }

            #[inline(always)]
            fn as_str(&self) -> &str {
                self.as_str()
            }
        }
    };
}

text!(heirloom::String);
text!(String);

macro_rules! boxed {
    ($boxed:ty) => {
        impl Boxed for $boxed {
            #[inline(always)]
            fn new(value: [u64; 8]) -> Self {
                Self::new(value)
            }

            #[inline(always)]
            fn first(&self) -> u64 {
                self[0]
            }
        }
    };
}

boxed!(heirloom::Box<[u64; 8]>);
boxed!(heirloom::arc::Arc<[u64; 8]>);
boxed!(std::sync::Arc<[u64; 8]>);
boxed!(Box<[u64; 8]>);
