//! What is done around the code, in Rust: `cargo xtask ci` is what CI runs.
//!
//! ```text
//! ci = fmt --check, tidy, lint, docs, test, kernel, loom, fuzz, bench, miri, asan
//! ```
//!
//! A step that needs what this machine does not have is *skipped*, in so many words, and is never a silent success.

mod checkers;
mod kernel;
mod linux;
mod module;
mod step;
mod tidy;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::step::{Cargo, Outcome, Steps};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "What is done around the code", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Clone, Debug, Subcommand)]
enum Task {
    /// Everything below, in one go, as CI runs it
    Ci,
    /// Format all crates
    Fmt(Fmt),
    /// Look for orphan files, leftovers, paths of one machine and overlong files
    Tidy,
    /// clippy with warnings denied
    Lint,
    /// The tests, as the README runs them
    Test,
    /// The tests of heirloom-abi and heirloom-slab under Miri, at smaller sizes (needs nightly)
    Miri,
    /// The protocols between threads under loom
    Loom,
    /// A smoke run of each fuzz target
    Fuzz,
    /// The tests of heirloom-abi and heirloom-slab under the address sanitizer
    Asan,
    /// The benchmarks' arithmetic, and a short round of each (needs a C++ compiler and make for the peers)
    Bench,
    /// rustdoc with warnings denied
    Docs,
    /// Boot the bare-metal kernel in QEMU, let it jump into its successor again and again, and check what it says
    Kernel(kernel::Options),
    /// Boot Linux with our module in QEMU, and replace it by kexec again and again (needs root: builds Linux in a Debian folder)
    Module(module::Options),
}

#[derive(Args, Clone, Copy, Debug)]
struct Fmt {
    /// Change nothing, fail if something would change
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let mut steps = Steps::default();
    match Cli::parse().task {
        Task::Ci => ci(&mut steps),
        Task::Fmt(args) => fmt(&mut steps, args.check),
        Task::Tidy => steps.run("tidy", tidy::run),
        Task::Lint => lint(&mut steps),
        Task::Test => test(&mut steps),
        Task::Miri => steps.run("miri", checkers::miri),
        Task::Loom => steps.run("loom", checkers::loom),
        Task::Fuzz => steps.run("fuzz", checkers::fuzz),
        Task::Asan => steps.run("asan", checkers::asan),
        Task::Bench => steps.run("bench", checkers::bench),
        Task::Docs => docs(&mut steps),
        Task::Kernel(options) => return kernel::run(options),
        Task::Module(options) => return module::run(&options),
    }
    steps.finish()
}

fn ci(steps: &mut Steps) {
    // What is quick to fail comes first.
    fmt(steps, true);
    steps.run("tidy", tidy::run);
    lint(steps);
    docs(steps);
    test(steps);
    steps.run("kernel", kernel::step);
    steps.run("loom", checkers::loom);
    steps.run("fuzz", checkers::fuzz);
    steps.run("bench", checkers::bench);
    steps.run("miri", checkers::miri);
    steps.run("asan", checkers::asan);
}

fn fmt(steps: &mut Steps, is_check: bool) {
    steps.run("fmt", || {
        let check: &[&str] = if is_check { &["--check"] } else { &[] };
        // The benchmarks, the fuzz targets, the kernel and the first program of Linux's runs are each a workspace of their own.
        for manifest in [
            "Cargo.toml",
            "bench/Cargo.toml",
            "fuzz/Cargo.toml",
            "kernel/Cargo.toml",
            "linux/init/Cargo.toml",
        ] {
            if step::root().join(manifest).exists() {
                let outcome = Cargo::new(&["fmt", "--all", "--manifest-path", manifest]).args(check).run();
                if !matches!(outcome, Outcome::Passed) {
                    return outcome;
                }
            }
        }
        Outcome::Passed
    });
}

fn lint(steps: &mut Steps) {
    steps.run("lint", || {
        let outcome = Cargo::new(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run();
        if !matches!(outcome, Outcome::Passed) {
            return outcome;
        }
        kernel_cargo(&[
            "clippy",
            "--all-targets",
            "--manifest-path",
            "kernel/Cargo.toml",
            "--",
            "-D",
            "warnings",
        ])
    });
}

fn test(steps: &mut Steps) {
    steps.run("test", || Cargo::new(&["test", "--workspace"]).run());
}

fn docs(steps: &mut Steps) {
    steps.run("docs", || {
        let outcome = Cargo::new(&["doc", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .run();
        if !matches!(outcome, Outcome::Passed) {
            return outcome;
        }
        kernel_cargo(&[
            "doc",
            "--manifest-path",
            "kernel/Cargo.toml",
            "--no-deps",
            "--document-private-items",
        ])
    });
}

/// Runs cargo on the kernel, which only compiles for the processor that it runs on.
fn kernel_cargo(args: &[&str]) -> Outcome {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        eprintln!("    the kernel was left out: it is compiled on x86-64 only");
        return Outcome::Passed;
    }
    Cargo::new(args)
        .env("CARGO_TARGET_DIR", step::target_dir("kernel"))
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Says what a step that cannot run here needs.
fn skipped(reason: &str) -> Outcome {
    Outcome::Skipped(reason.to_owned())
}
