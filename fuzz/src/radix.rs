//! The map of preserved memory.
//!
//! A map is mostly zeros, in which mutations get lost; so the input is a list of words that are not zero:
//!
//! ```text
//! page u8 | kind u8 | index u16 | value u64     stored at page % NR_PAGES, index % 512
//! kind 0: the value itself      kind 1: the address of page value % (NR_PAGES + 8), a byte off if value says so
//! ```

use heirloom_abi::kho::radix::{
    Emptiness, Frame, Limits, MarkError, NODE_WORDS, Order, PAGE_BYTES, PageArray, Pages, RadixMap, Run,
};

const BASE: u64 = 0x10_0000;
const NR_PAGES: usize = 32;
const MEMORY: u64 = 1 << 36;
const ENTRY_BYTES: usize = 12;

/// Opens the tree that `data` describes, and works on it: on an accepted one all that must hold, on a refused one anything that ends.
pub fn run(data: &[u8]) {
    let mut memory = memory(data);
    let mut pages = PageArray::new(BASE, &mut memory, NR_PAGES);
    let nodes = BASE..BASE + NR_PAGES as u64 * PAGE_BYTES;
    let limits = Limits { nodes, emptiness: Emptiness::Expected, ..Limits::within(0..MEMORY) };

    // Without anybody who remembers nodes, the count alone ends the walk.
    let counted = Limits { max_nodes: 4 * NR_PAGES as u64, ..limits.clone() };
    let by_count = RadixMap::open(&pages, BASE, &counted, |_| true);
    let mut seen = [false; NR_PAGES];
    let opened = RadixMap::open(&pages, BASE, &limits, |node| {
        !std::mem::replace(&mut seen[((node - BASE) / PAGE_BYTES) as usize], true)
    });
    match opened {
        Ok((map, summary)) => {
            assert_eq!(by_count.map(|(_, summary)| summary), Ok(summary));
            accepted(map, summary.nr_frames, summary.size_bytes, &mut pages);
        }
        Err(_) => refused(&mut pages),
    }
}

/// An accepted map holds disjoint frames inside the memory, and each can be unmarked and marked again.
fn accepted(mut map: RadixMap, nr_frames: u64, size_bytes: u64, pages: &mut PageArray<'_>) {
    let frames: Vec<Frame> =
        map.frames(pages).collect::<Result<_, _>>().expect("an accepted map can be walked");
    assert!(frames.is_sorted_by_key(|frame| frame.key()));
    assert_eq!(frames.len() as u64, nr_frames);
    assert_eq!(frames.iter().map(|frame| frame.bytes()).sum::<u64>(), size_bytes);
    let mut spans: Vec<_> = frames.iter().map(|frame| (frame.phys(), frame.end())).collect();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "an accepted map has no overlap");
    assert!(spans.last().is_none_or(|last| last.1 <= MEMORY));
    let runs: Vec<Run> = map.runs(pages).collect::<Result<_, _>>().expect("an accepted map can be walked");
    assert!(runs.iter().flat_map(|run| run.frames()).eq(frames.iter().copied()));
    assert!(
        runs.windows(2)
            .all(|pair| pair[0].order() != pair[1].order() || pair[0].range().end < pair[1].range().start)
    );
    for &run in &runs {
        map.unmark_range(pages, run.range(), run.order()).expect("it was marked");
    }
    assert!(map.runs(pages).next().is_none());
    map.mark_all(pages, &frames).expect("none is marked");
    assert!(map.mark_all(pages, &frames).is_err() || frames.is_empty());
    map.unmark_all(pages, &frames).expect("all are marked");
    for &run in &runs {
        map.mark_range(pages, run.range(), run.order()).expect("its nodes are still there");
    }
    for &frame in &frames {
        assert_eq!(map.mark(pages, frame), Err(MarkError::AlreadyMarked { frame }));
        map.unmark(pages, frame).expect("it was marked");
        assert_eq!(map.unmark(pages, frame), Err(MarkError::NotMarked { frame }));
    }
    assert!(map.frames(pages).next().is_none());
    for &frame in &frames {
        map.mark(pages, frame).expect("its nodes are still there");
    }
    assert!(map.frames(pages).map(Result::unwrap).eq(frames));
}

