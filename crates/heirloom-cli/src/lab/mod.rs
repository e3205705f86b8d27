//! `heirloom lab`: ways to hand slab objects to the next kernel, side by side.
//!
//! The library runs a design at a share; here it is said which, and the rows become tables, JSON, plots.

mod table;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use heirloom_lab::picture::PINNED;
use heirloom_lab::svg::page_map;
use heirloom_lab::{ALL_DESIGNS, Chain, Design, LabError, Row, Settings, Workload, plots, slabinfo};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::LabArgs;
use crate::output::print_line;
use crate::{EXIT_BROKEN, EXIT_USAGE};

/// Of whose memory a picture is made: the share that is nearest to this.
const PICTURED_SHARE: u32 = 20;

/// Runs `heirloom lab`.
pub(crate) fn run(args: &LabArgs) -> ExitCode {
    let table = match read_table(&args.slabinfo) {
        Ok(table) => table,
        Err(error) => {
            eprintln!("heirloom: {}: {error}", args.slabinfo.display());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Some(folder) = &args.out
        && let Err(error) = fs::create_dir_all(folder)
    {
        eprintln!("heirloom: {}: {error}", folder.display());
        return ExitCode::from(EXIT_USAGE);
    }
    match run_all(args, &table) {
        Ok(status) => status,
        Err(Failure::Lab(error @ LabError::Slabinfo(_))) => {
            eprintln!("heirloom: {}: {error}", args.slabinfo.display());
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Lab(error @ LabError::Settings(_))) => {
            eprintln!("heirloom: {error}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Lab(error)) => {
            eprintln!("heirloom: {error}");
            ExitCode::from(EXIT_BROKEN)
        }
        Err(Failure::Write(text)) => {
            eprintln!("heirloom: {text}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

enum Failure {
    Lab(LabError),
    Write(String),
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        Self::Lab(error)
    }
}

/// A table of caches: of a file, or one of the two that come with the program.
fn read_table(path: &Path) -> std::io::Result<String> {
    match path.to_str() {
        Some("build-machine") => Ok(slabinfo::BUILD_MACHINE.to_owned()),
        Some("kvm-host") => Ok(slabinfo::KVM_HOST.to_owned()),
        _ => fs::read_to_string(path),
    }
}

fn run_all(args: &LabArgs, slabinfo: &str) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let settings = Settings {
        generations: args.generations,
        seed: args.seed,
        guard_every: args.guard_every,
        root_once_in: args.guard_root,
        churn_percent: args.churn,
    };
    let mut shares = args.share.clone();
    shares.sort_unstable();
    shares.dedup();
    let pictured = shares.iter().copied().min_by_key(|share| share.abs_diff(PICTURED_SHARE));
    let is_wanted = |design: &&&dyn Design| {
        args.design.is_empty() || args.design.iter().any(|name| name == design.name())
    };
    let designs: Vec<&dyn Design> = ALL_DESIGNS.iter().filter(is_wanted).copied().collect();
    let workloads: Vec<Workload> =
        shares.iter().map(|&share| Workload::new(slabinfo, args.objects, share)).collect::<Result<_, _>>()?;
    let bar = progress_bar(args, (designs.len() * workloads.len()) as u64 * u64::from(args.generations + 1));
    let mut rows: Vec<Row> = Vec::new();
    let mut pinned = Vec::new();
    let note = note(args, workloads.first());
    for workload in &workloads {
        for design in &designs {
            bar.set_message(format!("{} %, {}", workload.share, design.title()));
            let chain = heirloom_lab::run(*design, workload, &settings, |_| bar.inc(1))?;
            if args.json {
                bar.suspend(|| chain.rows.iter().for_each(print_row));
            }
            if Some(workload.share) == pictured {
                write_picture(args, *design, workload, &chain, &note)?;
            }
            let nr_pinned = chain.picture.nr_huge_pages_with(&PINNED);
            pinned.push(table::Pinned { design: design.name(), share: workload.share, nr_pinned });
            rows.extend(chain.rows);
        }
    }
    bar.finish_and_clear();
    write_plots(args, &rows, &note)?;
    if !args.json {
        print_line(format_args!("{note}\n"));
        let boot_us = workloads
            .last()
            .map_or(Ok(0.0), |workload| heirloom_lab::run::time_cold_boot(workload, &settings))?
            / 1e3;
        table::print(&rows, &pinned, &designs, &workloads);
        print_line(format_args!("A boot with nothing handed over takes {boot_us:.0} us."));
        if let Some(folder) = &args.out {
            print_line(format_args!("Plots and maps of memory are in {}.", folder.display()));
        }
        print_line(format_args!("{:.1} s", started.elapsed().as_secs_f64()));
    }
    Ok(verdict(&rows))
}

/// What this program's own design promises is held against the rows: who runs the lab should hear of it if it does not hold.
fn verdict(rows: &[Row]) -> ExitCode {
    let is_broken = |row: &&Row| {
        row.design == "flag-and-pool" && (row.lost > 0 || row.corrupt > 0 || row.foreign_stale_bytes > 0)
    };
    match rows.iter().find(is_broken) {
        None => ExitCode::SUCCESS,
        Some(row) => {
            eprintln!(
                "heirloom: flag-and-pool did not keep its promise at handover {} ({} %)",
                row.generation, row.share
            );
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

fn print_row(row: &Row) {
    print_line(serde_json::to_string(row).expect("a row has string keys"));
}

fn note(args: &LabArgs, workload: Option<&Workload>) -> String {
    let name = args.slabinfo.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let (nr_objects, nr_kinds) =
        workload.map_or((0, 0), |workload| (workload.nr_objects, workload.kinds.len()));
    format!(
        "slabinfo {name}: {nr_objects} objects of {nr_kinds} caches, churn {} %, {} handovers, seed {}",
        args.churn, args.generations, args.seed
    )
}

fn progress_bar(args: &LabArgs, of: u64) -> ProgressBar {
    // indicatif draws nothing where standard error is no terminal.
    let target = if args.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(of), target);
    let style = ProgressStyle::with_template("{spinner} {bar:30} {percent} %, {eta} left  {wide_msg}");
    bar.set_style(style.expect("the template is valid"));
    bar
}

fn write_picture(
    args: &LabArgs,
    design: &dyn Design,
    workload: &Workload,
    chain: &Chain,
    note: &str,
) -> Result<(), Failure> {
    let Some(folder) = &args.out else { return Ok(()) };
    let mut map = chain.picture.clone();
    map.title = format!("{}: memory of generation {}", design.title(), args.generations);
    map.note = format!("{} % preserved; {note}; one square is a page, the darker the fuller", workload.share);
    write(&folder.join(format!("map-{}.svg", design.name())), &page_map(&map))
}

fn write_plots(args: &LabArgs, rows: &[Row], note: &str) -> Result<(), Failure> {
    let Some(folder) = &args.out else { return Ok(()) };
    for (name, svg) in plots::all(rows, note) {
        write(&folder.join(name), &svg)?;
    }
    Ok(())
}

fn write(path: &Path, svg: &str) -> Result<(), Failure> {
    fs::write(path, svg).map_err(|error| Failure::Write(format!("{}: {error}", path.display())))
}
