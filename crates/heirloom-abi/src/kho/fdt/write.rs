//! The writer: tokens as they come, names and header at the end.

use super::{
    CELL, FdtError, HEADER_BYTES, LAST_COMPATIBLE_VERSION, MAGIC, MAX_DEPTH, STRUCTURE_OFFSET, VERSION,
    header, is_name, put_cell, tag,
};

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
