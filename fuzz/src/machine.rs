//! The machine: what a predecessor handed over, damaged anywhere, and booted from.
//!
//! The input damages the handover of a hosted machine: ten bytes a change (which page, which word of it, a value): pages of the tree, the list of scratch
//! areas, the map, the pool's tables and blocks, a vmalloc area's list; or one of the four numbers that are passed on. A
//! refused boot must have changed nothing: with the damage repaired the next one goes through. An accepted one must be whole.

use std::sync::{Mutex, PoisonError};

use heirloom_abi::kho::root::RootFdt;
use heirloom_mm::hosted::{Hardware, Power};
use heirloom_mm::{
    BootInfo, Gfp, GuardOptions, Handover, Machine, MemoryRange, Options, Platform, ScratchSizes,
};

const MIB: u64 = 1 << 20;

/// A machine that was handed over, and the pages whose damage is of interest.
struct Ready {
    hardware: Hardware,
    power: Power,
    pages: Vec<u64>,
    area: [u8; 16],
    object: u64,
}

static READY: Mutex<Option<Ready>> = Mutex::new(None);

fn options() -> Options {
    Options {
        scratch: ScratchSizes::Bytes { low: 0, global: 4 * MIB, per_node: 0 },
        guard: GuardOptions { nr_objects: 1, every: 0, interval_us: 0, quarantine: 0 },
        preserve_blocks: 64,
        ordinary_blocks: 64,
        ..Options::default()
    }
}

/// Boots cold, keeps some of everything, hands over.
fn prepare() -> Ready {
    let hardware = Hardware::new(vec![MemoryRange { range: MIB..17 * MIB, node: 0 }]).expect("a mapping");
    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(options())).expect("a cold boot");
    let objects: Vec<u64> =
        (1..60).map(|at| machine.phys(machine.alloc(at * 37, Gfp::PRESERVE).expect("room"))).collect();
    machine.add_subtree("object", objects[3], 64).expect("an object of the pool");
    let folio = machine.alloc_pages(3, Gfp::PRESERVE).expect("room");
    machine.preserve_folio(folio).expect("a folio");
    let area = machine.alloc_area(6, 1, Gfp::PRESERVE).expect("room");
    machine.preserve_area(&area).expect("an area");
    let frozen = machine.freeze().expect("a freeze");
    let handover = frozen.handover();
    machine.jump(0, frozen);

    let power = hardware.power();
    let tree = page(&hardware, handover.fdt);
    let root = RootFdt::read(&tree).expect("its own tree");
    let mut pages = vec![handover.fdt, handover.scratch, root.map(), area.first(), folio];
    // The nodes of the map, level by level.
    for at in 2.. {
        let Some(&node) = pages.get(at) else { break };
        if at > 2 && at < 5 {
            continue;
        }
        let children: Vec<u64> = (0..512)
            .map(|word| hardware.load(node + 8 * word))
            .filter(|&child| child % 4096 == 0 && (MIB..17 * MIB).contains(&child) && !pages.contains(&child))
            .collect();
        pages.extend(children);
    }
    let pool = root.subnode("heirloom-slab").expect("the pool");
    pages.extend((pool.data..pool.data + pool.size_bytes).step_by(4096));
    pages.extend(objects.iter().map(|&object| object & !0xffff));
    Ready { hardware, power, pages, area: area.to_bytes(), object: objects[3] }
}

fn page(hardware: &Hardware, phys: u64) -> Vec<u8> {
    (0..512).flat_map(|word| hardware.load(phys + 8 * word).to_le_bytes()).collect()
}

/// Damages, boots, and asserts that it was all or nothing.
pub fn run(data: &[u8]) {
    let mut place = READY.lock().unwrap_or_else(PoisonError::into_inner);
    // Out of its place: a panic below leaves nothing half done for the next input.
    let ready = place.take().unwrap_or_else(prepare);
    let Ready { hardware, power, pages, .. } = &ready;
    let mut info: BootInfo<'_> = power.info(options());
    let mut undo = Vec::new();
    for change in data.chunks_exact(10).take(32) {
        let mut value = [0; 8];
        value.copy_from_slice(&change[2..]);
        let value = u64::from_le_bytes(value);
        let (which, word) = (usize::from(change[0]), u64::from(change[1]));
        if which == 255 {
            info.handover = info.handover.map(|handover| pass_on(handover, word, value));
            continue;
        }
        // Two words for each number, so that all 512 are reached: by the value's lowest bit.
        let at = pages[which % pages.len()] + 8 * (word * 2 + (value >> 63));
        undo.push((at, hardware.load(at)));
        hardware.store(at, value);
    }
    let booted = Machine::boot(hardware, &info);
    let accepted = match booted {
        Err(_) => false,
        Ok(machine) => {
            use_it(&machine, &ready);
            true
        }
    };
    hardware.watch(None);
    if accepted {
        // Its memory is another now: the next input gets a new machine.
        return;
    }
    for &(at, word) in undo.iter().rev() {
        hardware.store(at, word);
    }
    // Nothing was touched: what was repaired is what was handed over. Booting it would use it up, so only now and then.
    if data.len() % 7 == 0 {
        let machine = Machine::boot(hardware, &ready.power.info(options())).expect("the repaired handover");
        assert_eq!(machine.retrieve("object").map(|found| found.data), Ok(ready.object));
        machine.check().expect("a whole machine");
        return;
    }
    *place = Some(ready);
}

/// One of the numbers that are passed on, another.
fn pass_on(mut handover: Handover, which: u64, value: u64) -> Handover {
    match which % 4 {
        0 => handover.fdt = value,
        1 => handover.fdt_size = value,
        2 => handover.scratch = value,
        _ => handover.scratch_size = value,
    }
    handover
}

/// An accepted handover is whole, and can be used and handed over again.
fn use_it(machine: &Machine<'_, Hardware>, ready: &Ready) {
    machine.check().expect("what was accepted is whole");
    let _ = machine.retrieve("object");
    let _ = machine.restore_area(&ready.area);
    machine.finish();
    for size in [8, 100, 1000, 5000] {
        let _ = machine.alloc(size, Gfp::PRESERVE);
        let _ = machine.alloc(size, Gfp::empty());
    }
    machine.check().expect("a machine in use is whole");
    let frozen = machine.freeze().expect("what was accepted is handed over again");
    machine.thaw(frozen);
}

/// The handover as it is, and one change of each kind of page.
pub fn seeds() -> Vec<Vec<u8>> {
    let change = |which: u8, word: u8, value: u64| {
        let mut bytes = vec![which, word];
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let mut seeds = vec![Vec::new()];
    seeds.extend((0..24).map(|which| change(which, which * 7, u64::from(which) << 13 | 1)));
    seeds.extend((0..4).map(|which| change(255, which, 0x20_0000)));
    seeds.push([change(2, 0, 0), change(2, 1, 0), change(3, 0, 1 << 40)].concat());
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handover_as_it_is_boots() {
        let Ready { hardware, power, pages, .. } = prepare();
        assert!(pages.len() > 40, "{} pages of interest", pages.len());
        let machine = Machine::boot(&hardware, &power.info(options())).expect("an undamaged handover");
        assert!(machine.inherited().0 > 3);
    }
}
