//! What a successor refuses of its predecessor: each damage with a typed error, and with the damage repaired all is there.

mod common;

use common::{alloc, boot, hand_over, hardware};
use heirloom_abi::kho::fdt::FdtError;
use heirloom_abi::kho::radix::{Frame, MapError, Order};
use heirloom_mm::hosted::{Hardware, small_map};
use heirloom_mm::kho::IngestError;
use heirloom_mm::machine::BootError;
use heirloom_mm::scratch::ScratchError;
use heirloom_mm::slab::LayoutError;
use heirloom_mm::{BootInfo, Gfp, Handover, Machine, Options, Platform};

const MIB: u64 = 1 << 20;

/// Hands an object over, has the handover damaged by `damage`, and returns what the successor says; the damage undone, it boots.
fn refused(damage: impl FnOnce(&Hardware, Handover, u64) -> Vec<(u64, u64)>) -> BootError {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let object = alloc(&machine, 64, Gfp::PRESERVE);
    let phys = machine.phys(object);
    hardware.store(phys, 0xfeed);
    machine.add_subtree("object", phys, 64).unwrap();
    hand_over(machine);
    let handover = hardware.power().handover().unwrap();
    // The root's address is a property of the tree: its value follows 8 bytes of header in a structure of 4-byte cells.
    let bytes: Vec<u8> =
        (0..512).flat_map(|word| hardware.load(handover.fdt + 8 * word).to_le_bytes()).collect();
    let root = heirloom_abi::kho::root::RootFdt::read(&bytes).unwrap().map();

    let undo: Vec<(u64, u64)> = damage(&hardware, handover, root)
        .into_iter()
        .map(|(at, word)| {
            let old = hardware.load(at);
            hardware.store(at, word);
            (at, old)
        })
        .collect();
    let power = hardware.power();
    let error = Machine::boot(&hardware, &power.info(Options::default())).map(drop).unwrap_err();
    hardware.watch(None);
    // Nothing was touched: with the damage repaired, another successor has it all.
    for &(at, word) in undo.iter().rev() {
        hardware.store(at, word);
    }
    let machine = boot(&hardware, Options::default());
    assert_eq!(machine.retrieve("object").unwrap().data, phys);
    assert_eq!(hardware.load(phys), 0xfeed);
    machine.check().unwrap();
    error
}

/// The first child of a node.
fn child(hardware: &Hardware, node: u64) -> (u64, u64) {
    (0..512).map(|at| (node + 8 * at, hardware.load(node + 8 * at))).find(|&(_, word)| word != 0).unwrap()
}

fn map_error(damage: impl FnOnce(&Hardware, Handover, u64) -> Vec<(u64, u64)>) -> MapError {
    match refused(damage) {
        BootError::Ingest(IngestError::Map(error)) => error,
        error => panic!("{error}"),
    }
}

#[test]
fn a_zero_map_is_refused() {
    let error = map_error(|hardware, _, root| {
        (0..512).map(|at| root + 8 * at).filter(|&at| hardware.load(at) != 0).map(|at| (at, 0)).collect()
    });
    assert!(matches!(error, MapError::ZeroRoot { .. }), "{error}");
}

#[test]
fn a_map_that_loops_is_refused() {
    let error = map_error(|hardware, _, root| {
        let (_, second) = child(hardware, root);
        let (at, _) = child(hardware, second);
        vec![(at, root)]
    });
    assert!(matches!(error, MapError::Loop { .. }), "{error}");
    // Two parents for one node is no loop and no tree either.
    let error = map_error(|hardware, _, root| {
        let (at, second) = child(hardware, root);
        vec![(at + 8, second)]
    });
    assert!(matches!(error, MapError::SharedNode { .. } | MapError::BadKey { .. }), "{error}");
}

