//! Collections in bytes: what each of them, of each version of its layout, holds and where.
//!
//! ```text
//! Vec 1     | address | capacity | length |         -> a block of capacity values, the first length of them live
//! Box 1     | address |                             -> a block of one value
//! HashMap 1 | control | mask | length | ..          -> a block: buckets, then a control byte for each
//! Mutex 1   | word | value |                        -> nothing; the value lies within
//! ```
//!
//! A collection is decoded from its own bytes, which are foreign: nothing is followed here, and nothing believed that they
//! contradict themselves. One line in [`KNOWN`] for each name and version; what has none is reported, never guessed at.

use super::shapes::{Node, Shapes};
use crate::btree_map::shape as btree;

/// A collection of one version.
pub(crate) struct Collection {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    /// Type arguments.
    pub(crate) args: usize,
    /// True where it has no memory of its own: it leads only where its arguments lead.
    pub(crate) is_inline: bool,
    /// Bytes of its own that `decode` reads.
    pub(crate) head_bytes: usize,
    decode: fn(&Shapes, &Held<'_>) -> Result<Holding, Wrong>,
}

/// A collection that holds something.
struct Held<'a> {
    head: &'a [u8],
    args: &'a [Node],
    /// Its own size.
    size: u64,
    /// Its own place.
    at: u64,
}

/// What a collection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Nothing.
    Nothing,
    /// A value, at this place.
    Inline(Node, u64),
    /// A block.
    Block(Block),
    /// A block that others may own too.
    Shared(Block),
    /// Two blocks.
    Two(Block, Block),
}

/// A block that a collection owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The address of its first byte.
    pub(crate) address: u64,
    /// The bytes that it was allocated with.
    pub(crate) bytes: u64,
    pub(crate) contents: Contents,
}

/// What lies in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Bytes.
    Bytes,
    /// Bytes that are UTF-8.
    Text,
    /// Values one after the other.
    Values {
        /// Of which type.
        node: Node,
        /// Bytes before the first.
        skip: u64,
        /// How many.
        len: u64,
    },
    /// So many pairs of address and length, each of a block of text.
    Texts(u64),
    /// Values in a ring: of which type, how many have room, where the first lies, how many.
    Ring(Node, u64, u64, u64),
    /// Buckets, then control bytes.
    Table(Table),
    /// A node of a B-tree: its own head says the rest.
    Tree(Tree),
    /// A key and its value, in the cache of `heirloom serve`: its own head says the rest.
    Item(Item),
}

/// An item of the cache of `heirloom serve`, and what its value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Of a hash or a set.
    pub(crate) table: Option<Node>,
    pub(crate) list: Option<Node>,
}

impl Item {
    /// Bytes of its head: stamp, lengths of key and value, bytes of the block.
    pub(crate) const HEAD_BYTES: usize = 16;

    /// Where the value of this head lies that is no text, and of which type it is. `None`: the block holds bytes alone.
    pub(crate) fn body(&self, head: &[u8; Self::HEAD_BYTES]) -> Result<Option<(u64, Node)>, Wrong> {
        const HAS_DEADLINE: u32 = 1 << 27;
        const ALIGN: u64 = 8;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (stamp, key_len) = (word(0), word(4));
        let node = match stamp >> 24 & 7 {
            0 => return Ok(None),
            1 | 3 => self.table,
            2 => self.list,
            _ => None,
        };
        let node = node.ok_or(Wrong("it is of no kind that an item has"))?;
        let deadline = if stamp & HAS_DEADLINE == 0 { 0 } else { 8 };
        let at = Self::HEAD_BYTES as u64 + deadline + u64::from(key_len);
        Ok(Some((at.next_multiple_of(ALIGN), node)))
    }
}

/// A node of a B-tree, at some height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) key: Node,
    pub(crate) value: Option<Node>,
    /// `None` in the root, which says it itself.
    pub(crate) height: Option<u16>,
}

/// The buckets of a swiss table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) key: Node,
    pub(crate) value: Option<Node>,
    /// Where the value lies behind the start of its key.
    pub(crate) value_at: u64,
    pub(crate) stride: u64,
    pub(crate) buckets: u64,
    /// Where the control bytes start, within the block.
    pub(crate) control: u64,
}

