//! The roots record.
//!
//! It is checked by sums that no mutation meets, so the input is a script for a valid record, and then damage to it:
//!
//! ```text
//! nr u8 | nr times: name u8, offset u16, description u8 | damage: at u16, byte u8, ...
//! ```

use heirloom_abi::roots::{MIN_BYTES, NewRoot, RootState, Roots, add, init, set_state};
use heirloom_abi::types::{TypeDesc, flat_len, flatten};

const U64: &TypeDesc = &TypeDesc::primitive("u64", 8, 8);
const BOX: &TypeDesc = &TypeDesc::collection("Box", 1, 8, 8, &[U64]);
static FORM: [u8; flat_len(U64)] = flatten(U64);
static BOX_FORM: [u8; flat_len(BOX)] = flatten(BOX);

/// Plays the script; what is accepted after the damage can be walked, added to and marked, and what is refused stays
/// as it was.
pub fn run(data: &[u8]) {
    // The input itself as a record, and as one with everything before it in order.
    let _ = Roots::read(data);

    let mut region = vec![0; MIN_BYTES];
    init(&mut region).expect("the region is large enough");
    let (nr, rest) = data.split_first().map_or((0, data), |(nr, rest)| (usize::from(*nr % 16), rest));
    let script_bytes = (nr * 4).min(rest.len());
    let (script, damage) = rest.split_at(script_bytes);
    let mut nr_roots = 0;
    for step in script.chunks_exact(4) {
        let name = [b'a' + step[0] % 16];
        let name = std::str::from_utf8(&name).expect("a letter");
        let object_offset = u64::from(u16::from_le_bytes([step[1], step[2]]));
        let ty: &[u8] = if step[3] % 2 == 0 { &FORM } else { &BOX_FORM };
        let before = region.clone();
        match add(&mut region, &NewRoot { name, object_offset, ty, generation: 1 }) {
            Ok(index) => {
                assert_eq!(index, nr_roots);
                nr_roots += 1;
            }
            Err(_) => assert!(region == before, "a refusal changes nothing"),
        }
    }
    assert_eq!(Roots::read(&region).expect("our own record").len(), nr_roots);

    for change in damage.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % region.len();
        region[at] = change[2];
    }
    let before = region.clone();
    let Ok(roots) = Roots::read(&region) else {
        assert!(
            add(&mut region, &NewRoot { name: "z", object_offset: 8, ty: &FORM, generation: 2 }).is_err()
        );
        assert!(set_state(&mut region, 0, RootState::Live).is_err());
        assert!(region == before);
        return;
    };
    let found: Vec<_> = roots.iter().map(|root| root.name).collect();
    assert_eq!(found.len(), roots.len());
    let indices: Vec<_> = roots.iter().map(|root| root.index).collect();
    assert!(
        found
            .iter()
            .zip(&indices)
            .all(|(name, index)| roots.find(name).map(|root| root.index) == Some(*index))
    );
    for index in indices {
        let mut poisoned = before.clone();
        set_state(&mut poisoned, index, RootState::Poisoned).expect("it is there");
        let state = Roots::read(&poisoned)
            .expect("a state is one byte")
            .iter()
            .find(|root| root.index == index)
            .map(|root| root.state);
        assert_eq!(state, Some(RootState::Poisoned));
    }
}

/// Three roots, then a harmless change to an unused byte.
pub fn seeds() -> Vec<Vec<u8>> {
    let script = [&[3][..], &[0, 64, 0, 0], &[1, 72, 0, 1], &[2, 80, 0, 0]].concat();
    let mut damaged = script.clone();
    damaged.extend([0xff, 0x0f, 1]);
    vec![script, damaged]
}
