//! SIGSEGV: a fault in a hosted machine's memory goes to its guard pool; any other goes to whoever handled it before.
#![expect(unsafe_code, reason = "signal handlers")]

use core::ffi::{c_int, c_void};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use std::io;
use std::sync::OnceLock;

use super::hardware::Bus;

/// Machines that a process can have at a time.
const MAX_MACHINES: usize = 64;

static MACHINES: [AtomicPtr<Bus>; MAX_MACHINES] = [const { AtomicPtr::new(null_mut()) }; MAX_MACHINES];

/// Handlers that look through [`MACHINES`] just now: what they found there stays until there are none.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

static INSTALLED: OnceLock<Option<Former>> = OnceLock::new();

/// The handler that was there before.
struct Former(libc::sigaction);

// SAFETY: a copy of numbers and function addresses.
unsafe impl Send for Former {}
// SAFETY: as above.
unsafe impl Sync for Former {}

/// Has faults in the memory of this machine go to it. Installs the handler when it is called first.
///
/// # Errors
///
/// The system refuses the handler, or there are too many machines.
///
/// # Safety
///
/// `bus` stays where it is until [`forget`] was called with it.
pub(super) unsafe fn register(bus: *mut Bus) -> io::Result<()> {
    if INSTALLED.get_or_init(install).is_none() {
        return Err(io::Error::other("no handler for faults can be installed"));
    }
    for slot in &MACHINES {
        if slot.compare_exchange(null_mut(), bus, AcqRel, Relaxed).is_ok() {
            return Ok(());
        }
    }
    Err(io::Error::other("too many machines in one process"))
}

/// The opposite of [`register`]. Returns once no handler on another thread has the bus in its hands.
pub(super) fn forget(bus: *mut Bus) {
    for slot in &MACHINES {
        let _ = slot.compare_exchange(bus, null_mut(), SeqCst, Relaxed);
    }
    // Sequentially consistent, as in the handler: one that this does not see finds the slot empty.
    while IN_FLIGHT.load(SeqCst) != 0 {
        std::thread::yield_now();
    }
}

fn install() -> Option<Former> {
    // SAFETY: all zeros is a valid `sigaction`; the handler below does what a signal handler may.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut former: libc::sigaction = core::mem::zeroed();
        (libc::sigaction(libc::SIGSEGV, &action, &mut former) == 0).then_some(Former(former))
    }
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes both for a handler with SA_SIGINFO.
    let (address, is_write) = unsafe { ((*info).si_addr().addr(), is_write(context)) };
    if is_handled(address, is_write) {
        return;
    }
    match INSTALLED.get() {
        // SAFETY: the kernel's own arguments.
        Some(Some(former)) => unsafe { former.call(signal, info, context) },
        // SAFETY: an action by default.
        _ => unsafe {
            let action: libc::sigaction = core::mem::zeroed();
            libc::sigaction(signal, &action, null::<libc::sigaction>().cast_mut());
        },
    }
}

/// Asks each machine whether the fault is its own.
fn is_handled(address: usize, is_write: bool) -> bool {
    IN_FLIGHT.fetch_add(1, SeqCst);
    let handled = MACHINES.iter().any(|slot| {
        let bus = slot.load(SeqCst);
        // SAFETY: a registered bus stays where it is, and `forget` waits for this handler before it may go.
        unsafe { bus.as_ref() }.is_some_and(|bus| bus.on_fault(address, is_write))
    });
    IN_FLIGHT.fetch_sub(1, SeqCst);
    handled
}

impl Former {
    /// Has the fault handled as if we were not there. A function is called, and we stay for the next fault; where there is none,
    /// the system's way is put back and the access faults again.
    ///
    /// # Safety
    ///
    /// The arguments are what the kernel passed to a handler with SA_SIGINFO.
    unsafe fn call(&self, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let Self(action) = self;
        let function = action.sa_sigaction as *const ();
        if matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
            // SAFETY: the system gave this very action.
            unsafe { libc::sigaction(signal, action, null_mut()) };
        } else if action.sa_flags & libc::SA_SIGINFO != 0 {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: with SA_SIGINFO it is a function of this type; the arguments are the kernel's by the caller's promise.
            unsafe { core::mem::transmute::<*const (), Handler>(function)(signal, info, context) }
        } else {
            // SAFETY: without SA_SIGINFO it is a function of this type.
            unsafe { core::mem::transmute::<*const (), extern "C" fn(c_int)>(function)(signal) }
        }
    }
}

/// Whether the access was a write, where the processor says so; else it counts as one.
///
/// # Safety
///
/// `context` is what the kernel passed to the handler.
unsafe fn is_write(context: *mut c_void) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        const WRITE: i64 = 1 << 1;
        // SAFETY: by the caller's promise a `ucontext_t`.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        context.uc_mcontext.gregs[libc::REG_ERR as usize] & WRITE != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = context;
        true
    }
}
