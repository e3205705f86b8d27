//! `cargo xtask vm luo`: one heap, a chain of kernels.
//!
//! ```text
//! kernel n     .. last operation | freeze | preserve | kexec ..
//! kernel n+1                                         .. userspace | retrieve | restore | first operation ..
//!              '------------------------- blackout ------------------------------------'
//! ```
//!
//! Each kernel's clock starts anew, so what lies between two kernels is timed here, by when a line arrives; the other parts are
//! what the program inside has measured.

use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

use super::transcript::Transcript;
use super::{Error, heirloom};
use crate::linux::{self, Ended, Initramfs, Machine};

/// How the chain is to be.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Kernels: the first is booted by QEMU, every other one by its predecessor
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=1000))]
    kernels: u32,
    /// Objects in the heap
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Sizes of objects, from MIN up to, but not including, MAX bytes
    #[arg(long, value_name = "MIN..MAX", default_value = "16..600")]
    size: String,
    /// Keys that a server beside sets in each kernel, and reads in all that come after; 0 is no server
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Memory of the machine, in MiB
    #[arg(long, default_value_t = 3072, value_parser = clap::value_parser!(u32).range(512..=65_536))]
    memory: u32,
    /// More for the kernels' command line, such as kfence.sample_interval=1
    #[arg(long, value_name = "WORDS", default_value = "")]
    append: String,
    /// Boot this kernel instead of building one
    #[arg(long, value_name = "BZIMAGE")]
    kernel: Option<std::path::PathBuf>,
    /// Use this heirloom, which needs no shared library, instead of building one
    #[arg(long, value_name = "PROGRAM")]
    heirloom: Option<std::path::PathBuf>,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 600)]
    timeout_s: u64,
    /// Show everything that the machine says
    #[arg(long, short)]
    verbose: bool,
    /// Print one JSON object a kernel, and no table
    #[arg(long)]
    json: bool,
}

/// A line on the console; `kernel_chain.rs` of the command writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Mark { generation: u32, mark: String },
    Report(Report),
    Served(Served),
    Preserved(Preserved),
    Failed { generation: u32, reason: String },
    Done { generation: u32 },
}

#[derive(Clone, Debug, Deserialize)]
struct Report {
    generation: u32,
    origin: String,
    objects: u64,
    lost: u64,
    live_bytes: u64,
    stale_bytes: u64,
    stranded_bytes: u64,
    file_bytes: u64,
    held_bytes: u64,
    retrieve_us: u64,
    punch_us: u64,
    punched_bytes: u64,
    restore_us: u64,
    verify_us: u64,
    faults: Vec<String>,
}

/// What a kernel's server had.
#[derive(Clone, Debug, Deserialize)]
struct Served {
    generation: u32,
    origin: String,
    keys: u64,
    lost: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Preserved {
    freeze_us: u64,
    preserve_us: u64,
}

/// A change of kernels, in milliseconds.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
struct Blackout {
    freeze_ms: f64,
    preserve_ms: f64,
    kexec_ms: f64,
    retrieve_ms: f64,
    restore_ms: f64,
    /// From the last operation to the first one, by this machine's clock.
    all_ms: f64,
}

pub(super) fn run(options: &Options) -> Result<(), Error> {
    if let Some(missing) = linux::missing() {
        return Err(missing.into());
    }
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => linux::kernel()?.bzimage,
    };
    let mut files = Initramfs::new();
    files.file("init", &heirloom(options.heirloom.as_deref())?)?;
    files.file("kernel", &kernel)?;
    let initrd = linux::cache()?.join("vm-luo.cpio");
    std::fs::write(&initrd, files.finish()).map_err(linux::about(initrd.display().to_string()))?;

