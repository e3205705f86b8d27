//! The demo with a kernel a generation: the heap lives through kexec.
//!
//! ```text
//! kernel n    heap -> first query -> verify -> report -> churn -> load the same kernel and initramfs
//!             last query -> freeze, preserve -> kexec -.
//! kernel n+1  heap <-----------------------------------'  the last one turns the machine off
//! ```
//!
//! Beside it a server runs (`heirloom serve --heap luo`), whose keys are read in the next kernel; see `kernel_server`.
//!
//! This program is the first process of each kernel, with its parameters on the kernel's command line behind `--`. It tells
//! what it does on the console, a JSON object a line. Clocks start anew with each kernel, so whoever reads the console
//! takes the time between a mark of one kernel and a mark of the next.
//!
//! `cargo xtask vm luo` builds such a machine and reads its console; on a machine of one's own it would end whatever runs there.

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;

use heirloom::live_update::load_kernel;
use heirloom::{Heap, Options, Origin};
use serde::Serialize;

use super::init;
use super::journal::JOURNAL;
use super::kernel_server::{KernelServer, Served};
use super::objects::{OBJECTS, is_whole};
use super::plan::ObjectsPlan;
use super::random::Random;
use super::workload::{RandomObjects, Workload};
use crate::EXIT_BROKEN;
use crate::args::SizeRange;
use crate::output::print_line;

/// First argument of a process that is a kernel's generation; not for people.
pub(crate) const KERNEL: &str = "__kernel";

const HEAP: &str = "heirloom-demo";

/// Where the initramfs has the kernel, and where this program puts the initramfs that the kernel has retained.
const KERNEL_IMAGE: &str = "/kernel";
const RETAINED_INITRAMFS: &str = "/sys/firmware/initrd";
const INITRAMFS_COPY: &str = "/initramfs";

/// A line on the console.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Mark { generation: u32, mark: &'static str },
    Report(Report),
    Served(Served),
    Preserved(Preserved),
    Failed { generation: u32, reason: String },
    Done { generation: u32 },
}

/// What a kernel found.
#[derive(Debug, Serialize)]
struct Report {
    generation: u32,
    origin: &'static str,
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
    /// From the start of this kernel's clock to the start of this program.
    boot_us: u64,
    faults: Vec<String>,
}

/// What it left.
#[derive(Debug, Serialize)]
struct Preserved {
    generation: u32,
    freeze_us: u64,
    preserve_us: u64,
    file_bytes: u64,
    hole_bytes: u64,
}

/// What stands behind [`KERNEL`].
#[derive(Clone, Copy, Debug)]
struct Settings {
    generations: u32,
    objects: ObjectsPlan,
    /// Keys of a server beside; 0 is none.
    keys: u64,
    seed: u64,
}