/// The bytes of a collection contradict themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) &'static str);

/// Every layout that is known.
static KNOWN: &[Collection] = &[
    Collection { name: "Box", version: 1, args: 1, is_inline: false, head_bytes: 8, decode: boxed },
    Collection { name: "BoxSlice", version: 1, args: 1, is_inline: false, head_bytes: 16, decode: box_slice },
    Collection { name: "BoxStr", version: 1, args: 0, is_inline: false, head_bytes: 16, decode: box_str },
    Collection { name: "Interner", version: 1, args: 0, is_inline: false, head_bytes: 56, decode: interner },
    Collection { name: "Symbol", version: 1, args: 0, is_inline: true, head_bytes: 0, decode: nothing },
    Collection { name: "Vec", version: 1, args: 1, is_inline: false, head_bytes: 24, decode: vec },
    Collection { name: "VecDeque", version: 2, args: 1, is_inline: false, head_bytes: 32, decode: vec_deque },
    Collection { name: "String", version: 1, args: 0, is_inline: false, head_bytes: 24, decode: string_v1 },
    Collection { name: "String", version: 2, args: 0, is_inline: false, head_bytes: 24, decode: string_v2 },
    Collection {
        name: "ByteString",
        version: 1,
        args: 0,
        is_inline: false,
        head_bytes: 24,
        decode: bytes_v1,
    },
    Collection { name: "HashMap", version: 1, args: 2, is_inline: false, head_bytes: 24, decode: hash_map },
    Collection { name: "HashSet", version: 1, args: 1, is_inline: false, head_bytes: 24, decode: hash_set },
    Collection { name: "BTreeMap", version: 1, args: 2, is_inline: false, head_bytes: 16, decode: btree_map },
    Collection { name: "BTreeSet", version: 1, args: 1, is_inline: false, head_bytes: 16, decode: btree_set },
    Collection { name: "Rc", version: 1, args: 1, is_inline: false, head_bytes: 8, decode: shared },
    Collection { name: "Arc", version: 1, args: 1, is_inline: false, head_bytes: 8, decode: shared },
    Collection { name: "RcWeak", version: 1, args: 1, is_inline: false, head_bytes: 8, decode: weak },
    Collection { name: "ArcWeak", version: 1, args: 1, is_inline: false, head_bytes: 8, decode: weak },
    Collection { name: "Mutex", version: 1, args: 1, is_inline: true, head_bytes: 0, decode: mutex },
    Collection { name: "Once", version: 1, args: 0, is_inline: true, head_bytes: 0, decode: nothing },
    Collection { name: "OnceLock", version: 1, args: 1, is_inline: true, head_bytes: 4, decode: once_lock },
    Collection { name: "RwLock", version: 1, args: 1, is_inline: true, head_bytes: 0, decode: rwlock },
    Collection {
        name: "CacheItem",
        version: 2,
        args: 2,
        is_inline: false,
        head_bytes: 8,
        decode: cache_item,
    },
    Collection {
        name: "CacheElement",
        version: 2,
        args: 0,
        is_inline: false,
        head_bytes: 8,
        decode: cache_item,
    },
    Collection { name: "Option", version: 1, args: 1, is_inline: true, head_bytes: 256, decode: option },
];

/// Finds a collection by its name and version.
pub(crate) fn find(name: &str, version: u32) -> Option<&'static Collection> {
    KNOWN.iter().find(|known| known.name == name && known.version == version)
}

impl Collection {
    /// Says what a collection holds, given its first [`head_bytes`](Self::head_bytes) (or all it has) and its place.
    pub(crate) fn decode(
        &self,
        shapes: &Shapes,
        args: &[Node],
        head: &[u8],
        size: u64,
        at: u64,
    ) -> Result<Holding, Wrong> {
        (self.decode)(shapes, &Held { head, args, size, at })
    }
}

