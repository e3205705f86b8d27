//! Without a kernel that has LUO: what is refused, and the holes.

use std::os::fd::{AsFd, OwnedFd};

use super::*;

const PAGE: u64 = 4096;

fn memfd(len: u64) -> OwnedFd {
    let fd = sys::memfd_create("heirloom:test").unwrap();
    sys::set_len(fd.as_fd(), len).unwrap();
    fd
}

fn fill(fd: &OwnedFd, page: u64, byte: u8) {
    let bytes = [byte; PAGE as usize];
    assert_eq!(rustix::io::pwrite(fd, &bytes, page * PAGE).unwrap(), bytes.len());
}

fn held(fd: &OwnedFd) -> u64 {
    sys::file_facts(fd.as_fd()).unwrap().held_bytes / PAGE
}

/// Does to a file what LUO does to it.
fn fill_holes(fd: &OwnedFd, len: u64) {
    sys::allocate(fd.as_fd(), 0, len).unwrap();
}

#[test]
fn holes_that_were_filled_are_punched_again_and_nothing_else() {
    // page   0   1   2   3   4   5   6   7
    //        D   .   .   D   .   D   .   .       D data, . hole
    let fd = memfd(8 * PAGE);
    for page in [0, 3, 5] {
        fill(&fd, page, 7);
    }
    let list = holes::collect(fd.as_fd(), 8 * PAGE).unwrap();
    assert_eq!(holes::total(&list), 5 * PAGE);
    fill_holes(&fd, 8 * PAGE);
    assert_eq!(held(&fd), 8);
    // A page that the list calls a hole and that is none is left alone.
    fill(&fd, 6, 9);

    let list = holes::to_memfd(&list).unwrap();
    assert_eq!(holes::punch_listed(fd.as_fd(), list.as_fd()).unwrap(), 4 * PAGE);
    assert_eq!(held(&fd), 4);
    let mut bytes = vec![0; 8 * PAGE as usize];
    sys::read_start(fd.as_fd(), &mut bytes).unwrap();
    for (page, byte) in [7, 0, 0, 7, 0, 7, 9, 0].into_iter().enumerate() {
        assert!(bytes[page * PAGE as usize..][..PAGE as usize].iter().all(|&found| found == byte), "{page}");
    }
}

#[test]
fn a_list_of_another_file_or_none_changes_nothing() {
    let fd = memfd(4 * PAGE);
    let list = holes::collect(fd.as_fd(), 4 * PAGE).unwrap();
    sys::set_len(fd.as_fd(), 5 * PAGE).unwrap();
    fill_holes(&fd, 5 * PAGE);
    assert!(holes::punch(fd.as_fd(), &list).is_err());
    let mut other = list.clone();
    other[20] ^= 1;
    assert!(holes::punch(fd.as_fd(), &other).is_err());
    assert!(holes::punch_listed(fd.as_fd(), memfd(0).as_fd()).is_err());
    assert!(holes::punch_listed(fd.as_fd(), memfd(1 << 40).as_fd()).is_err());
    assert_eq!(held(&fd), 5);
}

#[test]
fn a_file_that_luo_cannot_take_is_refused_with_the_reason() {
    assert!(look_at(memfd(4 * PAGE).as_fd()).is_ok());
    let refused = look_at(memfd(u64::from(u32::MAX) * PAGE + 1).as_fd());
    let most = u64::from(u32::MAX);
    assert!(
        matches!(refused, Err(LuoError::Unfit(Unfit::TooLarge { nr_pages, .. })) if nr_pages == most + 1)
    );
    // All holes, which LUO would fill: no machine has that.
    let refused = look_at(memfd(1 << 43).as_fd());
    assert!(matches!(refused, Err(LuoError::Unfit(Unfit::NoRoom { holes, .. })) if holes == 1 << 43));

    let dir = std::path::Path::new("/dev/shm");
    if dir.is_dir() {
        let path = dir.join(format!("heirloom-luo-test-{}", std::process::id()));
        let fd = sys::open_named(&path, true, true).unwrap();
        let refused = look_at(fd.as_fd());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(refused, Err(LuoError::Unfit(Unfit::Named))), "{refused:?}");
        // Its name is gone: it is as good as a memfd.
        assert!(look_at(fd.as_fd()).is_ok());
    }
    let fd = sys::open_named(&std::env::current_exe().unwrap(), false, true);
    // Busy where the file is being executed, on most systems.
    if let Ok(fd) = fd {
        assert!(matches!(look_at(fd.as_fd()), Err(LuoError::Unfit(Unfit::NotInMemory))));
    }
    let huge = rustix::fs::memfd_create("heirloom:test", rustix::fs::MemfdFlags::HUGETLB);
    match huge {
        Ok(huge) => assert!(matches!(look_at(huge.as_fd()), Err(LuoError::Unfit(Unfit::HugeTlb)))),
        Err(error) => eprintln!("skipped: this kernel has no hugetlb memfd ({error})"),
    }
}

#[test]
fn where_there_is_no_orchestrator_nothing_was_left() {
    if std::path::Path::new(DEVICE).exists() {
        eprintln!("skipped: {DEVICE} exists");
        return;
    }
    assert!(retrieve("heirloom-test", |_| panic!("there is none")).unwrap().is_none());
    let refused = Preserved::new("heirloom-test", memfd(PAGE).as_fd());
    assert!(matches!(refused, Err(LuoError::Device(_))), "{refused:?}");
}

/// A session gives the heap once. Killed between that and its opening, this process used to take it along.
#[test]
fn a_heap_of_the_kernel_before_is_with_its_keeper_from_the_first() {
    let name = format!("before-{}", sys::pid());
    let heap = crate::backing::tests::fill(backing::Backing::create_memfd(&name, 1 << 30).unwrap());
    let source = KernelBefore::new(true);
    source.hold(&name, &sys::duplicate(heap.fd()).unwrap());
    let id = heap.read_header().unwrap().identity.id;
    drop((source, heap));
    let keeper = Keeper::new(&name);
    let Some(Found::Left { heap, .. }) = keeper.find(&name).unwrap() else { panic!("nobody has it") };
    assert_eq!(backing::header_of(&heap).unwrap().identity.id, id);
    // The store that is asked in its turn has it already.
    let held = keeper.keep(&Open { name: &name, id, heap: heap.as_fd() }).unwrap().expect("it is kept");
    held.let_go();
}
