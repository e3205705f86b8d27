//! Hosted machines that hand over.

use heirloom_mm::hosted::{Hardware, small_map};
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
