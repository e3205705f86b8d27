//! The supervisor: starts generation 1, listens to all, and notices one that got lost.
//!
//! ```text
//! supervisor ──spawn──▶ generation 1 ──hand over──▶ generation 2 ──hand over──▶ generation 3
//!     ▲                      │ exits                     │ exits                     │ exits
//!     └── one pipe, inherited by all as standard output; its end is the end of the last generation
//! ```
//!
//! Over `spawn`, each generation is the child of the one before it, which exits. The supervisor is a *subreaper*:
//! orphans become its own children, so that it sees how each of them ended.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{WaitOptions, WaitStatus};

use super::message::{Message, Report};
use super::plan::Plan;
use super::progress::Screen;

/// What became of the whole chain.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) reports: Vec<Report>,
    /// What went wrong, in the words of those who noticed.
    pub(crate) faults: Vec<String>,
    /// The exit status that a generation chose when it gave up.
    pub(crate) failed_status: Option<u8>,
}

impl Outcome {
    /// Whether every generation of the plan reported, verified and ended well.
    pub(crate) fn is_verified(&self, plan: &Plan) -> bool {
        self.faults.is_empty()
            && self.reports.len() == plan.generations as usize
            && self.reports.iter().all(|report| report.verified)
    }
}

/// Runs all generations of the plan, one after the other, and shows what they say.
pub(crate) fn run(
    program: &Path,
    plan: &Plan,
    inputs: &[PathBuf],
    screen: &mut Screen,
) -> io::Result<Outcome> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut first = Command::new(program)
        .args(plan.arguments(inputs))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(first.stdout.take().expect("standard output was asked for as a pipe")).lines();

    let mut outcome = Outcome::default();
    for line in lines {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(message) => outcome.take(message, screen),
            Err(_) => outcome.faults.push(format!("a generation said what cannot be read: `{line}`")),
        }
    }
    // The pipe has ended: every generation is gone, or has closed its standard output, which none does.
    reap(&mut outcome)?;
    if outcome.faults.is_empty() && outcome.reports.len() < plan.generations as usize {
        let lost = outcome.reports.len() + 1;
        outcome.faults.push(format!("generation {lost} was lost: it ended without a word"));
    }
    Ok(outcome)
}

impl Outcome {
    fn take(&mut self, message: Message, screen: &mut Screen) {
        screen.show(&message);
        match message {
            Message::Fault { generation, text } => {
                self.faults.push(format!("generation {generation}: {text}"))
            }
            Message::Failed { generation, text, exit_status } => {
                self.faults.push(format!("generation {generation}: {text}"));
                self.failed_status = Some(exit_status);
            }
            Message::Report(report) => {
                let expected = self.reports.len() + 1;
                if report.generation as usize != expected {
                    self.faults
                        .push(format!("generation {} reported in place of {expected}", report.generation));
                }
                self.reports.push(report);
            }
            Message::Progress { .. } | Message::Note { .. } | Message::Answers { .. } => {}
        }
    }
}

/// Waits for every child, our own and the orphans that came to us.
fn reap(outcome: &mut Outcome) -> io::Result<()> {
    loop {
        let (pid, status) = match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) => continue,
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        let Some(ended) = how_it_failed(status) else { continue };
        // A generation that gave up has said so itself; one that was killed has not.
        if status.signaled() || outcome.failed_status.is_none() {
            let reported: Vec<_> = outcome.reports.iter().filter(|report| report.pid == pid).collect();
            outcome.faults.push(match reported.last() {
                Some(report) => {
                    format!("generation {} (pid {pid}) {ended} after its report", report.generation)
                }
                None => format!(
                    "generation {} was lost: pid {pid} {ended} before it reported",
                    outcome.reports.len() + 1
                ),
            });
        }
    }
}

fn how_it_failed(status: WaitStatus) -> Option<String> {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => Some(format!("was killed by signal {signal}")),
        (None, Some(0)) => None,
        (None, Some(status)) => Some(format!("ended with exit status {status}")),
        (None, None) => None,
    }
}
