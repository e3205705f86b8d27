//! The judge, on transcripts: one that is sound passes, and each way to be unsound is found.

use super::Plan;
use super::judge::faults;
use super::transcript::Transcript;
use crate::linux::Ended;

/// One kernel of a chain as it is heard.
fn kernel(generation: u64, blocks: u64) -> String {
    let inherited = if generation == 1 { (0, 0) } else { (200, blocks) };
    format!(
        "[    0.000000] Linux version 7.2.12\n\
         @generation {generation}\n\
         [    3.9] heirloom: generation {generation}: {} objects in {} blocks inherited\n\
         [    4.0] heirloom_sample: verified 200 lost 0 corrupt 0\n\
         @took verify: 12 ms\n\
         [    4.1] heirloom_sample: churned freed 67 made 67\n\
         [    4.2] heirloom_sample: verified 200 lost 0 corrupt 0\n\
         @check live_objects 202\n@check counted_objects 202\n@check blocks {blocks}\n@check stale_bytes 0\n@check broken 0\n",
        inherited.0, inherited.1
    )
}

fn heard(text: &str) -> Transcript {
    let mut transcript = Transcript::default();
    for line in text.lines() {
        transcript.hear(line);
    }
    transcript
}

fn chain() -> String {
    format!("{}{}{}@done\n", kernel(1, 47), kernel(2, 47), kernel(3, 47))
}

fn faults_of(text: &str) -> Vec<String> {
    faults(Plan::Chain, 3, &heard(text), Ended::Restarted)
}

#[test]
fn a_sound_chain_passes() {
    assert_eq!(faults_of(&chain()), Vec::<String>::new());
    let transcript = heard(&chain());
    assert_eq!(transcript.kernels[1].inherited, Some((200, 47)));
    assert_eq!(transcript.kernels[1].took["verify"], 12);
}

#[test]
fn each_way_to_be_unsound_is_found() {
    let sound = chain();
    for (from, to, expected) in [
        ("lost 0 corrupt 0", "lost 1 corrupt 0", "1 were lost"),
        ("lost 0 corrupt 0", "lost 0 corrupt 2", "2 corrupt"),
        ("stale_bytes 0", "stale_bytes 8", "stale_bytes is 8"),
        ("broken 0", "broken 1", "broken is 1"),
        ("counted_objects 202", "counted_objects 203", "do not agree"),
        ("200 objects in 47 blocks", "0 objects in 0 blocks", "nothing was inherited"),
        ("@done", "@failed /dev/vda: not there", "init failed: /dev/vda"),
        ("@done", "", "did not say that it is done"),
        ("@took verify", "[    5.0] WARNING: mm/slub.c:1 at nowhere\n@took verify", "WARNING: mm/slub.c"),
        ("@took verify", "@fault build while frozen: not refused\n@took verify", "not refused"),
    ] {
        let faults = faults_of(&sound.replace(from, to));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{to}: {faults:?}");
    }
}

#[test]
fn a_chain_that_is_short_or_grows_or_hangs_is_found() {
    let short = format!("{}{}@done\n", kernel(1, 47), kernel(2, 47));
    assert!(faults_of(&short).iter().any(|fault| fault == "2 kernels ran, not 3"));
    let grown = format!("{}{}{}@done\n", kernel(1, 47), kernel(2, 47), kernel(3, 48));
    assert!(faults_of(&grown).iter().any(|fault| fault.contains("not constant")));
    let timed_out = Ended::TimedOut(std::time::Duration::from_secs(9));
    assert_eq!(faults(Plan::Chain, 3, &heard(&chain()), timed_out), ["the run did not end within 9 s"]);
}

#[test]
fn a_warning_before_any_program_runs_is_found_too() {
    let text = format!("[    0.1] BUG: KFENCE: memory corruption\n{}", chain());
    assert!(faults_of(&text).iter().any(|fault| fault.contains("memory corruption")));
}

#[test]
fn a_warning_behind_a_jump_is_the_next_kernels() {
    let jump = "@kexec\n[    9.0] heirloom: frozen: 202 objects are handed over\n[    0.1] WARNING: at kho_restore_page\n";
    let transcript = heard(&format!("{}{jump}{}@done\n", kernel(1, 47), kernel(2, 47)));
    assert_eq!(transcript.kernels[0].warnings, Vec::<String>::new());
    assert_eq!(transcript.kernels[1].warnings, ["WARNING: at kho_restore_page"]);
}

#[test]
fn the_frozen_pools_last_word_is_no_kernel() {
    let text = chain().replace("@done", "[    9.0] heirloom: frozen: 202 objects are handed over\n@done");
    assert_eq!(faults_of(&text), Vec::<String>::new());
}
