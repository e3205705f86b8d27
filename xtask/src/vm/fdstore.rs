//! `cargo xtask vm fdstore`: a real systemd restarts a service that keeps its heap.
//!
//! ```text
//! Debian's packages (systemd, its libraries)  +  heirloom  +  linux/systemd/heirloom-{service,serve}
//!      -> initramfs, which is the machine's root  -> QEMU: systemd is process 1
//!      -> heirloom-check.service: systemctl restart, kill -9, stop and start, and for the server reload; a line of JSON a life
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

use super::packages::{self, Release};
use super::served::{self, Served};
use super::transcript::Transcript;
use super::{Error, heirloom};
use crate::linux::{self, Ended, Initramfs, Machine};
use crate::step::root;

/// How the service is to be treated.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Times that systemd restarts the service, and the server
    #[arg(long, default_value_t = 5)]
    restarts: u32,
    /// Times that they are killed with signal 9 while they work
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Objects in the service's heap
    #[arg(long, default_value_t = 200_000)]
    objects: u64,
    /// The Debian release whose systemd is used
    #[arg(long, default_value = "forky")]
    release: String,
    /// Boot this kernel instead of Debian's
    #[arg(long, value_name = "BZIMAGE")]
    kernel: Option<std::path::PathBuf>,
    /// Use this heirloom, which needs no shared library, instead of building one
    #[arg(long, value_name = "PROGRAM")]
    heirloom: Option<std::path::PathBuf>,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 900)]
    timeout_s: u64,
    /// Show everything that the machine says
    #[arg(long, short)]
    verbose: bool,
}

/// A line on the console; `service/check.rs` of the command writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Systemd { version: String },
    Life { step: String, down_ms: u64, start: Start },
    Served(Served),
    Failed { reason: String },
    Done { lives: usize, stored: String },
    ServedAll { stored: String, restarts: String },
}

#[derive(Clone, Debug, Deserialize)]
struct Start {
    pid: u32,
    generation: u32,
    origin: String,
    objects: u64,
    in_change: u64,
    lost: u64,
    replaced: u64,
    stale_bytes: u64,
    restore_us: u64,
    verify_us: u64,
}

pub(super) fn run(options: &Options) -> Result<(), Error> {
    if let Some(missing) = linux::missing().or_else(packages::missing) {
        return Err(missing.into());
    }
    let release = Release::open(&options.release)?;
    let packages = release.fetch(&["systemd", "systemd-sysv", "mount"])?;
    let cache = linux::cache()?;
    let folder = cache.join("vm-fdstore-root");
    release.unpack(&packages, &folder)?;
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => debian_kernel(&release, &cache)?,
    };
    let mut files = Initramfs::new();
    furnish(&mut files, options)?;
    tree(&mut files, &folder, &folder)?;
    files.file("usr/bin/heirloom", &heirloom(options.heirloom.as_deref())?)?;
    let initrd = cache.join("vm-fdstore.cpio");
    fs::write(&initrd, files.finish()).map_err(linux::about(initrd.display().to_string()))?;

    let machine = Machine {
        kernel,
        initrd,
        command_line: "rdinit=/usr/lib/systemd/systemd panic=-1 loglevel=4 no_timer_check systemd.unit=heirloom-vm.target \
                       systemd.show_status=no systemd.log_target=console"
            .to_owned(),
        memory_mib: 2048,
        nr_cpus: 2,
        disk: None,
    };
    eprintln!("booting systemd in QEMU; {} objects", options.objects);
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
    let lines: Vec<&Line> = transcript.lines.iter().map(|(_, line)| line).collect();
    let mut faults = faults(&lines, options, ended);
    if !faults.is_empty() {
        faults.push(format!("the machine's last words:\n{}", transcript.last_words()));
        return Err(Error::Faults { faults });
    }
    print(&lines, started.elapsed());
    Ok(())
}

/// The smallest of Debian's kernels: the machine needs nothing that another one would have.
fn debian_kernel(release: &Release, cache: &Path) -> Result<std::path::PathBuf, Error> {
    let package = release.fetch_alone("^linux-binary-[0-9.]+.deb[0-9]+-cloud-amd64$")?;
    let folder = cache.join("vm-fdstore-kernel");
    release.unpack(&[package], &folder)?;
    let modules = folder.join("usr/lib/modules");
    let entries = fs::read_dir(&modules).map_err(linux::about(modules.display().to_string()))?;
    let found = entries.flatten().map(|entry| entry.path().join("vmlinuz")).find(|path| path.exists());
    found.ok_or_else(|| linux::Error::Missing("the kernel's package has no kernel".to_owned()).into())
}

