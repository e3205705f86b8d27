//! What a program would do with a heap that is not this process's: asked of its file, never by running it.
//!
//! ```text
//! roots of the heap --+
//!                     +--> each root: taken | described anew | migrates | rolled back by its owner | refused
//! notes of the file --+       the owner's own notes, where it lives, say what it can write for an older program
//! ```

use std::path::{Path, PathBuf};

use heirloom_abi::pool::Memory;
use heirloom_abi::roots::Roots;

use super::{ForeignError, Image, Target};
use crate::evolve::count::HeapMemory;
use crate::evolve::{CandidateReport, RootReport};
use crate::heap::migrate::{way_back, way_of};
use crate::heap::roots::{self, Entry, RootError};
use crate::note::{Candidate, CandidateError, HeapFormat, read_candidate};

impl Image {
    /// Asks the program at `program` what it would do with each root of this heap.
    ///
    /// # Errors
    ///
    /// [`ForeignError`]; [`ForeignError::Candidate`] where nothing is known of the program, or it does not read the heap's format.
    pub fn check_candidate(&self, program: &Path) -> Result<CandidateReport, ForeignError> {
        let candidate = read_candidate(program)?;
        // Another version's heap is refused when it is opened: what was read is of this one.
        candidate.check_format(HeapFormat::CURRENT)?;
        let region = self.header.identity.roots;
        let mut bytes = vec![0; roots::record_bytes(region).map_err(RootError::from)?];
        let outside = heirloom_abi::pool::PoolError::Outside { what: "roots record", offset: region.offset };
        self.file.read(region.offset, &mut bytes).ok_or(outside)?;
        let entries = roots::entries_of(&Roots::read(&bytes).map_err(RootError::from)?);
        let owner = self.find_owner().and_then(|path| read_candidate(&path).ok());
        let memory = HeapMemory { file: &self.file, base: self.header.identity.base };
        let report = |entry: Entry| {
            let ask_back = || {
                let owner = owner.as_ref().ok_or(None)?;
                ask_owner(owner, &entry, &candidate)
            };
            let way = way_of(&entry, &candidate, &memory, ask_back);
            RootReport { name: entry.name, way }
        };
        let current = entries.into_iter().filter(|entry| entry.is_current);
        Ok(CandidateReport { roots: current.map(report).collect() })
    }

    /// The file of the program that has the heap now.
    fn find_owner(&self) -> Option<PathBuf> {
        let state = &self.header.state;
        let pid = match &self.target {
            Target::Process(pid) => *pid,
            Target::File(_) => state.owner_pid,
        };
        let lives = pid == state.owner_pid && crate::sys::start_ticks(pid) == Some(state.owner_start_ticks);
        lives.then(|| format!("/proc/{pid}/exe").into())
    }
}

fn ask_owner(
    owner: &Candidate,
    entry: &Entry,
    candidate: &Candidate,
) -> Result<crate::evolve::plan::Plan, Option<String>> {
    let same = owner.root(&entry.name).is_ok_and(|form| form == entry.ty);
    let rules = owner.rules(&entry.name).filter(|_| same).ok_or(None)?;
    way_back(rules, candidate.root(&entry.name).map_err(|_: CandidateError| None)?)
}
