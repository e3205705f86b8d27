//! `heirloom doctor`: what this machine offers to memory that outlives a program, and what is dangerous about it.
//!
//! ```text
//! machine   where things are read: a root directory and the environment, which tests fake
//! kernel    version, configuration, kho= and liveupdate=, /dev/liveupdate, KFENCE, kexec
//! manager   systemd, its descriptor store, this process's place in it
//! memory    memfd, huge pages, /dev/shm, limits
//! ```
//!
//! | exit status | meaning |
//! | --- | --- |
//! | 0 | nothing dangerous was found; what the machine does not offer is said |
//! | 1 | something is dangerous |
//! | 2 | nothing dangerous was found, but something could not be looked at; a wrong command line ends so too |

mod kernel;
mod machine;
mod manager;
mod memory;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use serde::Serialize;

use self::machine::Machine;
use crate::args::DoctorArgs;
use crate::output::print_line;
use crate::{EXIT_BROKEN, EXIT_USAGE};

/// What to think of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// Offered, and as it should be.
    Ok,
    /// Not offered: some way of handing over does not work here, the others do.
    Absent,
    /// It cannot be told.
    Unknown,
    /// Memory, or the program, may be lost by it.
    Danger,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
            Self::Danger => "DANGER",
        }
    }
}

/// One line of the doctor's.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// A name that stays, for programs that read this.
    pub(super) topic: &'static str,
    pub(super) level: Level,
    /// What is there.
    pub(super) found: String,
    /// What that means for Heirloom.
    pub(super) means: String,
    /// What to do about it, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn new(
        topic: &'static str,
        level: Level,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self { topic, level, found: found.into(), means: means.into(), advice: None }
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// The JSON object.
#[derive(Debug, Serialize)]
struct Report<'a> {
    verdict: Level,
    findings: &'a [Finding],
}

/// Looks, and says.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let machine = Machine::new(&args.root);
    if !machine.exists("/proc") && !machine.exists("/usr") {
        eprintln!("heirloom: {} is no root of a system", args.root.display());
        return ExitCode::from(EXIT_USAGE);
    }
    let findings = examine(&machine);
    let verdict = verdict(&findings);
    if args.json {
        let report = Report { verdict, findings: &findings };
        print_line(serde_json::to_string(&report).expect("a report has string keys"));
    } else {
        for finding in &findings {
            print(finding);
        }
        print_line(sentence(&findings));
    }
    match verdict {
        Level::Ok | Level::Absent => ExitCode::SUCCESS,
        Level::Danger => ExitCode::from(EXIT_BROKEN),
        Level::Unknown => ExitCode::from(EXIT_USAGE),
    }
}

/// Everything that there is to say about a machine.
fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = kernel::examine(machine);
    findings.extend(manager::examine(machine));
    findings.extend(memory::examine(machine));
    findings
}

fn verdict(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Unknown)
}

fn print(finding: &Finding) {
    print_line(format!("{:<8} {:<18} {}", finding.level.word(), finding.topic, finding.found));
    for line in wrapped(&finding.means, 92) {
        print_line(format!("{:27} {line}", ""));
    }
    for line in finding.advice.iter().flat_map(|advice| wrapped(&format!("do: {advice}"), 92)) {
        print_line(format!("{:27} {line}", ""));
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            let space = if line.is_empty() { "" } else { " " };
            line.push_str(space);
            line.push_str(word);
        }
    }
    lines
}

fn sentence(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (dangers, unknown) = (count(Level::Danger), count(Level::Unknown));
    match (dangers, unknown) {
        (0, 0) => "Nothing dangerous was found.".to_owned(),
        (0, unknown) => format!("Nothing dangerous was found; {unknown} could not be told."),
        (1, _) => "One danger: it is marked above.".to_owned(),
        (dangers, _) => format!("{dangers} dangers: they are marked above."),
    }
}
