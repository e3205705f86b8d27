//! Flattened device trees: the container that Kexec Handover hands its root in. A small writer and a validating reader.
//!
//! ```text
//! 0                       40                    56
//! +-----------------------+---------------------+------------------+-----------------+
//! | header, 10 x u32      | memory reservations | structure        | strings         |
//! | magic, total size,    | (address, size)...  | tokens, names,   | names of the    |
//! | offsets, versions     | (0, 0)              | property values  | properties      |
//! +-----------------------+---------------------+------------------+-----------------+
//! ```
//!
//! Every number of this structure is big-endian, whatever the values of the properties are.
//!
//! Source of the format: chapter 5 of the [Devicetree Specification](https://www.devicetree.org/specifications/), version 17.
//! The subset: one root node, blocks in the order of the picture, names of printable ASCII, at most [`MAX_DEPTH`] levels. Own code because no
//! registry crate both reads *and* writes without `alloc` on our Rust version under our licences: `fdt` and `flat_device_tree` are
//! MPL and read only, `fdt-raw` reads only, `vm-fdt` and `fdt-edit` need `alloc` to write, `dtoolkit` too, and a newer Rust to read.

use core::str;

/// Levels of nodes that a tree may have; the root is the first.
pub const MAX_DEPTH: u32 = 8;

const MAGIC: u32 = 0xd00d_feed;
/// The version that is written, and the oldest that is read (it introduced the structure's size).
const VERSION: u32 = 17;
/// The version that a reader must at least know, as written.
const LAST_COMPATIBLE_VERSION: u32 = 16;

const HEADER_BYTES: usize = 40;
/// The list of no memory reservations: one entry of zeros.
const NO_RESERVATIONS_BYTES: usize = 16;
const STRUCTURE_OFFSET: usize = HEADER_BYTES + NO_RESERVATIONS_BYTES;
const CELL: usize = size_of::<u32>();

/// Offsets in the header.
mod header {
    pub(super) const MAGIC: usize = 0;
    pub(super) const TOTAL_SIZE: usize = 4;
    pub(super) const STRUCTURE_OFFSET: usize = 8;
    pub(super) const STRINGS_OFFSET: usize = 12;
    pub(super) const RESERVATIONS_OFFSET: usize = 16;
    pub(super) const VERSION: usize = 20;
    pub(super) const LAST_COMPATIBLE_VERSION: usize = 24;
    pub(super) const STRINGS_SIZE: usize = 32;
    pub(super) const STRUCTURE_SIZE: usize = 36;
}

mod tag {
    pub(super) const BEGIN_NODE: u32 = 1;
    pub(super) const END_NODE: u32 = 2;
    pub(super) const PROPERTY: u32 = 3;
    pub(super) const NOP: u32 = 4;
    pub(super) const END: u32 = 9;
}

