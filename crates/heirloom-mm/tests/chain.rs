//! Hosted machines that hand over.

use heirloom_mm::hosted::{Hardware, small_map};
use heirloom_mm::slab::CacheFlags;
use heirloom_mm::{Gfp, Machine, Options};

#[test]
fn an_object_and_a_folio_come_through_a_jump() {
    let hardware = Hardware::new(small_map()).unwrap();
    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(Options::default())).unwrap();
    machine.check().unwrap();
    let object = machine.alloc(56, Gfp::PRESERVE).unwrap();
    let phys = machine.phys(object);
    hardware.store(phys, 0x1234);
    machine.add_subtree("object", phys, 56).unwrap();
    let folio = machine.alloc_pages(3, Gfp::ZERO).unwrap();
    hardware.store(folio, 0x5678);
    assert_eq!(machine.preserve_folio(folio), Ok(3));
    machine.check().unwrap();
    let frozen = machine.freeze().unwrap();
    let entry = machine.load_successor().unwrap();
    machine.jump(entry, frozen);

    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(Options::default())).unwrap();
    machine.check().unwrap();
    let found = machine.retrieve("object").unwrap();
    assert_eq!((found.data, found.size_bytes), (phys, 56));
    assert_eq!(hardware.load(phys), 0x1234);
    assert_eq!(machine.restore_folio(folio), Ok(3));
    assert_eq!(hardware.load(folio), 0x5678);
    assert_eq!(machine.finish(), 0);
    machine.check().unwrap();
    assert!(hardware.is_image_whole());
}

/// Two names are one ordinary cache, and their objects share slabs; in the preserve pool each has its own, and a successor that makes the cache
/// again allocates beside what it inherited.
#[test]
fn ordinary_caches_merge_and_preserved_ones_never_do() {
    let hardware = Hardware::new(small_map()).unwrap();
    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(Options::default())).unwrap();
    let one = machine.create_cache("one", 200, 8, CacheFlags::PRESERVE).unwrap();
    let other = machine.create_cache("other", 196, 8, CacheFlags::PRESERVE).unwrap();
    let apart = machine.create_cache("apart", 200, 8, CacheFlags::NO_MERGE).unwrap();
    assert!(machine.is_merged(one, other) && !machine.is_merged(one, apart));
    assert_eq!(machine.create_cache("one", 200, 8, CacheFlags::PRESERVE), Ok(one));
    let alloc = |cache, gfp| machine.phys(machine.alloc_from(cache, gfp).unwrap());
    let page = |phys: u64| phys & !4095;
    let ordinary = [one, other].map(|cache| alloc(cache, Gfp::empty()));
    assert_eq!(page(ordinary[0]), page(ordinary[1]), "of one slab");
    let kept = [one, other].map(|cache| alloc(cache, Gfp::PRESERVE));
    assert_ne!(page(kept[0]), page(kept[1]), "of two");
    assert!(machine.alloc_from(apart, Gfp::PRESERVE).is_err());
    let frozen = machine.freeze().unwrap();
    let entry = machine.load_successor().unwrap();
    machine.jump(entry, frozen);

    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(Options::default())).unwrap();
    let one = machine.create_cache("one", 200, 8, CacheFlags::PRESERVE).unwrap();
    let next = machine.phys(machine.alloc_from(one, Gfp::PRESERVE).unwrap());
    assert!(kept.iter().all(|&phys| machine.is_preserved_object(phys) && phys != next));
    assert_eq!(page(next), page(kept[0]), "in the slab that was inherited");
    machine.check().unwrap();
}

/// Pages of a node come from that node while it has some.
#[test]
fn pages_come_from_the_node_that_was_asked() {
    let hardware = Hardware::new(small_map()).unwrap();
    let power = hardware.power();
    let machine = Machine::boot(&hardware, &power.info(Options::default())).unwrap();
    for (node, above) in [(0, false), (1, true)] {
        for _ in 0..100 {
            let phys = machine.alloc_pages_on(Some(node), 2, Gfp::PRESERVE).unwrap();
            assert_eq!(phys >= 1 << 32, above);
        }
    }
}
