//! `cargo xtask module`: Heirloom's module in Linux: builds it, boots Linux in QEMU, replaces that by kexec again and again, and checks
//! what both say.
//!
//! ```text
//! linux::kernel --.
//! linux/module  --+--> archive: init, modules, bzImage --> QEMU --serial--> Transcript --> faults --> table or JSON
//! linux/init    --'                                          '--> disk (plan dump)
//! ```
//!
//! | plan | kernels | what is shown |
//! | --- | --- | --- |
//! | `chain` | 5 | a table of 200,000 records: nothing lost, corrupt or stale, a third of it renewed in each kernel, blocks constant, no warning |
//! | `kfence` | 5 | the same with KFENCE sampling hard, from when the module is loaded |
//! | `kfence-boot` | up to 8 | with KFENCE on from boot: Linux 7.2 may lose its own map then; what is lost is found out and said |
//! | `misuse` | 1 | what must be refused, is; memory short at every point; unload |
//! | `refuse` | 5 | damaged handovers are refused, and the machine goes on |
//! | `table` | 1 | what records cost beside a page each, and time beside `kmalloc` |
//! | `dump` | 2 | the pool's bytes as a heap file, which `heirloom inspect` reads |

mod build;
mod dump;
mod judge;
mod table;
mod transcript;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::linux::{self, Ended, Machine};
use transcript::Transcript;

/// What to run, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// What to show; all of it, one after the other, if none is named
    #[arg(value_enum)]
    plans: Vec<Plan>,
    /// Records in the table of the chains
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    objects: u32,
    /// Kernels of the chains `chain` and `kfence`
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    kernels: u32,
    /// Memory of the machine, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(512..=65_536))]
    memory: u32,
    /// Give up a run after this many seconds
    #[arg(long, default_value_t = 900)]
    timeout_s: u64,
    /// Print what each kernel found, one JSON object a line, and no table
    #[arg(long)]
    json: bool,
    /// Show everything that the kernels print
    #[arg(long, short)]
    verbose: bool,
    /// Only build
    #[arg(long)]
    build: bool,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plan {
    /// 200,000 records through five kernels
    Chain,
    /// The same with KFENCE sampling every millisecond, switched on in each kernel
    Kfence,
    /// KFENCE on from boot, where Linux 7.2 may lose its own map
    KfenceBoot,
    /// Misuse, lack of memory, unload
    Misuse,
    /// Damaged handovers
    Refuse,
    /// Bytes and times beside Linux's own
    Table,
    /// The pool as a heap file, for `heirloom inspect`
    Dump,
}

impl Plan {
    const ALL: [Self; 7] =
        [Self::Chain, Self::Kfence, Self::KfenceBoot, Self::Misuse, Self::Refuse, Self::Table, Self::Dump];

    /// How many kernels there are to be.
    fn nr_kernels(self, options: &Options) -> u32 {
        match self {
            Self::Chain | Self::Kfence => options.kernels,
            Self::KfenceBoot => 8,
            Self::Misuse | Self::Table => 1,
            Self::Refuse => 5,
            Self::Dump => 2,
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What the kernels are told.
    fn command_line(self, options: &Options) -> String {
        let objects = match self {
            Self::Dump | Self::KfenceBoot => 20_000,
            _ => options.objects,
        };
        let plan = match self {
            Self::Kfence | Self::KfenceBoot => "chain".to_owned(),
            other => other.name(),
        };
        let more = match self {
            Self::Kfence => " heirloom.kfence=1",
            // As often as it can, so that what may happen does happen.
            Self::KfenceBoot => " kfence.sample_interval=1 kfence.burst=12",
            _ => "",
        };
        format!(
            "kho=on liveupdate=on retain_initrd panic=1 heirloom.plan={plan} heirloom.generation=1 heirloom.of={} \
             heirloom.objects={objects}{more}",
            self.nr_kernels(options)
        )
    }
}

/// Builds, boots, checks, reports.
pub(crate) fn run(options: &Options) -> ExitCode {
    if let Some(missing) = linux::missing() {
        eprintln!("cargo xtask module: skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    let files = match build::build() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("cargo xtask module: {error}");
            return ExitCode::FAILURE;
        }
    };
    if options.build {
        eprintln!("{} and the modules are in {}", files.bzimage.display(), files.folder.display());
        return ExitCode::SUCCESS;
    }
    let plans = if options.plans.is_empty() { &Plan::ALL[..] } else { &options.plans };
    let mut has_failed = false;
    for &plan in plans {
        if let Err(faults) = attempt(plan, options, &files) {
            has_failed = true;
            eprintln!("cargo xtask module {}: FAILED\n{}", plan.name(), faults.join("\n"));
        }
    }
    if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// One run: what is wrong with it, if anything.
fn attempt(plan: Plan, options: &Options, files: &build::Files) -> Result<(), Vec<String>> {
    let disk = (plan == Plan::Dump)
        .then(|| dump::make_disk(files))
        .transpose()
        .map_err(|error| vec![error.to_string()])?;
    // KHO sizes scratch by what is allocated at boot, KFENCE's pool included.
    let memory_mib = if plan == Plan::KfenceBoot { options.memory.max(2048) } else { options.memory };
    let machine = Machine {
        kernel: files.bzimage.clone(),
        initrd: files.initrd.clone(),
        command_line: plan.command_line(options),
        memory_mib,
        nr_cpus: 2,
        disk: disk.clone(),
    };
    eprintln!(
        "==> {}: {} kernel(s), {} MiB, 2 processors, emulated",
        plan.name(),
        plan.nr_kernels(options),
        memory_mib
    );
    let started = Instant::now();
    let mut transcript = Transcript::default();
    let ended = machine.run(Duration::from_secs(options.timeout_s), |line| {
        if transcript.hear(line) && !options.verbose {
            eprintln!(
                "    kernel {} after {:.0} s",
                transcript.kernels.len(),
                started.elapsed().as_secs_f64()
            );
        }
        if options.verbose {
            eprintln!("{line}");
        }
    });
    let ended = ended.map_err(|error| vec![error.to_string()])?;
    let log = files.folder.join(format!("{}.log", plan.name()));
    let kept = std::fs::write(&log, transcript.lines.join("\n"));
    let mut faults = judge::faults(plan, plan.nr_kernels(options), &transcript, ended);
    if let Some(disk) = disk.filter(|_| faults.is_empty()) {
        match dump::inspect(&disk, &transcript, files) {
            Ok(said) => println!("{said}"),
            Err(error) => faults.push(error),
        }
    }
    if options.json {
        for kernel in &transcript.kernels {
            println!("{}", serde_json::to_string(kernel).unwrap_or_default());
        }
    } else {
        table::show(plan, &transcript);
    }
    if faults.is_empty() {
        eprintln!("<== {}: passed in {:.0} s\n", plan.name(), started.elapsed().as_secs_f64());
        return Ok(());
    }
    if kept.is_ok() {
        faults.push(format!("everything that the kernels said is in {}", log.display()));
    }
    if ended != Ended::Restarted && !options.verbose {
        faults.push(format!("the last words:\n{}", transcript.last_words()));
    }
    Err(faults)
}

/// A file of the build that was made for the runs.
fn in_folder(files: &build::Files, name: &str) -> PathBuf {
    files.folder.join(name)
}
