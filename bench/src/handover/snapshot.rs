//! Serialized snapshots: the file on tmpfs, and the process that writes it.

use std::path::{Path, PathBuf};

use super::contestant::{Contestant, System};
use super::generation::Generation;
use super::sample::Sample;

/// rkyv or bincode. Each sample makes the objects anew: what an archive's reader has cannot be handed on as it is.
pub(super) struct Snapshot {
    system: System,
    program: PathBuf,
    count: u64,
}

impl Snapshot {
    pub(super) fn new(system: System, program: &Path, count: u64) -> Self {
        Self { system, program: program.to_owned(), count }
    }
}

impl Contestant for Snapshot {
    fn system(&self) -> System {
        self.system
    }

    fn sample(&mut self) -> Result<Sample, String> {
        let dir = super::server::TmpfsDir::new()?;
        let path = dir.path().join("snapshot");
        let path = path.to_str().ok_or("a path that is no text")?;
        let arguments = ["snapshot-old", self.system.name(), &self.count.to_string(), path];
        let mut old = Generation::start(&self.program, &arguments)?;
        let ready = old.line()?;
        if ready != "ready" {
            return Err(ready);
        }
        old.order("go")?;
        old.sample()
    }
}
