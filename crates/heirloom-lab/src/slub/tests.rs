use super::*;

/// Pages from a counter; those given back are handed out again.
#[derive(Default)]
struct Counter {
    next: u64,
    free: Vec<(u64, u32)>,
}

impl Pages for Counter {
    fn take(&mut self, order: u32) -> Result<u64, LabError> {
        if let Some(at) = self.free.iter().position(|&(_, free)| free == order) {
            return Ok(self.free.swap_remove(at).0);
        }
        let bytes = PAGE_BYTES << order;
        self.next = self.next.next_multiple_of(bytes) + bytes;
        Ok(self.next - bytes)
    }

    fn give_back(&mut self, phys: u64, order: u32) -> Result<(), LabError> {
        self.free.push((phys, order));
        Ok(())
    }
}

const LAYOUT: Layout = Layout { slot_bytes: 1024, slots: 4, order: 0 };

#[test]
fn a_slab_is_filled_in_ascending_order_and_the_last_freed_slot_comes_first() {
    let (mut slub, mut pages) = (Slub::default(), Counter::default());
    let cache = slub.create(LAYOUT, Flags::default());
    let objects: Vec<u64> = (0..4).map(|_| slub.alloc(cache, &mut pages).expect("there are pages")).collect();
    assert_eq!(objects, [0, 1024, 2048, 3072]);
    slub.free(1024, &mut pages).expect("an object");
    slub.free(3072, &mut pages).expect("an object");
    assert_eq!(slub.alloc(cache, &mut pages).expect("there is room"), 3072);
    assert_eq!(slub.alloc(cache, &mut pages).expect("there is room"), 1024);
    slub.check().expect("sound");
}

#[test]
fn empty_slabs_beyond_the_least_number_go_back() {
    let (mut slub, mut pages) = (Slub::default(), Counter::default());
    let cache = slub.create(LAYOUT, Flags::default());
    let objects: Vec<u64> =
        (0..80).map(|_| slub.alloc(cache, &mut pages).expect("there are pages")).collect();
    for object in objects {
        slub.free(object, &mut pages).expect("an object");
        slub.check().expect("sound");
    }
    // Twenty slabs: one is active, five partial ones are kept.
    assert_eq!(slub.slabs().count() as u32, 1 + min_partial(1024));
    assert_eq!(pages.free.len(), 14);
}

#[test]
fn an_adopted_slab_has_the_free_slots_that_its_record_says() {
    let (mut slub, mut pages) = (Slub::default(), Counter { next: PAGE_BYTES * 16, free: Vec::new() });
    let cache = slub.create(LAYOUT, Flags::default());
    slub.adopt(cache, 4096, 0, &[0b0101]).expect("laid out as the cache's");
    slub.check().expect("sound");
    let mut objects: Vec<u64> = (0..3).map(|_| slub.alloc(cache, &mut pages).expect("room")).collect();
    objects.sort_unstable();
    assert_eq!(objects, [4096 + 1024, 4096 + 3072, PAGE_BYTES * 16]);
    // Wrong records.
    for (order, words) in [(1, vec![0]), (0, vec![]), (0, vec![0, 0])] {
        assert!(matches!(slub.adopt(cache, 8192, order, &words), Err(LabError::Record(_))));
    }
}

#[test]
fn caches_of_like_size_and_flags_are_one_unless_they_refuse() {
    let mut slub = Slub::default();
    let plain = Flags::default();
    let kmalloc = slub.create(Layout { slot_bytes: 192, slots: 21, order: 0 }, plain);
    let alike = Layout { slot_bytes: 192, slots: 21, order: 0 };
    assert_eq!(slub.create(alike, plain), kmalloc);
    assert_ne!(slub.create(alike, Flags::NO_MERGE), kmalloc);
    assert_ne!(slub.create(alike, Flags::of_name("dentry")), kmalloc);
    assert_ne!(
        slub.create(Layout { slot_bytes: 184, slots: 22, order: 0 }, plain),
        kmalloc,
        "a pointer smaller"
    );
    assert!(Flags::of_name("ext4_inode_cache").no_merge, "it has a constructor");
    assert!(!Flags::of_name("kmalloc-64").no_merge);
}

#[test]
fn random_frees_and_allocations_keep_every_invariant() {
    for seed in 0..20 {
        let mut random = crate::random::Random::new(seed);
        let (mut slub, mut pages) = (Slub::default(), Counter::default());
        let caches = [(64, 64, 0), (192, 21, 0), (584, 14, 1)].map(|(slot_bytes, slots, order)| {
            slub.create(Layout { slot_bytes, slots, order }, Flags::default())
        });
        let mut live: Vec<u64> = Vec::new();
        for step in 0..2000 {
            if live.is_empty() || random.below(100) < if step < 1200 { 60 } else { 35 } {
                let object = slub.alloc(caches[random.below(3)], &mut pages).expect("there are pages");
                assert!(!live.contains(&object), "seed {seed}, step {step}: handed out twice");
                live.push(object);
            } else {
                let at = random.below(live.len());
                slub.free(live.swap_remove(at), &mut pages).expect("an object");
            }
            if step % 50 == 0 {
                slub.check().unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
            }
        }
    }
}
