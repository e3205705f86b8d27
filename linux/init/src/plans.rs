//! The plans: what is done in each kernel.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::thread;
use std::time::Instant;

use crate::{DEBUG, Order, named, say, sys, tree};

/// The sample's table, and what is done to it.
const SAMPLE: &str = "heirloom_sample/command";

pub(crate) fn run(order: &Order) -> io::Result<()> {
    let plan = order.word("plan").unwrap_or("chain").to_owned();
    if plan == "refuse" {
        return refuse(order);
    }
    if order.number("generation", 1) > 1 {
        map_root()?;
    }
    load()?;
    match plan.as_str() {
        "chain" => chain(order),
        "table" => table(),
        "misuse" => misuse(),
        "dump" => dump(order),
        other => Err(io::Error::other(format!("no plan is called {other}"))),
    }
}

/// Loads both modules; the first one is told where scratch lies.
fn load() -> io::Result<()> {
    sys::load_module("/heirloom.ko", &scratch()?).map_err(|error| named("heirloom.ko", error))?;
    sys::load_module("/heirloom_sample.ko", "").map_err(|error| named("heirloom_sample.ko", error))
}

/// KHO's scratch areas as it tells them: two files with a number a line.
fn scratch() -> io::Result<String> {
    let read = |name: &str| {
        let path = format!("{DEBUG}/kho/out/{name}");
        fs::read_to_string(&path).map_err(|error| named(&path, error))
    };
    let (starts, lengths) = (read("scratch_phys")?, read("scratch_len")?);
    let pairs: Vec<String> = starts
        .split_ascii_whitespace()
        .zip(lengths.split_ascii_whitespace())
        .map(|(at, len)| format!("{at},{len}"))
        .collect();
    say(&format!("scratch {}", pairs.join(" ")));
    Ok(format!("scratch={}", pairs.join(",")))
}

fn write(file: &str, text: &str) -> io::Result<()> {
    let path = format!("{DEBUG}/{file}");
    // One write: each is a command.
    let written =
        File::options().write(true).open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| named(&format!("{file} < {text}"), error))
}

/// A command to the sample, and how long it took.
fn sample(text: &str) -> io::Result<()> {
    let start = Instant::now();
    write(SAMPLE, text)?;
    say(&format!("took {text}: {} ms", start.elapsed().as_millis()));
    Ok(())
}

fn show(file: &str) -> io::Result<()> {
    let path = format!("{DEBUG}/heirloom/{file}");
    let text = fs::read_to_string(&path).map_err(|error| named(&path, error))?;
    text.lines().for_each(|line| say(&format!("{file} {line}")));
    Ok(())
}

/// The chain: in each kernel verify, renew a third, verify, check; in the first one build.
fn chain(order: &Order) -> io::Result<()> {
    let (generation, of) = (order.number("generation", 1), order.number("of", 5));
    let interval = order.number("kfence", 0);
    if interval > 0 {
        sample_hard(interval)?;
    }
    if generation == 1 {
        sample(&format!("build {}", order.number("objects", 200_000)))?;
    }
    sample("verify")?;
    sample(&format!("churn {generation}"))?;
    sample("verify")?;
    sample("safe")?;
    show("stats")?;
    show("check")?;
    show("names")?;
    if interval > 0 {
        // Ordinary allocations (a file is some) and ours by turns, so that there is something to sample.
        for round in 0..40 {
            for _ in 0..50 {
                fs::read_to_string("/proc/self/stat")?;
            }
            write(SAMPLE, &format!("fill {} 200", 16 << (round % 8)))?;
        }
        show("check")?;
        let stats = fs::read_to_string(format!("{DEBUG}/kfence/stats"))?;
        stats.lines().for_each(|line| say(&format!("kfence {line}")));
    }
    if generation < of { kexec(order) } else { Ok(()) }
}

