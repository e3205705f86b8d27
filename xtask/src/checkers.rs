//! The steps that run the tests under a checker: Miri, loom, the address sanitizer, the fuzz targets.

use std::process::{Command, Stdio};

use crate::skipped;
use crate::step::{Cargo, Outcome, root, target_dir};

/// The crates whose every line is platform-free, so that a checker can run it.
const CORE: [&str; 4] = ["-p", "heirloom-abi", "-p", "heirloom-slab"];

/// Runs the tests of the core crates under Miri. They choose smaller sizes by `cfg(miri)`.
pub(crate) fn miri() -> Outcome {
    if let Some(reason) = nightly_lacks(&["miri", "rust-src"]) {
        return skipped(&reason);
    }
    // `heirloom-abi` has no unsafe code. Of the library it is the collections: what asks the system for memory, sockets and processes is
    // beyond Miri.
    let collections: &[&str] = &[
        "-p",
        "heirloom",
        "--lib",
        "--",
        "hash_map::",
        "hash_set::",
        "vec::",
        "vec_deque::",
        "btree_map::",
        "btree_set::",
        "boxed::",
        "byte_string::",
        "shared::",
        "interner::",
    ];
    // Objects name each other by address; whoever reads an inherited address has no other provenance than the exposed one.
    // What tests of the collections forget on purpose is lost; their own counts say whether anything else is.
    let runs = [
        ("-Zmiri-strict-provenance", &["-p", "heirloom-slab"] as &[&str]),
        ("-Zmiri-permissive-provenance -Zmiri-ignore-leaks", collections),
    ];
    for (flags, tests) in runs {
        let outcome = Cargo::nightly(&["miri", "test"])
            .args(tests)
            .env("CARGO_TARGET_DIR", target_dir("miri"))
            // Proptest keeps failing seeds in files; Miri allows no file where isolation is on.
            .env("MIRIFLAGS", format!("-Zmiri-disable-isolation {flags}"))
            .env("PROPTEST_CASES", "8")
            .run();
        if !matches!(outcome, Outcome::Passed) {
            return outcome;
        }
    }
    Outcome::Passed
}

/// Runs the tests of the core crates under the address sanitizer, which needs an unstable flag: of nightly, or of the
/// compiler there is, told that it may.
pub(crate) fn asan() -> Outcome {
    let Some(host) = host() else { return skipped("rustc does not say for which target it builds") };
    // A target is named so that build scripts and macros are left alone: they run inside the compiler.
    let test = ["test", "--target", &host, "--tests"];
    let cargo = match nightly_lacks(&[]) {
        None => Cargo::nightly(&test),
        Some(_) => Cargo::new(&test).env("RUSTC_BOOTSTRAP", "1"),
    };
    cargo
        .args(&CORE)
        .env("CARGO_TARGET_DIR", target_dir("asan"))
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .run()
}

/// Runs the models of the protocols between threads under loom.
pub(crate) fn loom() -> Outcome {
    Cargo::new(&["test", "-p", "heirloom-slab", "--release", "--test", "loom"])
        .env("CARGO_TARGET_DIR", target_dir("loom"))
        .env("RUSTFLAGS", "--cfg loom")
        .run()
}

/// Runs each fuzz target on its seeds and on some mutations of them; the fuzzers themselves run for as long as one likes.
pub(crate) fn fuzz() -> Outcome {
    if !root().join("fuzz/Cargo.toml").exists() {
        return skipped("there is no fuzz/Cargo.toml");
    }
    Cargo::new(&["test", "--manifest-path", "fuzz/Cargo.toml"])
        .env("CARGO_TARGET_DIR", target_dir("fuzz"))
        .run()
}

/// The benchmarks: clippy, their unit tests, and a short round of each. Their peers are C and C++.
pub(crate) fn bench() -> Outcome {
    for tool in ["c++", "make"] {
        if !succeeds(tool, &["--version"]) {
            return skipped(&format!(
                "{tool} is missing; `apt-get install g++ make` brings what the peers need"
            ));
        }
    }
    let lint = ["clippy", "--manifest-path", "bench/Cargo.toml", "--all-targets", "--", "-D", "warnings"];
    for args in [&lint[..], &["test", "--manifest-path", "bench/Cargo.toml"]] {
        let outcome = Cargo::new(args).env("CARGO_TARGET_DIR", target_dir("bench")).run();
        if !matches!(outcome, Outcome::Passed) {
            return outcome;
        }
    }
    Outcome::Passed
}

/// Says what the nightly toolchain lacks; installs components that rustup can get.
fn nightly_lacks(components: &[&str]) -> Option<String> {
    if !succeeds("rustup", &["run", "nightly", "rustc", "--version"]) {
        return Some(
            "no nightly toolchain; `rustup toolchain install nightly --profile minimal` gets one".to_owned(),
        );
    }
    if components.is_empty() {
        return None;
    }
    let mut add = vec!["component", "add", "--toolchain", "nightly"];
    add.extend(components);
    (!succeeds("rustup", &add))
        .then(|| format!("nightly lacks components; `rustup {}` gets them", add.join(" ")))
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}