#[test]
fn a_map_with_nodes_out_of_memory_or_in_scratch_is_refused() {
    let error = map_error(|hardware, _, root| vec![(child(hardware, root).0, 1 << 50)]);
    assert!(matches!(error, MapError::NodeOutside { node, .. } if node == 1 << 50), "{error}");
    let error = map_error(|hardware, _, root| vec![(child(hardware, root).0, 35 * MIB)]);
    assert!(matches!(error, MapError::NodeOutside { .. }), "a hole: {error}");
    let error = map_error(|hardware, handover, root| {
        vec![(child(hardware, root).0, hardware.load(handover.scratch))]
    });
    assert!(matches!(error, MapError::NodeOutside { .. }), "scratch: {error}");
    let error = map_error(|hardware, _, root| vec![(child(hardware, root).0, root + 12)]);
    assert!(matches!(error, MapError::Misaligned { .. }), "{error}");
}

/// Marks one frame more than was preserved, in a chain of nodes of which those that the map lacks lie in free pages.
fn with_mark(place: impl FnOnce(&Hardware, Handover) -> u64, order: u32) -> BootError {
    refused(|hardware, handover, root| {
        let mut writes = Vec::new();
        let key = Frame::new(place(hardware, handover), Order::new(order).unwrap()).unwrap().key();
        // Free pages far below what the allocator uses, as nodes.
        let mut spare = (2 * MIB..).step_by(4096);
        let mut node = root;
        for shift in [51, 42, 33, 24, 15] {
            let at = node + 8 * (key >> shift & 511);
            let next = if !(2 * MIB..3 * MIB).contains(&node) { hardware.load(at) } else { 0 };
            node = if next == 0 { spare.next().unwrap() } else { next };
            if next == 0 {
                writes.extend((0..512).map(|word| (node + 8 * word, 0)));
                writes.push((at, node));
            }
        }
        let bit = key & 0x7fff;
        let at = node + 8 * (bit / 64);
        let old = if !(2 * MIB..3 * MIB).contains(&node) { hardware.load(at) } else { 0 };
        writes.push((at, old | 1 << (bit % 64)));
        writes
    })
}

#[test]
fn marks_outside_memory_in_scratch_over_metadata_or_each_other_are_refused() {
    let hole = with_mark(|_, _| 35 * MIB, 0);
    assert!(matches!(hole, BootError::Ingest(IngestError::Hole { .. })), "{hole}");
    // 32 MiB of which one is in the hole behind the first range.
    let across = with_mark(|_, _| 32 * MIB, 9);
    assert!(matches!(across, BootError::Ingest(IngestError::Hole { .. })), "{across}");
    let outside = with_mark(|_, _| 1 << 40, 0);
    assert!(
        matches!(outside, BootError::Ingest(IngestError::Map(MapError::FrameOutside { .. }))),
        "{outside}"
    );
    let in_scratch = with_mark(|hardware, handover| hardware.load(handover.scratch), 0);
    assert!(matches!(in_scratch, BootError::Ingest(IngestError::InScratch { .. })), "{in_scratch}");
    let over_tree = with_mark(|_, handover| handover.fdt, 0);
    assert!(matches!(over_tree, BootError::Ingest(IngestError::OverMetadata { .. })), "{over_tree}");
    let inside = with_mark(pool_control, 0);
    assert!(matches!(inside, BootError::Ingest(IngestError::Map(MapError::Overlap { .. }))), "{inside}");
}

/// Where the pool's control area lies, by the tree.
fn pool_control(hardware: &Hardware, handover: Handover) -> u64 {
    let bytes: Vec<u8> =
        (0..512).flat_map(|word| hardware.load(handover.fdt + 8 * word).to_le_bytes()).collect();
    heirloom_abi::kho::root::RootFdt::read(&bytes).unwrap().subnode("heirloom-slab").unwrap().data
}

#[test]
fn a_frame_where_the_successor_itself_stands_is_refused() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    let object = machine.phys(alloc(&machine, 64, Gfp::PRESERVE));
    hand_over(machine);
    let power = hardware.power();
    let info = power.info(Options::default());
    let reserved = [info.reserved[0].clone(), object..object + 1];
    let error = Machine::boot(&hardware, &BootInfo { reserved: &reserved, ..info }).map(drop).unwrap_err();
    assert!(matches!(error, BootError::Ingest(IngestError::Taken { .. })), "{error}");
}