/// What the packages' scripts would have made, the unit, and how it is treated.
fn furnish(files: &mut Initramfs, options: &Options) -> Result<(), Error> {
    for (name, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("init", "usr/lib/systemd/systemd"),
    ] {
        files.link(name, target);
    }
    for folder in ["proc", "sys", "run", "tmp", "root", "var/tmp", "var/log"] {
        files.folder(folder);
    }
    for unit in ["heirloom-service.service", "heirloom-serve.service", "heirloom-serve.socket"] {
        files.file(&format!("etc/systemd/system/{unit}"), &root().join("linux/systemd").join(unit))?;
    }
    let Options { objects, restarts, kills, .. } = options;
    // The unit as it is; for this machine alone: how many objects, and a report that the check can read.
    let more = format!(
        "[Service]\nExecStart=\nExecStart=/usr/bin/heirloom service --json --objects {objects}\n\
         StandardOutput=append:/run/heirloom-service.jsonl\nStandardError=tty\nTTYPath=/dev/console\n\
         TimeoutStartSec=300\n"
    );
    let check = format!(
        "[Unit]\nDescription=Restarts and kills of the example service, and of the server\n\
         After=heirloom-service.service heirloom-serve.service\nSuccessAction=poweroff-immediate\nFailureAction=poweroff-immediate\n\
         [Service]\nType=oneshot\nExecStart=/usr/bin/heirloom __check-service {restarts} {kills}\n\
         ExecStart=/usr/bin/systemctl stop heirloom-service.service\n\
         ExecStart=/usr/bin/heirloom __check-server {restarts} {kills}\n\
         StandardOutput=tty\nStandardError=tty\nTTYPath=/dev/console\nTimeoutStartSec=infinity\n"
    );
    let target = "[Unit]\nDescription=A machine for two services\nRequires=basic.target\nAfter=basic.target\n\
                  Wants=heirloom-service.service heirloom-serve.socket heirloom-serve.service heirloom-check.service\n";
    // What the server says is told where a check fails.
    let log = "[Service]\nStandardError=append:/run/heirloom-serve.log\nTimeoutStartSec=300\n";
    for (name, text) in [
        ("etc/systemd/system/heirloom-service.service.d/vm.conf", more.as_str()),
        ("etc/systemd/system/heirloom-serve.service.d/vm.conf", log),
        ("etc/systemd/system/heirloom-check.service", &check),
        ("etc/systemd/system/heirloom-vm.target", target),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/os-release", "ID=debian\nNAME=Debian\nPRETTY_NAME=\"Debian for one service\"\n"),
        ("etc/machine-id", "68656972686569726865697268656972\n"),
        ("etc/fstab", ""),
    ] {
        files.data(name, text.as_bytes());
    }
    Ok(())
}

/// Adds what lies below a folder; documentation and translations are left out.
fn tree(files: &mut Initramfs, top: &Path, folder: &Path) -> Result<(), Error> {
    const LEFT_OUT: [&str; 5] = [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/lib/x86_64-linux-gnu/gconv",
        "usr/lib/udev/hwdb.d",
    ];
    let entries = fs::read_dir(folder).map_err(linux::about(folder.display().to_string()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(top).unwrap_or(&path).display().to_string();
        let facts = fs::symlink_metadata(&path).map_err(linux::about(name.clone()))?;
        if facts.is_symlink() {
            let target = fs::read_link(&path).map_err(linux::about(name.clone()))?;
            files.link(&name, &target.display().to_string());
        } else if facts.is_dir() {
            if !LEFT_OUT.contains(&name.as_str()) {
                files.folder(&name);
                tree(files, top, &path)?;
            }
        } else if facts.is_file() && facts.permissions().mode() & 0o400 != 0 {
            files.file(&name, &path)?;
        }
    }
    Ok(())
}

fn tell_progress(line: &Line, started: Instant) {
    let at = started.elapsed().as_secs_f64();
    match line {
        Line::Systemd { version } => eprintln!("{at:7.1} s  {version}"),
        Line::Life { step, start, .. } => eprintln!(
            "{at:7.1} s  {step}: generation {} ({}), {} objects, {} lost",
            start.generation, start.origin, start.objects, start.lost
        ),
        Line::Served(found) => eprintln!("{at:7.1} s  server, {}: {} keys lost", found.step, found.lost),
        Line::Failed { reason } => eprintln!("{at:7.1} s  {reason}"),
        Line::Done { .. } | Line::ServedAll { .. } => {}
    }
}

fn collect_served<'l>(lines: &[&'l Line]) -> Vec<&'l Served> {
    let served = |line: &&'l Line| match line {
        Line::Served(served) => Some(served),
        _ => None,
    };
    lines.iter().filter_map(served).collect()
}

