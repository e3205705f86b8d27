//! What must be true of a run. The kernels' own findings are compared here once more with what they should be, so that a run that ends
//! well without having done its work does not pass.

use super::Plan;
use super::transcript::{Kernel, Transcript};
use crate::linux::Ended;

/// Each case that plan `misuse` must have refused.
const MUST_BE_REFUSED: [&str; 4] = [
    "unload with live objects:",
    "unload with live objects alone:",
    "kexec with no kernel",
    "build while frozen:",
];

/// Everything that is wrong.
pub(super) fn faults(plan: Plan, nr_kernels: u32, transcript: &Transcript, ended: Ended) -> Vec<String> {
    let mut faults = Vec::new();
    if plan == Plan::KfenceBoot {
        return kfence_boot(transcript, ended);
    }
    match ended {
        Ended::Restarted => {}
        Ended::Otherwise(status) => faults.push(format!("QEMU ended by itself ({status:?})")),
        Ended::TimedOut(timeout) => {
            faults.push(format!("the run did not end within {} s", timeout.as_secs()))
        }
    }
    if let Some(why) = &transcript.failed {
        faults.push(format!("init failed: {why}"));
    } else if !transcript.is_done {
        faults.push("the last kernel did not say that it is done".to_owned());
    }
    if transcript.kernels.len() != nr_kernels as usize {
        faults.push(format!("{} kernels ran, not {nr_kernels}", transcript.kernels.len()));
    }
    faults.extend(transcript.boot_warnings().iter().map(|warning| format!("while booting: {warning}")));
    for kernel in &transcript.kernels {
        let at = |what: String| format!("kernel {}: {what}", kernel.generation);
        faults.extend(kernel.warnings.iter().chain(&kernel.faults).map(|what| at(what.clone())));
        faults.extend(of_kernel(plan, kernel).into_iter().map(at));
    }
    match plan {
        // What comes and goes beside the table, so that KFENCE has something to sample, is gone when the table is handed over.
        Plan::Chain | Plan::Kfence => faults.extend(blocks(transcript)),
        Plan::Misuse => {
            let refused: Vec<&String> =
                transcript.kernels.iter().flat_map(|kernel| &kernel.refused).collect();
            for what in MUST_BE_REFUSED {
                if !refused.iter().any(|refused| refused.starts_with(what)) {
                    faults.push(format!("nothing says that this was refused: {what}"));
                }
            }
        }
        _ => {}
    }
    if plan == Plan::Misuse {
        // A trial in which nothing failed has shown nothing.
        let notes: Vec<&String> = transcript.kernels.iter().flat_map(|kernel| &kernel.notes).collect();
        for what in ["short_of_blocks failed ", "short_of_pages failed "] {
            let failed = notes.iter().find_map(|note| note.strip_prefix(what));
            if failed.is_none_or(|failed| failed.starts_with("0 ")) {
                faults.push(format!("memory was never short: {what}{}", failed.unwrap_or("nothing")));
            }
        }
    }
    faults
}

fn of_kernel(plan: Plan, kernel: &Kernel) -> Vec<String> {
    let mut faults = Vec::new();
    for [nr, lost, corrupt] in &kernel.verified {
        if lost + corrupt > 0 || *nr == 0 {
            faults.push(format!("of {nr} records {lost} were lost, {corrupt} corrupt"));
        }
    }
    if kernel.torn > 0 {
        faults.push(format!("{} objects were torn under stress", kernel.torn));
    }
    for name in ["check stale_bytes", "check broken"] {
        if kernel.number(name).is_some_and(|number| number > 0) {
            faults.push(format!("{name} is {}", kernel.number(name).unwrap_or(0)));
        }
    }
    if kernel.number("check live_objects") != kernel.number("check counted_objects") {
        faults.push("the bitmaps and the counters do not agree".to_owned());
    }
    let (first, is_chain) = (kernel.generation == 1, matches!(plan, Plan::Chain | Plan::Kfence));
    if is_chain && (kernel.verified.len() != 2 || kernel.number("check blocks").is_none()) {
        faults.push("it was not verified twice and checked".to_owned());
    }
    if plan == Plan::Kfence && kernel.kfence.get("total allocations").is_none_or(|&nr| nr == 0) {
        faults.push("KFENCE sampled nothing".to_owned());
    }
    if plan == Plan::Refuse && !first && kernel.no_pool.is_none() {
        faults.push("what was damaged was not refused".to_owned());
    }
    if plan != Plan::Refuse {
        if let Some(why) = &kernel.no_pool {
            faults.push(format!("no pool: {why}"));
        }
        if !first && kernel.inherited.is_none_or(|(objects, _)| objects == 0) {
            faults.push("nothing was inherited".to_owned());
        }
    }
    faults
}

