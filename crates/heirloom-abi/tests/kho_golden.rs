//! Golden files of the outer form: computed from the description without this crate, read back, and written again to the same bytes.

use heirloom_abi::kho::radix::{
    Frame, Limits, NODE_WORDS, Order, PAGE_BYTES, PageArray, PageSlice, RadixMap,
};
use heirloom_abi::kho::root::{RootFdt, Subnode};

const MAP: &str = include_str!("golden/kho-v4-map.txt");
const ROOT: &str = include_str!("golden/kho-v4-root-fdt.txt");

const NODES: [Subnode<'static>; 2] = [
    Subnode { name: "heirloom-slab", data: 0x2_0000_1000, size_bytes: 4096 },
    Subnode { name: "memfd", data: 0x7000, size_bytes: 48 },
];

/// A map as the golden file tells it.
struct Golden {
    base: u64,
    frames: Vec<(Frame, u64)>,
    pages: Vec<[u64; NODE_WORDS]>,
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty())
}

fn golden_map() -> Golden {
    let mut golden = Golden { base: 0, frames: Vec::new(), pages: Vec::new() };
    for line in lines(MAP) {
        match *line.split(' ').collect::<Vec<_>>() {
            ["frame", phys, order, key] => {
                let order = Order::new(order.parse().unwrap()).unwrap();
                golden.frames.push((Frame::new(hex(phys), order).unwrap(), hex(key)));
            }
            ["node", address] => {
                if golden.pages.is_empty() {
                    golden.base = hex(address);
                }
                assert_eq!(hex(address), golden.base + golden.pages.len() as u64 * PAGE_BYTES);
                golden.pages.push([0; NODE_WORDS]);
            }
            [index, word] => golden.pages.last_mut().unwrap()[hex(index) as usize] = hex(word),
            _ => panic!("line {line:?} of the golden file"),
        }
    }
    golden
}

fn golden_root() -> Vec<u8> {
    let digits: String = lines(ROOT).flat_map(str::chars).filter(|char| *char != ' ').collect();
    digits.as_bytes().chunks(2).map(|pair| hex(std::str::from_utf8(pair).unwrap()) as u8).collect()
}

#[test]
fn the_map_reads_back() {
    let golden = golden_map();
    let pages = PageSlice::new(golden.base, &golden.pages);
    let (map, summary) = RadixMap::open(&pages, golden.base, &Limits::within(0..1 << 34), |_| true).unwrap();
    assert_eq!(summary.nr_frames, golden.frames.len() as u64);
    assert_eq!(summary.nr_nodes, golden.pages.len() as u64);

    let mut by_key = golden.frames.clone();
    by_key.sort_by_key(|&(_, key)| key);
    let read: Vec<_> =
        map.frames(&pages).map(|frame| frame.map(|frame| (frame, frame.key())).unwrap()).collect();
    assert_eq!(read, by_key);
}

#[test]
fn the_map_is_written_to_the_same_bytes() {
    let golden = golden_map();
    let mut pages = vec![[u64::MAX; NODE_WORDS]; golden.pages.len()];
    let mut array = PageArray::new(golden.base, &mut pages, 0);
    let mut map = RadixMap::create(&mut array).unwrap();
    for &(frame, _) in &golden.frames {
        map.mark(&mut array, frame).unwrap();
    }
    assert_eq!(map.root(), golden.base);
    assert!(pages == golden.pages, "the pages differ from the golden ones");
}

#[test]
fn the_root_fdt_reads_back() {
    let golden = golden_root();
    let root = RootFdt::read(&golden).unwrap();
    assert_eq!(root.map(), 0x1_0000);
    assert!(root.subnodes().eq(NODES));
}

#[test]
fn the_root_fdt_is_written_to_the_same_bytes() {
    let golden = golden_root();
    let mut page = [0xff; PAGE_BYTES as usize];
    let size = RootFdt::write(&mut page, 0x1_0000, &NODES).unwrap();
    assert_eq!(page[..size], golden);
    assert!(page[size..].iter().all(|&byte| byte == 0));
}

/// libfdt leaves a tree that was edited in place with the page as its total size, and overwrites what it takes out with NOPs.
#[test]
fn a_root_fdt_that_was_edited_in_place_reads_the_same() {
    const HEADER: usize = 56;
    let golden = golden_root();
    let nops = [0, 0, 0, 4].repeat(3);
    let mut page = golden[..HEADER].to_vec();
    page.extend(&nops);
    page.extend(&golden[HEADER..HEADER + 8]);
    page.extend(&nops);
    page.extend(&golden[HEADER + 8..]);
    // The strings move, and the structure grows; both numbers have two bytes.
    for at in [12, 36] {
        let old = usize::from(golden[at + 2]) << 8 | usize::from(golden[at + 3]);
        let new = old + 2 * nops.len();
        page[at + 2..at + 4].copy_from_slice(&[(new >> 8) as u8, new as u8]);
    }
    page[6..8].copy_from_slice(&[0x10, 0]);
    page.resize(4096, 0);
    let root = RootFdt::read(&page).unwrap();
    assert_eq!(root.map(), 0x1_0000);
    assert!(root.subnodes().eq(NODES));
}