impl Held<'_> {
    fn word(&self, at: usize) -> Result<u64, Wrong> {
        let bytes = self.head.get(at..at + 8).ok_or(Wrong("it is smaller than its layout"))?;
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    fn arg(&self, index: usize) -> Result<Node, Wrong> {
        self.args.get(index).copied().ok_or(Wrong("it lacks a type argument"))
    }
}

fn block(address: u64, bytes: Option<u64>, contents: Contents) -> Result<Holding, Wrong> {
    let bytes = bytes.ok_or(Wrong("its capacity exceeds any memory"))?;
    if address == 0 {
        return Err(Wrong("its address is null"));
    }
    Ok(Holding::Block(Block { address, bytes, contents }))
}

fn boxed(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    let node = held.arg(0)?;
    match shapes.get(node).size {
        0 => Ok(Holding::Nothing),
        size => block(held.word(0)?, Some(size), Contents::Values { node, skip: 0, len: 1 }),
    }
}

fn vec(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    let node = held.arg(0)?;
    let (address, capacity, len) = (held.word(0)?, held.word(8)?, held.word(16)?);
    let size = shapes.get(node).size;
    if size != 0 && len > capacity {
        return Err(Wrong("its length exceeds its capacity"));
    }
    if address == 0 {
        return Err(Wrong("its address is null"));
    }
    if size == 0 || capacity == 0 {
        return Ok(Holding::Nothing);
    }
    block(address, capacity.checked_mul(size), Contents::Values { node, skip: 0, len })
}

fn box_slice(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    let node = held.arg(0)?;
    let (address, len) = (held.word(0)?, held.word(8)?);
    let size = shapes.get(node).size;
    if size == 0 || len == 0 {
        return Ok(Holding::Nothing);
    }
    block(address, len.checked_mul(size), Contents::Values { node, skip: 0, len })
}

fn box_str(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    match held.word(8)? {
        0 => Ok(Holding::Nothing),
        len => block(held.word(0)?, Some(len), Contents::Text),
    }
}

/// A vector of `BoxStr`, and a table of handles of four bytes.
fn interner(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    const HANDLE: u64 = 4;
    let (address, capacity, len) = (held.word(0)?, held.word(8)?, held.word(16)?);
    let (control, mask) = (held.word(24)?, held.word(32)?);
    if len > capacity {
        return Err(Wrong("its length exceeds its capacity"));
    }
    let strings = match capacity {
        0 => Holding::Nothing,
        _ => block(address, capacity.checked_mul(16), Contents::Texts(len))?,
    };
    if mask == 0 {
        return Ok(strings);
    }
    let buckets = mask.checked_add(1).filter(|buckets| buckets.is_power_of_two() && *buckets >= 4);
    let buckets = buckets.ok_or(Wrong("its number of buckets is no power of two"))?;
    let before = buckets.checked_mul(HANDLE).and_then(|bytes| bytes.checked_next_multiple_of(16));
    let start = before.and_then(|before| control.checked_sub(before));
    let start = start.ok_or(Wrong("its table starts below the memory"))?;
    let bytes = before.and_then(|before| before.checked_add(buckets.max(16)));
    Ok(match (strings, block(start, bytes, Contents::Bytes)?) {
        (Holding::Block(strings), Holding::Block(table)) => Holding::Two(strings, table),
        (_, table) => table,
    })
}

fn vec_deque(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    let node = held.arg(0)?;
    let (address, capacity, first, end) = (held.word(0)?, held.word(8)?, held.word(16)?, held.word(24)?);
    let size = shapes.get(node).size;
    if address == 0 {
        return Err(Wrong("its address is null"));
    }
    if size == 0 || capacity == 0 {
        return Ok(Holding::Nothing);
    }
    let len = end.checked_sub(first).ok_or(Wrong("its last value lies before its first"))?;
    if len > capacity || first >= capacity {
        return Err(Wrong("its values lie beyond its capacity"));
    }
    block(address, capacity.checked_mul(size), Contents::Ring(node, capacity, first, len))
}

