//! Walks everything that was inherited and compares it with what the predecessor wrote down, and with the files.

use std::collections::HashMap as Seen;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::index::{File, Index, Tally};
use super::objects::{ObjectTally, Objects, is_whole, read};
use super::random::Random;
use super::walk_input::{modified_ns, read_text};
use super::words::{checksum, for_each_term, posting_checksum};

/// How many files are read again and compared.
const SAMPLED_FILES: usize = 16;

/// More faults than these say nothing new.
const MAX_FAULTS: usize = 8;

/// Number and checksum of the postings of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PostingSum {
    count: u64,
    sum: u64,
}

impl PostingSum {
    fn add(&mut self, checksum: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(checksum);
    }
}

/// What is wrong with an index; nothing, if all is well.
pub(crate) fn verify_index(index: &Index, random: &mut Random) -> Vec<String> {
    let mut faults = Vec::new();
    let mut tally = Tally::default();
    let mut by_file = vec![PostingSum::default(); index.files.len()];

    for (term, postings) in index.terms.iter() {
        tally.nr_terms += 1;
        let term_checksum = checksum(term.as_bytes());
        if postings.is_empty() {
            faults.push(format!("term `{}` has no posting", term.as_str()));
        }
        for posting in postings.iter() {
            let sum = posting_checksum(term_checksum, posting.file, posting.line);
            tally.nr_postings += 1;
            tally.postings_sum = tally.postings_sum.wrapping_add(sum);
            match by_file.get_mut(posting.file as usize) {
                Some(file) => file.add(sum),
                None => faults.push(format!("term `{}` points at file {}", term.as_str(), posting.file)),
            }
        }
        if faults.len() >= MAX_FAULTS {
            return faults;
        }
    }
    for (file, walked) in index.files.iter().zip(&by_file) {
        if file.is_alive == 1 {
            tally.nr_files += 1;
            tally.file_bytes += file.size;
        }
        let recorded = PostingSum { count: file.nr_postings, sum: file.postings_sum };
        if *walked != recorded && faults.len() < MAX_FAULTS {
            faults.push(format!("`{}` left {recorded:?} and has {walked:?}", path_of(file).display()));
        }
    }
    if tally != index.tally {
        faults.push(format!("the predecessor left {:?} and the walk found {tally:?}", index.tally));
    }
    faults.extend(compare_with_files(index, random));
    faults
}

/// Reads a sample of the files again. One that was changed since it was indexed proves nothing and is passed over.
fn compare_with_files(index: &Index, random: &mut Random) -> Vec<String> {
    let mut faults = Vec::new();
    for row in random.sample(SAMPLED_FILES, index.files.len()) {
        let file = &index.files[row];
        let path = path_of(file);
        if file.is_alive != 1 || !is_unchanged(file, path) {
            continue;
        }
        let Ok(Some(text)) = read_text(path) else { continue };
        if checksum(&text.bytes) != file.checksum && is_unchanged(file, path) {
            faults.push(format!("`{}` does not have the checksum that was left", path.display()));
            continue;
        }
        let number = u32::try_from(row).expect("fewer than 2^32 files");
        let sum = sum_of_text(&text.bytes, number);
        if sum != (PostingSum { count: file.nr_postings, sum: file.postings_sum }) && is_unchanged(file, path)
        {
            faults.push(format!("the postings of `{}` are not those of its text", path.display()));
        }
    }
    faults
}

fn path_of(file: &File) -> &Path {
    Path::new(OsStr::from_bytes(&file.path))
}

fn is_unchanged(file: &File, path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.len() == file.size && modified_ns(&metadata) == file.modified_ns)
}

fn sum_of_text(bytes: &[u8], number: u32) -> PostingSum {
    let mut sum = PostingSum::default();
    let mut last_line: Seen<String, u32> = Seen::new();
    let walked: Result<(), std::convert::Infallible> = for_each_term(bytes, |term, line| {
        if last_line.get(term) != Some(&line) {
            last_line.insert(term.to_owned(), line);
            sum.add(posting_checksum(checksum(term.as_bytes()), number, line));
        }
        Ok(())
    });
    let Ok(()) = walked;
    sum
}

/// What is wrong with the objects; nothing, if all is well.
pub(crate) fn verify_objects(objects: &Objects) -> Vec<String> {
    let mut faults = Vec::new();
    let mut tally = ObjectTally { next_number: objects.tally.next_number, ..ObjectTally::default() };
    for (place, object) in objects.table.iter().enumerate() {
        if !is_whole(object) {
            faults.push(format!("object at place {place} ({} bytes) is not what was made", object.len()));
            if faults.len() >= MAX_FAULTS {
                return faults;
            }
        }
        tally.nr_objects += 1;
        tally.bytes += object.len() as u64;
        tally.sum = tally.sum.wrapping_add(read(object).map_or(0, |head| head.checksum));
    }
    if tally != objects.tally {
        faults.push(format!("the predecessor left {:?} and the walk found {tally:?}", objects.tally));
    }
    faults
}
