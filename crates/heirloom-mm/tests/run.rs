//! The run, hosted: what the bare-metal kernel does too.

mod common;

use common::hardware;
use heirloom_mm::hosted::{Hardware, run_chain, small_map};
use heirloom_mm::run::{Plan, RunError};
use heirloom_mm::{GuardOptions, MemoryRange, Options, ScratchSizes};

fn sampling(every: u32) -> Options {
    Options { guard: GuardOptions { every, ..GuardOptions::default() }, ..Options::default() }
}

#[test]
fn twenty_generations_lose_spoil_leave_and_strand_nothing() {
    let plan = Plan { objects: 3000, ..Plan::default() };
    let reports = run_chain(&hardware(), sampling(64), &plan).unwrap();
    assert_eq!(reports.len(), 20);
    for (report, generation) in reports.iter().zip(1..) {
        assert_eq!((report.generation, report.objects), (generation, 3000));
        assert_eq!((report.lost, report.corrupt), (0, 0));
        assert_eq!((report.stale_bytes, report.stranded_bytes, report.metadata_in_scratch), (0, 0, 0));
        assert_eq!(report.guard_reports, 2, "one overflow, one use after free");
        assert!(report.guard_samples > 0 && report.preserved_pages > 0 && report.metadata_pages > 2);
    }
    let last = reports.last().unwrap();
    let line = "heirloom-kernel: 20 generations, 57000 inherited, 0 lost, 0 stale, 0 stranded";
    assert_eq!(last.summary().to_string(), line);
}

#[test]
fn the_line_of_json_has_the_fields_of_the_contract() {
    let plan = Plan { generations: 1, objects: 50, ..Plan::default() };
    let reports = run_chain(&hardware(), sampling(4), &plan).unwrap();
    let line = reports[0].json().to_string();
    let names: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
    assert_eq!(
        names,
        [
            "generation",
            "objects",
            "lost",
            "corrupt",
            "stale_bytes",
            "stranded_bytes",
            "preserved_pages",
            "metadata_pages",
            "metadata_in_scratch",
            "guard_samples",
            "guard_reports",
            "boot_us",
            "freeze_us"
        ]
    );
}

/// A small machine of one range, scratch by hand, every ordinary allocation sampled: what a bare-metal guest of 64 MiB is like.
#[test]
fn one_range_and_scratch_by_hand_do_as_well() {
    let hardware = Hardware::new(vec![MemoryRange { range: 1 << 20..64 << 20, node: 0 }]).unwrap();
    let scratch = ScratchSizes::Bytes { low: 4 << 20, global: 8 << 20, per_node: 0 };
    let options = Options { scratch, ..sampling(1) };
    let reports = run_chain(&hardware, options, &Plan { generations: 6, ..Plan::default() }).unwrap();
    assert!(reports.iter().all(|report| report.guard_reports == 2 && report.lost + report.corrupt == 0));
    assert!(hardware.is_image_whole());
}

/// The scratch areas are the same ranges in every generation.
#[test]
fn scratch_stays_where_it_was_first_chosen() {
    let hardware = hardware();
    let mut areas = None;
    for _ in 0..4 {
        let power = hardware.power();
        // The successors' own sizes are not asked.
        let global = if areas.is_none() { 8 << 20 } else { 4 << 20 };
        let scratch = ScratchSizes::Bytes { low: 4 << 20, global, per_node: 4 << 20 };
        let machine =
            heirloom_mm::Machine::boot(&hardware, &power.info(Options { scratch, ..Options::default() }))
                .unwrap();
        let found: Vec<_> = machine.scratch().iter().collect();
        assert_eq!(found.len(), 4, "low, global, two nodes");
        assert_eq!(found[1].end - found[1].start, 8 << 20);
        assert_eq!(*areas.get_or_insert(found.clone()), found);
        common::hand_over(machine);
    }
}

/// What the run counts as lost or corrupt is really looked for: damage between two generations shows in the report.
#[test]
fn damage_between_two_generations_shows_in_the_report() {
    let hardware = hardware();
    let plan = Plan { generations: 3, objects: 200, mischief: false, ..Plan::default() };
    let generation = |hardware: &Hardware| {
        let power = hardware.power();
        heirloom_mm::run::generation(hardware, &power.info(sampling(0)), &plan)
    };
    generation(&hardware).unwrap();
    // Opens the guard pages, which nobody watches any more.
    drop(hardware.power());
    // Every page of preserved blocks that looks like content: flip a word in the middle of objects of 1 KiB and more.
    let mut damaged = 0;
    for range in small_map() {
        for at in (range.range.start..range.range.end).step_by(4096) {
            let words = [at + 2048, at + 2056, at + 2064].map(|at| hardware.load(at));
            let is_content = words.iter().all(|word| word.count_ones() > 16 && word.count_ones() < 48);
            if is_content && words[0] != words[1] {
                hardware.store(at + 2056, !words[1]);
                damaged += 1;
            }
        }
    }
    assert!(damaged > 10);
    match generation(&hardware) {
        Ok(outcome) => assert!(outcome.report().corrupt > 0, "{damaged} pages were damaged"),
        // Or the damage hit what the boot itself looks at, and is refused in words.
        Err(error) => assert!(matches!(error, RunError::Boot(_)), "{error}"),
    }
}

/// A run whose record is gone does not begin anew as if nothing had been handed over.
#[test]
fn a_handover_without_a_record_of_the_run_is_an_error() {
    let hardware = hardware();
    let plan = Plan { generations: 3, objects: 200, mischief: false, ..Plan::default() };
    let generation = || {
        let power = hardware.power();
        heirloom_mm::run::generation(&hardware, &power.info(sampling(0)), &plan)
    };
    generation().unwrap();
    let fdt = hardware.power().handover().unwrap().fdt;
    let tree: Vec<u8> = (0..512).flat_map(|word| hardware.load(fdt + 8 * word).to_le_bytes()).collect();
    let record = heirloom_abi::kho::root::RootFdt::read(&tree).unwrap().subnode("heirloom-run").unwrap().data;
    hardware.store(record + 16, !hardware.load(record + 16));
    let error = generation().unwrap_err();
    assert!(matches!(error, RunError::NoRecord { pages, .. } if pages > 0), "{error}");
    // A cold boot has nobody before it.
    hardware.cut_power();
    assert_eq!(generation().unwrap().report().generation, 1);
}