/// A tree cannot be read, or cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FdtError {
    /// It is not a flattened device tree.
    #[error("magic is {found:#010x}, not 0xd00dfeed")]
    Magic {
        /// What stands there instead.
        found: u32,
    },
    /// The version is not one that is read.
    #[error("FDT version {version}, readable from version {last_compatible}; only version 17 is read")]
    Version {
        /// The version.
        version: u32,
        /// The version that a reader must know.
        last_compatible: u32,
    },
    /// The input ends before the tree does.
    #[error("the tree takes {needed} bytes, {found} are there")]
    Truncated {
        /// Bytes that the header speaks of, or the header's own size.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// A block of the tree is misaligned, lies outside it, or is out of order.
    #[error("the {block} of {size:#x} bytes at {offset:#x} cannot lie there")]
    Block {
        /// Which block.
        block: &'static str,
        /// Its offset in the tree.
        offset: usize,
        /// Its size.
        size: usize,
    },
    /// An unknown token, or one that cannot stand where it does, or one that is cut off.
    #[error("token {token:#x} at {at:#x} of the structure cannot stand there")]
    Token {
        /// Offset in the structure block.
        at: usize,
        /// The token; 0 if not even that is there.
        token: u32,
    },
    /// A name is not of printable ASCII, empty, or without an end.
    #[error("name at {at:#x} is no name")]
    Name {
        /// Offset in the structure block for a node, in the strings block for a property.
        at: usize,
    },
    /// Nodes are nested too deep.
    #[error("more than {} levels of nodes", MAX_DEPTH)]
    Depth,
    /// The tree does not fit the page; the page holds no tree now.
    #[error("the tree needs {needed} bytes, the page has {room}")]
    Full {
        /// Bytes that the tree would take so far.
        needed: usize,
        /// Bytes of the page.
        room: usize,
    },
    /// The writer was told of a property name that it does not know, or of nodes that do not pair.
    #[error("nodes and properties were not written as announced")]
    Misuse,
    /// The tree is of another version of Kexec Handover.
    #[error("compatible is kho-v{version}; only kho-v4 is understood")]
    OtherKho {
        /// The version; 1 to 3 are those before Linux 7.2.
        version: u32,
    },
    /// The tree has nothing to do with Kexec Handover.
    #[error("compatible is {found}; only kho-v4 is understood")]
    NotKho {
        /// What it says instead, cut short.
        found: ShortText,
    },
    /// A property that must be there is not.
    #[error("property `{property}` is missing")]
    Missing {
        /// Its name.
        property: &'static str,
    },
    /// A property has the wrong length.
    #[error("property `{property}` has {size} bytes")]
    Value {
        /// Its name.
        property: &'static str,
        /// Its length.
        size: usize,
    },
    /// A property or a subnode is there twice.
    #[error("`{name}` is there twice")]
    Twice {
        /// Its name, cut short.
        name: ShortText,
    },
    /// The root tree is larger than a page.
    #[error("the root tree has {size} bytes, more than a page")]
    TooLarge {
        /// Its size.
        size: usize,
    },
}

/// The first bytes of a text, for messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShortText {
    bytes: [u8; Self::MAX],
    size: u8,
}

impl ShortText {
    const MAX: usize = 31;

    /// Keeps as much of `bytes` as fits, up to the first zero.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = Self { bytes: [0; Self::MAX], size: 0 };
        for (to, &from) in text.bytes.iter_mut().zip(bytes.iter().take_while(|&&byte| byte != 0)) {
            *to = from;
            text.size += 1;
        }
        text
    }
}

impl core::fmt::Display for ShortText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = self.bytes.get(..usize::from(self.size)).unwrap_or_default();
        write!(f, "`{}`", text.escape_ascii())
    }
}

impl core::fmt::Debug for ShortText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

fn get_cell(bytes: &[u8], at: usize) -> Option<u32> {
    crate::le::get_array(bytes, at).map(u32::from_be_bytes)
}

#[expect(
    clippy::big_endian_bytes,
    reason = "the devicetree specification stores its own structure big-endian"
)]
fn put_cell(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    crate::le::put_array(bytes, at, value.to_be_bytes())
}

/// A tree that was read and found sound.
#[derive(Clone, Copy, Debug)]
pub struct Fdt<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    size: usize,
}

/// A piece of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A node begins; the root's name is empty.
    BeginNode {
        /// Its name.
        name: &'a str,
    },
    /// A property of the node that began last and has not ended.
    Property {
        /// Its name.
        name: &'a str,
        /// Its value.
        value: &'a [u8],
    },
    /// The node that began last ends.
    EndNode,
}

impl<'a> Fdt<'a> {
    /// Validates the tree that `bytes` begin with; more bytes may follow it.
    ///
    /// # Errors
    ///
    /// The first [`FdtError`] found.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FdtError> {
        let short = FdtError::Truncated { needed: HEADER_BYTES, found: bytes.len() };
        let cell = |at| get_cell(bytes, at).ok_or(short);
        let offset = |at| Ok::<_, FdtError>(cell(at)? as usize);
        let magic = cell(header::MAGIC)?;
        if magic != MAGIC {
            return Err(FdtError::Magic { found: magic });
        }
        let (version, last_compatible) = (cell(header::VERSION)?, cell(header::LAST_COMPATIBLE_VERSION)?);
        if version < VERSION || last_compatible > VERSION || last_compatible > version {
            return Err(FdtError::Version { version, last_compatible });
        }
        let size = offset(header::TOTAL_SIZE)?;
        let (structure_size, strings_size) = (offset(header::STRUCTURE_SIZE)?, offset(header::STRINGS_SIZE)?);
        let whole = bytes.get(..size).ok_or(FdtError::Truncated { needed: size, found: bytes.len() })?;

