//! A key gets another name: its item is made once more under that, put there, and then removed here.
//!
//! ```text
//! source shard   | old |  noted: RENAMING, whose, where to   | old |                  |     |  noted: nothing
//! target shard   |     |                                     |     |  | new |   | new |       | new |
//!                room for it is there                         one store       one store
//! ```
//!
//! What is inside a hash, list or set belongs to both items while both are there. After a kill `repair` finds by the note which of them it is:
//! the new one if it has arrived. What stood under the new name goes with the same store with which the new item comes.

use heirloom::AllocError;

use super::shard::{RENAMING, Shard};

/// A key and its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) hash: u64,
}

/// Renames a key of `source`, which may not be there; `target` is the shard of the new name, if that is another. The names differ. Nothing
/// changes where there is no room.
pub(crate) fn rename(
    source: &mut Shard,
    mut target: Option<&mut Shard>,
    database: usize,
    (from, to): (Name<'_>, Name<'_>),
    now: u64,
) -> Result<(), AllocError> {
    debug_assert_ne!(from.key, to.key);
    let taken = {
        let target = target.as_deref_mut().unwrap_or(source);
        let taken = target.find(database, to.hash, to.key, now);
        if taken.is_none() {
            target.make_room(database, to.hash)?;
        }
        taken
    };
    // Looked up behind that: a table that grows moves items.
    let Some(place) = source.find(database, from.hash, from.key, now) else { return Ok(()) };
    let copy = source.item(database, place).try_renamed(to.key)?;
    (source.renamed_block, source.renamed_hash) = (copy.address() as u64, to.hash);
    source.begin(RENAMING, database, from.hash);
    let copy = std::mem::ManuallyDrop::into_inner(copy);
    let replaced = target.unwrap_or(source).put_in_room(database, taken, to.hash, copy);
    let place = source.find(database, from.hash, from.key, 0).expect("it was just there");
    source.remove(database, place).give_up_shell();
    source.end();
    drop(replaced);
    Ok(())
}
