//! A file is accepted whole or refused unchanged.

use std::fs;
use std::os::unix::fs::MetadataExt;

use heirloom_abi::heap::{Flags, Identity, Name, Phase, Region};

use super::*;

pub(crate) const BLOCK: u64 = 2 << 20;
pub(crate) const RESERVED: u64 = 4 << 30;

/// A heap of two control blocks and nothing else.
pub(crate) fn header(backing: &Backing) -> Header {
    Header {
        identity: Identity {
            id: sys::random_bytes().unwrap(),
            name: Name::new("test").unwrap(),
            creator: Name::new("heirloom test").unwrap(),
            base: backing.base().addr().get() as u64,
            reserved_bytes: backing.reserved(),
            block_shift: 21,
            fdt: Region { offset: 4096, bytes: 4096 },
            map: Region { offset: 8192, bytes: 8192 },
            roots: Region { offset: 16384, bytes: 4096 },
            control: Region { offset: 20480, bytes: 4096 },
            first_block: BLOCK,
        },
        state: State {
            generation: 1,
            phase: Phase::Running,
            owner_pid: sys::pid(),
            owner_start_ticks: sys::start_ticks(sys::pid()).unwrap(),
            flags: Flags::NONE,
            previous_channel: 0,
            helper_pid: 0,
            file_bytes: 2 * BLOCK,
            last_operation_ns: 0,
            frozen_ns: 0,
            freeze_us: 0,
        },
    }
}

/// The first byte that is no record.
pub(crate) const MARK: u64 = BLOCK;

impl Backing {
    pub(crate) fn mark(&self) -> u8 {
        self.mark_byte().load(Ordering::SeqCst)
    }

    pub(crate) fn set_mark(&self, mark: u8) {
        self.mark_byte().store(mark, Ordering::SeqCst);
    }

    pub(crate) fn touch_for_tests(&self, offset: u64) {
        assert!((MARK..self.len()).contains(&offset));
        // SAFETY: inside the file, and the tests' heaps hold no objects.
        unsafe { self.base().as_ptr().add(offset as usize).write_volatile(1) };
    }

    fn mark_byte(&self) -> &std::sync::atomic::AtomicU8 {
        // SAFETY: the tests' heaps are two blocks long, and these bytes are only used atomically.
        unsafe { std::sync::atomic::AtomicU8::from_ptr(self.base().as_ptr().add(MARK as usize)) }
    }
}

pub(crate) fn fill(backing: Backing) -> Backing {
    backing.grow_to(2 * BLOCK).unwrap();
    backing.write_header(&header(&backing)).unwrap();
    backing
}

/// A file on tmpfs that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/dev/shm/heirloom-test-{}-{name}", sys::pid()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn with_heap(name: &str) -> Self {
        let place = Self::new(name);
        drop(fill(Backing::create_file(&place.0, RESERVED, &[]).unwrap()));
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_closed_file_opens_at_the_same_address() {
    let place = Place::new("reopen");
    let backing = fill(Backing::create_file(&place.0, RESERVED, &[]).unwrap());
    backing.set_mark(7);
    let (base, header) = (backing.base(), backing.read_header().unwrap());
    drop(backing);
    let (backing, found) = Backing::open_file(&place.0).unwrap();
    assert_eq!((backing.base(), found, backing.mark()), (base, header, 7));
    assert_eq!(backing.len(), 2 * BLOCK);
    assert!(!backing.notes().not_in_memory);
}

#[test]
fn every_state_written_is_the_one_read() {
    let backing = fill(Backing::create_memfd("states", RESERVED).unwrap());
    let first = backing.read_header().unwrap().state;
    for generation in 2..50 {
        let state = State { generation, ..first };
        backing.write_state(&state).unwrap();
        assert_eq!(backing.read_header().unwrap().state, state);
    }
    backing.advise_huge(BLOCK);
    assert!(backing.wants_huge_pages());
}

#[test]
fn a_second_opener_is_told_the_owner() {
    let place = Place::new("busy");
    let backing = fill(Backing::create_file(&place.0, RESERVED, &[]).unwrap());
    let refused = Backing::open_file(&place.0).err().unwrap();
    assert!(matches!(refused, BackingError::Busy { pid } if pid == sys::pid()), "{refused}");
    let refused = Backing::create_file(&place.0, RESERVED, &[]).err().unwrap();
    assert!(matches!(refused, BackingError::Busy { .. }), "{refused}");
    drop(backing);
    assert!(Backing::open_file(&place.0).is_ok());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let place = Place::with_heap("taken");
    let base = Backing::open_file(&place.0).unwrap().0.base();
    let other = sys::memfd_create("other").unwrap();
    let at = base.addr().get() as u64;
    sys::map_shared_at(other.as_fd(), at + BLOCK, 4096).unwrap();
    let refused = Backing::open_file(&place.0).err().unwrap();
    assert!(matches!(refused, BackingError::AddressTaken { base } if base == at), "{refused}");
    // SAFETY: mapped above with these numbers, and not used.
    unsafe { sys::unmap(NonNull::new(base.as_ptr().wrapping_add(BLOCK as usize)).unwrap(), 4096) };
    assert!(Backing::open_file(&place.0).is_ok());
}

