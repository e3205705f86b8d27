//! The first workload: an inverted index over text files, every byte of it in the heap.
//!
//! ```text
//! terms   "heap"  -> [ (file 0, line 3) (file 0, line 9) (file 4, line 1) ]
//!         "slab"  -> [ (file 4, line 1) ]
//! files   0: path, size, checksum of its bytes, number and checksum of its postings
//! tally   the sums over all of it, kept up to date with every change and never recounted by the one who writes them
//! ```
//!
//! `churn` changes it, `verify` walks it and compares.

use heirloom::sync::RwLock;
use heirloom::{AllocError, HashMap, Heritable, String, Vec};

use super::words::{checksum, for_each_term, posting_checksum};

heirloom::root! {
    /// The index that all generations share.
    pub(crate) static INDEX: RwLock<Index> = "index";
}

/// The whole index.
#[derive(Default, Heritable)]
#[repr(C)]
pub(crate) struct Index {
    pub(crate) terms: HashMap<String, Vec<Posting>>,
    pub(crate) files: Vec<File>,
    pub(crate) tally: Tally,
    /// The terms that every generation is asked for.
    pub(crate) queries: Vec<String>,
}

/// A line on which a term stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Heritable)]
#[repr(C)]
pub(crate) struct Posting {
    /// Place in [`Index::files`].
    pub(crate) file: u32,
    /// Counts from 1.
    pub(crate) line: u32,
}

/// A row of the file table. A file that is dropped leaves its row for the next one.
#[derive(Default, Heritable)]
#[repr(C)]
pub(crate) struct File {
    /// The bytes of the path: a path need not be UTF-8.
    pub(crate) path: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) modified_ns: i64,
    /// Of the bytes of the file.
    pub(crate) checksum: u64,
    pub(crate) nr_postings: u64,
    /// Sum of [`posting_checksum`] over its postings.
    pub(crate) postings_sum: u64,
    /// 1 while the file is indexed, 0 when the row is free. Not a `bool`: any bits may lie in an inherited heap.
    pub(crate) is_alive: u64,
}

/// What must come out when the index is walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Heritable)]
#[repr(C)]
pub(crate) struct Tally {
    pub(crate) nr_terms: u64,
    pub(crate) nr_files: u64,
    pub(crate) nr_postings: u64,
    pub(crate) postings_sum: u64,
    pub(crate) file_bytes: u64,
}

/// A file as it is put in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewFile<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) bytes: &'a [u8],
    pub(crate) modified_ns: i64,
}

impl Index {
    /// Puts a file in. All or nothing: where the heap is full, what had gone in is taken out again.
    pub(crate) fn add(&mut self, new: NewFile<'_>) -> Result<(), AllocError> {
        let row = self.free_row()?;
        let number = u32::try_from(row).expect("fewer than 2^32 files");
        let mut file = File { path: try_bytes(new.path)?, ..File::default() };
        let filled = self.add_postings(number, new.bytes, &mut file);
        file.size = new.bytes.len() as u64;
        file.modified_ns = new.modified_ns;
        file.checksum = checksum(new.bytes);
        file.is_alive = 1;
        self.tally.nr_files += 1;
        self.tally.file_bytes += file.size;
        self.files[row] = file;
        if filled.is_err() {
            self.drop_files(&[row]);
        }
        filled
    }

    fn free_row(&mut self) -> Result<usize, AllocError> {
        // Rows get free only in a churn, which takes them again at once: the search is short where it counts.
        if self.tally.nr_files < self.files.len() as u64
            && let Some(row) = self.files.iter().position(|file| file.is_alive == 0)
        {
            return Ok(row);
        }
        self.files.try_push(File::default())?;
        Ok(self.files.len() - 1)
    }

    fn add_postings(&mut self, number: u32, bytes: &[u8], file: &mut File) -> Result<(), AllocError> {
        let Self { terms, tally, .. } = self;
        for_each_term(bytes, |term, line| {
            let posting = Posting { file: number, line };
            if let Some(postings) = terms.get_mut(term) {
                if postings.last() == Some(&posting) {
                    return Ok(());
                }
                postings.try_push(posting)?;
            } else {
                let mut postings = Vec::new();
                postings.try_push(posting)?;
                terms.try_insert(String::try_from_str(term)?, postings)?;
                tally.nr_terms += 1;
            }
            let sum = posting_checksum(checksum(term.as_bytes()), number, line);
            file.nr_postings += 1;
            file.postings_sum = file.postings_sum.wrapping_add(sum);
            tally.nr_postings += 1;
            tally.postings_sum = tally.postings_sum.wrapping_add(sum);
            Ok(())
        })
    }

    /// Takes files out, given their rows in rising order: one walk for all of them.
    pub(crate) fn drop_files(&mut self, rows: &[usize]) {
        for &row in rows {
            let file = std::mem::take(&mut self.files[row]);
            self.tally.nr_files -= 1;
            self.tally.file_bytes -= file.size;
            self.tally.nr_postings -= file.nr_postings;
            self.tally.postings_sum = self.tally.postings_sum.wrapping_sub(file.postings_sum);
        }
        let before = self.terms.len();
        self.terms.retain(|_, postings| {
            postings.retain(|posting| rows.binary_search(&(posting.file as usize)).is_err());
            !postings.is_empty()
        });
        self.tally.nr_terms -= (before - self.terms.len()) as u64;
    }

    /// Looks a term up.
    pub(crate) fn find(&self, term: &str) -> Option<Hit<'_>> {
        let postings = self.terms.get(term)?;
        let first = *postings.first()?;
        let file = self.files.get(first.file as usize)?;
        Some(Hit { nr_lines: postings.len(), path: &file.path, line: first.line })
    }

    /// Chooses the three terms that every generation will be asked for: a frequent one, a middling and a rare one.
    pub(crate) fn choose_queries(&mut self) -> Result<(), AllocError> {
        let mut by_length: std::vec::Vec<(usize, &str)> = self
            .terms
            .iter()
            .filter(|(term, _)| is_telling(term))
            .map(|(term, p)| (p.len(), term.as_str()))
            .collect();
        if by_length.is_empty() {
            by_length = self.terms.iter().map(|(term, postings)| (postings.len(), term.as_str())).collect();
        }
        by_length.sort_unstable_by(|a, b| b.cmp(a));
        let Some(last) = by_length.len().checked_sub(1) else { return Ok(()) };
        let mut queries = Vec::new();
        for at in [0, (last / 100).min(last), last / 2] {
            queries.try_push(String::try_from_str(by_length[at].1)?)?;
        }
        self.queries = queries;
        Ok(())
    }
}

/// Whether a term says something: a word of some length and no number.
fn is_telling(term: &str) -> bool {
    term.len() >= 4 && term.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit<'a> {
    pub(crate) nr_lines: usize,
    /// Of the file of the first line.
    pub(crate) path: &'a [u8],
    pub(crate) line: u32,
}

pub(crate) fn try_bytes(bytes: &[u8]) -> Result<Vec<u8>, AllocError> {
    let mut copy = Vec::try_with_capacity(bytes.len())?;
    copy.try_extend_from_copy(bytes)?;
    Ok(copy)
}
