//! The roots record: the golden file of version 1, and bytes that nobody wrote.

use heirloom_abi::roots::{
    MIN_BYTES, NewRoot, RootState, Roots, add, head_bytes, init, set_state, used_bytes,
};
use heirloom_abi::types::{TypeDesc, flat_len, flatten};
use proptest::collection::vec;
use proptest::prelude::*;

const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
const MUTEX: &TypeDesc = &TypeDesc::collection("Mutex", 1, 24, 8, &[U64]);
static COUNTER: [u8; flat_len(U64)] = flatten(U64);
static GUARDED: [u8; flat_len(MUTEX)] = flatten(MUTEX);

fn record() -> Vec<u8> {
    let mut region = vec![0; MIN_BYTES];
    init(&mut region).unwrap();
    let first = NewRoot { name: "counter", object_offset: 0x20_1000, ty: &COUNTER, generation: 1 };
    let second = NewRoot { name: "guarded", object_offset: 0x20_2040, ty: &GUARDED, generation: 2 };
    add(&mut region, &first).unwrap();
    let index = add(&mut region, &second).unwrap();
    set_state(&mut region, index, RootState::Poisoned).unwrap();
    region
}

#[test]
fn version_1_is_as_it_was_released() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/roots/v1.bin");
    if std::env::var_os("HEIRLOOM_BLESS").is_some() {
        std::fs::write(path, record()).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert!(golden == record(), "the writer of version 1 has changed");
    let roots = Roots::read(&golden).unwrap();
    let found: Vec<_> =
        roots.iter().map(|root| (root.name, root.state, root.object_offset, root.ty)).collect();
    assert_eq!(found[0], ("counter", RootState::Live, 0x20_1000, &COUNTER[..]));
    assert_eq!(found[1], ("guarded", RootState::Poisoned, 0x20_2040, &GUARDED[..]));
    assert_eq!(found.len(), 2);
}

proptest! {
    #[test]
    fn changed_bytes_never_panic_neither_reader_nor_writer(
        changes in vec((0..MIN_BYTES, any::<u8>()), 0..8),
        used in vec((0..320_usize, any::<u8>()), 0..4),
        len in prop_oneof![4 => Just(MIN_BYTES), 1 => 0..2 * MIN_BYTES],
    ) {
        let mut region = record();
        for (at, byte) in changes.into_iter().chain(used) {
            region[at] = byte;
        }
        region.resize(len, 0);
        if let Ok(roots) = Roots::read(&region) {
            prop_assert_eq!(roots.iter().count(), roots.len());
        }
        // A copy of no more than is said to be used is read as the whole is.
        if let Ok(head) = head_bytes(region.len()) {
            let used = used_bytes(&region[..head], region.len()).unwrap();
            prop_assert!((head..=region.len()).contains(&used));
            let mut copy = vec![0; region.len()];
            copy[..used].copy_from_slice(&region[..used]);
            let read = |bytes: &[u8]| Roots::read(bytes).map(|roots| format!("{:?}", roots.iter().collect::<Vec<_>>()));
            prop_assert_eq!(read(&copy), read(&region));
        }
        let third = NewRoot { name: "third", object_offset: 64, ty: &COUNTER, generation: 9 };
        let before = region.clone();
        match add(&mut region, &third) {
            Ok(index) => prop_assert_eq!(Roots::read(&region).unwrap().find("third").unwrap().index, index),
            Err(_) => prop_assert!(region == before),
        }
    }
}
