//! A map that the machine wrote, page by page against a golden file made from the description of the format.

use std::collections::BTreeMap;

use heirloom_abi::kho::root::RootFdt;
use heirloom_mm::hosted::{Hardware, small_map};
use heirloom_mm::{Machine, Options};

const GOLDEN: &str = include_str!("golden/map-orders.txt");

/// A word of a node.
#[derive(Clone, Copy, Debug)]
enum Word {
    Child(&'static str),
    Bits(u64),
}

#[derive(Debug, Default)]
struct Golden {
    frames: Vec<(u64, u32)>,
    nodes: Vec<(&'static str, BTreeMap<u64, Word>)>,
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

fn golden() -> Golden {
    let mut golden = Golden::default();
    for line in GOLDEN.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match *line.split(' ').collect::<Vec<_>>() {
            ["frame", phys, order, _] => golden.frames.push((hex(phys), order.parse().unwrap())),
            ["node", name, _] => golden.nodes.push((name, BTreeMap::new())),
            [index, word] => {
                let word = match word.strip_prefix('@') {
                    Some(name) => Word::Child(name),
                    None => Word::Bits(hex(word)),
                };
                golden.nodes.last_mut().unwrap().1.insert(hex(index), word);
            }
            _ => panic!("line {line:?} of the golden file"),
        }
    }
    golden
}

/// Compares the map below `root`, each byte of each page of it, with the golden one: how many pages it has.
fn compare(hardware: &Hardware, root: u64, golden: &Golden) -> usize {
    let mut addresses = BTreeMap::from([("root", root)]);
    for (name, words) in &golden.nodes {
        let page = addresses[name];
        assert!(page != 0 && page % 4096 == 0, "node {name} at {page:#x}");
        for index in 0..512 {
            let found = hardware.load(page + 8 * index);
            match words.get(&index) {
                None => assert_eq!(found, 0, "node {name}, word {index:#x}"),
                Some(&Word::Bits(bits)) => assert_eq!(found, bits, "node {name}, word {index:#x}"),
                Some(&Word::Child(child)) => assert!(addresses.insert(child, found).is_none()),
            }
        }
    }
    let nr = addresses.len();
    let mut distinct: Vec<u64> = addresses.into_values().collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), nr, "each node is a page of its own");
    assert_eq!(nr, golden.nodes.len());
    nr
}

#[test]
fn the_machines_map_is_byte_for_byte_that_of_the_description() {
    let golden = golden();
    let hardware = Hardware::new(small_map()).unwrap();
    let power = hardware.power();
    // Without a preserve pool: what is preserved is what the file says.
    let options = Options { preserve_blocks: 0, ..Options::default() };
    let machine = Machine::boot(&hardware, &power.info(options)).unwrap();
    for &(phys, order) in &golden.frames {
        let range = phys..phys + (4096 << order);
        machine.take_page_range(&range).unwrap();
        machine.preserve_pages(&range).unwrap();
    }
    machine.check().unwrap();
    let frozen = machine.freeze().unwrap();
    let handover = frozen.handover();
    let tree: Vec<u8> =
        (0..512).flat_map(|word| hardware.load(handover.fdt + 8 * word).to_le_bytes()).collect();
    let root = RootFdt::read(&tree[..handover.fdt_size as usize]).unwrap();
    assert_eq!(root.subnodes().count(), 0);
    let nr_nodes = compare(&hardware, root.map(), &golden);
    let tally = frozen.tally();
    assert_eq!(tally.preserved_frames, golden.frames.len() as u64);
    assert_eq!(tally.preserved_pages, 2 * (1 + 8 + 512));
    assert_eq!(tally.metadata_pages, nr_nodes as u64 + 2, "the map, the tree, the list of scratch areas");

    // And the successor reads it: each frame with its order.
    let entry = machine.load_successor().unwrap();
    machine.jump(entry, frozen);
    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(options)).unwrap();
    assert_eq!(machine.inherited(), (6, 2 * (1 + 8 + 512)));
    for &(phys, order) in &golden.frames {
        assert_eq!(machine.restore_folio(phys), Ok(order));
    }
    assert_eq!(machine.finish(), 0);
    machine.check().unwrap();
}

/// Taken back in another order, the marks leave a map of the same nodes and no bits.
#[test]
fn unpreserving_all_of_it_leaves_no_bit() {
    let mut golden = golden();
    let hardware = Hardware::new(small_map()).unwrap();
    let power = hardware.power();
    let options = Options { preserve_blocks: 0, ..Options::default() };
    let machine = Machine::boot(&hardware, &power.info(options)).unwrap();
    let ranges: Vec<_> = golden.frames.iter().map(|&(phys, order)| phys..phys + (4096 << order)).collect();
    for range in &ranges {
        machine.take_page_range(range).unwrap();
        machine.preserve_pages(range).unwrap();
    }
    for range in ranges.iter().rev() {
        machine.unpreserve_pages(range).unwrap();
    }
    // One mark is needed for a handover: the first frame's, again.
    machine.preserve_pages(&ranges[0]).unwrap();
    let frozen = machine.freeze().unwrap();
    for (name, words) in &mut golden.nodes {
        words.retain(|_, word| matches!(word, Word::Child(_)) || *name == "n2-0-0-0-0");
    }
    let handover = frozen.handover();
    let tree: Vec<u8> =
        (0..512).flat_map(|word| hardware.load(handover.fdt + 8 * word).to_le_bytes()).collect();
    let root = RootFdt::read(&tree[..handover.fdt_size as usize]).unwrap();
    compare(&hardware, root.map(), &golden);
    machine.thaw(frozen);
}
