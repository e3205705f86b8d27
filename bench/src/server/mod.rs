//! `heirloom serve` beside redis-server and memcached, each started by this program, on the loopback interface.
//!
//! ```text
//! throughput   GET and SET, one request at a time and several, all servers in turn within each round
//! memory       bytes of the process a key, for keys and values of several sizes
//! restart      from the stop with n keys to the first GET that is answered
//! upgrades     n upgrades under load: every reply looked at, the longest pause and the quantiles
//! ```
//!
//! Each part can be run by itself.

mod load;
mod memory;
mod peers;
mod restart;
mod throughput;
mod upgrades;

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use crate::output::Output;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Throughput,
    Memory,
    Restart,
    Upgrades,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum, default_values_t = [Part::Throughput, Part::Memory, Part::Restart, Part::Upgrades])]
    parts: Vec<Part>,
    /// The `heirloom` command
    #[arg(long, value_name = "FILE", default_value = "target/release/heirloom")]
    binary: PathBuf,
    /// Connections at a time
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Rounds of the throughput
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each sample of the throughput
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Keys, for memory and restart
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Upgrades in a row
    #[arg(long, default_value_t = 20)]
    upgrades: u32,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), String> {
    for part in &args.parts {
        match part {
            Part::Throughput => throughput::run(args, output)?,
            Part::Memory => memory::run(args, output)?,
            Part::Restart => restart::run(args, output)?,
            Part::Upgrades => upgrades::run(args, output)?,
        }
    }
    Ok(())
}
