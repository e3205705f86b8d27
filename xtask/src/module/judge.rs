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
    let first = *handed.first()?;
    handed.iter().any(|&blocks| blocks > first).then(|| format!("blocks are not constant: {handed:?}"))
}

/// The bug of Linux 7.2 may strike or not. Where it does, the loss is Linux's: what must hold is that nobody takes it for the old
/// data, which is that each kernel that ran either inherited all of it, or says that nothing was handed over.
fn kfence_boot(transcript: &Transcript, ended: Ended) -> Vec<String> {
    let mut faults = Vec::new();
    if transcript.kernels.is_empty() {
        faults.push(format!("no kernel ran ({ended:?})"));
    }
    for kernel in &transcript.kernels {
        for [nr, lost, corrupt] in &kernel.verified {
            if lost + corrupt > 0 {
                faults.push(format!(
                    "kernel {}: of {nr} records {lost} were lost, {corrupt} corrupt, and nobody had said so",
                    kernel.generation
                ));
            }
        }
    }
    faults
}

/// What became of the chain with KFENCE on from boot, in words.
pub(super) fn kfence_boot_words(transcript: &Transcript) -> Vec<String> {
    transcript
        .kernels
        .iter()
        .map(|kernel| {
            let found = match (&kernel.no_pool, kernel.inherited) {
                (Some(why), _) => format!("the module refused: {why}"),
                (None, Some((0, _))) if kernel.generation > 1 => {
                    "nothing was handed over: Linux lost its map of preserved memory".to_owned()
                }
                (None, Some((objects, blocks))) => format!("{objects} objects in {blocks} blocks inherited"),
                (None, None) => "the module did not start".to_owned(),
            };
            let linux = if kernel.warnings.is_empty() {
                String::new()
            } else {
                format!("; Linux warns {} times, first: {}", kernel.warnings.len(), kernel.warnings[0])
            };
            format!("kernel {}: {found}{linux}", kernel.generation)
        })
        .collect()
}