/// As a vector of bytes.
fn string_v1(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    let (address, capacity, len) = (held.word(0)?, held.word(8)?, held.word(16)?);
    if len > capacity {
        return Err(Wrong("its length exceeds its capacity"));
    }
    if capacity == 0 { Ok(Holding::Nothing) } else { block(address, Some(capacity), Contents::Text) }
}

fn string_v2(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    short_or_long(held, Contents::Text)
}

fn bytes_v1(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    short_or_long(held, Contents::Bytes)
}

/// The last byte says whether the bytes lie within: then it is their number.
fn short_or_long(held: &Held<'_>, contents: Contents) -> Result<Holding, Wrong> {
    const LONG: u64 = 1 << 63;
    const INLINE_BYTES: u64 = 23;
    let (address, len, last) = (held.word(0)?, held.word(8)?, held.word(16)?);
    if last & LONG == 0 {
        let fits = last >> 56 <= INLINE_BYTES;
        return if fits { Ok(Holding::Nothing) } else { Err(Wrong("its length exceeds its room")) };
    }
    let capacity = last & !LONG;
    if len > capacity || capacity == 0 {
        return Err(Wrong("its length exceeds its capacity"));
    }
    block(address, Some(capacity), contents)
}

fn hash_map(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    table(shapes, held, held.arg(0)?, Some(held.arg(1)?))
}

/// As a map to nothing.
fn hash_set(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    table(shapes, held, held.arg(0)?, None)
}

fn table(shapes: &Shapes, held: &Held<'_>, key: Node, value: Option<Node>) -> Result<Holding, Wrong> {
    let (control, mask, len) = (held.word(0)?, held.word(8)?, held.word(16)?);
    if mask == 0 {
        return Ok(Holding::Nothing);
    }
    let buckets = mask.checked_add(1).filter(|buckets| buckets.is_power_of_two() && *buckets >= 4);
    let buckets = buckets.ok_or(Wrong("its number of buckets is no power of two"))?;
    // What a kill has cut off says nothing: the control bytes do.
    if len & crate::hash_map::table::CUT == 0 && len >= buckets {
        return Err(Wrong("it holds more than its buckets"));
    }
    let (table, bytes) = lay_out(shapes, key, value, buckets).ok_or(Wrong("its table exceeds any memory"))?;
    let start = control.checked_sub(table.control).ok_or(Wrong("its table starts below the memory"))?;
    block(start, Some(bytes), Contents::Table(table))
}

/// The table of so many buckets, and the bytes of its block.
pub(crate) fn lay_out(shapes: &Shapes, key: Node, value: Option<Node>, buckets: u64) -> Option<(Table, u64)> {
    /// Control bytes are looked at in groups of so many, and there is at least one.
    const GROUP: u64 = 16;
    let (key_size, key_align) = (shapes.get(key).size, shapes.get(key).align);
    let (value_size, value_align) =
        value.map_or((0, 1), |value| (shapes.get(value).size, shapes.get(value).align));
    let align = key_align.max(value_align);
    let value_at = key_size.checked_next_multiple_of(value_align)?;
    let stride = value_at.checked_add(value_size)?.checked_next_multiple_of(align)?;
    let control = stride.checked_mul(buckets)?.checked_next_multiple_of(align.max(GROUP))?;
    let bytes = control.checked_add(buckets.max(GROUP))?;
    Some((Table { key, value, value_at, stride, buckets, control }, bytes))
}

fn btree_map(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    tree(held, held.arg(0)?, Some(held.arg(1)?))
}

/// As a map to nothing.
fn btree_set(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    tree(held, held.arg(0)?, None)
}

fn tree(held: &Held<'_>, key: Node, value: Option<Node>) -> Result<Holding, Wrong> {
    match held.word(0)? {
        0 => Ok(Holding::Nothing),
        // How large it is, its height says: it has a head at least.
        root => {
            block(root, Some(btree::HEAD_BYTES as u64), Contents::Tree(Tree { key, value, height: None }))
        }
    }
}

/// What the nodes of such a tree look like.
pub(crate) fn shape_of(shapes: &Shapes, tree: &Tree) -> btree::Shape {
    let numbers = |node: Node| (shapes.get(node).size as usize, shapes.get(node).align as usize);
    btree::Shape::of(numbers(tree.key), tree.value.map_or((0, 1), numbers))
}