/// The page of the list is freed once all is taken over: it must not be the successor's own.
#[test]
fn a_list_of_scratch_areas_where_the_successor_itself_stands_is_refused() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    alloc(&machine, 64, Gfp::PRESERVE);
    hand_over(machine);
    let power = hardware.power();
    let list = power.handover().unwrap().scratch;
    let info = power.info(Options::default());
    let reserved = [info.reserved[0].clone(), list + 8..list + 9];
    let error = Machine::boot(&hardware, &BootInfo { reserved: &reserved, ..info }).map(drop).unwrap_err();
    assert!(matches!(error, BootError::Ingest(IngestError::Scratch(ScratchError::List { .. }))), "{error}");
    Machine::boot(&hardware, &info).unwrap().check().unwrap();
}

#[test]
fn a_foreign_tree_or_list_is_refused() {
    let error = refused(|hardware, handover, _| {
        let at = handover.fdt;
        vec![(at, hardware.load(at) ^ 0xff)]
    });
    assert!(matches!(error, BootError::Ingest(IngestError::Tree(FdtError::Magic { .. }))), "{error}");
    let error = refused(|hardware, handover, _| {
        // The digit of `kho-v4`.
        let bytes: Vec<u8> =
            (0..512).flat_map(|word| hardware.load(handover.fdt + 8 * word).to_le_bytes()).collect();
        let at = bytes.windows(6).position(|text| text == b"kho-v4").unwrap() + 5;
        let word = handover.fdt + (at as u64 & !7);
        let mut new = hardware.load(word).to_le_bytes();
        new[at % 8] = b'3';
        vec![(word, u64::from_le_bytes(new))]
    });
    assert!(
        matches!(error, BootError::Ingest(IngestError::Tree(FdtError::OtherKho { version: 3 }))),
        "{error}"
    );
    let error = refused(|_, handover, _| vec![(handover.scratch, 0x1000)]);
    assert!(matches!(error, BootError::Ingest(IngestError::Scratch(_))), "{error}");
}

#[test]
fn a_damaged_pool_is_refused() {
    let error = refused(|hardware, handover, _| {
        // The table of caches.
        let table = pool_control(hardware, handover) + 4096;
        vec![(table, hardware.load(table) ^ 1)]
    });
    assert!(matches!(error, BootError::Restore(_)), "{error}");
}

/// Changes the pool's record, identity checksum and all: it is sound, but for another machine.
fn with_layout(change: impl FnOnce(&mut [u8])) -> BootError {
    refused(|hardware, handover, _| {
        let record = pool_control(hardware, handover);
        let mut bytes: Vec<u8> =
            (0..8).flat_map(|word| hardware.load(record + 8 * word).to_le_bytes()).collect();
        change(&mut bytes);
        let sum = heirloom_abi::checksum(&bytes[..56], 0);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        (record..).step_by(8).zip(words).collect()
    })
}

#[test]
fn a_pool_of_another_layout_is_refused() {
    // 128 KiB blocks in units of 8 KiB.
    let block = with_layout(|bytes| (bytes[16], bytes[20]) = (17, 13));
    assert_eq!(block, BootError::Layout(LayoutError::Block { block_shift: 17 }));
    // Its free slots may hold anything until it freezes, and this machine hands them out as zeros.
    let scrub = with_layout(|bytes| bytes[36] = 1);
    assert_eq!(scrub, BootError::Layout(LayoutError::Scrub { scrub: 1 }));
}

/// Found by the fuzz target: a boot that was refused after it had carved its guard pool left the pages closed, and the next one on
/// the same page tables ran into them.
#[test]
fn a_refused_boot_leaves_no_page_closed() {
    let hardware = hardware();
    let machine = boot(&hardware, Options::default());
    alloc(&machine, 64, Gfp::PRESERVE);
    hand_over(machine);
    let power = hardware.power();
    let table = pool_control(&hardware, power.handover().unwrap()) + 4096;
    let word = hardware.load(table);
    hardware.store(table, !word);
    let info = power.info(Options::default());
    let error = Machine::boot(&hardware, &info).map(drop).unwrap_err();
    assert!(matches!(error, BootError::Restore(_)), "{error}");
    hardware.store(table, word);
    for range in small_map() {
        for page in range.range.step_by(4096) {
            hardware.load(page);
        }
    }
    Machine::boot(&hardware, &info).unwrap().check().unwrap();
}
