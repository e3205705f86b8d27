//! The thread's bug, told by a machine that has it.
//!
//! Linux 7.2 takes the root of its preserved-memory map from `kzalloc`. The guard pool (KFENCE) may serve any such call. On the first
//! kernel the guard pool lies somewhere in memory, and nothing happens. But a kernel that was itself started by a handover carves its guard pool
//! while only scratch may be used: so from the second kernel on the pool lies in scratch, and the third kernel, booting
//! in that very scratch, zeroes it for a guard pool of its own before it reads the map. An all-zero root reads as "nothing was preserved".
//! Nobody says a word, and everything is lost.
//!
//! ```text
//! generation 1 (cold)          generation 2                   generation 3
//! guard pool: plain memory     guard pool: in scratch         guard pool: zeroed, over the old root
//! root: in the guard pool      root: in the guard pool        map: all zeros
//! hands over: read in time     hands over: an address in      "nothing was preserved": the object's page is free
//!                              scratch
//! ```

use heirloom_abi::kho::radix::MapError;
use heirloom_mm::hosted::{Hardware, small_map};
use heirloom_mm::kho::{AuditError, IngestError, RetrieveError};
use heirloom_mm::machine::BootError;
use heirloom_mm::{Gfp, GuardOptions, Machine, Options, Policy, UnsafeGround, What};

/// The guard pool serves every ordinary allocation that it can.
const SAMPLING: GuardOptions = GuardOptions { nr_objects: 63, every: 1, interval_us: 0, quarantine: 8 };

/// What Linux 7.2 does, with its check for scratch switched off, as it is outside debug builds.
const AS_LINUX: Policy = Policy { root_from_slab: true, guard_in_scratch: true, unchecked: true };

fn options(policy: Policy) -> Options {
    Options { guard: SAMPLING, policy, ..Options::default() }
}

/// Boots what the power says, keeps an object with `word` in it, hands it over; its address.
fn one_generation(hardware: &Hardware, options: Options, word: u64) -> (u64, bool) {
    let power = hardware.power();
    let machine = Machine::boot(hardware, &power.info(options)).unwrap();
    let phys = match machine.retrieve("object") {
        Ok(found) => found.data,
        Err(_) => machine.phys(machine.alloc(64, Gfp::PRESERVE).unwrap()),
    };
    hardware.store(phys, word);
    machine.add_subtree("object", phys, 64).unwrap();
    let frozen = machine.freeze().unwrap();
    let root_in_scratch = frozen.tally().metadata_in_scratch > 0;
    let entry = machine.load_successor().unwrap();
    machine.jump(entry, frozen);
    (phys, root_in_scratch)
}

#[test]
fn the_production_check_refuses_a_root_that_the_guard_pool_served() {
    let hardware = Hardware::new(small_map()).unwrap();
    let policy = Policy { unchecked: false, ..AS_LINUX };
    let refused = Machine::boot(&hardware, &hardware.power().info(options(policy))).map(drop).unwrap_err();
    let BootError::Outgoing(AuditError::UnsafeGround(UnsafeGround::GuardPool { what: What::MapRoot, phys })) =
        refused
    else {
        panic!("{refused}");
    };
    assert_eq!(
        refused.to_string(),
        format!("the next handover: the map's root at {phys:#x} lies in the guard pool")
    );

    // Where the guard pool lies in scratch, as from the second generation on, the root is refused for that.
    let first = options(Policy { root_from_slab: false, ..policy });
    one_generation(&hardware, first, 1);
    let refused = Machine::boot(&hardware, &hardware.power().info(options(policy))).map(drop).unwrap_err();
    assert!(
        matches!(
            refused,
            BootError::Outgoing(AuditError::UnsafeGround(UnsafeGround::Scratch { what: What::MapRoot, .. }))
        ),
        "{refused}"
    );
}

#[test]
fn with_the_check_switched_off_the_third_generation_loses_everything() {
    let hardware = Hardware::new(small_map()).unwrap();
    let (object, _) = one_generation(&hardware, options(AS_LINUX), 0xfeed);

    // The second generation finds the object: the first one's guard pool was not in scratch.
    {
        let power = hardware.power();
        let machine = Machine::boot(&hardware, &power.info(options(AS_LINUX))).unwrap();
        assert!(machine.inherited().0 > 0);
        assert_eq!(machine.retrieve("object").unwrap().data, object);
        assert_eq!(hardware.load(object), 0xfeed);
        let guard = machine.guard().unwrap().range();
        assert!(machine.scratch().overlaps(&guard), "its guard pool lies in scratch");
        machine.add_subtree("object", object, 64).unwrap();
        let frozen = machine.freeze().unwrap();
        assert!(frozen.tally().metadata_in_scratch > 0, "so its root does");
        let entry = machine.load_successor().unwrap();
        machine.jump(entry, frozen);
    }

    // The third generation boots as if nothing were wrong, and has nothing.
    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(options(AS_LINUX))).unwrap();
    assert_eq!(machine.inherited(), (0, 0), "nothing was preserved, it believes");
    assert!(
        matches!(machine.retrieve("object"), Err(RetrieveError::NotPreserved { data, .. }) if data == object),
        "the tree still names what is lost"
    );
    // The object's page is anybody's.
    let mut pages = Vec::new();
    while let Ok(page) = machine.alloc_pages(0, Gfp::ZERO) {
        pages.push(page);
    }
    assert!(pages.contains(&(object & !4095)), "its page was handed out again");
    assert_eq!(hardware.load(object), 0, "and overwritten");
}

/// The same chain into a machine whose reader holds an all-zero map against its predecessor: refused, in words, with the bytes as they were.
#[test]
fn a_successor_that_distrusts_its_predecessor_refuses_the_zero_root() {
    let hardware = Hardware::new(small_map()).unwrap();
    let (object, _) = one_generation(&hardware, options(AS_LINUX), 0xfeed);
    let (_, root_in_scratch) = one_generation(&hardware, options(AS_LINUX), 0xfeed);
    assert!(root_in_scratch);
    let suspicious = Options { guard: SAMPLING, ..Options::default() };
    let refused = Machine::boot(&hardware, &hardware.power().info(suspicious)).map(drop).unwrap_err();
    assert!(
        matches!(
            refused,
            BootError::Ingest(IngestError::Map(MapError::ZeroRoot { .. } | MapError::NodeOutside { .. }))
        ),
        "{refused}"
    );
    assert_eq!(hardware.load(object), 0xfeed, "the object was not touched");
}

/// And without the departures: every ordinary allocation sampled, five generations, nothing lost.
#[test]
fn the_machine_as_it_is_comes_through_with_every_ordinary_allocation_sampled() {
    let hardware = Hardware::new(small_map()).unwrap();
    let mut object = None;
    for word in 1..=5 {
        let power = hardware.power();
        assert_eq!(power.handover().is_some(), word > 1);
        let (phys, root_in_scratch) = one_generation(&hardware, options(Policy::default()), word);
        assert_eq!(*object.get_or_insert(phys), phys);
        assert!(!root_in_scratch);
        assert_eq!(hardware.load(phys), word);
    }
}
