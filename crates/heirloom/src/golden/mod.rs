//! Golden files of the collections: one value of each, as its bytes lie in a heap, and read back.
//!
//! ```text
//! object 16 bytes            the value itself; words that are zero are left out
//!   0000 -> block 0 + 0      an address
//!   0008 0000000000000003
//! block 0: 32 bytes, align 8
//!   0000 0000000000000001
//! ```
//!
//! A test builds the value in blocks that are zero and noted down, compares them with the file, then builds blocks from the file and
//! takes them for the value: it must hold what it should, and give back each block with the layout that it has. With `HEIRLOOM_BLESS` set the
//! file is written instead of compared; a file of a released version never changes.

#![expect(unsafe_code, reason = "takes the words of a file for a value")]
#![cfg(not(miri))]

mod tests;

use std::alloc::Layout;
use std::fmt::Write as _;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use crate::alloc::recorded::{self, Block};
use crate::generation::pretend;

/// A value's words, and those of its blocks.
pub(crate) struct Image {
    pub(crate) object: Vec<Word>,
    pub(crate) blocks: Vec<(Layout, Vec<Word>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Plain(u64),
    /// An address in a block.
    In(usize, u64),
}

/// Compares a value with its file, and reads it back.
pub(crate) fn check<T>(name: &str, build: impl FnOnce() -> T, is_right: impl FnOnce(&mut T)) {
    pretend(1);
    recorded::start();
    let value = ManuallyDrop::new(build());
    let blocks = recorded::blocks();
    let written = print(&*value, &blocks);
    drop(ManuallyDrop::into_inner(value));
    assert!(recorded::stop().is_empty(), "{name}: a block was not given back");

    let path = path(name);
    if std::env::var_os("HEIRLOOM_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, file, "{name}: the layout has changed; so must its version and its file");

    // The next generation, with blocks at other addresses.
    pretend(2);
    recorded::start();
    let image = load(name);
    assert_eq!(image.object.len() * 8, size_of::<T>());
    let blocks: Vec<*mut u64> = image
        .blocks
        .iter()
        .map(|(layout, _)| crate::alloc::allocate(*layout).unwrap().as_ptr().cast())
        .collect();
    let word = |word: &Word| match *word {
        Word::Plain(word) => word,
        Word::In(block, offset) => blocks[block].expose_provenance() as u64 + offset,
    };
    for ((_, words), block) in image.blocks.iter().zip(&blocks) {
        // SAFETY: blocks hold whole words.
        words.iter().enumerate().for_each(|(index, value)| unsafe { block.add(index).write(word(value)) });
    }
    let object: Vec<u64> = image.object.iter().map(word).collect();
    // SAFETY: the words are those of a value of this type, whose blocks are there.
    let mut value = unsafe { object.as_ptr().cast::<T>().read() };
    is_right(&mut value);
    drop(value);
    assert!(recorded::stop().is_empty(), "{name}: a block was not given back");
}

/// Reads a file.
pub(crate) fn load(name: &str) -> Image {
    let file = std::fs::read_to_string(path(name)).unwrap();
    let (mut object, mut blocks) = (Vec::new(), Vec::new());
    for line in file.lines() {
        let parts: Vec<&str> = line.trim().split([' ', ':', ',']).filter(|part| !part.is_empty()).collect();
        let number = |at: usize| parts[at].parse::<usize>().unwrap();
        match parts[0] {
            "object" => object = vec![Word::Plain(0); number(1) / 8],
            "block" => {
                let layout = Layout::from_size_align(number(2), number(5)).unwrap();
                blocks.push((layout, vec![Word::Plain(0); layout.size().div_ceil(8)]));
            }
            offset => {
                let at = usize::from_str_radix(offset, 16).unwrap() / 8;
                let words = blocks.last_mut().map_or(&mut object, |(_, words)| words);
                words[at] = match parts[1] {
                    "->" => Word::In(number(3), parts[5].parse().unwrap()),
                    word => Word::Plain(u64::from_str_radix(word, 16).unwrap()),
                };
            }
        }
    }
    Image { object, blocks }
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "src", "golden", &format!("{name}.txt")].iter().collect()
}

fn print<T>(value: &T, blocks: &[Block]) -> String {
    let mut text = format!("object {} bytes\n", size_of::<T>());
    // SAFETY: the values of these tests are whole words without padding.
    unsafe { print_words(&mut text, std::ptr::from_ref(value).cast(), size_of::<T>(), blocks) };
    for (index, block) in blocks.iter().enumerate() {
        let (size, align) = (block.layout.size(), block.layout.align());
        writeln!(text, "block {index}: {size} bytes, align {align}").unwrap();
        // SAFETY: a block that is noted down is there, was zero, and is whole words long.
        unsafe { print_words(&mut text, block.start.cast_const().cast(), size, blocks) };
    }
    text
}

/// # Safety
///
/// So many bytes, rounded up to words, are there.
unsafe fn print_words(text: &mut String, start: *const u64, size: usize, blocks: &[Block]) {
    for index in 0..size.div_ceil(8) {
        // SAFETY: the caller's duty.
        let word = unsafe { start.add(index).read() };
        let holds = |block: &Block| {
            (word as usize).checked_sub(block.start.addr()).is_some_and(|offset| offset < block.layout.size())
        };
        if let Some(at) = blocks.iter().position(holds) {
            let offset = word as usize - blocks[at].start.addr();
            writeln!(text, "  {:04x} -> block {at} + {offset}", index * 8).unwrap();
        } else if word != 0 {
            writeln!(text, "  {:04x} {word:016x}", index * 8).unwrap();
        }
    }
}
