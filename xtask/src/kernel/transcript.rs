//! What the kernel prints, and what is wrong with it.
//!
//! ```text
//! {"generation":1,"objects":..,..}          one a generation
//! heirloom-kernel: 3 generations, 2,048 inherited, 0 lost, 0 stale, 0 stranded          the last
//! anything else                                                                          for people: guard reports, panics
//! ```

use std::collections::VecDeque;

use serde::Deserialize;

use super::qemu::Ended;

/// What the kernel says of one generation. The fields are named as they are printed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generation {
    pub(super) generation: u64,
    pub(super) objects: u64,
    pub(super) lost: u64,
    pub(super) corrupt: u64,
    pub(super) stale_bytes: u64,
    pub(super) stranded_bytes: u64,
    pub(super) preserved_pages: u64,
    pub(super) metadata_pages: u64,
    pub(super) metadata_in_scratch: u64,
    pub(super) guard_samples: u64,
    pub(super) guard_reports: u64,
    pub(super) boot_us: u64,
    pub(super) freeze_us: u64,
}

/// What a line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Generation,
    Other,
}

/// How many lines are kept for a person to look at when something went wrong.
const NR_LAST_WORDS: usize = 20;

/// What a generation reports at least: it provokes one overflow and one use after free.
const MIN_GUARD_REPORTS: u64 = 2;

/// Everything that was heard.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    pub(super) generations: Vec<Generation>,
    /// The line that sums up.
    pub(super) last_line: String,
    malformed: Vec<String>,
    recent: VecDeque<String>,
}

impl Transcript {
    /// Takes down a line.
    pub(super) fn hear(&mut self, line: &str) -> Word {
        if line.starts_with('{') {
            match serde_json::from_str(line) {
                Ok(generation) => {
                    self.generations.push(generation);
                    return Word::Generation;
                }
                Err(error) => self.malformed.push(format!("{error}: {line}")),
            }
        }
        if line.starts_with("heirloom-kernel: ") {
            line.clone_into(&mut self.last_line);
        }
        if self.recent.len() == NR_LAST_WORDS {
            self.recent.pop_front();
        }
        self.recent.push_back(line.to_owned());
        Word::Other
    }

    /// Returns the last lines that were no reports.
    pub(super) fn last_words(&self) -> String {
        self.recent.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Collects all that is wrong with a run of so many generations that ended so.
    pub(super) fn faults(&self, nr_generations: u32, ended: Ended) -> Vec<String> {
        let mut faults = Vec::new();
        match ended {
            Ended::Success => {}
            Ended::Failure => faults.push("the kernel says that the run failed".to_owned()),
            Ended::Otherwise(Some(status)) => {
                faults
                    .push(format!("QEMU ended with status {status}, and the kernel did not say how it went"));
            }
            Ended::Otherwise(None) => faults.push("QEMU was killed".to_owned()),
            Ended::TimedOut(limit) => {
                faults.push(format!("the run was not over after {} s", limit.as_secs()));
            }
        }
        faults.extend(self.malformed.iter().map(|line| format!("a report that is none: {line}")));
        let numbers = self.generations.iter().map(|generation| generation.generation);
        if !numbers.eq(1..=u64::from(nr_generations)) {
            let heard: Vec<String> =
                self.generations.iter().map(|generation| generation.generation.to_string()).collect();
            faults.push(format!("reports of generations 1 to {nr_generations} expected, heard {heard:?}"));
        }
        for generation in &self.generations {
            faults.extend(
                generation.faults().map(|fault| format!("generation {}: {fault}", generation.generation)),
            );
        }
        faults.extend(self.fault_of_last_line(nr_generations));
        faults
    }

    fn fault_of_last_line(&self, nr_generations: u32) -> Option<String> {
        let objects = self
            .last_line
            .strip_prefix(&format!("heirloom-kernel: {nr_generations} generations, "))
            .and_then(|rest| rest.strip_suffix(" inherited, 0 lost, 0 stale, 0 stranded"));
        let Some(objects) = objects else {
            return Some(format!("the last line is not the one expected: {:?}", self.last_line));
        };
        // Nothing can be inherited by a single generation, and nothing cannot be by more.
        match objects.parse::<u64>() {
            Ok(objects) if (objects > 0) == (nr_generations > 1) => None,
            _ => Some(format!("{objects} objects inherited by {nr_generations} generations")),
        }
    }
}

impl Generation {
    fn faults(&self) -> impl Iterator<Item = String> {
        let must_be_zero = [
            ("lost", self.lost),
            ("corrupt", self.corrupt),
            ("stale bytes", self.stale_bytes),
            ("stranded bytes", self.stranded_bytes),
            ("pages of metadata in scratch", self.metadata_in_scratch),
        ];
        let reports = (self.guard_reports < MIN_GUARD_REPORTS).then(|| {
            format!("{} guard reports, at least {MIN_GUARD_REPORTS} were provoked", self.guard_reports)
        });
        let empty = (self.objects == 0).then(|| "no objects".to_owned());
        let wrong = must_be_zero.into_iter().filter(|(_, count)| *count != 0);
        wrong.map(|(what, count)| format!("{count} {what}")).chain(reports).chain(empty)
    }
}
