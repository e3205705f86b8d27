//! `heirloom service`: an example of a service whose heap lives through restarts, upgrades and crashes.
//!
//! ```text
//! start   open the heap (the manager's store, or a file) -> mend what a kill has cut short -> verify all -> READY=1
//! run     replace one object after the other, as a service under load would
//! SIGTERM close the heap; the manager keeps it
//! ```
//!
//! `linux/systemd` has the unit that runs it, `docs/systemd.md` says how to do the same with a program of one's own.

pub(crate) mod check;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heirloom::{Heap, Inside, Options, Origin};
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};

use crate::EXIT_BROKEN;
use crate::args::ServiceArgs;
use crate::demo::objects::{OBJECTS, ObjectTally, Objects, is_whole, read};
use crate::demo::plan::ObjectsPlan;
use crate::demo::random::Random;
use crate::output::print_line;
use crate::quantity::{Count, Micros};

const HEAP: &str = "heirloom-service";

/// So many objects are replaced before a look at whether the service is to end.
const BATCH: usize = 64;

/// What a life of the service found when it began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) pid: u32,
    pub(crate) generation: u32,
    /// `created`, `inherited` or `recovered`.
    pub(crate) origin: String,
    pub(crate) objects: u64,
    /// Objects that were being replaced when the life before was killed: gone in the one form and not there in the other.
    pub(crate) in_change: u64,
    /// Objects that are missing or not what was made, those in change left out.
    pub(crate) lost: u64,
    /// Replacements that all lives together have made.
    pub(crate) replaced: u64,
    pub(crate) stale_bytes: u64,
    pub(crate) restore_us: u64,
    pub(crate) verify_us: u64,
}

/// Runs the service until it is told to end.
pub(crate) fn run(args: &ServiceArgs) -> ExitCode {
    match serve(args) {
        Ok(is_whole) if is_whole => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(EXIT_BROKEN),
        Err(error) => {
            eprintln!("heirloom: {error}");
            let _ = sd_notify::notify(&[NotifyState::Status(&error.to_string())]);
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

fn serve(args: &ServiceArgs) -> Result<bool, Box<dyn std::error::Error>> {
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, is_ending.clone())?;
    }
    let options = match &args.file {
        Some(path) => Options::new().file(path),
        None => Options::new(),
    };
    let heap = Heap::inherit_or_create(HEAP, options)?;
    let plan = ObjectsPlan { count: args.objects, size: args.size };
    let start = begin(&heap, plan)?;
    let words = format!(
        "generation {}, {}: {} objects, {} lost, {} in change; restored in {}",
        start.generation,
        start.origin,
        Count(start.objects),
        start.lost,
        start.in_change,
        Micros(start.restore_us)
    );
    print_line(if args.json { serde_json::to_string(&start)? } else { words.clone() });
    if start.lost > 0 || start.stale_bytes > 0 {
        return Ok(false);
    }
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&words)])?;
    let mut random = Random(u64::from(std::process::id()));
    while !is_ending.load(Ordering::Relaxed) {
        let inside = heap.enter();
        replace_some(&inside, plan, &mut random)?;
        drop(inside);
        std::thread::yield_now();
    }
    sd_notify::notify(&[NotifyState::Stopping])?;
    Ok(true)
}

/// Makes the objects, or looks at all that are there and mends what is not whole.
fn begin(heap: &Heap, plan: ObjectsPlan) -> Result<Start, Box<dyn std::error::Error>> {
    let started_us = crate::demo::clock::now_ns() / 1000;
    let inside = heap.enter();
    let lock = OBJECTS.get(&inside);
    let was_cut_short = lock.is_poisoned();
    let mut objects = lock.write();
    let mut found = Found { objects: plan.count, ..Found::default() };
    if matches!(heap.origin(), Origin::Created) {
        let mut random = Random(1);
        objects.reserve(plan)?;
        for _ in 0..plan.count {
            objects.add(plan, &mut random)?;
        }
    } else {
        found = look_at(&objects, was_cut_short);
        // Only what is fit to go on with is mended: the rest is for people to look at.
        if found.lost == 0 {
            mend(&mut objects, plan)?;
        }
    }
    let replaced = objects.tally.next_number.saturating_sub(plan.count);
    drop(objects);
    lock.clear_poison();
    drop(inside);
    let verify_us = crate::demo::clock::now_ns() / 1000 - started_us;
    let (scan, stats) = (heap.scan()?, heap.stats());
    let origin = match heap.origin() {
        Origin::Created => "created",
        Origin::Inherited => "inherited",
        Origin::Recovered { .. } => "recovered",
    };
    Ok(Start {
        pid: std::process::id(),
        generation: heap.generation(),
        origin: origin.to_owned(),
        objects: found.objects,
        in_change: found.in_change,
        lost: found.lost,
        replaced,
        stale_bytes: scan.stale_bytes,
        restore_us: stats.restore_us,
        verify_us,
    })
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    objects: u64,
    in_change: u64,
    lost: u64,
}

