//! Sizes: fixed ones, and a mix drawn from what a kernel's slabs really hold.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Bytes that an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Always so many.
    Fixed(usize),
    /// Drawn from [`SLABS`].
    Mix,
}

/// The sizes that are measured unless others are asked for.
pub(crate) const ALL: [Size; 7] = [
    Size::Fixed(16),
    Size::Fixed(64),
    Size::Fixed(256),
    Size::Fixed(1024),
    Size::Fixed(4096),
    Size::Fixed(65536),
    Size::Mix,
];

/// Object sizes of a running kernel up to a page, and how many objects of each were in use: `/proc/slabinfo` of a small virtual
/// machine with Linux 6.18 and a busy file system.
const SLABS: [(u16, u32); 54] = [
    (8, 3584),
    (16, 3328),
    (24, 680),
    (32, 38486),
    (40, 45653),
    (48, 595),
    (56, 8335),
    (64, 3456),
    (72, 3920),
    (80, 204),
    (96, 18060),
    (104, 1144),
    (112, 144),
    (120, 68),
    (128, 4992),
    (136, 17217),
    (160, 50),
    (168, 2088),
    (192, 46982),
    (256, 2252),
    (288, 28),
    (320, 108),
    (384, 84),
    (448, 18),
    (512, 1151),
    (560, 28),
    (576, 56),
    (584, 16422),
    (624, 275),
    (632, 50),
    (640, 516),
    (656, 108),
    (696, 477),
    (704, 92),
    (752, 189),
    (768, 21),
    (832, 76),
    (960, 17),
    (984, 16),
    (1024, 845),
    (1128, 34104),
    (1152, 182),
    (1280, 24),
    (1344, 36),
    (1352, 12),
    (1472, 44),
    (1536, 21),
    (1600, 40),
    (2048, 475),
    (2112, 105),
    (2240, 70),
    (2368, 26),
    (2496, 13),
    (4096, 516),
];

/// Where an operation's size comes from.
pub(crate) trait Sizes: Sync {
    /// The size of operation `i`.
    fn at(&self, i: usize) -> usize;

    /// Bytes of an average object.
    fn average(&self) -> usize;
}

/// A size that the compiler knows, as that of a type is known where a `Box` of it is made.
pub(crate) struct Known<const BYTES: usize>;

impl<const BYTES: usize> Sizes for Known<BYTES> {
    #[inline(always)]
    fn at(&self, _: usize) -> usize {
        BYTES
    }

    fn average(&self) -> usize {
        BYTES
    }
}

/// Sizes that come up at run time: a table, drawn ahead of the clock, that operations read in turn.
pub(crate) struct Drawn {
    table: Vec<u32>,
}

/// Entries of the table of a mix; a power of two.
const NR_DRAWN: usize = 4096;

impl Drawn {
    pub(crate) fn new(size: Size) -> Self {
        let table = match size {
            Size::Fixed(bytes) => vec![bytes as u32],
            Size::Mix => {
                let total: u64 = SLABS.iter().map(|&(_, nr)| u64::from(nr)).sum();
                let mut random = Random(0x5eed);
                (0..NR_DRAWN).map(|_| drawn(random.next() % total)).collect()
            }
        };
        Self { table }
    }
}

impl Sizes for Drawn {
    #[inline(always)]
    fn at(&self, i: usize) -> usize {
        // The length is 1 or `NR_DRAWN`, so this is a mask, and of a fixed size always the same entry.
        self.table[i & (self.table.len() - 1)] as usize
    }

    fn average(&self) -> usize {
        self.table.iter().map(|&bytes| bytes as usize).sum::<usize>() / self.table.len()
    }
}

fn drawn(mut ticket: u64) -> u32 {
    for &(bytes, nr) in &SLABS {
        match ticket.checked_sub(u64::from(nr)) {
            Some(rest) => ticket = rest,
            None => return u32::from(bytes),
        }
    }
    u32::from(SLABS[0].0)
}

/// A small generator (xorshift64*), the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    #[inline(always)]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::Mix => write!(f, "mix"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "mix" {
            return Ok(Self::Mix);
        }
        let bytes = text.parse().map_err(|_| format!("`{text}` is neither a number of bytes nor `mix`"))?;
        if (8..=1 << 20).contains(&bytes) {
            Ok(Self::Fixed(bytes))
        } else {
            Err("8 to 1048576 bytes".to_owned())
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(bytes) => serializer.serialize_u64(*bytes as u64),
            Self::Mix => serializer.serialize_str("mix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_drawn_by_the_shares_of_the_slabs() {
        let sizes = Drawn::new(Size::Mix);
        let nr = |bytes| (0..NR_DRAWN).filter(|&i| sizes.at(i) == bytes).count();
        assert!(nr(192) > nr(64) && nr(64) > nr(2048));
        assert!((100..600).contains(&sizes.average()), "{}", sizes.average());
    }

    #[test]
    fn a_fixed_size_is_always_the_same() {
        let sizes = Drawn::new(Size::Fixed(64));
        assert_eq!((sizes.at(0), sizes.at(12345), sizes.average()), (64, 64, 64));
    }
}
