//! Fuzz targets: every reader of foreign bytes, fed anything.
//!
//! A target is a module with `run`, which reads the input and asserts what must hold of whatever was accepted, and `seeds`,
//! valid inputs to start from. To add one: write the module, add it to [`TARGETS`], and add its `[[bin]]` to `Cargo.toml` with two
//! lines in `fuzz_targets/`. The smoke run (`tests/smoke.rs`) takes it from the table.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod fdt;
pub mod header;
pub mod machine;
pub mod metadata;
pub mod note;
pub mod pool;
pub mod radix;
pub mod request;
pub mod roots;
pub mod trace;
pub mod types;

/// A reader and what to feed it.
pub struct Target {
    /// Name of the module and of the binary.
    pub name: &'static str,
    /// Reads the input; panics if the reader misbehaves.
    pub run: fn(&[u8]),
    /// Inputs that the reader accepts.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many times the time of a plain reader one input takes: the smoke run tries so many times fewer.
    pub cost: u64,
}

/// All targets, one line for each reader.
pub const TARGETS: &[Target] = &[
    Target { name: "fdt", run: fdt::run, seeds: fdt::seeds, cost: 1 },
    Target { name: "header", run: header::run, seeds: header::seeds, cost: 1 },
    Target { name: "machine", run: machine::run, seeds: machine::seeds, cost: 10 },
    Target { name: "metadata", run: metadata::run, seeds: metadata::seeds, cost: 1 },
    Target { name: "note", run: note::run, seeds: note::seeds, cost: 1 },
    Target { name: "pool", run: pool::run, seeds: pool::seeds, cost: 1 },
    Target { name: "radix", run: radix::run, seeds: radix::seeds, cost: 1 },
    Target { name: "request", run: request::run, seeds: request::seeds, cost: 2 },
    Target { name: "roots", run: roots::run, seeds: roots::seeds, cost: 1 },
    Target { name: "trace", run: trace::run, seeds: trace::seeds, cost: 50 },
    Target { name: "types", run: types::run, seeds: types::seeds, cost: 1 },
];
