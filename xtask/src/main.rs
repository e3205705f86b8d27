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
mod qemu;
mod step;
mod tidy;
mod vm;

use std::process::{Command, ExitCode};

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
    /// The tests of heirloom-slab and of the library's collections under Miri, at smaller sizes (needs nightly)
    Miri,
    /// The protocols between threads under loom
    Loom,
    /// A smoke run of each fuzz target
    Fuzz,
    /// The tests of heirloom-abi and heirloom-slab under the address sanitizer
    Asan,
    /// The benchmarks' arithmetic, and a short round of each (needs a C++ compiler and make for the peers)
    Bench,
    /// Kill hand-overs at each named moment of each channel, and see who has the heap; prints a table
    Faults(Faults),
    /// kill -9 of a program under load, again and again: is all there that it had acknowledged? Prints a table
    Acknowledged(Acknowledged),
    /// A kill behind every instruction of every change to a collection: is it made or not made? Prints a table
    Instructions(Instructions),
    /// rustdoc with warnings denied
    Docs,
    /// Boot the bare-metal kernel in QEMU, let it jump into its successor again and again, and check what it says
    Kernel(kernel::Options),
    /// Run Heirloom in virtual machines: a chain of Linux kernels, a real systemd (slow; not part of ci)
    Vm(vm::Options),
    /// Boot Linux with our module in QEMU, and replace it by kexec again and again (needs root: builds Linux in a Debian folder)
    Module(module::Options),
}

#[derive(Args, Clone, Copy, Debug)]
struct Fmt {
    /// Change nothing, fail if something would change
    #[arg(long)]
    check: bool,
}

#[derive(Args, Clone, Copy, Debug)]
struct Faults {
    /// Runs: each is one case, and all cases take turns
    #[arg(long, default_value_t = 2000)]
    runs: u32,
    /// The order of the cases
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

#[derive(Args, Clone, Copy, Debug)]
struct Acknowledged {
    /// Kills, over a file and again over a keeper
    #[arg(long, default_value_t = 1000)]
    kills: u32,
}

#[derive(Args, Clone, Debug)]
struct Instructions {
    /// Only the changes whose names begin so, such as `map` or `tree-insert`
    #[arg(long)]
    case: Option<String>,
    /// As a release build makes the instructions
    #[arg(long)]
    release: bool,
}

/// Runs a test of the library that is a program with arguments of its own.
fn program(steps: &mut Steps, name: &'static str, args: &[(&str, u32)]) {
    steps.run(name, || {
        let mut words = vec!["test".to_owned(), "--package".into(), "heirloom".into()];
        words.extend(["--test".to_owned(), name.into(), "--".into()]);
        words.extend(args.iter().flat_map(|(option, value)| [(*option).to_owned(), value.to_string()]));
        Cargo::new(&words.iter().map(String::as_str).collect::<Vec<_>>()).run()
    });
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
        Task::Faults(args) => {
            program(&mut steps, "faults", &[("--runs", args.runs), ("--seed", args.seed)]);
        }
        Task::Acknowledged(args) => program(&mut steps, "acknowledged", &[("--kills", args.kills)]),
        Task::Instructions(args) => steps.run("instructions", || {
            let mut words = vec!["test", "--package", "heirloom", "--test", "instructions"];
            words.extend(args.release.then_some("--release"));
            words.extend(["--", "--all"]);
            words.extend(args.case.iter().flat_map(|case| ["--case", case]));
            Cargo::new(&words).run()
        }),
        Task::Docs => docs(&mut steps),
        Task::Kernel(options) => return kernel::run(options),
        Task::Vm(options) => return vm::run(&options),
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
        rustfmt_module(is_check)
    });
}

/// The module is built by Linux's own build, so that no manifest names it; its two roots lead to all its files.
fn rustfmt_module(is_check: bool) -> Outcome {
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.current_dir(step::root()).args(["--edition", "2021"]).args(is_check.then_some("--check"));
    let roots = ["linux/module/heirloom_main.rs", "linux/module/sample_main.rs"];
    match rustfmt.args(roots).status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("rustfmt of linux/module ended with {status}")),
        Err(error) => Outcome::Failed(format!("rustfmt cannot be run: {error}")),
    }
}

fn lint(steps: &mut Steps) {
    steps.run("lint", || {
        let outcome = Cargo::new(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run();
        if !matches!(outcome, Outcome::Passed) {
            return outcome;
        }
        let init =
            ["clippy", "--all-targets", "--manifest-path", "linux/init/Cargo.toml", "--", "-D", "warnings"];
        let outcome = Cargo::new(&init).env("CARGO_TARGET_DIR", step::target_dir("init")).run();
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
