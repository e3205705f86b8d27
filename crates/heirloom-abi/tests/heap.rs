//! The header page of a heap: what is written is read back, and nothing else is.

use heirloom_abi::heap::{
    COMMIT_AT, Flags, HEADER_BYTES, Header, HeaderError, Host, Identity, Name, Phase, Prefix, Region, State,
};
use proptest::prelude::*;

/// A file of 8 MiB: the control blocks, then three blocks.
const FILE_BYTES: u64 = 8 << 20;

/// The golden file does not depend on the machine that runs the test.
const HOST: Host = Host { machine: 62, pointer_bits: 64, page_bytes: 4096, byte_order: Host::LITTLE };

type Page = [u8; HEADER_BYTES];

fn header() -> Header {
    Header {
        identity: Identity {
            id: *b"0123456789abcdef",
            name: Name::new("sessions").unwrap(),
            creator: Name::new("heirloom 0.1.0").unwrap(),
            base: 0x1234_0000_0000,
            reserved_bytes: 64 << 30,
            block_shift: 21,
            fdt: Region { offset: 4096, bytes: 4096 },
            map: Region { offset: 8192, bytes: 64 << 10 },
            roots: Region { offset: 128 << 10, bytes: 64 << 10 },
            control: Region { offset: 256 << 10, bytes: 1 << 20 },
            first_block: 2 << 20,
        },
        state: State {
            generation: 3,
            phase: Phase::Running,
            owner_pid: 4711,
            owner_start_ticks: 123_456,
            flags: Flags::NONE,
            previous_channel: 1,
            helper_pid: 0,
            file_bytes: FILE_BYTES,
            last_operation_ns: 17,
            frozen_ns: 18,
            freeze_us: 19,
        },
    }
}

fn frozen() -> State {
    State { phase: Phase::Frozen, flags: Flags::CLEAN.with(Flags::SEALED), ..header().state }
}

/// Both copies are in use; the losing one is A (offset 1024).
fn page() -> Page {
    let mut page = [0; HEADER_BYTES];
    header().write(&mut page, &HOST).unwrap();
    frozen().write(&mut page).unwrap();
    page
}

fn read(page: &[u8]) -> Result<Header, HeaderError> {
    Header::read(page, FILE_BYTES, &HOST)
}

#[test]
fn what_is_written_is_read_back() {
    let mut page = [0xaa; HEADER_BYTES];
    header().write(&mut page, &HOST).unwrap();
    assert_eq!(read(&page), Ok(header()));
    for generation in 4..20 {
        let state = State { generation, ..frozen() };
        state.write(&mut page).unwrap();
        assert_eq!(read(&page), Ok(Header { state, ..header() }));
    }
}

/// Set `HEIRLOOM_BLESS` to write the file of a new version; the old ones stay.
#[test]
fn version_1_is_read_back() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/heap-v1.bin");
    if std::env::var_os("HEIRLOOM_BLESS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(read(&golden), Ok(Header { state: frozen(), ..header() }));
    assert_eq!(golden, page());
}