/// Steady: with a constant live set, no kernel hands over more blocks than the first one.
fn blocks(transcript: &Transcript) -> Option<String> {
    let handed: Vec<u64> = transcript
        .kernels
        .iter()
        .filter(|kernel| kernel.generation > 1)
        .filter_map(|kernel| kernel.inherited)
        .map(|(_, blocks)| blocks)
        .collect();
    let first = handed.first()?;
    handed.iter().any(|blocks| blocks > first).then(|| format!("blocks are not constant: {handed:?}"))
}

/// The bug of Linux 7.2 may strike or not. Where it does, the loss is Linux's: what must hold is that nobody takes anything else for the
/// old data. Each kernel that ran inherited all of it, or said that it did not.
fn kfence_boot(transcript: &Transcript, ended: Ended) -> Vec<String> {
    let mut faults = Vec::new();
    if transcript.kernels.len() < 2 {
        let why = transcript.failed.as_deref().unwrap_or("it says nothing");
        faults.push(format!("the second kernel did not run ({ended:?}): {why}"));
    }
    for kernel in transcript.kernels.iter().skip(1) {
        let at = |what: &str| format!("kernel {}: {what}", kernel.generation);
        let is_whole = kernel.verified.iter().all(|[nr, lost, corrupt]| *nr > 0 && lost + corrupt == 0);
        if !is_whole {
            faults.push(at("records were lost or corrupt, and nobody had said so"));
        }
        let is_lost = kernel.map_root.as_ref().is_some_and(|(_, is_in_scratch)| *is_in_scratch);
        match (&kernel.no_pool, kernel.inherited) {
            (Some(_), _) if !is_lost => faults.push(at("refused, though the map was on safe ground")),
            (None, None | Some((0, _))) => faults.push(at("nothing was inherited, and nobody said so")),
            _ => {}
        }
    }
    faults
}

/// What became of the chain with KFENCE on from boot, in words.
pub(super) fn kfence_boot_words(transcript: &Transcript) -> Vec<String> {
    let words = |kernel: &Kernel| {
        let found = match (&kernel.no_pool, kernel.inherited) {
            (Some(why), _) => format!("LOST BY LINUX; the module found out and refused: {why}"),
            (None, Some((objects, blocks))) => format!("{objects} objects in {blocks} blocks inherited"),
            (None, None) => "the module did not start".to_owned(),
        };
        let ground = match &kernel.map_root {
            Some((at, true)) => {
                format!(
                    "; the root of its predecessor's map, at {at}, lay in SCRATCH, where KFENCE's pool was"
                )
            }
            Some((at, false)) => format!("; the root of its predecessor's map, at {at}, was on safe ground"),
            None => String::new(),
        };
        let warnings = match kernel.warnings.first() {
            Some(first) => format!("; Linux warns {} times, first: {first}", kernel.warnings.len()),
            None => String::new(),
        };
        format!("kernel {}: {found}{ground}{warnings}", kernel.generation)
    };
    transcript.kernels.iter().map(words).collect()
}
