//! `cargo xtask vm`: Heirloom in virtual machines, where a kernel can be replaced and a service manager is real.
//!
//! ```text
//! luo      Linux 7.2 (built here) -> initramfs with the static `heirloom` -> QEMU -> kernel, kexec, kernel, kexec, kernel
//! fdstore  a Debian with systemd (its packages, unpacked) + the units of linux/systemd -> QEMU -> restarts, kills, restarts
//! ```
//!
//! What is downloaded or built is kept in the cache of [`linux`], and said. A run ends in time, whatever the machine does.

mod fdstore;
mod luo;
mod packages;
mod served;
mod transcript;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::linux;
use crate::step::{Cargo, Outcome, root, target_dir};

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// A heap lives through a chain of Linux kernels, each replaced by the next (Live Update Orchestrator)
    Luo(luo::Options),
    /// Heaps of a service and of a server live through restarts, kill -9 and upgrades under a real systemd (file descriptor store)
    Fdstore(fdstore::Options),
}

/// Why there is no run to be content with.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Linux(#[from] linux::Error),
    #[error("heirloom cannot be built: {0}")]
    Build(String),
    #[error("{}", faults.join("\n"))]
    Faults { faults: Vec<String> },
}

/// Runs what was asked for. What this machine cannot do is skipped, in so many words.
pub(crate) fn run(options: &Options) -> ExitCode {
    let (name, outcome) = match &options.what {
        What::Luo(options) => ("luo", luo::run(options)),
        What::Fdstore(options) => ("fdstore", fdstore::run(options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Linux(linux::Error::Missing(what))) => {
            eprintln!("cargo xtask vm {name}: SKIPPED: {what}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cargo xtask vm {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The command without shared libraries, so that it runs where nothing else is: the one given, or built here.
fn heirloom(given: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let target = target_dir("vm");
    eprintln!("building heirloom without shared libraries");
    // A target of its own keeps the flag from build scripts and macros.
    let build = ["build", "--release", "--quiet", "-p", "heirloom-cli", "--target", TARGET];
    let cargo = ["CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"]
        .into_iter()
        .fold(Cargo::new(&build), |cargo, variable| cargo.without(variable));
    let cargo = cargo.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", "-C target-feature=+crt-static");
    match cargo.run() {
        Outcome::Passed => Ok(root().join(target).join(TARGET).join("release/heirloom")),
        Outcome::Skipped(reason) | Outcome::Failed(reason) => Err(Error::Build(reason)),
    }
}
