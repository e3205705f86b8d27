//! Marks: every word of an object says whose it is, so a scan of memory knows whose stale bytes it sees.
//!
//! ```text
//!  63       48 47 46                16 15        0
//! +-----------+--+--------------------+-----------+
//! |   0x4d4b  |p | number of object   | word      |     p: it was to be handed over
//! +-----------+--+--------------------+-----------+
//! ```

use crate::ram::Ram;

const TAG: u64 = 0x4d4b;

/// Numbers of objects are below this.
pub const MAX_OBJECTS: u32 = 1 << 31;

/// What a word of memory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The object's number.
    pub id: u32,
    /// True where the object was to be handed over.
    pub is_preserved: bool,
    /// Which word of the object it is, modulo 2^16.
    pub word: u16,
}

impl Mark {
    /// The word that says this.
    pub fn to_word(self) -> u64 {
        TAG << 48 | u64::from(self.is_preserved) << 47 | u64::from(self.id) << 16 | u64::from(self.word)
    }

    /// What a word says; `None` where it is no mark.
    pub fn of_word(word: u64) -> Option<Self> {
        let id = (word >> 16) as u32 & (MAX_OBJECTS - 1);
        let mark = Self { id, is_preserved: word >> 47 & 1 == 1, word: word as u16 };
        (word >> 48 == TAG).then_some(mark)
    }
}

/// Fills an object with its mark. Sizes are multiples of 8.
pub(crate) fn fill(ram: &Ram<'_>, phys: u64, bytes: u64, id: u32, is_preserved: bool) {
    let mark = |word: usize| Mark { id, is_preserved, word: word as u16 }.to_word();
    ram.write_words(phys, (0..(bytes / 8) as usize).map(mark));
}

/// True where every word of an object is as it was filled.
pub(crate) fn is_whole(ram: &Ram<'_>, phys: u64, bytes: u64, id: u32, is_preserved: bool) -> bool {
    let nr = (bytes / 8) as usize;
    ram.words(phys, nr)
        .enumerate()
        .all(|(word, found)| found == Mark { id, is_preserved, word: word as u16 }.to_word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_whose_it_is() {
        for (id, is_preserved, word) in
            [(0, false, 0), (MAX_OBJECTS - 1, true, 7), (123_456, false, u16::MAX)]
        {
            let mark = Mark { id, is_preserved, word };
            assert_eq!(Mark::of_word(mark.to_word()), Some(mark));
        }
        for word in [0, u64::MAX, 0x1234_5678] {
            assert_eq!(Mark::of_word(word), None);
        }
    }
}
