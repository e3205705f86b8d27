// SPDX-License-Identifier: GPL-2.0

//! The table of records: built once, verified and renewed by every kernel after.

use core::ffi::c_void;

use kernel::prelude::*;

use crate::{c, may_sleep, mix, NAME};

const MAGIC: u64 = u64::from_le_bytes(*b"DEVTABLE");

/// Handles in a leaf: it is a page of them.
const LEAF: u64 = 512;

/// Leaves that a root can have: its list is one object.
const MAX_LEAVES: u64 = 240 * 1024 / 8;

/// Bytes of a record's head: index and generation.
const HEAD: usize = 8;

/// The first object: everything else follows from it.
#[repr(C)]
struct Root {
    magic: u64,
    nr: u64,
    /// Handle of the list of leaves.
    leaves: u64,
    /// Of the three above.
    checksum: u64,
}

/// What was found wrong.
#[derive(Default)]
struct Faults {
    lost: u64,
    corrupt: u64,
}

/// A record's length: three kinds, each of one cache of slots of 16, 64 and 80 bytes.
fn length(index: u64, generation: u64) -> usize {
    let any = mix(index << 8 | generation) % 16;
    let least = match index % 10 {
        0..=3 => return 9 + (any % 8) as usize,
        4..=7 => 49,
        _ => 65,
    };
    least + any as usize
}

fn checksum(root: &Root) -> u64 {
    mix(root.magic ^ mix(root.nr ^ mix(root.leaves)))
}

fn alloc(size: usize) -> Result<*mut c_void> {
    // SAFETY: any size may be asked for, and we may sleep.
    let object = unsafe { c::heirloom_alloc(size, may_sleep()) };
    if object.is_null() {
        Err(ENOMEM)
    } else {
        Ok(object)
    }
}

fn handle(object: *const c_void) -> u64 {
    // SAFETY: computes with the address.
    unsafe { c::heirloom_handle(object) }
}

/// The object of a handle, if there is one of at least so many bytes.
fn object(handle: u64, bytes: usize) -> Option<*mut c_void> {
    // SAFETY: both ask about a number.
    let object = unsafe { c::heirloom_object(handle) };
    // SAFETY: as above.
    (!object.is_null() && unsafe { c::heirloom_size(object) } >= bytes).then_some(object)
}

/// A cell of a list of handles that was found to be large enough.
fn cell(list: *mut c_void, index: u64) -> *mut u64 {
    list.cast::<u64>().wrapping_add(index as usize)
}

fn fill(record: *mut c_void, index: u64, generation: u64) {
    let bytes = length(index, generation);
    // SAFETY: the record was allocated with this length, and is ours alone.
    let record = unsafe { core::slice::from_raw_parts_mut(record.cast::<u8>(), bytes) };
    record[..4].copy_from_slice(&(index as u32).to_le_bytes());
    record[4..HEAD].copy_from_slice(&(generation as u32).to_le_bytes());
    for (at, byte) in record[HEAD..].iter_mut().enumerate() {
        *byte = pattern(index, generation, at);
    }
}

fn pattern(index: u64, generation: u64, at: usize) -> u8 {
    (mix(index << 16 | generation << 8 | at as u64 / 8) >> (at % 8 * 8)) as u8
}

/// Whether a record is the one of this index, to the last byte, and zero behind its end.
fn is_whole(record: *mut c_void, index: u64) -> bool {
    // SAFETY: asks about a pointer.
    let slot = unsafe { c::heirloom_size(record) };
    // SAFETY: the slot is the table's, and nobody writes while the table's lock is held.
    let record = unsafe { core::slice::from_raw_parts(record.cast::<u8>(), slot) };
    let (head, rest) = record.split_at(HEAD);
    let (mut low, mut high) = ([0; 4], [0; 4]);
    low.copy_from_slice(&head[..4]);
    high.copy_from_slice(&head[4..]);
    let generation = u64::from(u32::from_le_bytes(high));
    let bytes = length(index, generation);
    u64::from(u32::from_le_bytes(low)) == index
        && bytes <= slot
        && rest[..bytes - HEAD].iter().enumerate().all(|(at, &byte)| byte == pattern(index, generation, at))
        && rest[bytes - HEAD..].iter().all(|&byte| byte == 0)
}

/// `build N`
pub(crate) fn build(nr: u64) -> Result {
    let nr_leaves = nr.div_ceil(LEAF);
    if nr == 0 || nr_leaves > MAX_LEAVES {
        return Err(EINVAL);
    }
    let root = alloc(size_of::<Root>())?;
    let leaves = alloc(nr_leaves as usize * 8)?;
    for at in 0..nr_leaves {
        let leaf = alloc(LEAF as usize * 8)?;
        // SAFETY: `leaves` has room for `nr_leaves` handles.
        unsafe { cell(leaves, at).write(handle(leaf)) };
        for index in at * LEAF..nr.min((at + 1) * LEAF) {
            let record = alloc(length(index, 0))?;
            fill(record, index, 0);
            // SAFETY: a leaf has room for `LEAF` handles.
            unsafe { cell(leaf, index % LEAF).write(handle(record)) };
        }
        // SAFETY: nothing is held that must not be held over a wait.
        unsafe { c::sample_breathe() };
    }
    let mut first = Root { magic: MAGIC, nr, leaves: handle(leaves), checksum: 0 };
    first.checksum = checksum(&first);
    // SAFETY: the object was allocated for a `Root`, aligned to 16.
    unsafe { root.cast::<Root>().write(first) };
    // SAFETY: a name, and an object of the pool.
    kernel::error::to_result(unsafe { c::heirloom_publish(NAME.as_ptr().cast(), root) })?;
    pr_info!("built {}\n", nr);
    Ok(())
}