/// Nobody should work on a refused map; it must still not panic.
fn refused(pages: &mut PageArray<'_>) {
    let mut map = RadixMap::at(BASE);
    let frame = Frame::new(0x3000, Order::ZERO).expect("a page");
    let _ = map.mark(pages, frame);
    let _ = map.contains(pages, frame);
    let _ = map.unmark(pages, frame);
    let _ = map.mark_range(pages, 0x10_0000..0x1000_0000, Order::ZERO);
    let _ = map.unmark_range(pages, 0x10_0000..0x1000_0000, Order::ZERO);
    let _ = map.mark_all(pages, &[frame, frame]);
    let _ = map.unmark_all(pages, &[frame, frame]);
    map.frames(pages).take(1000).for_each(drop);
    map.runs(pages).take(1000).for_each(drop);
}

fn memory(data: &[u8]) -> Vec<[u64; NODE_WORDS]> {
    let mut memory = vec![[0; NODE_WORDS]; NR_PAGES];
    for entry in data.chunks_exact(ENTRY_BYTES) {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        let (page, index, value) = (entry[0] as usize, number(&entry[2..4]) as usize, number(&entry[4..]));
        memory[page % NR_PAGES][index % NODE_WORDS] = match entry[1] % 2 {
            0 => value,
            _ => BASE + value % (NR_PAGES as u64 + 8) * PAGE_BYTES + (value >> 63),
        };
    }
    memory
}

/// Maps of a frame, of frames of many orders, and of a long range.
pub fn seeds() -> Vec<Vec<u8>> {
    let range = |start: u64, nr: u64, order| {
        let order = Order::new(order).expect("an order");
        (start..start + nr * order.bytes(), order)
    };
    let maps = [
        vec![range(0x3000, 1, 0)],
        vec![range(0x1000, 5, 0), range(0x1_0000_8000, 3, 3), range(0x20_0000, 2, 9)],
        vec![range(0x100_0000, 40_000, 0)],
        vec![range(0, 1, 22), range(1 << 35, 64, 12), range(1 << 34, 1, 0)],
    ];
    maps.iter()
        .map(|ranges| {
            let mut memory = vec![[0; NODE_WORDS]; NR_PAGES];
            let mut pages = PageArray::new(BASE, &mut memory, 0);
            let mut map = RadixMap::create(&mut pages).expect("a page");
            for (range, order) in ranges {
                map.mark_range(&mut pages, range.clone(), *order).expect("pages enough");
            }
            input(&pages)
        })
        .collect()
}

/// Puts the words of a map down as an input.
fn input(pages: &impl Pages) -> Vec<u8> {
    let mut input = Vec::new();
    for page in 0..NR_PAGES {
        for index in 0..NODE_WORDS {
            let word = pages.load(BASE + page as u64 * PAGE_BYTES, index).unwrap_or(0);
            if word == 0 {
                continue;
            }
            let child = word
                .checked_sub(BASE)
                .filter(|offset| offset % PAGE_BYTES == 0)
                .map(|offset| offset / PAGE_BYTES);
            let (kind, value) = match child {
                Some(child) if child < NR_PAGES as u64 => (1, child),
                _ => (0, word),
            };
            input.extend([page as u8, kind]);
            input.extend((index as u16).to_le_bytes());
            input.extend(value.to_le_bytes());
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        for seed in seeds() {
            let mut memory = memory(&seed);
            let pages = PageArray::new(BASE, &mut memory, NR_PAGES);
            let (_, summary) = RadixMap::open(&pages, BASE, &Limits::within(0..MEMORY), |_| true).unwrap();
            assert!(summary.nr_frames > 0);
        }
    }
}
