//! The handover tree: the page that names the map and the records, in the form that Linux's own tools read.
//!
//! The header says the same; both must agree.

use heirloom_abi::heap::{HEADER_BYTES, Identity, Region};
use heirloom_abi::kho::root::{RootFdt, Subnode};

use super::layout::Layout;
use super::{HeapError, bytes};
use crate::backing::Backing;

/// Subnode of the pool's record.
const SLAB: &str = "heirloom-slab";
/// Subnode of the roots record.
const ROOTS: &str = "heirloom-roots";

/// Writes the tree of a new heap.
pub(super) fn write(backing: &Backing, layout: &Layout, map: u64) -> Result<(), HeapError> {
    let mut page = [0; HEADER_BYTES];
    let nodes = [subnode(SLAB, layout.control), subnode(ROOTS, layout.roots)];
    RootFdt::write(&mut page, map, &nodes).map_err(|error| HeapError::Tree(error.to_string()))?;
    bytes::copy_in(backing, layout.fdt.offset, &page);
    Ok(())
}

/// Reads the tree: the address of the map's root.
pub(super) fn read(backing: &Backing, identity: &Identity) -> Result<u64, HeapError> {
    let mut page = [0; HEADER_BYTES];
    bytes::copy_out(backing, identity.fdt.offset, &mut page);
    check(&page, identity).map_err(HeapError::Tree)
}

/// Compares a tree with the header: the address of the map's root.
pub(crate) fn check(page: &[u8], identity: &Identity) -> Result<u64, String> {
    let tree = RootFdt::read(page).map_err(|error| error.to_string())?;
    for (name, region) in [(SLAB, identity.control), (ROOTS, identity.roots)] {
        let found = tree.subnode(name).ok_or_else(|| format!("no subnode {name}"))?;
        if found != subnode(name, region) {
            return Err(format!(
                "{name} is at {:#x} ({} bytes), by the header at {:#x} ({} bytes)",
                found.data, found.size_bytes, region.offset, region.bytes
            ));
        }
    }
    // Nothing in the page is free to be otherwise: what the header implies, written again, is this page.
    let mut expected = [0; HEADER_BYTES];
    let nodes = [subnode(SLAB, identity.control), subnode(ROOTS, identity.roots)];
    RootFdt::write(&mut expected, tree.map(), &nodes).map_err(|error| error.to_string())?;
    if page == expected {
        return Ok(tree.map());
    }
    let at = page.iter().zip(&expected).position(|(found, expected)| found != expected);
    Err(format!(
        "byte {} of its page is not what the header implies",
        at.unwrap_or(page.len().min(HEADER_BYTES))
    ))
}

fn subnode(name: &str, region: Region) -> Subnode<'_> {
    Subnode { name, data: region.offset, size_bytes: region.bytes }
}