fn shared(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    counted(shapes, held, 1)
}

/// The block is there, the value may be gone: whoever owns it leads to it, and the block's own counts say whether it is there.
fn weak(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    counted(shapes, held, 0)
}

fn counted(shapes: &Shapes, held: &Held<'_>, len: u64) -> Result<Holding, Wrong> {
    /// Bytes of the counts before the value.
    const COUNTS: u64 = 8;
    let node = held.arg(0)?;
    let (size, align) = (shapes.get(node).size, shapes.get(node).align.max(COUNTS));
    let address = held.word(0)?;
    // One that leads nowhere holds the alignment.
    if address == align {
        return Ok(Holding::Nothing);
    }
    let skip = COUNTS.next_multiple_of(shapes.get(node).align);
    let bytes = skip.checked_add(size).and_then(|bytes| bytes.checked_next_multiple_of(align));
    match block(address, bytes, Contents::Values { node, skip, len })? {
        Holding::Block(block) => Ok(Holding::Shared(block)),
        other => Ok(other),
    }
}

/// With two arguments any item, without one a text.
fn cache_item(_: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    let item = Item { table: held.arg(0).ok(), list: held.arg(1).ok() };
    block(held.word(0)?, Some(Item::HEAD_BYTES as u64), Contents::Item(item))
}

fn mutex(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    behind(shapes, held, 4)
}

fn rwlock(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    behind(shapes, held, 12)
}

fn nothing(_: &Shapes, _: &Held<'_>) -> Result<Holding, Wrong> {
    Ok(Holding::Nothing)
}

/// The value is there once it was made.
fn once_lock(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    const STATE: u8 = 3;
    const DONE: u8 = 2;
    match held.head.first().map(|word| word & STATE) {
        Some(DONE) => behind(shapes, held, 4),
        Some(_) => Ok(Holding::Nothing),
        None => Err(Wrong("it is smaller than its layout")),
    }
}

/// The value behind a lock's own words.
fn behind(shapes: &Shapes, held: &Held<'_>, words: u64) -> Result<Holding, Wrong> {
    let node = held.arg(0)?;
    let ty = shapes.get(node);
    let offset = words.next_multiple_of(ty.align);
    let fits = offset.checked_add(ty.size).is_some_and(|end| end <= held.size);
    if fits { Ok(Holding::Inline(node, held.at + offset)) } else { Err(Wrong("its value lies outside")) }
}

/// Of a type that is never all zeros: that is `None`.
fn option(shapes: &Shapes, held: &Held<'_>) -> Result<Holding, Wrong> {
    let node = held.arg(0)?;
    if shapes.get(node).size != held.size || held.head.len() as u64 != held.size {
        return Err(Wrong("it has no place for `None`"));
    }
    let is_none = held.head.iter().all(|&byte| byte == 0);
    Ok(if is_none { Holding::Nothing } else { Holding::Inline(node, held.at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_items_value_lies_behind_its_key() {
        let item = Item { table: Some(7), list: Some(9) };
        let head = |stamp: u32, key_len: u32| {
            let mut head = [0; Item::HEAD_BYTES];
            head[..4].copy_from_slice(&stamp.to_le_bytes());
            head[4..8].copy_from_slice(&key_len.to_le_bytes());
            head
        };
        assert_eq!(item.body(&head(0x00_1234, 5)), Ok(None), "a text");
        assert_eq!(item.body(&head(0x01_ff_ff_ff, 5)), Ok(Some((24, 7))));
        assert_eq!(item.body(&head(0x0a_00_00_00, 8)), Ok(Some((32, 9))), "with a deadline");
        assert_eq!(item.body(&head(0x03_00_00_00, u32::MAX)), Ok(Some(((1 << 32) + 16, 7))));
        assert!(item.body(&head(0x04_00_00_00, 5)).is_err());
        assert!(Item { table: None, list: None }.body(&head(0x01_00_00_00, 5)).is_err());
    }
}