#[test]
fn every_changed_bit_is_an_error_except_in_the_losing_copy() {
    let page = page();
    for at in 0..HEADER_BYTES {
        for bit in 0..8 {
            let mut damaged = page;
            damaged[at] ^= 1 << bit;
            if (1024..1024 + 128).contains(&at) {
                assert_eq!(read(&damaged), read(&page), "byte {at} bit {bit}");
            } else {
                assert!(read(&damaged).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn a_writer_killed_at_any_byte_leaves_the_old_state() {
    let before = page();
    let next = State { generation: 4, phase: Phase::Running, flags: Flags::NONE, ..header().state };
    let write = next.following(&before).unwrap();
    for written in 0..=write.copy.len() {
        let mut torn = before;
        torn[write.copy_at..write.copy_at + written].copy_from_slice(&write.copy[..written]);
        assert_eq!(read(&torn).unwrap().state, frozen(), "{written} bytes written");
    }
    let mut done = before;
    write.apply(&mut done);
    assert_eq!(read(&done).unwrap().state, next);
}

#[test]
fn gates_are_in_order() {
    type Damage = (&'static str, fn(&mut Page), fn(&HeaderError) -> bool);
    let worse: [Damage; 9] = [
        ("region", |page| page[112] = 1, |e| matches!(e, HeaderError::Checksum { .. })),
        ("state", |page| page[1536 + 8] ^= 1, |e| matches!(e, HeaderError::Checksum { .. })),
        ("header length", |page| page[13] = 1, |e| matches!(e, HeaderError::HeaderLength { .. })),
        ("page size", |page| page[22] = 1, |e| matches!(e, HeaderError::PageSize { found: 0x1_1000, .. })),
        ("pointers", |page| page[26] = 32, |e| matches!(e, HeaderError::PointerWidth { found: 32, .. })),
        ("machine", |page| page[24] = 183, |e| matches!(e, HeaderError::Machine { found: 183, .. })),
        ("byte order", |page| page[16..20].reverse(), |e| matches!(e, HeaderError::ByteOrder { .. })),
        ("version", |page| page[8] = 2, |e| matches!(e, HeaderError::Version { found: 2 })),
        ("magic", |page| page[0] = b'h', |e| matches!(e, HeaderError::Magic { .. })),
    ];
    let mut page = page();
    for (what, damage, expected) in worse {
        damage(&mut page);
        let error = read(&page).unwrap_err();
        assert!(expected(&error), "{what}: {error}");
    }
    page.fill(0);
    assert_eq!(read(&page), Err(HeaderError::Blank));
}

#[test]
fn a_truncated_file_is_refused() {
    let page = page();
    for bytes in 0..HEADER_BYTES {
        assert!(matches!(read(&page[..bytes]), Err(HeaderError::Short { found }) if found == bytes));
    }
    let short = FILE_BYTES - 1;
    let expected = HeaderError::FileLength { recorded: FILE_BYTES, found: short };
    assert_eq!(Header::read(&page, short, &HOST), Err(expected));
    // One that has grown, but was not counted yet, is not.
    assert!(Header::read(&page, FILE_BYTES + (2 << 20), &HOST).is_ok());
    assert!(Header::read(&page, u64::MAX, &HOST).is_err());
}

#[test]
fn a_later_version_can_be_named() {
    let mut page = page();
    page[8] = 77;
    page[64..].fill(0xee);
    let prefix = Prefix::read(&page[..64]).unwrap();
    assert_eq!((prefix.version, prefix.host), (77, HOST));
    assert_eq!(read(&page[..64]), Err(HeaderError::Version { found: 77 }));
}

#[test]
fn a_header_that_would_be_refused_is_not_written() {
    let wrong: [fn(&mut Header); 9] = [
        |h| h.identity.base += 4096,
        |h| h.identity.base = 0,
        |h| h.identity.base = 0x7fff_c000_0000,
        |h| h.identity.base = u64::MAX << 30,
        |h| h.identity.map.offset = h.identity.fdt.offset,
        |h| h.identity.control.bytes = u64::MAX,
        |h| h.identity.first_block += 4096,
        |h| h.identity.block_shift = 64,
        |h| h.state.file_bytes = h.identity.reserved_bytes + 1,
    ];
    for (nth, change) in wrong.into_iter().enumerate() {
        let mut header = header();
        change(&mut header);
        assert!(header.write(&mut [0; HEADER_BYTES], &HOST).is_err(), "change {nth}");
    }
}

#[test]
fn names_fit_or_are_refused() {
    assert_eq!(Name::new(&"x".repeat(63)).unwrap().as_str().len(), 63);
    assert_eq!(Name::new(&"x".repeat(64)), None);
    assert_eq!(Name::new("a\0b"), None);
    assert_eq!(Name::new("").unwrap().to_string(), "");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(seed in proptest::collection::vec(any::<u8>(), 0..5000), file_bytes: u64) {
        prop_assert!(Header::read(&seed, file_bytes, &HOST).is_err());
    }

    /// Right sums over wrong numbers: the structure gate stands alone.
    #[test]
    fn foreign_numbers_under_right_sums_never_panic(
        at in 64_usize..504, value: u64, state_at in 8_usize..112, state_value: u64, file_bytes: u64,
    ) {
        let mut page = page();
        let at = at.min(496);
        page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let sum = heirloom_abi::checksum(&page[..504], 0);
        page[504..512].copy_from_slice(&sum.to_le_bytes());
        page[1536 + state_at..1536 + state_at + 8].copy_from_slice(&state_value.to_le_bytes());
        let sum = heirloom_abi::checksum(&page[1536..1536 + 120], 0);
        page[1536 + 120..1536 + 128].copy_from_slice(&sum.to_le_bytes());
        if let Ok(header) = Header::read(&page, file_bytes, &HOST) {
            let identity = header.identity;
            prop_assert!(identity.check().is_ok());
            prop_assert!(header.state.file_bytes <= file_bytes && file_bytes <= identity.reserved_bytes);
            prop_assert!(identity.base.checked_add(identity.reserved_bytes).is_some());
            let _ = header.state.following(&page).unwrap();
        }
    }

    #[test]
    fn several_changed_bytes_are_an_error(
        changes in proptest::collection::vec((0_usize..HEADER_BYTES, 1_u8..), 1..8),
    ) {
        let mut damaged = page();
        for &(at, change) in &changes {
            damaged[at] ^= change;
        }
        let mut outside = damaged;
        outside[1024..1024 + 128].copy_from_slice(&page()[1024..1024 + 128]);
        if outside == page() {
            prop_assert!(read(&damaged).is_ok());
        } else {
            prop_assert!(read(&damaged).is_err());
        }
    }

    #[test]
    fn any_state_is_read_back(
        generation in 1_u32.., owner_pid: u32, owner_start_ticks: u64, freeze_us: u64, frozen_ns: u64, helper_pid: u32,
    ) {
        let mut page = page();
        let state = State {
            generation, owner_pid, owner_start_ticks, freeze_us, frozen_ns, helper_pid, ..frozen()
        };
        state.write(&mut page).unwrap();
        prop_assert_eq!(read(&page).unwrap().state, state);
    }

    #[test]
    fn a_damaged_commit_word_is_never_written_over(word: u64) {
        let mut page = page();
        prop_assume!(word as u32 != !((word >> 32) as u32));
        page[COMMIT_AT..COMMIT_AT + 8].copy_from_slice(&word.to_le_bytes());
        prop_assert_eq!(frozen().write(&mut page), Err(HeaderError::Commit { found: word }));
    }
}
