//! The heap header.
//!
//! The input is damage to a valid page (`at u16, byte u8, ...`) behind sixteen bytes that choose numbers of the identity:
//!
//! ```text
//! base u8 | reserved u8 | block shift u8 | first block u8 | four times: offset u8, bytes u8 | 4 unused | damage
//! ```

use heirloom_abi::heap::{Flags, HEADER_BYTES, Header, Host, Identity, Name, Phase, Region, State};

const HOST: Host = Host::current(4096);

/// Writes the header that the numbers ask for; what was written reads back, and what was damaged is refused or means the same.
pub fn run(data: &[u8]) {
    let _ = Header::read(data, data.len() as u64, &HOST);
    let (numbers, damage) = data.split_at(data.len().min(16));
    let Some((mut page, header)) = build(numbers) else { return };
    let file_bytes = header.state.file_bytes;
    assert_eq!(Header::read(&page, file_bytes, &HOST), Ok(header), "what was written reads back");
    header.state.write(&mut page).expect("a state can follow a state");
    assert_eq!(Header::read(&page, file_bytes, &HOST), Ok(header));

    for change in damage.chunks_exact(3) {
        page[usize::from(u16::from_le_bytes([change[0], change[1]])) % HEADER_BYTES] ^= change[2];
    }
    if let Ok(read) = Header::read(&page, file_bytes, &HOST) {
        assert_eq!(read, header, "damage outside the losing copy of the state is refused");
    }
}

/// The page that the numbers ask for, if there can be such a heap.
fn build(numbers: &[u8]) -> Option<([u8; HEADER_BYTES], Header)> {
    let number = |at: usize| u64::from(numbers.get(at).copied().unwrap_or(0));
    let region =
        |nth: usize| Region { offset: 4096 * number(4 + 2 * nth), bytes: 4096 * number(5 + 2 * nth) };
    let identity = Identity {
        id: [7; 16],
        name: Name::new("fuzz").expect("a name"),
        creator: Name::new("fuzz 1").expect("a name"),
        base: number(0) << 36,
        reserved_bytes: number(1) << 21,
        block_shift: number(2) as u32,
        fdt: region(0),
        map: region(1),
        roots: region(2),
        control: region(3),
        first_block: number(3) << 21,
    };
    let state = State {
        generation: 1,
        phase: Phase::Running,
        owner_pid: 1,
        owner_start_ticks: 2,
        flags: Flags::NONE,
        previous_channel: 0,
        helper_pid: 0,
        file_bytes: identity.first_block,
        last_operation_ns: 3,
        frozen_ns: 4,
        freeze_us: 5,
    };
    let header = Header { identity, state };
    let mut page = [0; HEADER_BYTES];
    header.write(&mut page, &HOST).ok()?;
    Some((page, header))
}

/// A sound heap, and the same with damage to the identity and to the losing copy.
pub fn seeds() -> Vec<Vec<u8>> {
    let sound = vec![16, 64, 21, 1, 1, 1, 2, 8, 10, 16, 26, 100, 0, 0, 0, 0];
    let damaged = |damage: &[u8]| [&sound[..], damage].concat();
    vec![sound.clone(), damaged(&[80, 0, 1]), damaged(&[0, 4, 0xff])]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seeds_are_accepted() {
        for seed in super::seeds() {
            assert!(super::build(&seed[..16]).is_some());
        }
    }
}