/// Counts what is whole. A service that was killed while it held the lock may have been at one object; a tally that it did not come
/// to write proves nothing then.
fn look_at(objects: &Objects, was_cut_short: bool) -> Found {
    let whole = objects.table.iter().filter(|object| is_whole(object)).count() as u64;
    let missing = (objects.table.len() as u64).saturating_sub(whole);
    let in_change = if was_cut_short { missing.min(1) } else { 0 };
    let sum = objects.table.iter().filter_map(|object| read(object));
    let sum = sum.fold(0_u64, |sum, head| sum.wrapping_add(head.checksum));
    let tally = objects.tally;
    let agrees = was_cut_short || (tally.nr_objects, tally.sum) == (whole, sum);
    // A tally that contradicts what is there although nobody was cut short: something is wrong, if only with the tally.
    let lost = missing - in_change + u64::from(!agrees);
    Found { objects: whole, in_change, lost }
}

/// Makes the object that was in change anew, and the tally true.
fn mend(objects: &mut Objects, plan: ObjectsPlan) -> Result<(), heirloom::AllocError> {
    let is_there = |object: &heirloom::Vec<u8>| read(object).is_some() && is_whole(object);
    let next_number = objects
        .table
        .iter()
        .filter_map(|object| read(object))
        .map(|head| head.number.saturating_add(1))
        .fold(objects.tally.next_number, u64::max);
    let mut tally = ObjectTally { next_number, ..ObjectTally::default() };
    for object in objects.table.iter().filter(|object| is_there(object)) {
        tally.nr_objects += 1;
        tally.bytes += object.len() as u64;
        tally.sum = tally.sum.wrapping_add(read(object).map_or(0, |head| head.checksum));
    }
    objects.tally = tally;
    let broken: Vec<usize> =
        (0..objects.table.len()).filter(|&place| !is_there(&objects.table[place])).collect();
    let mut random = Random(next_number);
    for place in broken {
        // One that is there no more takes nothing from the tally; `replace` expects one that is.
        objects.table.swap_remove(place);
        objects.add(plan, &mut random)?;
    }
    Ok(())
}

fn replace_some(
    inside: &Inside<'_>,
    plan: ObjectsPlan,
    random: &mut Random,
) -> Result<(), heirloom::AllocError> {
    for _ in 0..BATCH {
        let mut objects = OBJECTS.get(inside).write();
        let place = random.below(objects.table.len() as u64);
        objects.replace(&[usize::try_from(place).expect("an index")], plan, random)?;
    }
    Ok(())
}

/// Where the check writes what it sees; see [`check`].
pub(crate) fn report_path() -> PathBuf {
    PathBuf::from("/run/heirloom-service.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::SizeRange;

    const PLAN: ObjectsPlan = ObjectsPlan { count: 8, size: SizeRange { start: 16, end: 64 } };

    fn with_objects(test: impl FnOnce(&mut Objects)) {
        // A process has one heap: the tests of the demo have it too.
        let inside = crate::demo::tests::with_heap().enter();
        let mut objects = OBJECTS.get(&inside).write();
        let mut random = Random(3);
        for _ in 0..PLAN.count {
            objects.add(PLAN, &mut random).unwrap();
        }
        test(&mut objects);
    }

    #[test]
    fn what_a_kill_cuts_short_is_told_from_what_is_lost() {
        with_objects(|objects| {
            assert_eq!(look_at(objects, false), Found { objects: 8, in_change: 0, lost: 0 });
            // Killed between the old object's drop and the new one's arrival: the tally was changed already.
            objects.table[2] = heirloom::Vec::new();
            objects.tally.nr_objects -= 1;
            assert_eq!(look_at(objects, true), Found { objects: 7, in_change: 1, lost: 0 });
            assert_eq!(
                look_at(objects, false).lost,
                2,
                "nobody was cut short, so it is lost, and the tally too"
            );
            mend(objects, PLAN).unwrap();
            assert_eq!(look_at(objects, false), Found { objects: 8, in_change: 0, lost: 0 });

            // One byte of another object.
            let last = objects.table[5].len() - 1;
            objects.table[5][last] ^= 1;
            objects.table[6] = heirloom::Vec::new();
            assert_eq!(look_at(objects, true).lost, 1);
        });
    }
}