/// The table, by its name alone: number of records, list of leaves.
fn find() -> Result<(u64, *mut c_void)> {
    let mut size = 0;
    // SAFETY: a name, and a variable of ours.
    let root = unsafe { c::heirloom_retrieve(NAME.as_ptr().cast(), &mut size) };
    if root.is_null() || size < size_of::<Root>() {
        return Err(ENOENT);
    }
    // SAFETY: large enough, aligned to 16, and any bytes are a `Root`.
    let root = unsafe { &*root.cast::<Root>() };
    let nr_leaves = root.nr.div_ceil(LEAF);
    if root.magic != MAGIC || root.checksum != checksum(root) || nr_leaves > MAX_LEAVES {
        return Err(EIO);
    }
    Ok((root.nr, object(root.leaves, nr_leaves as usize * 8).ok_or(ENOENT)?))
}

/// Calls `each` with the index and the cell of each record.
fn for_each(mut each: impl FnMut(u64, *mut u64) -> Result) -> Result<Faults> {
    let (nr, leaves) = find()?;
    let mut faults = Faults::default();
    for at in 0..nr.div_ceil(LEAF) {
        // SAFETY: `leaves` has room for so many handles.
        let Some(leaf) = object(unsafe { cell(leaves, at).read() }, LEAF as usize * 8) else {
            faults.lost += LEAF;
            continue;
        };
        for index in at * LEAF..nr.min((at + 1) * LEAF) {
            each(index, cell(leaf, index % LEAF))?;
        }
        // SAFETY: nothing is held that must not be held over a wait.
        unsafe { c::sample_breathe() };
    }
    Ok(faults)
}

/// `verify`
pub(crate) fn verify() -> Result {
    let (mut seen, mut lost, mut corrupt) = (0u64, 0, 0);
    let faults = for_each(|index, cell| {
        seen += 1;
        // SAFETY: a cell of a leaf.
        match object(unsafe { cell.read() }, HEAD) {
            None => lost += 1,
            Some(record) => corrupt += u64::from(!is_whole(record, index)),
        }
        Ok(())
    })?;
    lost += faults.lost;
    corrupt += faults.corrupt;
    pr_info!("verified {} lost {} corrupt {}\n", seen, lost, corrupt);
    if lost + corrupt == 0 {
        Ok(())
    } else {
        Err(EIO)
    }
}

/// `churn G`: all of the third are freed first, so that the new ones come to lie anywhere.
pub(crate) fn churn(generation: u64) -> Result {
    let is_chosen = |index: u64| index % 3 == generation % 3;
    let (mut freed, mut made) = (0u64, 0u64);
    for_each(|index, cell| {
        if is_chosen(index) {
            // SAFETY: a cell of a leaf, and its record, which nobody else uses.
            unsafe {
                c::heirloom_free(object(cell.read(), HEAD).ok_or(ENOENT)?);
                cell.write(0);
            }
            freed += 1;
        }
        Ok(())
    })?;
    for_each(|index, cell| {
        if is_chosen(index) {
            let record = alloc(length(index, generation))?;
            fill(record, index, generation);
            // SAFETY: a cell of a leaf.
            unsafe { cell.write(handle(record)) };
            made += 1;
        }
        Ok(())
    })?;
    pr_info!("churned freed {} made {}\n", freed, made);
    Ok(())
}

/// `drop`
pub(crate) fn drop_all() -> Result {
    let (nr, leaves) = find()?;
    for_each(|_, cell| {
        // SAFETY: a cell of a leaf, and its record, which nobody else uses.
        unsafe { c::heirloom_free(object(cell.read(), HEAD).ok_or(ENOENT)?) };
        Ok(())
    })?;
    for at in 0..nr.div_ceil(LEAF) {
        // SAFETY: the leaves, which are empty now.
        unsafe { c::heirloom_free(object(cell(leaves, at).read(), HEAD).ok_or(ENOENT)?) };
    }
    // SAFETY: the list and the root; the name goes first, so that nobody finds what is gone.
    unsafe {
        let root = c::heirloom_retrieve(NAME.as_ptr().cast(), core::ptr::null_mut());
        kernel::error::to_result(c::heirloom_unpublish(NAME.as_ptr().cast()))?;
        c::heirloom_free(leaves);
        c::heirloom_free(root);
    }
    pr_info!("dropped {}\n", nr);
    Ok(())
}
