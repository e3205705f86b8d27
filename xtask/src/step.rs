//! Steps, and the commands they are made of.
//!
//! Each step says that it begins, shows the output of what it runs, and says how it ended and how long it took. A failed
//! step does not keep the others from running: one run shows all that is wrong.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Passed,
    /// It cannot run here; says why.
    Skipped(String),
    /// Says what is wrong.
    Failed(String),
}

/// The steps that have run.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    ended: Vec<(&'static str, Outcome, Duration)>,
}

impl Steps {
    /// Runs a step.
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce() -> Outcome) {
        eprintln!("\n==> {name}");
        let started = Instant::now();
        let outcome = step();
        let took = started.elapsed();
        eprintln!("<== {name}: {}", words(&outcome, took));
        self.ended.push((name, outcome, took));
    }

    /// Sums up, and fails if any step has.
    pub(crate) fn finish(self) -> ExitCode {
        if self.ended.len() > 1 {
            eprintln!("\nsteps:");
            for (name, outcome, took) in &self.ended {
                eprintln!("  {name:<8} {}", words(outcome, *took));
            }
        }
        let has_failed = self.ended.iter().any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)));
        if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn words(outcome: &Outcome, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match outcome {
        Outcome::Passed => format!("passed in {seconds:.1} s"),
        Outcome::Skipped(reason) => format!("SKIPPED: {reason}"),
        Outcome::Failed(reason) => format!("FAILED after {seconds:.1} s: {reason}"),
    }
}

/// A run of cargo in the root of the workspace.
#[derive(Debug)]
pub(crate) struct Cargo {
    command: Command,
}

impl Cargo {
    /// Runs the cargo that runs us.
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::with_program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
    }

    /// Runs the cargo of the nightly toolchain.
    pub(crate) fn nightly(args: &[&str]) -> Self {
        // Not the variable above: it names the binary of one toolchain, past the switch that understands `+nightly`.
        let mut cargo = Self::with_program("rustup".into(), &["run", "nightly", "cargo"]);
        for inherited in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
            cargo.command.env_remove(inherited);
        }
        cargo.args(args)
    }

    fn with_program(program: OsString, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).current_dir(root());
        Self { command }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Hides a variable of the environment from it.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it, and shows what it prints.
    pub(crate) fn run(mut self) -> Outcome {
        let shown = self.shown();
        eprintln!("    {shown}");
        match self.command.status() {
            Ok(status) if status.success() => Outcome::Passed,
            Ok(status) => Outcome::Failed(format!("`{shown}` ended with {status}")),
            Err(error) => Outcome::Failed(format!("`{shown}` cannot be run: {error}")),
        }
    }

    fn shown(&self) -> String {
        let program = Path::new(self.command.get_program()).file_name().unwrap_or_default();
        let words = std::iter::once(program).chain(self.command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Where a step with compiler flags of its own builds, so that it does not throw away what the others have built.
pub(crate) fn target_dir(step: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target).join(step)
}
