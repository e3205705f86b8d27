//! What a generation does with its heap, whichever of the two workloads it serves.

use std::fmt;
use std::path::{Path, PathBuf};

use heirloom::{AllocError, Inside};

use super::churn::{churn_index, churn_objects};
use super::index::{INDEX, Index, NewFile};
use super::message::{Answer, Message, tell};
use super::objects::{OBJECTS, is_whole, read};
use super::plan::ObjectsPlan;
use super::random::Random;
use super::verify::{verify_index, verify_objects};
use super::walk_input::{InputError, collect_files, read_text};
use crate::quantity::Count;

/// How many queries a generation answers.
pub(crate) const NR_QUERIES: usize = 3;

/// A hand-over waits until everyone is out, so nobody can have been in the middle of a change.
const POISONED: &str = "a thread of an earlier generation was in the middle of a change";

/// Why a generation could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("{done}: {source}")]
    Full { done: String, source: AllocError },
}

/// One of the two workloads.
pub(crate) trait Workload: Sync {
    /// Fills the heap of generation 1.
    fn build(&self, inside: &Inside<'_>, random: &mut Random) -> Result<(), WorkError>;

    /// Does one operation: whether query number `which` found anything.
    fn query(&self, inside: &Inside<'_>, which: usize) -> bool;

    /// Does the same operation and puts it into words.
    fn answer(&self, inside: &Inside<'_>, which: usize) -> Answer;

    /// Walks everything and says what is wrong.
    fn verify(&self, inside: &Inside<'_>, random: &mut Random) -> Vec<String>;

    /// Drops a tenth and puts it in again.
    fn churn(&self, inside: &Inside<'_>, random: &mut Random) -> Result<(), WorkError>;
}

/// The index over the text files below `inputs`.
#[derive(Debug)]
pub(crate) struct Files {
    /// Read by generation 1 only.
    pub(crate) inputs: Vec<PathBuf>,
}

impl Workload for Files {
    fn build(&self, inside: &Inside<'_>, _random: &mut Random) -> Result<(), WorkError> {
        let walked = collect_files(&self.inputs)?;
        let (mut nr_binary, mut nr_unreadable) = (0_u64, walked.nr_unreadable);
        let mut index = INDEX.get(inside).write();
        for (done, path) in walked.files.iter().enumerate() {
            if done.is_multiple_of(64) {
                progress("reading files", done as u64, walked.files.len() as u64);
            }
            match read_text(path) {
                Ok(Some(text)) => add_file(&mut index, path, &text.bytes, text.modified_ns)?,
                Ok(None) => nr_binary += 1,
                Err(_) => nr_unreadable += 1,
            }
        }
        if index.tally.nr_files == 0 {
            return Err(InputError::Empty(self.inputs.clone()).into());
        }
        index
            .choose_queries()
            .map_err(|source| WorkError::Full { done: "queries not chosen".to_owned(), source })?;
        let tally = index.tally;
        note(format!(
            "indexed {} files: {} terms, {} postings ({} binary and {} unreadable files passed over)",
            Count(tally.nr_files),
            Count(tally.nr_terms),
            Count(tally.nr_postings),
            Count(nr_binary),
            Count(nr_unreadable)
        ));
        Ok(())
    }

    fn query(&self, inside: &Inside<'_>, which: usize) -> bool {
        let index = INDEX.get(inside).read();
        index.queries.get(which).is_some_and(|term| index.find(term.as_str()).is_some())
    }

    fn answer(&self, inside: &Inside<'_>, which: usize) -> Answer {
        let index = INDEX.get(inside).read();
        let term = index.queries.get(which).map_or("", |term| term.as_str());
        let answer = match index.find(term) {
            None => "on no line".to_owned(),
            Some(hit) => {
                let (lines, path) = (Count(hit.nr_lines as u64), Shown(hit.path));
                format!("{lines} lines, first {path}:{}", hit.line)
            }
        };
        Answer { query: format!("\"{term}\""), answer }
    }

    fn verify(&self, inside: &Inside<'_>, random: &mut Random) -> Vec<String> {
        let index = INDEX.get(inside);
        let mut faults = verify_index(&index.read(), random);
        if index.is_poisoned() {
            faults.push(POISONED.to_owned());
        }
        faults
    }

    fn churn(&self, inside: &Inside<'_>, random: &mut Random) -> Result<(), WorkError> {
        let mut index = INDEX.get(inside).write();
        churn_index(&mut index, random).map_err(|source| WorkError::Full {
            done: format!("{} files are left in the index", Count(index.tally.nr_files)),
            source,
        })
    }
}

fn add_file(index: &mut Index, path: &Path, bytes: &[u8], modified_ns: i64) -> Result<(), WorkError> {
    use std::os::unix::ffi::OsStrExt as _;
    let new = NewFile { path: path.as_os_str().as_bytes(), bytes, modified_ns };
    index.add(new).map_err(|source| WorkError::Full {
        done: format!("after {} files, at `{}`", Count(index.tally.nr_files), path.display()),
        source,
    })
}

/// A path that need not be UTF-8.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

/// Objects of random sizes.
#[derive(Debug)]
pub(crate) struct RandomObjects {
    pub(crate) plan: ObjectsPlan,
}

/// Progress is told once for so many objects.
const OBJECTS_A_STEP: u64 = 1 << 17;

impl Workload for RandomObjects {
    fn build(&self, inside: &Inside<'_>, random: &mut Random) -> Result<(), WorkError> {
        let mut objects = OBJECTS.get(inside).write();
        objects.reserve(self.plan).map_err(|source| WorkError::Full {
            done: format!("no room for a table of {} objects", Count(self.plan.count)),
            source,
        })?;
        for done in 0..self.plan.count {
            if done.is_multiple_of(OBJECTS_A_STEP) {
                progress("making objects", done, self.plan.count);
            }
            objects.add(self.plan, random).map_err(|source| WorkError::Full {
                done: format!("after {} of {} objects", Count(done), Count(self.plan.count)),
                source,
            })?;
        }
        Ok(())
    }

    fn query(&self, inside: &Inside<'_>, which: usize) -> bool {
        let objects = OBJECTS.get(inside).read();
        objects.table.get(place_of(which, objects.table.len())).is_some_and(|object| is_whole(object))
    }

    fn answer(&self, inside: &Inside<'_>, which: usize) -> Answer {
        let objects = OBJECTS.get(inside).read();
        let place = place_of(which, objects.table.len());
        let answer = match objects.table.get(place).and_then(|object| Some((read(object)?, object))) {
            None => "nothing".to_owned(),
            Some((head, object)) => {
                let state = if is_whole(object) { "whole" } else { "BROKEN" };
                format!("number {}, {} bytes, {state}", Count(head.number), object.len())
            }
        };
        Answer { query: format!("place {}", Count(place as u64)), answer }
    }

    fn verify(&self, inside: &Inside<'_>, _random: &mut Random) -> Vec<String> {
        let objects = OBJECTS.get(inside);
        let mut faults = verify_objects(&objects.read());
        if objects.is_poisoned() {
            faults.push(POISONED.to_owned());
        }
        faults
    }

    fn churn(&self, inside: &Inside<'_>, random: &mut Random) -> Result<(), WorkError> {
        let mut objects = OBJECTS.get(inside).write();
        churn_objects(&mut objects, self.plan, random).map_err(|source| WorkError::Full {
            done: format!("{} objects are left", Count(objects.tally.nr_objects)),
            source,
        })
    }
}

/// The places asked for: near the start, in the middle, near the end.
fn place_of(which: usize, nr_objects: usize) -> usize {
    (nr_objects / NR_QUERIES * which + nr_objects / (2 * NR_QUERIES)).min(nr_objects.saturating_sub(1))
}

// Only generation 1 builds.
fn progress(step: &str, done: u64, of: u64) {
    tell(&Message::Progress { generation: 1, step: step.to_owned(), done, of });
}

fn note(text: String) {
    tell(&Message::Note { generation: 1, text });
}
