//! A chain of three generations in QEMU, and that a bad run would be seen.

use std::io::Write as _;
use std::time::Duration;

use super::transcript::{Transcript, Word};
use super::*;
use crate::kernel::qemu::Ended;

/// The bare-metal kernel boots, jumps twice, and loses nothing on the way.
#[test]
fn three_generations_boot_and_lose_nothing() {
    if let Some(missing) = qemu::missing() {
        // Past the test runner, which shows nothing of a test that passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED three_generations_boot_and_lose_nothing: {missing}");
        return;
    }
    let options = Options { generations: 3, json: false, memory: 256, timeout_s: 120, verbose: false };
    match attempt(options) {
        Ok(transcript) => assert_eq!(transcript.generations.len(), 3),
        Err(error) => panic!("{error}"),
    }
}

/// The readers of foreign bytes that the kernel has live in a library beside it, whose tests run on the host.
#[test]
fn the_parts_of_the_kernel_without_a_processor_pass_their_tests() {
    let test = ["test", "--lib", "--locked", "--quiet", "--manifest-path", "kernel/Cargo.toml"];
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
