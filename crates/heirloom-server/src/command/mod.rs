//! Commands: what a client may ask for, and what it gets.
//!
//! ```text
//! arguments --registry: name, arity, flags--> handler(Context, arguments) --> reply, or a Failure that becomes an error reply
//! ```
//!
//! Semantics and error texts are those of Redis 7.0; the differential test compares them with a server of that kind.
//!
//! # Invariants
//!
//! - *one reply*: a handler writes one reply, or fails and has written none.
//! - *all or nothing*: where memory runs out within a command, nothing has changed, but for the fields, members and elements that a
//!   command with several of them had added before.

pub(crate) mod clients;
pub(crate) mod connection;
pub(crate) mod counters;
pub(crate) mod deadline;
pub(crate) mod glob;
pub(crate) mod hashes;
pub(crate) mod info;
pub(crate) mod keys;
pub(crate) mod lists;
pub(crate) mod registry;
pub(crate) mod scans;
pub(crate) mod sets;
pub(crate) mod settings;
pub(crate) mod strings;

use heirloom::{AllocError, Inside};

use crate::protocol::reply::Reply;
use crate::protocol::request::Arguments;
use crate::server::Server;
use crate::session::Session;
use crate::store::hash::hash;
use crate::store::item::{Item, Kind};
use crate::store::table::Place;
use crate::store::{Locked, Store};

/// What a handler has at hand.
pub(crate) struct Context<'a, 'b> {
    pub(crate) server: &'a Server,
    pub(crate) inside: &'a Inside<'a>,
    pub(crate) session: &'b mut Session,
    pub(crate) reply: Reply<'b>,
    /// Milliseconds of the Unix epoch when the batch was read.
    pub(crate) now: u64,
}

pub(crate) type Outcome = Result<(), Failure>;

/// Why a command fails; the texts are those of Redis.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR invalid expire time in '{0}' command")]
    ExpireTime(String),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    TooLong,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    Memory,
    #[error("{0}")]
    Text(&'static str),
    #[error("{0}")]
    Other(String),
}

impl From<AllocError> for Failure {
    fn from(_: AllocError) -> Self {
        Self::Memory
    }
}

/// A key, and the shard it belongs to, locked.
pub(crate) struct Keyed<'a> {
    pub(crate) shard: Locked<'a>,
    pub(crate) database: usize,
    pub(crate) hash: u64,
    pub(crate) place: Option<Place>,
    clock: u32,
}

impl<'a> Context<'a, '_> {
    pub(crate) fn store(&self) -> &'a Store {
        &self.server.store
    }

    pub(crate) fn database(&self) -> usize {
        self.session.database
    }

    /// Tenths of seconds, for what is used when.
    pub(crate) fn clock(&self) -> u32 {
        (self.now / 100) as u32
    }

    /// Locks a key's shard and looks the key up.
    #[inline]
    pub(crate) fn open(&self, key: &[u8]) -> Keyed<'a> {
        let hash = hash(key);
        let shard = self.store().lock(self.inside, self.store().index_of(hash));
        self.look_up(shard, hash, key)
    }

    /// Looks a key up in its shard, which the caller has locked.
    #[inline]
    pub(crate) fn look_up(&self, mut shard: Locked<'a>, hash: u64, key: &[u8]) -> Keyed<'a> {
        let database = self.database();
        let place = shard.find(database, hash, key, self.now);
        Keyed { shard, database, hash, place, clock: self.clock() }
    }

    /// As [`Context::open`], to read: it counts as a hit or a miss.
    #[inline]
    pub(crate) fn open_to_read(&self, key: &[u8]) -> Keyed<'a> {
        let mut keyed = self.open(key);
        keyed.note_use();
        keyed
    }
}

impl Keyed<'_> {
    /// Counts a hit, which is a use of the item, or a miss.
    #[inline]
    pub(crate) fn note_use(&mut self) {
        match self.place {
            Some(place) => {
                self.shard.counters.hits += 1;
                self.shard.touch(self.database, place, self.clock);
            }
            None => self.shard.counters.misses += 1,
        }
    }

    pub(crate) fn item(&self) -> Option<&Item> {
        self.place.map(|place| self.shard.item(self.database, place))
    }

    /// The text value; `None` where there is no key.
    #[inline]
    pub(crate) fn text(&self) -> Result<Option<&[u8]>, Failure> {
        self.item().map(|item| item.text().ok_or(Failure::WrongType)).transpose()
    }

    /// Sets the key to an item.
    #[inline]
    pub(crate) fn put(&mut self, mut item: Item) -> Outcome {
        item.touch(self.clock);
        drop(self.shard.put(self.database, self.place, self.hash, item)?);
        Ok(())
    }

    /// Removes the key. Returns whether it was there.
    pub(crate) fn remove(&mut self) -> bool {
        let place = self.place.take();
        place.is_some_and(|place| {
            drop(self.shard.remove(self.database, place));
            true
        })
    }

    /// Changes the item as a whole, where there is one.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Item) -> T) -> Option<T> {
        let place = self.place?;
        Some(self.shard.change(self.database, place, change))
    }

    /// The item if it is of a kind; `None` where there is no key.
    pub(crate) fn of_kind(&self, kind: Kind) -> Result<Option<&Item>, Failure> {
        match self.item() {
            Some(item) if item.kind() != kind => Err(Failure::WrongType),
            item => Ok(item),
        }
    }

    /// Changes the inside of a hash, list or set of this kind, which is made if there is none. If nothing is in it then, it goes.
    pub(crate) fn change_or_make<T>(
        &mut self,
        kind: Kind,
        key: &[u8],
        change: impl FnOnce(&mut Item) -> T,
    ) -> Result<T, Failure> {
        if self.of_kind(kind)?.is_none() {
            self.put(Item::try_collection(kind, key, None)?)?;
            self.place = self.shard.table(self.database).find(self.hash, key);
        }
        let changed = self.change_inside(change);
        Ok(changed.expect("the key was just made"))
    }

    /// Changes the inside of the hash, list or set, where there is one. If nothing is in it then, it goes.
    pub(crate) fn change_inside<T>(&mut self, change: impl FnOnce(&mut Item) -> T) -> Option<T> {
        let place = self.place?;
        self.shard.touch(self.database, place, self.clock);
        Some(self.shard.change_inside(self.database, place, self.hash, change))
    }
}

/// Reads a whole number.
pub(crate) fn integer(text: &[u8]) -> Result<i64, Failure> {
    crate::protocol::number::parse_i64(text).ok_or(Failure::NotInteger)
}

/// Whether an argument is a word, in whatever case.
pub(crate) fn is_word(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// An argument for an error text.
pub(crate) fn shown(argument: &[u8]) -> String {
    String::from_utf8_lossy(&argument[..argument.len().min(128)]).into_owned()
}

/// The command's name as error texts have it.
pub(crate) fn name_of(arguments: &Arguments<'_>) -> String {
    shown(arguments.get(0)).to_lowercase()
}