/// Where the root of the predecessor's map of preserved memory lies. Linux 7.2 takes it from kmalloc: where KFENCE served that, it lies in
/// KFENCE's pool, which on a kernel that KHO itself started is in scratch, and is overwritten before it is read. (Of its own map such a
/// kernel shows nothing.)
fn map_root() -> io::Result<()> {
    let tree = fs::read(format!("{DEBUG}/kho/in/fdt"))?;
    let root = tree::map_root(&tree).ok_or_else(|| io::Error::other("KHO's tree has no map"))?;
    let areas = scratch()?;
    let numbers: Vec<u64> = areas.split([',', '=']).filter_map(tree::hex).collect();
    let is_in_scratch = numbers.chunks_exact(2).any(|area| area[0] <= root && root - area[0] < area[1]);
    say(&format!("map_root {root:#x} in_scratch {}", u8::from(is_in_scratch)));
    Ok(())
}

/// KFENCE, from here on: every `interval` milliseconds one allocation of any cache.
fn sample_hard(interval: u64) -> io::Result<()> {
    let path = "/sys/module/kfence/parameters/sample_interval";
    fs::write(path, interval.to_string()).map_err(|error| named(path, error))?;
    fs::write("/sys/module/kfence/parameters/burst", "20")
}

/// All CPUs at once, each freeing what the others allocated, while the pool is paused and checked again and again: frees that come
/// meanwhile are put off, and none is lost.
fn stress(seed: u64) -> io::Result<()> {
    let cpus = thread::available_parallelism()?.get();
    let threads: Vec<_> = (0..cpus)
        .map(|cpu| {
            thread::spawn(move || {
                sys::stay_on(cpu)?;
                write(SAMPLE, &format!("stress {} 3000", seed * 1000 + cpu as u64))
            })
        })
        .collect();
    let mut nr_checks = 0;
    while !threads.iter().all(thread::JoinHandle::is_finished) {
        fs::read_to_string(format!("{DEBUG}/heirloom/check"))?;
        nr_checks += 1;
        thread::sleep(std::time::Duration::from_millis(20));
    }
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    say(&format!("stressed on {cpus} processors, checked {nr_checks} times meanwhile"));
    show("check")?;
    Ok(())
}

/// Replaces the kernel by the same one, with the same files.
fn kexec(order: &Order) -> io::Result<()> {
    put_in_place(order)?;
    say("kexec");
    Err(named("kexec", sys::jump()))
}

fn put_in_place(order: &Order) -> io::Result<()> {
    // The kernel kept the archive that we came in (retain_initrd); it wants it as a file.
    fs::copy("/sys/firmware/initrd", "/tmp/initrd").map_err(|error| named("/sys/firmware/initrd", error))?;
    let (kernel, initrd) = (File::open("/bzImage")?, File::open("/tmp/initrd")?);
    sys::load_kernel(&kernel, &initrd, &order.next()).map_err(|error| named("kexec_file_load", error))
}

/// What records cost, and how long things take.
fn table() -> io::Result<()> {
    show("stats")?;
    for size in [9, 56, 76, 2932] {
        for nr in [100, 1000, 10_000, 100_000] {
            write(SAMPLE, &format!("records {size} {nr}"))?;
        }
    }
    for size in [9, 56, 76, 512, 2932] {
        write(SAMPLE, &format!("time {size}"))?;
    }
    show("stats")
}