    let Options { kernels, objects, size, keys, append, .. } = options;
    let machine = Machine {
        kernel,
        initrd,
        // The kernel keeps the archive it was started with, for the one that it starts. Huge pages are fewer to preserve;
        // on a busy host the test of the timer takes the emulated one for broken, and panics.
        command_line: format!(
            "kho=on liveupdate=on retain_initrd rdinit=/init panic=-1 loglevel=4 \
             transparent_hugepage_shmem=advise no_timer_check {append} \
             -- __kernel generations={kernels} objects={objects} size={size} keys={keys}"
        ),
        memory_mib: options.memory,
        nr_cpus: 2,
        disk: None,
    };
    eprintln!("booting the first of {kernels} kernels in QEMU; {objects} objects");
    let started = Instant::now();
    let mut transcript = Transcript::new();
    let ended = machine.run(Duration::from_secs(options.timeout_s), |line| {
        let heard = transcript.hear(line).cloned();
        if options.verbose {
            eprintln!("{line}");
        } else if let Some(line) = heard {
            tell_progress(&line, started);
        }
    })?;
    let lines = &transcript.lines;
    let mut faults = faults(lines, *kernels, *objects, ended);
    faults.extend(server_faults(lines, *kernels, *keys));
    if !faults.is_empty() {
        faults.push(format!("the machine's last words:\n{}", transcript.last_words()));
        return Err(Error::Faults { faults });
    }
    print(options, lines, started.elapsed());
    Ok(())
}

fn tell_progress(line: &Line, started: Instant) {
    let at = started.elapsed().as_secs_f64();
    match line {
        Line::Mark { mark, generation } if mark == "kexec" => {
            eprintln!("{at:7.1} s  kernel {generation} replaces itself");
        }
        Line::Report(report) => eprintln!(
            "{at:7.1} s  kernel {}: {} objects ({}), {} lost, {} bytes stale",
            report.generation, report.objects, report.origin, report.lost, report.stale_bytes
        ),
        Line::Served(Served { generation, keys, lost, origin }) => {
            eprintln!("{at:7.1} s  kernel {generation}: the server ({origin}) has {keys} keys, {lost} lost");
        }
        Line::Failed { reason, .. } => eprintln!("{at:7.1} s  {reason}"),
        _ => {}
    }
}

/// What was not as it had to be; nothing, if all is well.
fn faults(lines: &[(Instant, Line)], kernels: u32, objects: u64, ended: Ended) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expected = 1;
    for (_, line) in lines {
        match line {
            Line::Failed { generation, reason } => faults.push(format!("kernel {generation}: {reason}")),
            Line::Report(report) => {
                let Report { generation, origin, objects: found, lost, stale_bytes, .. } = report;
                let wanted = if expected == 1 { "created" } else { "live update" };
                if (*generation, origin.as_str()) != (expected, wanted) {
                    faults.push(format!(
                        "generation {generation} ({origin}) in place of {expected} ({wanted})"
                    ));
                }
                if *found != objects || *lost != 0 || *stale_bytes != 0 {
                    faults.push(format!(
                        "kernel {expected}: {found} of {objects} objects, {lost} lost, {stale_bytes} bytes stale"
                    ));
                }
                faults.extend(report.faults.iter().map(|fault| format!("kernel {expected}: {fault}")));
                expected += 1;
            }
            _ => {}
        }
    }
    if expected != kernels + 1 {
        faults.push(format!("{} of {kernels} kernels reported", expected - 1));
    }
    let is_done =
        lines.iter().any(|(_, line)| matches!(line, Line::Done { generation } if *generation == kernels));
    if !is_done || ended != Ended::Restarted {
        faults.push(format!("the machine did not end by itself after the last kernel: {ended:?}"));
    }
    faults
}