        let reservations = offset(header::RESERVATIONS_OFFSET)?;
        let reservations_end = end_of_reservations(whole, reservations)?;
        let (structure, structure_end) =
            block(whole, "structure", reservations_end, offset(header::STRUCTURE_OFFSET)?, structure_size)?;
        let (strings, _) =
            block(whole, "strings", structure_end, offset(header::STRINGS_OFFSET)?, strings_size)?;

        let fdt = Self { structure, strings, size };
        fdt.raw_tokens().try_for_each(|token| token.map(|_| ()))?;
        Ok(fdt)
    }

    /// Returns the bytes of the whole tree.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Iterates over the pieces of the tree, from the root's beginning to its end.
    pub fn tokens(&self) -> impl Iterator<Item = Token<'a>> + use<'a> {
        // `read` has seen each of them to be sound.
        self.raw_tokens().map_while(Result::ok)
    }

    fn raw_tokens(&self) -> Tokens<'a> {
        Tokens { structure: self.structure, strings: self.strings, at: 0, depth: 0, over: false }
    }
}

/// Returns a block of the tree, and where it ends.
fn block<'a>(
    whole: &'a [u8],
    name: &'static str,
    least: usize,
    offset: usize,
    size: usize,
) -> Result<(&'a [u8], usize), FdtError> {
    let wrong = FdtError::Block { block: name, offset, size };
    let aligned = name == "strings" || offset % CELL == 0;
    if offset < least || !aligned {
        return Err(wrong);
    }
    let end = offset.checked_add(size).ok_or(wrong)?;
    Ok((whole.get(offset..end).ok_or(wrong)?, end))
}

/// Steps over the memory reservations, which Kexec Handover has no use for.
fn end_of_reservations(whole: &[u8], offset: usize) -> Result<usize, FdtError> {
    let wrong = FdtError::Block { block: "memory reservations", offset, size: NO_RESERVATIONS_BYTES };
    if offset < HEADER_BYTES || offset % size_of::<u64>() != 0 {
        return Err(wrong);
    }
    let entries = whole.get(offset..).ok_or(wrong)?.chunks_exact(NO_RESERVATIONS_BYTES);
    let nr_before = entries.into_iter().position(|entry| entry.iter().all(|&byte| byte == 0)).ok_or(wrong)?;
    Ok(offset + (nr_before + 1) * NO_RESERVATIONS_BYTES)
}

struct Tokens<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    at: usize,
    depth: u32,
    /// The root has ended, or an error was found.
    over: bool,
}

