//! A heap cut into the pieces that it consists of, in the order of its file.
//!
//! ```text
//!  | header | tree | map | roots | control | ... | block: records | slab | slab | large | free | block ...
//! ```

use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;

use heirloom_abi::heap::HEADER_BYTES;
use heirloom_abi::pool::{BLOCK_KIND_HUGE, BlockView, PoolReader, SLAB_KIND_LARGE};

use super::{FileMemory, ForeignError, Image};
use crate::sys;

/// What a piece of a heap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PieceKind {
    /// The header page, the handover tree, the map of preserved blocks, the record of the roots.
    Records,
    /// The control area of the pool: its tables, and the magazines of its threads.
    Control,
    /// Records at the start of a block.
    BlockHeader,
    /// A slab.
    Slab,
    /// A large object.
    Large,
    /// Units of a block that nothing holds.
    Free,
    /// A slab whose record is broken.
    Broken,
}

/// A piece of a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of it that objects fill; of a piece that holds no objects, all.
    pub used_bytes: u64,
    /// What it is.
    pub kind: PieceKind,
}

impl Image {
    /// Cuts the heap into pieces. What lies between them belongs to none: it was never used, or was given back.
    ///
    /// # Errors
    ///
    /// [`ForeignError`] where not even the pool's tables are readable. A slab that is broken is a piece.
    pub fn pieces(&self) -> Result<Vec<Piece>, ForeignError> {
        let reader = self.reader()?;
        let identity = &self.header.identity;
        let mut pieces = vec![whole(0, HEADER_BYTES as u64, PieceKind::Records)];
        for region in [identity.fdt, identity.map, identity.roots] {
            pieces.push(whole(region.offset, region.bytes, PieceKind::Records));
        }
        pieces.push(whole(identity.control.offset, identity.control.bytes, PieceKind::Control));
        for index in 0..reader.nr_blocks() {
            if let Some(block) = reader.block(index)? {
                cut_block(&reader, &block, &mut pieces);
            }
        }
        pieces.retain(|piece| piece.bytes > 0);
        pieces.sort_by_key(|piece| piece.offset);
        Ok(pieces)
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file.len
    }

    /// The parts of the file that have memory, in order; all of it where the file system does not tell.
    ///
    /// # Errors
    ///
    /// [`ForeignError::Open`] where the file cannot be asked.
    pub fn backed_ranges(&self) -> Result<Vec<Range<u64>>, ForeignError> {
        let len = self.file.len;
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < len {
            match sys::next_data(self.file.file.as_fd(), at) {
                Ok(Some((start, end))) => {
                    ranges.push(start..end.min(len));
                    at = end.max(start + 1);
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    ranges.push(at..len);
                    break;
                }
                Err(error) => return Err(ForeignError::Open { target: self.target.clone(), error }),
            }
        }
        Ok(ranges)
    }
}

fn cut_block(reader: &PoolReader<'_, FileMemory>, block: &BlockView, pieces: &mut Vec<Piece>) {
    let geometry = reader.geometry();
    let at = |unit: u32| block.offset + (u64::from(unit) << geometry.unit_shift);
    pieces.push(whole(block.offset, at(geometry.header_units()) - block.offset, PieceKind::BlockHeader));
    let end = block.offset + u64::from(block.run) * geometry.block_bytes();
    let mut unit = geometry.header_units();
    while unit < geometry.units() {
        let offset = at(unit);
        match reader.slab(block, unit) {
            Ok(Some(slab)) if slab.kind == SLAB_KIND_LARGE => {
                // One that is larger than a block goes to the end of its run of blocks.
                let is_huge = block.kind == BLOCK_KIND_HUGE;
                let bytes = if is_huge { end - offset } else { at(unit + slab.units) - offset };
                let used_bytes = slab.object_bytes.min(bytes);
                pieces.push(Piece { offset, bytes, used_bytes, kind: PieceKind::Large });
                unit = if is_huge { geometry.units() } else { unit + slab.units.max(1) };
            }
            Ok(Some(slab)) => {
                let used = u64::from(slab.nr_slots - slab.free_bits.min(slab.nr_slots));
                let bytes = u64::from(slab.units) << geometry.unit_shift;
                let used_bytes = used * u64::from(slab.slot_bytes);
                pieces.push(Piece { offset, bytes, used_bytes, kind: PieceKind::Slab });
                unit += slab.units.max(1);
            }
            Ok(None) => {
                pieces.push(Piece {
                    offset,
                    bytes: geometry.unit_bytes(),
                    used_bytes: 0,
                    kind: PieceKind::Free,
                });
                unit += 1;
            }
            Err(_) => {
                pieces.push(whole(offset, geometry.unit_bytes(), PieceKind::Broken));
                unit += 1;
            }
        }
    }
}

fn whole(offset: u64, bytes: u64, kind: PieceKind) -> Piece {
    Piece { offset, bytes, used_bytes: bytes, kind }
}