#[test]
fn a_refused_file_is_left_as_it_was() {
    type Damage = (&'static str, fn(&mut Vec<u8>));
    let damages: [Damage; 7] = [
        ("empty", |bytes| bytes.clear()),
        ("half a header", |bytes| bytes.truncate(2000)),
        ("header only", |bytes| bytes.truncate(4096)),
        ("zeroed header", |bytes| bytes[..4096].fill(0)),
        ("other version", |bytes| bytes[8] = 2),
        ("one bit of the state", |bytes| bytes[1024 + 9] ^= 1),
        ("something else", |bytes| *bytes = b"#!/bin/sh\n".repeat(1000)),
    ];
    for (what, damage) in damages {
        let place = Place::with_heap("refused");
        let mut bytes = fs::read(&place.0).unwrap();
        damage(&mut bytes);
        fs::write(&place.0, &bytes).unwrap();
        let before = fs::metadata(&place.0).unwrap();
        let refused = Backing::open_file(&place.0).err().unwrap();
        assert!(matches!(refused, BackingError::Header(_)), "{what}: {refused}");
        let after = fs::metadata(&place.0).unwrap();
        assert_eq!(fs::read(&place.0).unwrap(), bytes, "{what}");
        let times = |facts: &fs::Metadata| (facts.mtime(), facts.mtime_nsec(), facts.blocks(), facts.len());
        assert_eq!(times(&before), times(&after), "{what}");
    }
}

#[test]
fn a_file_with_contents_is_not_made_a_heap() {
    let place = Place::new("contents");
    fs::write(&place.0, "letters").unwrap();
    let refused = Backing::create_file(&place.0, RESERVED, &[]).err().unwrap();
    assert!(matches!(refused, BackingError::NotEmpty { .. }), "{refused}");
    assert_eq!(fs::read(&place.0).unwrap(), b"letters");
    // One that was grown and never written is not in the way.
    fs::write(&place.0, "").unwrap();
    fs::File::options().write(true).open(&place.0).unwrap().set_len(BLOCK).unwrap();
    assert!(Backing::create_file(&place.0, RESERVED, &[]).is_ok());
}

#[test]
fn directories_and_fifos_are_refused() {
    assert!(Backing::open_file(Path::new("/dev/shm")).is_err());
    assert!(matches!(Backing::open_file(Path::new("/dev/null")), Err(BackingError::NotRegular)));
}

#[test]
fn a_hole_reads_as_zero_and_the_limit_holds() {
    let backing = fill(Backing::create_memfd("hole", 8 * BLOCK).unwrap());
    backing.set_mark(9);
    backing.punch(BLOCK, BLOCK);
    assert_eq!(backing.mark(), 0);
    assert!(backing.grow_to(8 * BLOCK).is_ok());
    assert_eq!(backing.grow_to(9 * BLOCK).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(backing.len(), 8 * BLOCK);
    backing.grow_to(BLOCK).unwrap();
    assert_eq!(backing.len(), 8 * BLOCK);
}

#[test]
fn a_header_written_half_counts_as_blank() {
    let backing = Backing::create_memfd("half", RESERVED).unwrap();
    backing.grow_to(2 * BLOCK).unwrap();
    assert_eq!(backing.read_header(), Err(HeaderError::Blank));
    backing.store_words(64, &[7; 64]);
    assert_eq!(backing.read_header(), Err(HeaderError::Blank));
}

/// ```text
/// page  0   1   2 .. 600 601 602   ..        every third one is a hole; the range begins and ends within a page
///       d   d   h     h   d   d
/// ```
#[test]
fn a_range_is_zeroed_where_it_has_pages_and_gets_none() {
    const PAGES: u64 = 1300;
    let page = rustix::param::page_size() as u64;
    let backing = Backing::create_memfd("zero", 64 * BLOCK).unwrap();
    let start = 2 * BLOCK;
    backing.grow_to((start + PAGES * page).next_multiple_of(BLOCK)).unwrap();
    let at = |offset: u64| backing.base().as_ptr().wrapping_add(offset as usize);
    let is_hole = |nth: u64| nth % 3 == 2;
    for nth in (0..PAGES).filter(|&nth| !is_hole(nth)) {
        // SAFETY: inside the file, and nobody else's.
        unsafe { at(start + nth * page).write_bytes(7, page as usize) };
    }
    let pages_of = || rustix::fs::fstat(backing.fd()).unwrap().st_blocks;
    let before = pages_of();
    let (from, to) = (start + 100, start + (PAGES - 5) * page + 200);
    backing.zero(from, to - from);
    assert_eq!(pages_of(), before, "no page was made, and none given back");
    for nth in (0..PAGES).filter(|&nth| !is_hole(nth)) {
        for offset in [0, 99, 100, 199, 200, page - 1] {
            let offset = start + nth * page + offset;
            // SAFETY: inside the file.
            let byte = unsafe { at(offset).read() };
            assert_eq!(byte, if (from..to).contains(&offset) { 0 } else { 7 }, "page {nth}, {offset:#x}");
        }
    }
    // Nothing behind, as at the end of all data.
    backing.punch(start, PAGES.next_multiple_of(BLOCK / page) * page);
    backing.zero(from, to - from);
    assert_eq!(
        pages_of(),
        before - (0..PAGES).filter(|&nth| !is_hole(nth)).count() as i64 * (page as i64 / 512)
    );
}
