//! Cuts a text into the terms under which its lines are found.

use xxhash_rust::xxh64::xxh64;

use super::random::mix;

/// Terms of fewer bytes are noise, of more are data.
const TERM_BYTES: std::ops::RangeInclusive<usize> = 2..=64;

/// Calls `found` with each term in lower case and the number of its line; lines count from 1. A term that occurs twice
/// on a line is found twice. Stops at the first error.
pub(crate) fn for_each_term<E>(
    bytes: &[u8],
    mut found: impl FnMut(&str, u32) -> Result<(), E>,
) -> Result<(), E> {
    let mut lowered = String::new();
    for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1_u32..) {
        // Latin-1 and the like become unknown letters, which part words; the rest of the line is still found.
        for word in String::from_utf8_lossy(line).split(|c: char| !c.is_alphanumeric() && c != '_') {
            if !TERM_BYTES.contains(&word.len()) {
                continue;
            }
            if word.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
                found(word, number)?;
            } else {
                lowered.clear();
                lowered.extend(word.chars().flat_map(char::to_lowercase));
                found(&lowered, number)?;
            }
        }
    }
    Ok(())
}

/// Checksum of a term, and of a file's bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

/// Checksum of one posting. Those of many are added up, wrapping, so that they can be taken in any order and off again.
pub(crate) fn posting_checksum(term_checksum: u64, file: u32, line: u32) -> u64 {
    mix(term_checksum ^ mix(u64::from(file) << 32 | u64::from(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_words_in_lower_case_with_their_lines() {
        let mut found = Vec::new();
        let text = "Fn main() {\n  a snake_case Ünï x9\n\n\u{fffd}caf\u{e9}!".as_bytes();
        let ended: Result<(), ()> = for_each_term(text, |term, line| {
            found.push((term.to_owned(), line));
            Ok(())
        });
        assert_eq!(ended, Ok(()));
        let expected = [("fn", 1), ("main", 1), ("snake_case", 2), ("ünï", 2), ("x9", 2), ("café", 4)];
        assert_eq!(found, expected.map(|(term, line)| (term.to_owned(), line)));
    }

    #[test]
    fn bytes_that_are_not_utf8_part_words_and_lose_none() {
        let mut found = Vec::new();
        let ended: Result<(), ()> = for_each_term(b"left\xffright", |term, _| {
            found.push(term.to_owned());
            Ok(())
        });
        assert_eq!((ended, found), (Ok(()), vec!["left".to_owned(), "right".to_owned()]));
    }
}
