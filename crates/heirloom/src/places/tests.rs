//! The golden files are walked over as they are, and with words changed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::golden::{Word, load};

/// Blocks of a golden file, each at an address of its own.
#[derive(Clone)]
struct Blocks(BTreeMap<u64, Vec<u8>>);

const OBJECT: u64 = 0x1000;

impl Blocks {
    fn load(name: &str) -> Self {
        let image = load(name);
        let address = |block: usize| 0x1_0000 * (block as u64 + 1);
        let bytes = |words: &[Word]| {
            let word = |word: &Word| match *word {
                Word::Plain(word) => word,
                Word::In(block, offset) => address(block) + offset,
            };
            words.iter().flat_map(|value| word(value).to_le_bytes()).collect::<Vec<u8>>()
        };
        let blocks =
            image.blocks.iter().enumerate().map(|(index, (_, words))| (address(index), bytes(words)));
        Self(blocks.chain([(OBJECT, bytes(&image.object))]).collect())
    }
}

impl Memory for Blocks {
    fn holds(&self, address: u64, len: u64) -> bool {
        let Some((start, block)) = self.0.range(..=address).next_back() else { return false };
        (address - start).checked_add(len).is_some_and(|end| end <= block.len() as u64)
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        if !self.holds(address, bytes.len() as u64) {
            return false;
        }
        let (start, block) = self.0.range(..=address).next_back().unwrap();
        let offset = (address - start) as usize;
        bytes.copy_from_slice(&block[offset..offset + bytes.len()]);
        true
    }
}

const U64: Argument = Argument { size: 8, align: 8 };

/// A golden file, how its type is called, where the collection lies in it, and how many elements and blocks it has.
type Golden = (&'static str, &'static str, u32, &'static [Argument], u64, usize, usize);

const GOLDEN: [Golden; 15] = [
    ("boxed-v1", "Box", 1, &[U64], 0, 1, 1),
    ("vec-v1", "Vec", 1, &[U64], 0, 3, 1),
    ("vec_deque-v2", "VecDeque", 2, &[U64], 0, 4, 1),
    ("byte_string-v1", "ByteString", 1, &[], 24, 0, 0),
    ("byte_string-v1", "ByteString", 1, &[], 48, 0, 1),
    ("string-v2", "String", 2, &[], 48, 0, 1),
    ("box_slice-v1", "BoxSlice", 1, &[U64], 0, 3, 1),
    ("box_str-v1", "BoxStr", 1, &[], 0, 0, 1),
    ("hash_map-v1", "HashMap", 1, &[U64, U64], 0, 16, 1),
    ("hash_set-v1", "HashSet", 1, &[U64], 0, 5, 1),
    ("btree_map-v1", "BTreeMap", 1, &[U64, U64], 0, 80, 3),
    ("btree_set-v1", "BTreeSet", 1, &[U64], 0, 5, 1),
    ("rc-v1", "Rc", 1, &[U64], 0, 1, 1),
    ("arc-v1", "ArcWeak", 1, &[U64], 0, 0, 1),
    ("interner-v1", "Interner", 1, &[], 0, 0, 5),
];

/// Walks, and returns the words of the elements of argument 0, and how many elements and blocks there are.
fn walk(
    blocks: &Blocks,
    name: &str,
    version: u32,
    args: &[Argument],
    at: u64,
) -> Result<(Vec<u64>, usize, usize), Misplaced> {
    let (mut words, mut nr_elements, mut nr_blocks) = (Vec::new(), 0, 0);
    for_each_place((name, version), args, OBJECT + at, blocks, |place| match place {
        Place::Block { address, size, align } => {
            nr_blocks += 1;
            assert!(blocks.holds(address, size) && address.is_multiple_of(align));
        }
        Place::Element { argument, address } => {
            nr_elements += 1;
            let mut bytes = [0; 8];
            assert!(blocks.read(address, &mut bytes), "every element is there");
            if argument == 0 {
                words.push(u64::from_le_bytes(bytes));
            }
        }
    })?;
    Ok((words, nr_elements, nr_blocks))
}

#[test]
fn every_golden_file_is_walked_over() {
    for (file, name, version, args, at, nr_elements, nr_blocks) in GOLDEN {
        let (words, elements, blocks) = walk(&Blocks::load(file), name, version, args, at).unwrap();
        assert_eq!((elements, blocks), (nr_elements, nr_blocks), "{file} at {at}");
        match name {
            "VecDeque" => assert_eq!(words, [1, 2, 3, 4]),
            "BTreeMap" => {
                let mut sorted = words.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..40));
            }
            "HashMap" => assert_eq!(words.iter().sum::<u64>(), (0..9).sum::<u64>() - 4),
            _ => {}
        }
    }
}

#[test]
fn what_is_unknown_is_told() {
    let blocks = Blocks::load("vec-v1");
    assert_eq!(walk(&blocks, "Vec", 2, &[U64], 0), Err(Misplaced::Unknown));
    assert_eq!(walk(&blocks, "Vec", 1, &[], 0), Err(Misplaced::Unknown));
    assert_eq!(walk(&blocks, "Vec", 1, &[U64], 8), Err(Misplaced::Outside { address: OBJECT + 24, len: 8 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands there, a walk ends, and every block and element that it visits is there.
    #[test]
    fn changed_words_are_told_or_harmless(
        which in 0..GOLDEN.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6_u8, any::<u64>()), 1..4),
    ) {
        let (file, name, version, args, at, ..) = GOLDEN[which];
        let mut blocks = Blocks::load(file);
        for (block, word, kind, value) in changes {
            let starts: Vec<u64> = blocks.0.keys().copied().collect();
            let bytes = blocks.0.get_mut(&starts[block.index(starts.len())]).unwrap();
            let offset = word.index(bytes.len() / 8) * 8;
            let before = u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
            let after = match kind {
                0 => value,
                1 => before ^ (1 << (value % 64)),
                2 => before.wrapping_add(value % 64),
                3 => before.wrapping_sub(value % 64),
                4 => starts[value as usize % starts.len()],
                _ => u64::MAX >> (value % 64),
            };
            bytes[offset..offset + 8].copy_from_slice(&after.to_le_bytes());
        }
        let _told_or_harmless = walk(&blocks, name, version, args, at);
    }
}