impl<'a> Tokens<'a> {
    fn step(&mut self) -> Result<Option<Token<'a>>, FdtError> {
        loop {
            let at = self.at;
            let token = get_cell(self.structure, at).ok_or(FdtError::Token { at, token: 0 })?;
            let misplaced = FdtError::Token { at, token };
            self.at += CELL;
            match token {
                tag::NOP => {}
                // After the root's end nothing but the end may come, and before its beginning nothing at all.
                tag::BEGIN_NODE if self.depth != 0 || at == self.first_token() => {
                    if self.depth == MAX_DEPTH {
                        return Err(FdtError::Depth);
                    }
                    let name = text(self.structure, self.at, self.depth == 0)?;
                    self.depth += 1;
                    self.skip(name.len() + 1).ok_or(misplaced)?;
                    return Ok(Some(Token::BeginNode { name }));
                }
                tag::PROPERTY if self.depth != 0 => {
                    let size = get_cell(self.structure, self.at).ok_or(misplaced)? as usize;
                    let name = get_cell(self.structure, self.at + CELL).ok_or(misplaced)? as usize;
                    let name = text(self.strings, name, false)?;
                    self.at += 2 * CELL;
                    let value = self.structure.get(self.at..).and_then(|rest| rest.get(..size));
                    let value = value.ok_or(misplaced)?;
                    self.skip(size).ok_or(misplaced)?;
                    return Ok(Some(Token::Property { name, value }));
                }
                tag::END_NODE if self.depth != 0 => {
                    self.depth -= 1;
                    return Ok(Some(Token::EndNode));
                }
                tag::END
                    if self.depth == 0 && at != self.first_token() && self.at == self.structure.len() =>
                {
                    return Ok(None);
                }
                _ => return Err(misplaced),
            }
        }
    }

    /// Returns the offset of the first token that is no NOP, where the root begins.
    fn first_token(&self) -> usize {
        let cells = self.structure.chunks_exact(CELL);
        CELL * cells.take_while(|cell| get_cell(cell, 0) == Some(tag::NOP)).count()
    }

    /// Steps over `size` bytes and what pads them.
    fn skip(&mut self, size: usize) -> Option<()> {
        self.at = self.at.checked_add(size)?.checked_next_multiple_of(CELL)?;
        (self.at <= self.structure.len()).then_some(())
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>, FdtError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step();
        self.over = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

/// Returns the zero-terminated name at `at`.
fn text(bytes: &[u8], at: usize, may_be_empty: bool) -> Result<&str, FdtError> {
    let wrong = FdtError::Name { at };
    let rest = bytes.get(at..).ok_or(wrong)?;
    let size = rest.iter().position(|&byte| byte == 0).ok_or(wrong)?;
    let name = rest.get(..size).ok_or(wrong)?;
    let empty_root = may_be_empty && name.is_empty();
    if !is_name(name) && !empty_root {
        return Err(wrong);
    }
    str::from_utf8(name).map_err(|_| wrong)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Writes a tree into a page, front to back.
///
/// The header comes last: until [`FdtWriter::finish`] succeeds the page begins with zeros and no reader takes it for a tree.
#[derive(Debug)]
pub struct FdtWriter<'p, 'n> {
    page: &'p mut [u8],
    names: &'n [&'n str],
    /// Where the next token goes.
    at: usize,
    depth: u32,
    /// The first error. A tree that lacks a piece is never finished.
    failed: Option<FdtError>,
}

impl<'p, 'n> FdtWriter<'p, 'n> {
    /// Begins a tree in `page`, which is cleared. `names` are those of all the properties that will be written.
    ///
    /// # Errors
    ///
    /// [`FdtError::Full`] if the page cannot hold even the names, [`FdtError::Name`] if one of them (counted by `at`) is none.
    pub fn new(page: &'p mut [u8], names: &'n [&'n str]) -> Result<Self, FdtError> {
        if let Some(at) = names.iter().position(|name| !is_name(name.as_bytes())) {
            return Err(FdtError::Name { at });
        }
        page.fill(0);
        let mut writer = Self { page, names, at: STRUCTURE_OFFSET, depth: 0, failed: None };
        writer.reserve(0)?;
        Ok(writer)
    }

    /// Begins a node; the first is the root, whose name is empty.
    ///
    /// # Errors
    ///
    /// [`FdtError::Full`], [`FdtError::Name`], [`FdtError::Depth`], or [`FdtError::Misuse`] for a second root. The tree is lost then.
    pub fn begin_node(&mut self, name: &str) -> Result<(), FdtError> {
        let is_root = self.at == STRUCTURE_OFFSET;
        let wrong = match (is_root, self.depth) {
            (true, _) if !name.is_empty() => Some(FdtError::Name { at: self.at - STRUCTURE_OFFSET }),
            (false, _) if !is_name(name.as_bytes()) => {
                Some(FdtError::Name { at: self.at - STRUCTURE_OFFSET })
            }
            (false, 0) => Some(FdtError::Misuse),
            (_, MAX_DEPTH) => Some(FdtError::Depth),
            _ => None,
        };
        self.fail(wrong)?;
        self.reserve(CELL + (name.len() + 1).next_multiple_of(CELL))?;
        self.put(tag::BEGIN_NODE)?;
        self.put_bytes(name.as_bytes(), name.len() + 1)?;
        self.depth += 1;
        Ok(())
    }

    /// Writes a property of the node that began last.
    ///
    /// # Errors
    ///
    /// [`FdtError::Full`], or [`FdtError::Misuse`] if there is no node or the name was not announced. The tree is lost then.
    pub fn property(&mut self, name: &str, value: &[u8]) -> Result<(), FdtError> {
        let name = self.name_offset(name).filter(|_| self.depth != 0);
        let size = u32::try_from(value.len()).ok();
        let (Some(name), Some(size)) = (name, size) else { return self.fail(Some(FdtError::Misuse)) };
        self.reserve(3 * CELL + value.len().next_multiple_of(CELL))?;
        self.put(tag::PROPERTY)?;
        self.put(size)?;
        self.put(name)?;
        self.put_bytes(value, value.len())
    }

    /// Ends the node that began last.
    ///
    /// # Errors
    ///
    /// [`FdtError::Full`], or [`FdtError::Misuse`] if there is none. The tree is lost then.
    pub fn end_node(&mut self) -> Result<(), FdtError> {
        self.fail((self.depth == 0).then_some(FdtError::Misuse))?;
        self.reserve(CELL)?;
        self.put(tag::END_NODE)?;
        self.depth -= 1;
        Ok(())
    }

    /// Completes the tree and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// The first error of all calls before, or [`FdtError::Misuse`] if a node has not ended. The page holds no tree then.
    pub fn finish(mut self) -> Result<usize, FdtError> {
        let complete = self.depth == 0 && self.at != STRUCTURE_OFFSET;
        self.fail((!complete).then_some(FdtError::Misuse))?;
        self.put(tag::END)?;
        let strings = self.at;
        for name in self.names {
            self.put_raw(name.as_bytes(), name.len() + 1)?;
        }
        let size = self.at;
        let cell = |value: usize| u32::try_from(value).map_err(|_| FdtError::Misuse);
        let header = [
            (header::TOTAL_SIZE, cell(size)?),
            (header::STRUCTURE_OFFSET, cell(STRUCTURE_OFFSET)?),
            (header::STRINGS_OFFSET, cell(strings)?),
            (header::RESERVATIONS_OFFSET, cell(HEADER_BYTES)?),
            (header::VERSION, VERSION),
            (header::LAST_COMPATIBLE_VERSION, LAST_COMPATIBLE_VERSION),
            (header::STRINGS_SIZE, cell(size - strings)?),
            (header::STRUCTURE_SIZE, cell(strings - STRUCTURE_OFFSET)?),
            (header::MAGIC, MAGIC),
        ];
        for (at, value) in header {
            put_cell(self.page, at, value).ok_or(FdtError::Misuse)?;
        }
        Ok(size)
    }

    /// Remembers the first error, and repeats it.
    fn fail(&mut self, error: Option<FdtError>) -> Result<(), FdtError> {
        self.failed = self.failed.or(error);
        self.failed.map_or(Ok(()), Err)
    }

    /// Makes sure that `size` more bytes of structure fit, and the end token and the names behind them.
    fn reserve(&mut self, size: usize) -> Result<(), FdtError> {
        let names: usize = self.names.iter().map(|name| name.len() + 1).sum();
        let needed = self.at.saturating_add(size).saturating_add(CELL).saturating_add(names);
        let room = self.page.len();
        self.fail((needed > room).then_some(FdtError::Full { needed, room }))
    }

    fn name_offset(&self, wanted: &str) -> Option<u32> {
        let before = self.names.iter().take_while(|&&name| name != wanted);
        let found = self.names.contains(&wanted);
        u32::try_from(before.map(|name| name.len() + 1).sum::<usize>()).ok().filter(|_| found)
    }

    fn put(&mut self, cell: u32) -> Result<(), FdtError> {
        put_cell(self.page, self.at, cell).ok_or(FdtError::Misuse)?;
        self.at += CELL;
        Ok(())
    }

    /// Writes bytes and pads them, with the zeros that the page was filled with, to `size` and to a whole cell.
    fn put_bytes(&mut self, bytes: &[u8], size: usize) -> Result<(), FdtError> {
        self.put_raw(bytes, size.next_multiple_of(CELL))
    }

    fn put_raw(&mut self, bytes: &[u8], size: usize) -> Result<(), FdtError> {
        let to = self.page.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len()));
        to.ok_or(FdtError::Misuse)?.copy_from_slice(bytes);
        self.at += size;
        Ok(())
    }
}
