//! Faults that are not a machine's: whoever handled them before still does, and the machine's handler stays.
#![allow(unsafe_code, reason = "signal handlers, and accesses that fault")]

use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::*};

use heirloom_mm::hosted::{Hardware, small_map};

static NR_FOREIGN: AtomicUsize = AtomicUsize::new(0);

/// Opens the page that was touched.
extern "C" fn foreign(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    NR_FOREIGN.fetch_add(1, SeqCst);
    // SAFETY: the fault was in the page that the test mapped, the only one that is touched.
    unsafe {
        let page = (*info).si_addr().map_addr(|at| at & !4095);
        assert_eq!(libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE), 0);
    }
}

fn handler() -> usize {
    // SAFETY: asks for the action only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGSEGV, null_mut(), &mut action), 0);
        action.sa_sigaction
    }
}

#[test]
fn a_foreign_fault_goes_to_the_former_handler_and_ours_stays() {
    let function: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = foreign;
    // SAFETY: the handler does what a signal handler may, for the page mapped here.
    let page = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = function as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, null_mut()), 0);
        libc::mmap(null_mut(), 4096, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    let hardware = Hardware::new(small_map()).unwrap();
    let ours = handler();
    assert_ne!(ours, function as *const () as usize);
    for nr in 1..=3 {
        // SAFETY: our own page; the fault opens it.
        unsafe {
            assert_eq!(libc::mprotect(page, 4096, libc::PROT_NONE), 0);
            page.cast::<u8>().write_volatile(nr as u8);
        }
        assert_eq!(NR_FOREIGN.load(SeqCst), nr);
        assert_eq!(handler(), ours);
    }
    drop(hardware);
}
