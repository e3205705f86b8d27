//! A chain of three generations in QEMU, and that a bad run would be seen.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::transcript::{Transcript, Word};
use super::*;
use crate::kernel::qemu::Ended;

/// The bare-metal kernel boots, jumps twice, and loses nothing on the way.
#[test]
fn three_generations_boot_and_lose_nothing() {
    if is_skipped("three_generations_boot_and_lose_nothing") {
        return;
    }
    let options = Options { generations: 3, memory: 256, timeout_s: 120, ..Options::default() };
    match attempt(options) {
        Ok(transcript) => assert_eq!(transcript.generations.len(), 3),
        Err(error) => panic!("{error}"),
    }
}

/// With memory above 4 GiB, which a successor's image must stay below.
#[test]
fn memory_above_4_gib_is_handed_over_as_well() {
    if is_skipped("memory_above_4_gib_is_handed_over_as_well") {
        return;
    }
    let options = Options { generations: 3, memory: 5 * 1024, timeout_s: 120, ..Options::default() };
    match attempt(options) {
        Ok(transcript) => assert_eq!(transcript.generations.len(), 3),
        Err(error) => panic!("{error}"),
    }
}

/// All memory that is not handed over is overwritten before each jump: a successor that looked anywhere else would not miss it.
#[test]
fn nothing_but_what_is_handed_over_is_needed() {
    if is_skipped("nothing_but_what_is_handed_over_is_needed") {
        return;
    }
    let kernel = build().expect("builds");
    let (ended, console) = boot(&kernel, Some(kernel.clone()), "generations=3 spoil=all");
    let mut transcript = Transcript::default();
    console.iter().for_each(|line| _ = transcript.hear(line));
    assert_eq!(transcript.faults(3, ended), Vec::<String>::new(), "{}", transcript.last_words());
}

/// Page rights, the page below the stack and exceptions are there, and whatever they catch fails the run.
#[test]
fn what_must_not_be_done_ends_the_run_with_a_word() {
    if is_skipped("what_must_not_be_done_ends_the_run_with_a_word") {
        return;
    }
    let kernel = build().expect("builds");
    for (deed, word) in [
        ("null", "page fault: write to 0x0 at"),
        ("text", "page fault: write to 0xffffffff80000000 at"),
        ("rodata", "page fault: write to 0xffffffff800"),
        ("execute", "page fault: read of 0xffff800000200000 at 0xffff800000200000"),
        ("hole", "page fault: read of 0xffffa00000000000 at"),
        ("stack", "page fault: write to 0xffffffff80"),
        ("divide", "exception 0 at"),
        ("invalid", "exception 6 at"),
        ("panic", "panic: "),
    ] {
        let (ended, console) = boot(&kernel, None, &format!("provoke={deed}"));
        assert_eq!(ended, Ended::Failure, "{deed}: {console:?}");
        assert!(console.iter().any(|line| line.starts_with(word)), "{deed}: {console:?}");
    }
}

/// Before the jump there is a way back; after it there is none.
#[test]
fn a_successor_that_could_not_take_over_is_refused_before_the_jump() {
    if is_skipped("a_successor_that_could_not_take_over_is_refused_before_the_jump") {
        return;
    }
    let kernel = build().expect("builds");
    let folder = target_dir("kernel");
    let good = std::fs::read(&kernel).expect("readable");
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("writable");
        path
    };
    let replace = |bytes: &mut Vec<u8>, from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
        bytes[at..at + to.len()].copy_from_slice(to);
    };
    let cases: [(&str, Option<PathBuf>); 5] = [
        ("there is no boot module with a successor", None),
        ("successor is no whole ELF file", Some(changed("cut.elf", &|bytes| bytes.truncate(5000)))),
        ("successor is no whole ELF file", Some(root().join("Cargo.toml"))),
        (
            "successor does not read kho-v4",
            Some(changed("other.elf", &|bytes| {
                replace(bytes, b"Heirloom\0\0\0\0kho-v4", b"Heirloom\0\0\0\0kho-v9")
            })),
        ),
        (
            "successor has no note with its entry",
            Some(changed("mute.elf", &|bytes| replace(bytes, b"\x12\0\0\0Xen\0", b"\x13"))),
        ),
    ];
    for (word, successor) in cases {
        let (ended, console) = boot(&kernel, successor, "generations=2");
        assert_eq!(ended, Ended::Failure, "{word}: {console:?}");
        assert!(console.iter().any(|line| line.starts_with(&format!("no successor: {word}"))), "{console:?}");
        assert_eq!(console.iter().filter(|line| line.starts_with('{')).count(), 1, "{console:?}");
    }
}

