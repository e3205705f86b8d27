//! `cargo xtask kernel`: builds the bare-metal kernel, boots it in QEMU, and checks what it says of each generation.
//!
//! ```text
//! build (kernel/) --> qemu-system-x86_64 --serial--> lines --> Transcript --> Transcript::faults --> table or JSON
//!                        | isa-debug-exit                          ^
//!                        +--> status 33: success, 35: failure -----+
//! ```
//!
//! The kernel finds its own faults, and says so by its exit status; what it prints is checked here once more, so that a
//! kernel that ends well without having done its work does not pass.

mod qemu;
mod table;
mod transcript;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::step::{Cargo, Outcome, root, target_dir};
use qemu::{Machine, Missing};
use transcript::{Transcript, Word};

/// How the kernel is to be run.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Generations: the first is booted by QEMU, every other one by its predecessor
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    generations: u32,
    /// Print what each generation reports, one JSON object a line, and no table
    #[arg(long)]
    json: bool,
    /// Memory of the machine, in MiB
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=65_536))]
    memory: u32,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 300)]
    timeout_s: u64,
    /// Show everything that the kernel prints, the reports of its guard pool too
    #[arg(long, short)]
    verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { generations: 20, json: false, memory: 512, timeout_s: 300, verbose: false }
    }
}

/// Builds, boots, checks, reports.
pub(crate) fn run(options: Options) -> ExitCode {
    match attempt(options) {
        Ok(transcript) => {
            if !options.json {
                println!("{}", table::of(&transcript.generations));
                println!("{}", transcript.last_line);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cargo xtask kernel: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As a step of `ci`: skipped, in so many words, where there is no QEMU.
pub(crate) fn step() -> Outcome {
    if let Some(missing) = qemu::missing() {
        return Outcome::Skipped(missing.to_string());
    }
    match attempt(Options::default()) {
        Ok(transcript) => {
            println!("    {}", transcript.last_line);
            Outcome::Passed
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Why there is no run to be content with.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("the kernel cannot be built: {0}")]
    Build(String),
    #[error("QEMU cannot be run: {0}")]
    Qemu(#[from] std::io::Error),
    #[error("{}", faults.join("\n"))]
    Faults { faults: Vec<String> },
}

fn attempt(options: Options) -> Result<Transcript, Error> {
    if let Some(missing) = qemu::missing() {
        return Err(missing.into());
    }
    let kernel = build()?;
    let started = Instant::now();
    let mut transcript = Transcript::default();
    let progress = progress(options);
    let machine = Machine {
        successor: Some(kernel.clone()),
        kernel,
        memory_mib: options.memory,
        command_line: format!("generations={}", options.generations),
    };
    let ended = machine.run(Duration::from_secs(options.timeout_s), |line| {
        let word = transcript.hear(line);
        if matches!(word, Word::Generation) {
            progress.inc(1);
            if options.json {
                progress.suspend(|| println!("{line}"));
            }
        } else if options.verbose {
            progress.suspend(|| eprintln!("{line}"));
        }
    })?;
    progress.finish_and_clear();

    let faults = transcript.faults(options.generations, ended);
    if !faults.is_empty() {
        let heard = transcript.last_words();
        let mut faults = faults;
        if !options.verbose && !heard.is_empty() {
            faults.push(format!("the kernel's last words:\n{heard}"));
        }
        return Err(Error::Faults { faults });
    }
    if !options.json {
        eprintln!("{} generations in {:.1} s", options.generations, started.elapsed().as_secs_f64());
    }
    Ok(transcript)
}

/// Builds the kernel, with optimization: emulated, it is slow enough as it is.
fn build() -> Result<PathBuf, Error> {
    let target = target_dir("kernel");
    let build = ["build", "--release", "--quiet", "--manifest-path", "kernel/Cargo.toml"];
    // Flags for the host's programs (a sanitizer's, say) are not for the kernel, which has none of what they need.
    let cargo = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"]
        .into_iter()
        .fold(Cargo::new(&build), |cargo, variable| cargo.without(variable));
    match cargo.env("CARGO_TARGET_DIR", &target).run() {
        Outcome::Passed => Ok(root().join(target).join("release/heirloom-kernel")),
        Outcome::Skipped(reason) | Outcome::Failed(reason) => Err(Error::Build(reason)),
    }
}

fn progress(options: Options) -> ProgressBar {
    let target = if options.verbose { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("generation {pos}/{len} {wide_bar} {elapsed}");
    let progress = ProgressBar::with_draw_target(Some(u64::from(options.generations)), target);
    progress.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