impl Settings {
    fn parse(arguments: &[OsString]) -> Result<Self, String> {
        let size = SizeRange { start: 16, end: 600 };
        let mut settings =
            Self { generations: 3, objects: ObjectsPlan { count: 1_000_000, size }, keys: 0, seed: 1 };
        for argument in arguments {
            let text = argument.to_str().unwrap_or_default();
            let refuse = |_| format!("`{text}` is not understood");
            match text.split_once('=') {
                Some(("generations", value)) => settings.generations = value.parse().map_err(refuse)?,
                Some(("objects", value)) => settings.objects.count = value.parse().map_err(refuse)?,
                Some(("keys", value)) => settings.keys = value.parse().map_err(refuse)?,
                Some(("seed", value)) => settings.seed = value.parse().map_err(refuse)?,
                Some(("size", value)) => settings.objects.size = value.parse()?,
                // The kernel passes on what it does not know itself.
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// Runs the generation of this kernel. Ends in the next kernel, or turns the machine off.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let started_us = super::clock::now_ns() / 1000;
    if !init::is_first_process() {
        eprintln!(
            "heirloom: {KERNEL} is for the first process of a virtual machine; `cargo xtask vm luo` makes one"
        );
        return ExitCode::from(crate::EXIT_USAGE);
    }
    let mut generation = 0;
    let lived = Settings::parse(arguments).and_then(|settings| {
        init::mount_all().map_err(|error| format!("cannot mount what is needed: {error}"))?;
        live(settings, started_us, &mut generation)
    });
    if let Err(reason) = lived {
        tell(&Line::Failed { generation, reason });
    }
    let error = init::power_off();
    eprintln!("heirloom: {error}");
    ExitCode::from(EXIT_BROKEN)
}

fn live(settings: Settings, started_us: u64, generation: &mut u32) -> Result<(), String> {
    tell(&Line::Mark { generation: 0, mark: "userspace" });
    let workload = RandomObjects { plan: settings.objects };
    let heap = Heap::inherit_or_create(HEAP, Options::new()).map_err(|error| error.to_string())?;
    *generation = heap.generation();
    let generation = heap.generation();
    let is_first = matches!(heap.origin(), Origin::Created);
    if !is_first {
        let answered = workload.query(&heap.enter(), 0);
        tell(&Line::Mark { generation, mark: "first_operation" });
        if !answered {
            return Err("the first query found nothing".to_owned());
        }
    } else if has_incoming() {
        // A new heap in every kernel would be a chain without an end.
        return Err("the kernel before has left memory, and no heap was found in it".to_owned());
    }
    let mut random = Random(settings.seed);
    if is_first {
        workload.build(&heap.enter(), &mut random).map_err(|error| error.to_string())?;
    } else {
        random.0 = JOURNAL.get(&heap.enter()).lock().random;
    }
    report(&heap, &workload, started_us, is_first, &mut random)?;
    let mut server = None;
    if settings.keys > 0 {
        let (running, served) = KernelServer::start(settings.keys, generation)?;
        let lost = served.lost;
        tell(&Line::Served(served));
        if lost > 0 {
            return Err(format!("{lost} keys of the server are lost"));
        }
        server = Some(running);
    }
    if generation >= settings.generations {
        tell(&Line::Done { generation });
        return Ok(());
    }
    {
        let inside = heap.enter();
        workload.churn(&inside, &mut random).map_err(|error| error.to_string())?;
        JOURNAL.get(&inside).lock().random = random.0;
    }
    go_on(&heap, &workload, server)
}

/// True where the kernel was itself started with memory of a kernel before.
fn has_incoming() -> bool {
    std::path::Path::new("/sys/kernel/debug/kho/in/fdt").exists()
}

fn report(
    heap: &Heap,
    workload: &RandomObjects,
    started_us: u64,
    is_first: bool,
    random: &mut Random,
) -> Result<(), String> {
    let started_ns = super::clock::now_ns();
    let (mut faults, objects, lost) = {
        let inside = heap.enter();
        let faults = workload.verify(&inside, random);
        let objects = OBJECTS.get(&inside).read();
        let whole = objects.table.iter().filter(|object| is_whole(object)).count() as u64;
        (faults, objects.tally.nr_objects, objects.tally.nr_objects.saturating_sub(whole))
    };
    let verify_us = (super::clock::now_ns() - started_ns) / 1000;
    let (scan, stats) = (heap.scan().map_err(|error| error.to_string())?, heap.stats());
    if objects != workload.plan.count {
        faults.push(format!("{objects} objects, where {} were made", workload.plan.count));
    }
    let retrieved = heap.retrieved();
    let origin = match heap.origin() {
        Origin::Created => "created",
        Origin::Inherited if retrieved.is_some() => "live update",
        Origin::Inherited => "inherited",
        Origin::Recovered { .. } => "recovered",
    };
    if !is_first && origin != "live update" {
        faults.push(format!("the heap came by another way: {origin}"));
    }
    let is_whole = faults.is_empty();
    tell(&Line::Report(Report {
        generation: heap.generation(),
        origin,
        objects,
        lost,
        live_bytes: scan.live_bytes,
        stale_bytes: scan.stale_bytes,
        stranded_bytes: scan.stranded_bytes,
        file_bytes: stats.file_bytes,
        held_bytes: stats.held_bytes,
        retrieve_us: retrieved.map_or(0, |figures| figures.retrieve_us),
        punch_us: retrieved.map_or(0, |figures| figures.punch_us),
        punched_bytes: retrieved.map_or(0, |figures| figures.punched_bytes),
        restore_us: stats.restore_us,
        verify_us,
        boot_us: started_us,
        faults,
    }));
    if is_whole { Ok(()) } else { Err("what was inherited is not what was left".to_owned()) }
}

/// Preserves the heap and starts the kernel that runs now once more. Comes back only if that failed.
fn go_on(heap: &Heap, workload: &RandomObjects, server: Option<KernelServer>) -> Result<(), String> {
    let say = |step: &str, error: &dyn std::fmt::Display| format!("cannot {step}: {error}");
    std::fs::copy(RETAINED_INITRAMFS, INITRAMFS_COPY).map_err(|error| say("copy the initramfs", &error))?;
    let open = |path| File::open(path).map_err(|error| format!("{path}: {error}"));
    let command_line =
        std::fs::read_to_string("/proc/cmdline").map_err(|error| say("read /proc/cmdline", &error))?;
    load_kernel(&open(KERNEL_IMAGE)?, Some(&open(INITRAMFS_COPY)?), command_line.trim())
        .map_err(|error| error.to_string())?;
    std::fs::remove_file(INITRAMFS_COPY).map_err(|error| say("remove the copy of the initramfs", &error))?;

    // Held until the kernel is replaced: with its process goes what it has preserved.
    let _server = server.map(KernelServer::preserve).transpose()?;
    workload.query(&heap.enter(), 1);
    let generation = heap.generation();
    tell(&Line::Mark { generation, mark: "last_operation" });
    let preservation = heap.preserve().map_err(|error| error.to_string())?;
    let figures = preservation.figures();
    tell(&Line::Preserved(Preserved {
        generation,
        freeze_us: figures.freeze_us,
        preserve_us: figures.preserve_us,
        file_bytes: figures.file_bytes,
        hole_bytes: figures.hole_bytes,
    }));
    tell(&Line::Mark { generation, mark: "kexec" });
    Err(preservation.start_kernel().to_string())
}

fn tell(line: &Line) {
    print_line(serde_json::to_string(line).expect("a line has string keys"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_what_the_kernel_adds_is_passed_over() {
        let words = ["generations=4", "splash", "objects=10", "size=16..32", "keys=5", "seed=9", "root=x"];
        let settings = Settings::parse(&words.map(OsString::from)).unwrap();
        let size = settings.objects.size;
        assert_eq!((settings.generations, settings.objects.count, settings.seed), (4, 10, 9));
        assert_eq!((size.start, size.end, settings.keys), (16, 32, 5));
        assert!(Settings::parse(&["objects=x".into()]).is_err());
    }
}
