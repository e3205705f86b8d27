//! What lies in blocks: each is made anew, its address written, and its contents due.
#![expect(unsafe_code, reason = "reads heads and writes blocks of collections of any type")]

use std::alloc::Layout;
use std::sync::atomic::Ordering::Relaxed;

use super::walk::{Due, Table, Walk};
use super::{ConvertError, Moved, counts};
use crate::alloc;
use crate::evolve::collection::{
    Buckets, Counted, INLINE_BYTES, Row, TextAt, TextForm, address as word, buckets, control_bytes, is_full,
    words, write_address, write_words,
};
use crate::evolve::plan::{Node, NodeId, Stride};
use crate::hash_map::shape::capacity_of;

/// Where in the head of a map the generation stands in which its order was last proven.
const MAP_PROBED: usize = 48;
/// Where in it stands how many buckets may still be filled.
const MAP_GROWTH_LEFT: usize = 24;

/// One strong pointer, one weak one.
const STRONG: u64 = 1;
const WEAK: u64 = 1 << 32;

/// # Safety
///
/// For all of these: as for [`Conversion::run`](super::Conversion::run), for the types of the step.
impl Walk<'_> {
    pub(super) unsafe fn text(
        &mut self,
        form: TextForm,
        wanted: TextForm,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        // SAFETY: heads of that form lie there; the block is checked to be where blocks are.
        unsafe {
            let (start, len) = match form.read(words(from, form.words())).ok_or(ConvertError::Shape)? {
                TextAt::Inline(len) => (from, len),
                TextAt::Block { start, len, .. } => (self.conversion.ground.at(start, len, 1)?, len),
            };
            if wanted == TextForm::Short && len <= INLINE_BYTES {
                to.copy_from_nonoverlapping(start, len);
                to.add(INLINE_BYTES).write(len as u8);
                return Ok(());
            }
            let address = match len {
                0 => 1,
                _ => {
                    let layout = Layout::from_size_align(len, 1).map_err(|_| ConvertError::Shape)?;
                    let block = self.block(layout)?;
                    block.as_ptr().copy_from_nonoverlapping(start, len);
                    block.as_ptr().expose_provenance() as u64
                }
            };
            write_words(to, wanted.words(), wanted.write(address, len));
        }
        Ok(())
    }

    pub(super) unsafe fn sequence(
        &mut self,
        row: Row,
        old: Stride,
        new: Stride,
        elem: NodeId,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        // SAFETY: a head of that row lies there; its block is checked to be where blocks are.
        unsafe {
            let head = row.read(words(from, row.words()), old.bytes).ok_or(ConvertError::Shape)?;
            let len = head.len;
            // An address of nothing, aligned: what an empty vector has.
            let (mut block, mut capacity) = (std::ptr::without_provenance_mut(new.align), 0);
            let bytes = new.bytes.checked_mul(len).ok_or(ConvertError::Shape)?;
            if bytes > 0 {
                let exact = Layout::from_size_align(bytes, new.align).map_err(|_| ConvertError::Shape)?;
                capacity = match row {
                    Row::Slice => len,
                    Row::Vec | Row::Ring => alloc::usable_size(exact) / new.bytes,
                };
                let layout = Layout::from_size_align(capacity * new.bytes, new.align);
                block = self.block(layout.map_err(|_| ConvertError::Shape)?)?.as_ptr();
            }
            let start = self.conversion.ground.at(head.start, head.capacity * old.bytes, old.align)?;
            // A ring comes in two parts, of which the first may reach up to the end of the block.
            let first = if old.bytes == 0 { len } else { len.min(head.capacity - head.first) };
            for (at, place, nr) in [(head.first, 0, first), (0, first, len - first)] {
                let (source, target) = (start.add(at * old.bytes), block.add(place * new.bytes));
                match &self.plan.nodes[elem] {
                    Node::Copy(of) if *of == old.bytes && *of == new.bytes => {
                        target.copy_from_nonoverlapping(source, nr * of);
                        self.count(if *of == 1 { 0 } else { nr as u64 });
                    }
                    _ => self.due_row(elem, (source, old.bytes), (target, new.bytes), nr),
                }
            }
            let start = block.expose_provenance() as u64;
            write_words(to, row.words(), row.write(start, capacity, len));
        }
        Ok(())
    }

    pub(super) unsafe fn owned(
        &mut self,
        old: Stride,
        new: Stride,
        value: NodeId,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        // SAFETY: an address lies there, which is checked to be one where blocks are.
        unsafe {
            let start = self.conversion.ground.at(word(from), old.bytes, old.align)?;
            let layout = Layout::from_size_align(new.bytes, new.align).map_err(|_| ConvertError::Shape)?;
            let block = match layout.size() {
                0 => std::ptr::without_provenance_mut(new.align),
                _ => self.block(layout)?.as_ptr(),
            };
            self.due_row(value, (start, old.bytes), (block, new.bytes), 1);
            write_address(to, block.expose_provenance() as u64);
        }
        Ok(())
    }

    /// False where the value is shared with pointers to another type.
    pub(super) unsafe fn shared(
        &mut self,
        owns: bool,
        old: Counted,
        new: Counted,
        (value, identity, is_kept): (NodeId, u64, bool),
        from: *const u8,
        to: *mut u8,
    ) -> Result<bool, ConvertError> {
        // SAFETY: an address lies there, of nothing or checked to be where blocks are; the new block is ours alone.
        unsafe {
            let address = word(from);
            let nowhere = new.align as u64;
            if address == old.align as u64 {
                write_address(to, nowhere);
                return Ok(true);
            }
            let source = self.conversion.ground.at(address, old.size, old.align)?;
            let count = if owns { STRONG } else { WEAK };
            if is_kept {
                *self.conversion.kept.entry(source.addr()).or_default() += count;
                write_address(to, address);
                return Ok(true);
            }
            let is_alive = counts(source.addr()).load(Relaxed) as u32 != 0;
            let moved = match self.conversion.moved.get(&source.addr()) {
                Some(moved) if moved.identity != identity => return Ok(false),
                Some(moved) => *moved,
                // A value that is gone: who only names it finds nothing, as before.
                None if !is_alive && !owns => {
                    write_address(to, nowhere);
                    return Ok(true);
                }
                None if !is_alive => return Err(ConvertError::Shape),
                None => {
                    let block = self.block(new.layout().ok_or(ConvertError::Shape)?)?.as_ptr();
                    Moved { block, identity, has_value: false }
                }
            };
            // All strong pointers together are one weak one.
            let count = if owns && !moved.has_value { STRONG + WEAK } else { count };
            counts(moved.block.expose_provenance()).fetch_add(count, Relaxed);
            if owns && !moved.has_value {
                let target = moved.block.add(new.value_at);
                self.due_row(value, (source.add(old.value_at), 0), (target, 0), 1);
            }
            let has_value = moved.has_value || owns;
            self.conversion.moved.insert(source.addr(), Moved { has_value, ..moved });
            write_address(to, moved.block.expose_provenance() as u64);
        }
        Ok(true)
    }

    pub(super) unsafe fn map(
        &mut self,
        head: usize,
        (old, new): (Buckets, Buckets),
        (key, value): (NodeId, NodeId),
        keys_stay: bool,
        from: *const u8,
        to: *mut u8,
    ) -> Result<(), ConvertError> {
        // SAFETY: a head of so many bytes lies there; its block is checked to be where blocks are.
        unsafe {
            to.copy_from_nonoverlapping(from, head);
            if !keys_stay {
                // What a key feeds to the hash may be another now: the map is to find out, and to rebuild itself.
                to.add(MAP_PROBED).cast::<u32>().write(u32::MAX);
            }
            let [control, mask, len, ..] = words(from, 3);
            let buckets = buckets(mask).ok_or(ConvertError::Shape)?;
            if buckets == 0 {
                return Ok(());
            }
            let (whole, before) = old.block(buckets).ok_or(ConvertError::Shape)?;
            let start = control.checked_sub(before as u64).ok_or(ConvertError::Shape)?;
            self.conversion.ground.at(start, whole.size(), whole.align())?;
            let control: *const u8 = std::ptr::with_exposed_provenance(control as usize);

            let (layout, control_at) = new.block(buckets).ok_or(ConvertError::Shape)?;
            let place = self.block(layout)?.as_ptr().add(control_at);
            place.copy_from_nonoverlapping(control, control_bytes(buckets));
            write_address(to, place.expose_provenance() as u64);
            // Where nothing is counted, full buckets promise nothing: their values were being dropped.
            let first = (0..buckets).find(|&bucket| len > 0 && is_full(control.add(bucket).read()));
            match first {
                Some(next) => {
                    let (from, to) = (control, place);
                    self.due.push(Due::Table(Table { from, to, old, new, key, value, next, buckets }));
                }
                None if len == 0 && (0..buckets).any(|bucket| is_full(control.add(bucket).read())) => {
                    place.write_bytes(EMPTY, buckets);
                    to.add(MAP_GROWTH_LEFT).cast::<u64>().write(capacity_of(buckets) as u64);
                }
                None => {}
            }
            Ok(())
        }
    }

    pub(super) fn due_row(
        &mut self,
        node: NodeId,
        (from, stride): (*const u8, usize),
        (to, wanted): (*mut u8, usize),
        left: usize,
    ) {
        if left > 0 {
            self.due.push(Due::Row { node, from, stride, to, wanted, left });
        }
    }
}

/// The control byte of a bucket in which nothing ever was.
const EMPTY: u8 = 0xff;
