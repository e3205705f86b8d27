//! The table of what became of all runs.

use std::collections::BTreeMap;
use std::fmt;

use crate::case::Case;
use crate::watch::Has;

#[derive(Default)]
struct Row {
    nr: usize,
    old_owner: usize,
    heir: usize,
    next_start: usize,
    failed: usize,
}

#[derive(Default)]
pub(crate) struct Table(BTreeMap<(String, String, &'static str), Row>);

impl Table {
    pub(crate) fn add(&mut self, case: &Case, outcome: &Result<Has, String>) {
        let key = (format!("{:?}", case.way), format!("{:?}", case.store), case.victim());
        let row = self.0.entry(key).or_default();
        row.nr += 1;
        match outcome {
            Ok(Has::OldOwner) => row.old_owner += 1,
            Ok(Has::Heir) => row.heir += 1,
            Ok(Has::NextStart) => row.next_start += 1,
            Err(_) => row.failed += 1,
        }
    }

    pub(crate) fn nr_failed(&self) -> usize {
        self.0.values().map(|row| row.failed).sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| channel | kept by | killed | runs | old owner has it | heir has it | next start has it | failed |"
        )?;
        writeln!(f, "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")?;
        let mut all = Row::default();
        for ((way, store, victim), row) in &self.0 {
            let Row { nr, old_owner, heir, next_start, failed } = row;
            writeln!(
                f,
                "| {way} | {store} | {victim} | {nr} | {old_owner} | {heir} | {next_start} | {failed} |"
            )?;
            all.nr += nr;
            all.old_owner += old_owner;
            all.heir += heir;
            all.next_start += next_start;
            all.failed += failed;
        }
        let Row { nr, old_owner, heir, next_start, failed } = all;
        write!(f, "| all | | | {nr} | {old_owner} | {heir} | {next_start} | {failed} |")
    }
}
