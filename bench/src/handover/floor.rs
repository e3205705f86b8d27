//! The floors: this machine's price of starting a program that maps an untouched memfd of the heap's size and reads one byte.

use std::path::{Path, PathBuf};

use rustix::fs::MemfdFlags;

use super::contestant::{Contestant, System};
use super::generation::Generation;
use super::sample::{Sample, now_ns};

/// Bytes of a heap for each object, as Heirloom takes them.
const HEAP_BYTES_PER_OBJECT: u64 = 172;

/// A start beside the parent, or (`floor-exec`) in place of a process.
pub(super) struct Floor {
    system: System,
    program: PathBuf,
    size_bytes: u64,
}

impl Floor {
    pub(super) fn new(system: System, program: &Path, count: u64) -> Self {
        Self { system, program: program.to_owned(), size_bytes: count * HEAP_BYTES_PER_OBJECT }
    }
}

impl Contestant for Floor {
    fn system(&self) -> System {
        self.system
    }

    fn sample(&mut self) -> Result<Sample, String> {
        let memory = rustix::fs::memfd_create("heirloom-floor", MemfdFlags::CLOEXEC);
        let memory = memory.map_err(|error| error.to_string())?;
        rustix::fs::ftruncate(&memory, self.size_bytes).map_err(|error| error.to_string())?;
        // The clock is read before all that the parent does: a hand-over's successor has to be started by somebody, too.
        let since = now_ns().to_string();
        let arguments: &[&str] =
            if self.system == System::FloorExec { &["floor-exec"] } else { &["floor", &since] };
        let mut child = Generation::start_with(&self.program, arguments, Some(memory))?;
        let line = child.line()?;
        let us: f64 = line.parse().map_err(|_| format!("no time: `{line}`"))?;
        Ok(Sample { blackout_us: us, first_read_us: us, start_us: us, ..Sample::default() })
    }
}