/// What must be refused, and what happens when memory is short.
fn misuse() -> io::Result<()> {
    sample("misuse")?;
    sample("atomic 2000")?;
    sample("build 3000")?;
    expect_error("unload with live objects", sys::unload_module("heirloom"));
    // The sample holds a reference as well; without it the objects alone must.
    sys::unload_module("heirloom_sample")?;
    expect_error("unload with live objects alone", sys::unload_module("heirloom"));
    sys::load_module("/heirloom_sample.ko", "")?;
    expect_error("kexec with no kernel in place", Err(sys::jump()));
    sample("verify")?;
    // Frozen and thawed: a kexec that was called off.
    write("heirloom/control", "freeze")?;
    expect_error("build while frozen", write(SAMPLE, "records 56 100"));
    show("check")?;
    write("heirloom/control", "thaw")?;
    sample("verify")?;
    sample("churn 1")?;
    stress(1)?;
    short_of_blocks()?;
    short_of_pages()?;
    sample("verify")?;
    sample("drop")?;
    show("check")?;
    // Pinned for a moment more: the work that notices runs a quarter of a second later.
    sys::unload_module("heirloom_sample")?;
    let mut unloaded = Ok(());
    for _ in 0..40 {
        unloaded = sys::unload_module("heirloom");
        if unloaded.is_ok() {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
    unloaded.map_err(|error| named("unload of the empty module", error))?;
    say("unloaded");
    load()?;
    show("stats")
}

/// The pool may have so many blocks more and then none: whatever was asked for fails whole.
fn short_of_blocks() -> io::Result<()> {
    let mut failed = 0;
    for limit in 0..12 {
        write("heirloom/control", &format!("limit {limit}"))?;
        failed += u32::from(write(SAMPLE, "fill 2932 4000").is_err());
    }
    write("heirloom/control", "limit -1")?;
    say(&format!("short_of_blocks failed {failed} of 12"));
    sample("verify")
}

/// Linux's own fault injection: the n-th call that may fail does, for each n.
fn short_of_pages() -> io::Result<()> {
    fs::write(format!("{DEBUG}/fail_page_alloc/ignore-gfp-wait"), "N")?;
    fs::write(format!("{DEBUG}/fail_page_alloc/min-order"), "0")?;
    fs::write(format!("{DEBUG}/fail_page_alloc/verbose"), "0")?;
    let (mut failed, mut last) = (0, 0);
    for nth in 1..200 {
        // The thread that writes its own fail-nth is the one whose calls fail.
        let done = thread::spawn(move || -> io::Result<(bool, bool)> {
            let path = "/proc/thread-self/fail-nth";
            let mut command = File::options().write(true).open(format!("{DEBUG}/{SAMPLE}"))?;
            fs::write(path, nth.to_string())?;
            let is_done = command.write_all(b"fill 2932 4000").is_ok();
            let left: u64 = fs::read_to_string(path)?.trim().parse().unwrap_or(0);
            fs::write(path, "0")?;
            Ok((is_done, left != 0))
        });
        let (is_done, is_left) = done.join().map_err(|_| io::Error::other("a thread panicked"))??;
        failed += u32::from(!is_done);
        last = nth;
        if is_left {
            break;
        }
    }
    say(&format!("short_of_pages failed {failed} of {last}"));
    sample("verify")
}

fn expect_error(what: &str, result: io::Result<()>) {
    match result {
        Ok(()) => say(&format!("fault {what}: not refused")),
        Err(error) => say(&format!("refused {what}: {error}")),
    }
}

/// What was handed over is damaged, in a way that differs from kernel to kernel, and must be refused.
fn refuse(order: &Order) -> io::Result<()> {
    let generation = order.number("generation", 1);
    let cases = ["control", "table", "block", "names"];
    load()?;
    if generation > 1 {
        show("stats")?;
        expect_error("retrieve", write(SAMPLE, "verify"));
        write("heirloom/control", "anew")?;
    }
    let Some(case) = cases.get(generation as usize - 1) else { return Ok(()) };
    sample("build 2000")?;
    // Damage goes in behind the freeze, as a flipped bit would.
    write("heirloom/control", "freeze")?;
    write("heirloom/control", &format!("damage {case}"))?;
    kexec(order)
}

/// Builds a table, and writes all bytes of the pool to the disk in the next kernel.
fn dump(order: &Order) -> io::Result<()> {
    if order.number("generation", 1) == 1 {
        sample(&format!("build {}", order.number("objects", 20_000)))?;
        sample("safe")?;
        return kexec(order);
    }
    sample("verify")?;
    write("heirloom/control", "freeze")?;
    show("stats")?;
    show("names")?;
    let list = fs::read_to_string(format!("{DEBUG}/heirloom/blocks"))?;
    let mut memory = File::open(format!("{DEBUG}/heirloom/memory"))?;
    let mut disk = File::options().write(true).open("/dev/vda")?;
    let mut at = 0u64;
    for line in list.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(kind), Some(start), Some(bytes)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let start = u64::from_str_radix(start.trim_start_matches("0x"), 16).map_err(io::Error::other)?;
        let bytes: u64 = bytes.parse().map_err(io::Error::other)?;
        say(&format!("dump {kind} {start:#x} {bytes} {at}"));
        memory.seek(SeekFrom::Start(start))?;
        let mut left = (&mut memory).take(bytes);
        at += io::copy(&mut left, &mut disk)?;
    }
    disk.sync_all()?;
    write("heirloom/control", "thaw")
}
