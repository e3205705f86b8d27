//! What all contestants hand over: objects whose size and bytes follow from their number.
//!
//! ```text
//! object   | number | word | word | .. | start of a word |      16 to 255 bytes, 135 on average
//!          0        8      16
//! ```
//!
//! So whoever has an object can tell whether it is whole, and the sum of all words tells whether all of them are there. No
//! time goes into making them that would have to be taken off a figure.

/// The bytes of the smallest object.
const SMALLEST: u64 = 16;

/// One more than the bytes of the largest.
const END: u64 = 256;

/// Spreads a number over all 64 bits (the finalizer of splitmix64).
pub(crate) const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The bytes of object `number`.
pub(crate) const fn size_bytes(number: u64) -> usize {
    (SMALLEST + mix(number) % (END - SMALLEST)) as usize
}

/// Writes object `number` into bytes of its size.
pub(crate) fn fill(number: u64, object: &mut [u8]) {
    let (head, rest) = object.split_at_mut(8);
    head.copy_from_slice(&number.to_le_bytes());
    let mut word = mix(!number);
    for chunk in rest.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = word.rotate_left(7);
    }
}

/// True for an object that is exactly what [`fill`] makes of `number`.
pub(crate) fn is_whole(number: u64, object: &[u8]) -> bool {
    let mut made = [0; END as usize];
    let Some(made) = made.get_mut(..object.len()).filter(|made| made.len() == size_bytes(number)) else {
        return false;
    };
    fill(number, made);
    made == object
}

/// Reads every byte of an object: the sum of its words.
pub(crate) fn sum(object: &[u8]) -> u64 {
    let (words, rest) = object.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words.iter().fold(0u64, |sum, &word| sum.wrapping_add(u64::from_le_bytes(word)));
    sum.wrapping_add(u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_follows_from_its_number_and_every_byte_counts() {
        for number in 0..1000 {
            let mut object = vec![0; size_bytes(number)];
            fill(number, &mut object);
            assert!(is_whole(number, &object) && !is_whole(number + 1, &object));
            let before = sum(&object);
            for at in 0..object.len() {
                object[at] ^= 1;
                assert!(!is_whole(number, &object) && sum(&object) != before, "byte {at} of {number}");
                object[at] ^= 1;
            }
        }
    }

    #[test]
    fn sizes_are_16_to_255_bytes() {
        let sizes: Vec<usize> = (0..100_000).map(size_bytes).collect();
        assert_eq!((sizes.iter().min(), sizes.iter().max()), (Some(&16), Some(&255)));
    }
}