/// Says so, and why, where the kernel cannot be run: past the test runner, which shows nothing of a test that passes.
fn is_skipped(test: &str) -> bool {
    let missing = qemu::missing();
    if let Some(missing) = missing {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {missing}");
    }
    missing.is_some()
}

/// Boots a kernel and listens to it until it ends.
fn boot(kernel: &Path, successor: Option<PathBuf>, command_line: &str) -> (Ended, Vec<String>) {
    let command_line = command_line.to_owned();
    let machine = Machine { kernel: kernel.to_owned(), successor, memory_mib: 256, command_line };
    let mut console = Vec::new();
    let ended = machine.run(Duration::from_secs(60), |line| console.push(line.to_owned()));
    (ended.expect("QEMU runs"), console)
}

/// The readers of foreign bytes that the kernel has live in a library beside it, whose tests run on the host.
#[test]
fn the_parts_of_the_kernel_without_a_processor_pass_their_tests() {
    let test = ["test", "--lib", "--quiet", "--manifest-path", "kernel/Cargo.toml"];
    let outcome = Cargo::new(&test).env("CARGO_TARGET_DIR", target_dir("kernel")).run();
    assert!(matches!(outcome, Outcome::Passed), "{outcome:?}");
}

fn report(generation: u64) -> String {
    format!(
        r#"{{"generation":{generation},"objects":10,"lost":0,"corrupt":0,"stale_bytes":0,"stranded_bytes":0,"preserved_pages":4,"metadata_pages":7,"metadata_in_scratch":0,"guard_samples":9,"guard_reports":2,"boot_us":5,"freeze_us":6}}"#
    )
}

fn heard(lines: &[&str]) -> Transcript {
    let mut transcript = Transcript::default();
    for line in lines {
        transcript.hear(line);
    }
    transcript
}

const LAST: &str = "heirloom-kernel: 2 generations, 10 inherited, 0 lost, 0 stale, 0 stranded";

#[test]
fn a_good_run_has_no_faults() {
    let mut transcript = Transcript::default();
    assert_eq!(transcript.hear(&report(1)), Word::Generation);
    assert_eq!(transcript.hear("out of bounds write"), Word::Other);
    assert_eq!(transcript.hear(&report(2)), Word::Generation);
    assert_eq!(transcript.hear(LAST), Word::Other);
    assert_eq!(transcript.faults(2, Ended::Success), Vec::<String>::new());
}

#[test]
fn every_kind_of_loss_is_a_fault() {
    let good = report(2);
    for field in ["lost", "corrupt", "stale_bytes", "stranded_bytes", "metadata_in_scratch"] {
        let bad = good.replace(&format!(r#""{field}":0"#), &format!(r#""{field}":1"#));
        assert_ne!(bad, good);
        assert_eq!(heard(&[&report(1), &bad, LAST]).faults(2, Ended::Success).len(), 1, "{field}");
    }
    let unguarded = good.replace(r#""guard_reports":2"#, r#""guard_reports":1"#);
    assert_eq!(heard(&[&report(1), &unguarded, LAST]).faults(2, Ended::Success).len(), 1);
}

#[test]
fn a_run_that_did_not_do_its_work_is_a_fault() {
    let (first, second) = (report(1), report(2));
    let count = |lines: &[&str], ended| heard(lines).faults(2, ended).len();
    assert_eq!(count(&[&first, &second, LAST], Ended::Failure), 1);
    assert_eq!(count(&[&first, &second, LAST], Ended::Otherwise(Some(0))), 1);
    assert_eq!(count(&[&first, &second, LAST], Ended::TimedOut(Duration::from_secs(1))), 1);
    assert_eq!(count(&[&first, LAST], Ended::Success), 1);
    assert_eq!(count(&[&first, &first, LAST], Ended::Success), 1);
    assert_eq!(count(&[&first, &second], Ended::Success), 1);
    assert_eq!(count(&[], Ended::Success), 2);
    assert_eq!(count(&[&first, &second, &LAST.replace("0 lost", "1 lost")], Ended::Success), 1);
    assert_eq!(count(&[&first, &second, &LAST.replace("10 inh", "0 inh")], Ended::Success), 1);
    // A report that cannot be read is a fault by itself, and one that is missing.
    assert_eq!(count(&[&first, &second[..40], LAST], Ended::Success), 2);
}
