//! What can be said on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::quantity::Bytes;

/// Memory that outlives the program that allocated it, down to the single object.
///
/// Without a subcommand, runs the demo with the options given.
#[derive(Debug, Parser)]
#[command(name = "heirloom", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Task>,

    #[command(flatten)]
    pub(crate) demo: DemoArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// A search index over real text that lives through upgrades of its own binary (the default)
    Demo(DemoArgs),
    /// Show a heap that is not our own: caches, blocks, roots with their types, generation
    Inspect(TargetArgs),
    /// Run every check over a heap that is not our own, and scan its free memory for stale bytes
    Verify(VerifyArgs),
    /// Say what a program would do with a heap, root by root, before it is given to it
    Check(CheckArgs),
    /// A cache with the Redis protocol that lives through upgrades of itself
    Serve(crate::server::ServeArgs),
    /// Have a running `heirloom serve` hand over, clients and all, to its next program
    Upgrade(crate::server::UpgradeArgs),
    /// Draw a heap that is not our own, page by page, as SVG
    Map(MapArgs),
    /// An example of a systemd service whose heap lives through restarts and crashes (docs/systemd.md)
    Service(ServiceArgs),
    /// Say what this machine offers to memory that outlives a program, and what is dangerous about it
    Doctor(DoctorArgs),
    /// Set aside a heap that no program owns, so that the next program starts cold
    Clear(ClearArgs),
    /// Ways to hand slab objects to the next kernel, side by side on one workload, in numbers and pictures
    Lab(LabArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// How many generations live, one after the other
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) generations: u32,

    /// How a generation starts its successor
    #[arg(long, value_enum, default_value_t = ChannelArg::Spawn)]
    pub(crate) channel: ChannelArg,

    /// Index the text files below these paths [default: the current directory]
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "objects")]
    pub(crate) input: Vec<PathBuf>,

    /// Make N objects of random sizes instead of reading files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) objects: Option<u64>,

    /// Sizes of those objects, from MIN up to, but not including, MAX bytes
    #[arg(long, value_name = "MIN..MAX", default_value = "16..256", requires = "objects")]
    pub(crate) size: SizeRange,

    /// The most memory the heap may take, such as 64M or 2G [default: no limit of our own]
    #[arg(long, value_name = "BYTES")]
    pub(crate) size_limit: Option<Bytes>,

    /// When the bytes of freed objects are zeroed
    #[arg(long, value_enum, default_value_t = ScrubArg::OnFree)]
    pub(crate) scrub: ScrubArg,

    /// Where the pseudo-random numbers start
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Print one JSON object a generation and nothing else on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// Show no progress and no answers; with --json, nothing but the objects
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ServiceArgs {
    /// Make N objects at the first start
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) objects: u64,

    /// Sizes of those objects, from MIN up to, but not including, MAX bytes
    #[arg(long, value_name = "MIN..MAX", default_value = "16..256")]
    pub(crate) size: SizeRange,

    /// Keep the heap in this file instead of the service manager's store
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Say what was found at the start as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object instead of a list
    #[arg(long)]
    pub(crate) json: bool,

    /// Look at the machine whose file system is mounted here
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(crate) root: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// A heap file, or pid:PID for the heap of a running or stopped program
    pub(crate) target: heirloom::foreign::Target,

    /// Print one JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// The program that is to take over; its file is read, it is not run
    pub(crate) binary: PathBuf,

    /// A heap file, or pid:PID for the heap of a running program
    #[arg(long, value_name = "TARGET")]
    pub(crate) heap: heirloom::foreign::Target,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Trace all that the roots reach, and report what is allocated and not reached, by cache and likely type
    #[arg(long)]
    pub(crate) leaks: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MapArgs {
    /// A heap file, or pid:PID for the heap of a running or stopped program
    pub(crate) target: heirloom::foreign::Target,

    /// Where the picture goes; - for standard output
    #[arg(long, short, value_name = "FILE.svg")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct LabArgs {
    /// Sizes and counts of the kernel's objects: a copy of /proc/slabinfo, or one of the two that come with the program, `build-machine` and
    /// `kvm-host`
    #[arg(long, value_name = "FILE", default_value = "build-machine")]
    pub(crate) slabinfo: PathBuf,

    /// How many objects there are, in the mix of the table
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) objects: u32,

    /// Shares of them that are preserved, in percent
    #[arg(long, value_name = "PERCENT,...", value_delimiter = ',', default_values_t = [1, 5, 20, 50],
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) share: Vec<u32>,

    /// Handovers
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) generations: u32,

    /// Only this design; may be given several times [default: all]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(
        heirloom_lab::ALL_DESIGNS.map(|design| design.name())))]
    pub(crate) design: Vec<String>,

    /// Ordinary objects that are freed and allocated between two handovers, in percent of all objects
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) churn: u32,

    /// The guard pool serves each N-th object, N being 2 or more; 0: none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) guard_every: u32,

    /// The guard pool serves the map's root once in N boots, under the design that has it from kzalloc
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) guard_root: u32,

    /// Where the pseudo-random numbers start
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Print one JSON object for each handover and nothing else on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// Write plots and a picture of each design's memory, as SVG, to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ClearArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChannelArg {
    /// The successor starts beside the predecessor, which then exits
    Spawn,
    /// The successor takes the place of the predecessor: same pid
    Exec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ScrubArg {
    /// At once, so that free memory is all zeros at any time
    OnFree,
    /// When the heap is frozen for the hand-over
    AtFreeze,
}

/// Half-open range of object sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SizeRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl FromStr for SizeRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (start, end) = text
            .split_once("..")
            .ok_or_else(|| format!("`{text}` is not a range; write one like 16..256"))?;
        let (end, is_inclusive) = end.strip_prefix('=').map_or((end, false), |end| (end, true));
        let start = start.parse::<Bytes>()?.0;
        let end = end.parse::<Bytes>()?.0.saturating_add(u64::from(is_inclusive));
        if start < crate::demo::SMALLEST_OBJECT {
            let smallest = crate::demo::SMALLEST_OBJECT;
            return Err(format!(
                "objects carry their number and checksum, so the smallest has {smallest} bytes"
            ));
        }
        if start >= end {
            return Err(format!("`{text}` holds no size"));
        }
        if end > u64::from(u32::MAX) {
            return Err("objects of 4 GiB and more are not for this demo".to_owned());
        }
        Ok(Self { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn without_subcommand_the_options_are_those_of_the_demo() {
        let cli = Cli::try_parse_from(["heirloom", "--generations", "7", "--json"]).expect("valid");
        assert!(cli.command.is_none());
        assert_eq!((cli.demo.generations, cli.demo.json), (7, true));
    }

    #[test]
    fn ranges_are_half_open_unless_they_say_otherwise() {
        assert_eq!("16..256".parse(), Ok(SizeRange { start: 16, end: 256 }));
        assert_eq!("16..=1K".parse(), Ok(SizeRange { start: 16, end: 1025 }));
        for text in ["16", "16..16", "256..16", "0..64", "a..b", "16..8G"] {
            assert!(text.parse::<SizeRange>().is_err(), "{text}");
        }
    }
}
