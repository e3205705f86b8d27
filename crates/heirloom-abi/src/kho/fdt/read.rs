//! The validating reader: header first, then each block's place, then each token once.

use core::str;

use super::{
    CELL, FdtError, HEADER_BYTES, MAGIC, MAX_DEPTH, NO_RESERVATIONS_BYTES, VERSION, get_cell, header,
    is_name, tag,
};

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