fn faults(lines: &[&Line], options: &Options, ended: Ended) -> Vec<String> {
    let mut faults = Vec::new();
    let mut nr_lives = 0;
    let mut pids = std::collections::BTreeSet::new();
    for line in lines {
        match line {
            Line::Failed { reason } => faults.push(reason.clone()),
            Line::Life { step, start, .. } => {
                nr_lives += 1;
                let wanted = match step.as_str() {
                    "start" => "created",
                    killed if killed.starts_with("kill") => "recovered",
                    _ => "inherited",
                };
                if start.origin != wanted || start.generation != nr_lives || !pids.insert(start.pid) {
                    faults.push(format!(
                        "{step}: generation {} in process {} was {}",
                        start.generation, start.pid, start.origin
                    ));
                }
                if start.objects + start.in_change != options.objects
                    || start.lost != 0
                    || start.stale_bytes != 0
                {
                    faults.push(format!("{step}: {start:?}"));
                }
            }
            Line::Systemd { .. } | Line::Served(_) | Line::Done { .. } | Line::ServedAll { .. } => {}
        }
    }
    // The first start, and the stop and start at the end.
    let wanted = options.restarts + options.kills + 2;
    if nr_lives != wanted {
        faults.push(format!("{nr_lives} of {wanted} lives were reported"));
    }
    if !lines.iter().any(|line| matches!(line, Line::Done { stored, .. } if stored == "1")) {
        faults.push("systemd does not say at the end that it keeps one descriptor".to_owned());
    }
    faults.extend(served::faults(&collect_served(lines), options.restarts, options.kills));
    // systemd has started it anew after each kill, and after nothing else.
    let kills = options.kills.to_string();
    let is_well = |line: &&&Line| matches!(line, Line::ServedAll { stored, restarts } if stored == "1" && *restarts == kills);
    if !lines.iter().any(|line| is_well(&line)) {
        faults.push(
            "systemd does not say that it keeps one descriptor for the server and has restarted it for kills"
                .to_owned(),
        );
    }
    if ended != Ended::Restarted {
        faults.push(format!("the machine did not turn itself off: {ended:?}"));
    }
    faults
}

fn print(lines: &[&Line], took: Duration) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "step",
        "generation",
        "origin",
        "objects",
        "in change",
        "lost",
        "stale B",
        "replaced so far",
        "down ms",
        "restore us",
        "verify ms",
    ]);
    for line in lines {
        match line {
            Line::Systemd { version } => println!("{version}"),
            Line::Life { step, down_ms, start } => {
                let numbers = [
                    start.objects,
                    start.in_change,
                    start.lost,
                    start.stale_bytes,
                    start.replaced,
                    *down_ms,
                    start.restore_us,
                    start.verify_us / 1000,
                ];
                let words = [step.clone(), start.generation.to_string(), start.origin.clone()];
                table.add_row(words.into_iter().chain(numbers.map(|number| number.to_string())));
            }
            Line::Served(_) | Line::Failed { .. } | Line::Done { .. } | Line::ServedAll { .. } => {}
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    served::print(&collect_served(lines));
    let lives = lines.iter().find_map(|line| match line {
        Line::Done { lives, .. } => Some(*lives),
        _ => None,
    });
    println!("{} lives of one heap, 0 lost, 0 stale, in {:.0} s.", lives.unwrap_or(0), took.as_secs_f64());
}