/// What was not as it had to be with the server beside.
fn server_faults(lines: &[(Instant, Line)], kernels: u32, keys: u64) -> Vec<String> {
    if keys == 0 {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut expected = 0;
    for (_, line) in lines {
        let Line::Served(Served { generation, origin, keys: found, lost }) = line else { continue };
        expected += 1;
        let wanted = if expected == 1 { "created" } else { "inherited" };
        let is_well =
            (*generation, *found, *lost) == (expected, keys * u64::from(expected), 0) && origin == wanted;
        if !is_well {
            faults.push(format!(
                "kernel {expected}: the server was {origin}, with {found} keys and {lost} lost"
            ));
        }
    }
    if expected != kernels {
        faults.push(format!("the server ran in {expected} of {kernels} kernels"));
    }
    faults
}

/// Splits the time between two kernels into its parts.
fn blackouts(lines: &[(Instant, Line)]) -> Vec<Blackout> {
    let mut found = Vec::new();
    let (mut last_operation, mut kexec, mut current) = (None, None, Blackout::default());
    let ms = |us: u64| us as f64 / 1000.0;
    for (at, line) in lines {
        let since = |then: Option<Instant>| then.map_or(0.0, |then| (*at - then).as_secs_f64() * 1000.0);
        match line {
            Line::Mark { mark, .. } if mark == "last_operation" => last_operation = Some(*at),
            Line::Preserved(preserved) => {
                current.freeze_ms = ms(preserved.freeze_us);
                current.preserve_ms = ms(preserved.preserve_us);
            }
            Line::Mark { mark, .. } if mark == "kexec" => kexec = Some(*at),
            Line::Mark { mark, .. } if mark == "userspace" => current.kexec_ms = since(kexec),
            Line::Mark { mark, .. } if mark == "first_operation" => current.all_ms = since(last_operation),
            Line::Report(report) if report.generation > 1 => {
                current.retrieve_ms = ms(report.retrieve_us);
                current.restore_ms = ms(report.restore_us);
                found.push(std::mem::take(&mut current));
            }
            _ => {}
        }
    }
    found
}

fn print(options: &Options, lines: &[(Instant, Line)], took: Duration) {
    let reports: Vec<&Report> = lines
        .iter()
        .filter_map(|(_, line)| match line {
            Line::Report(report) => Some(report),
            _ => None,
        })
        .collect();
    let blackouts = blackouts(lines);
    let of = |report: &Report| (report.generation as usize).checked_sub(2).and_then(|at| blackouts.get(at));
    if options.json {
        for report in reports {
            let line = serde_json::json!({
                "kernel": report.generation, "objects": report.objects, "lost": report.lost,
                "live_bytes": report.live_bytes, "stale_bytes": report.stale_bytes,
                "stranded_bytes": report.stranded_bytes, "file_bytes": report.file_bytes,
                "held_bytes": report.held_bytes, "punched_bytes": report.punched_bytes, "punch_us": report.punch_us,
                "verify_us": report.verify_us, "blackout": of(report),
            });
            println!("{line}");
        }
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "kernel",
        "objects",
        "lost",
        "live MiB",
        "stale B",
        "file MiB",
        "held MiB",
        "punched MiB",
        "freeze ms",
        "preserve ms",
        "kexec ms",
        "retrieve ms",
        "restore ms",
        "blackout ms",
        "verify ms",
    ]);
    for report in &reports {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        let part =
            |part: fn(&Blackout) -> f64| of(report).map_or("-".to_owned(), |all| format!("{:.1}", part(all)));
        table.add_row([
            report.generation.to_string(),
            report.objects.to_string(),
            report.lost.to_string(),
            mib(report.live_bytes),
            report.stale_bytes.to_string(),
            mib(report.file_bytes),
            mib(report.held_bytes),
            mib(report.punched_bytes),
            part(|all| all.freeze_ms),
            part(|all| all.preserve_ms),
            part(|all| all.kexec_ms),
            part(|all| all.retrieve_ms),
            part(|all| all.restore_ms),
            part(|all| all.all_ms),
            format!("{:.0}", report.verify_us as f64 / 1000.0),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    if options.keys > 0 {
        let all = options.keys * u64::from(options.kernels);
        println!("A server beside had {all} keys in the last kernel, {} of each, 0 lost.", options.keys);
    }
    println!(
        "{} kernels inherited {} objects in place, 0 lost, 0 stale, in {:.0} s.",
        reports.len(),
        options.objects,
        took.as_secs_f64()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<(Instant, Line)> {
        let start = Instant::now();
        let parse = |(nth, line): (usize, &&str)| {
            (start + Duration::from_secs(nth as u64), serde_json::from_str(line).expect("a line of ours"))
        };
        text.iter().enumerate().map(parse).collect()
    }

    fn report(generation: u32, origin: &str, lost: u64) -> String {
        format!(
            "{{\"report\":{{\"generation\":{generation},\"origin\":\"{origin}\",\"objects\":5,\"lost\":{lost},\
             \"live_bytes\":1,\"stale_bytes\":0,\"stranded_bytes\":0,\"file_bytes\":1,\"held_bytes\":1,\
             \"retrieve_us\":2000,\"punch_us\":1,\"punched_bytes\":1,\"restore_us\":3000,\"verify_us\":1,\
             \"boot_us\":1,\"faults\":[]}}}}"
        )
    }

    #[test]
    fn a_chain_is_split_into_its_parts() {
        let (first, second) = (report(1, "created", 0), report(2, "live update", 0));
        let text = [
            &first,
            "{\"mark\":{\"generation\":1,\"mark\":\"last_operation\"}}",
            "{\"preserved\":{\"generation\":1,\"freeze_us\":500,\"preserve_us\":1500,\"file_bytes\":1,\"hole_bytes\":1}}",
            "{\"mark\":{\"generation\":1,\"mark\":\"kexec\"}}",
            "{\"mark\":{\"generation\":0,\"mark\":\"userspace\"}}",
            "{\"mark\":{\"generation\":2,\"mark\":\"first_operation\"}}",
            &second,
            "{\"done\":{\"generation\":2}}",
        ];
        let lines = lines(&text);
        assert_eq!(faults(&lines, 2, 5, Ended::Restarted), [""; 0]);
        let found = blackouts(&lines);
        assert_eq!(found.len(), 1);
        let Blackout { freeze_ms, preserve_ms, kexec_ms, retrieve_ms, restore_ms, all_ms } = found[0];
        assert_eq!((freeze_ms, preserve_ms, kexec_ms), (0.5, 1.5, 1000.0));
        assert_eq!((retrieve_ms, restore_ms, all_ms), (2.0, 3.0, 4000.0));
    }

    #[test]
    fn a_loss_a_new_heap_and_an_early_end_are_faults() {
        let done = "{\"done\":{\"generation\":2}}";
        let lost =
            [&report(1, "created", 0), &report(2, "live update", 1), done].map(|text: &str| text.to_owned());
        let lost: Vec<&str> = lost.iter().map(String::as_str).collect();
        assert_eq!(faults(&lines(&lost), 2, 5, Ended::Restarted).len(), 1);
        let anew = [report(1, "created", 0), report(1, "created", 0), done.to_owned()];
        let anew: Vec<&str> = anew.iter().map(String::as_str).collect();
        assert_eq!(faults(&lines(&anew), 2, 5, Ended::Restarted).len(), 1);
        let served = |generation: u32, lost: u64| {
            let origin = if generation == 1 { "created" } else { "inherited" };
            let keys = 3 * generation;
            format!(
                "{{\"served\":{{\"generation\":{generation},\"origin\":\"{origin}\",\"keys\":{keys},\"lost\":{lost}}}}}"
            )
        };
        let (first, second, less) = (served(1, 0), served(2, 0), served(2, 1));
        assert_eq!(server_faults(&lines(&[&first, &second]), 2, 3), [""; 0]);
        assert_eq!(server_faults(&lines(&[&first, &less]), 2, 3).len(), 1);
        assert_eq!(server_faults(&lines(&[&first]), 2, 3).len(), 1);
        assert_eq!(server_faults(&[], 2, 0).len(), 0);
        let cut = faults(&lines(&lost[..1]), 2, 5, Ended::TimedOut(Duration::from_secs(1)));
        assert_eq!(cut.len(), 2, "{cut:?}");
    }
}
