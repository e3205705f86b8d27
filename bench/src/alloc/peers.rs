//! The peers: linked from their crates where a crate brings their source, opened from the distribution's library where not.
#![expect(unsafe_code, reason = "calls C libraries")]

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use spinning_top::RawSpinlock;
use talc::TalcLock;
use talc::source::Manual;

use super::contestant::Contestant;

/// Its functions are those of C: `malloc`, `calloc`, `free`, `realloc`.
macro_rules! c_allocator {
    ($(#[$doc:meta])* $name:ident, $malloc:path, $calloc:path, $free:path, $realloc:path) => {
        $(#[$doc])*
        pub(super) struct $name;

        // SAFETY: the promise of `malloc`.
        unsafe impl Contestant for $name {
            #[inline(always)]
            fn alloc(size: usize) -> *mut u8 {
                // SAFETY: any size may be asked for.
                unsafe { $malloc(size) }.cast()
            }

            #[inline(always)]
            fn alloc_zeroed(size: usize) -> *mut u8 {
                // SAFETY: any size may be asked for.
                unsafe { $calloc(1, size) }.cast()
            }

            #[inline(always)]
            unsafe fn free(block: *mut u8, _: usize) {
                // SAFETY: passed on.
                unsafe { $free(block.cast()) }
            }

            #[inline(always)]
            unsafe fn realloc(block: *mut u8, _: usize, new: usize) -> *mut u8 {
                // SAFETY: passed on.
                unsafe { $realloc(block.cast(), new) }.cast()
            }
        }
    };
}

c_allocator!(
    /// The C library's own.
    Glibc, libc::malloc, libc::calloc, libc::free, libc::realloc
);
c_allocator!(
    /// mimalloc 3, as its crate builds it.
    Mimalloc, libmimalloc_sys::mi_malloc, libmimalloc_sys::mi_calloc, libmimalloc_sys::mi_free, libmimalloc_sys::mi_realloc
);
c_allocator!(
    /// jemalloc 5, as its crate builds it.
    Jemalloc, tikv_jemalloc_sys::malloc, tikv_jemalloc_sys::calloc, tikv_jemalloc_sys::free, tikv_jemalloc_sys::realloc
);

/// snmalloc, as its crate builds it.
pub(super) struct Snmalloc;

// SAFETY: the promise of its Rust interface.
unsafe impl Contestant for Snmalloc {
    #[inline(always)]
    fn alloc(size: usize) -> *mut u8 {
        // SAFETY: 16 is a power of two.
        unsafe { snmalloc_sys::sn_rust_alloc(16, size) }.cast()
    }

    #[inline(always)]
    fn alloc_zeroed(size: usize) -> *mut u8 {
        // SAFETY: 16 is a power of two.
        unsafe { snmalloc_sys::sn_rust_alloc_zeroed(16, size) }.cast()
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, size: usize) {
        // SAFETY: passed on.
        unsafe { snmalloc_sys::sn_rust_dealloc(block.cast(), 16, size) };
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize, new: usize) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { snmalloc_sys::sn_rust_realloc(block.cast(), 16, size, new) }.cast()
    }
}

/// An allocator of the distribution, in a shared library.
pub(super) struct Shared;

struct Functions {
    malloc: unsafe extern "C" fn(usize) -> *mut c_void,
    calloc: unsafe extern "C" fn(usize, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
}

static SHARED: OnceLock<Functions> = OnceLock::new();

#[inline(always)]
fn shared() -> &'static Functions {
    // Opened before any thread allocates; the check is a load of a word that is in the cache.
    SHARED.get().unwrap_or_else(|| unreachable!("the worker opens the library first"))
}

/// Opens the first of these libraries that is there. `prefix` stands before the names of the C functions.
pub(super) fn open_shared(names: &[&str], prefix: &str) -> Result<(), String> {
    for name in names {
        // Its own calls of malloc go to itself, ours to the C library.
        // SAFETY: these libraries do nothing on loading but to set themselves up.
        let opened = unsafe { Library::open(Some(*name), RTLD_NOW | RTLD_LOCAL | libc::RTLD_DEEPBIND) };
        let Ok(library) = opened else { continue };
        let find = |function: &str| {
            let symbol = CString::new(format!("{prefix}{function}")).map_err(|error| error.to_string())?;
            // SAFETY: the pointer is only called with the type that C gives the function.
            unsafe { library.get::<*const c_void>(symbol.as_bytes_with_nul()) }
                .map(|symbol| symbol.as_raw_ptr())
                .map_err(|error| error.to_string())
        };
        // SAFETY: C gives the functions of these names these types.
        let functions = unsafe {
            Functions {
                malloc: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(usize) -> *mut c_void>(find(
                    "malloc",
                )?),
                calloc: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(usize, usize) -> *mut c_void>(
                    find("calloc")?,
                ),
                free: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(find("free")?),
                realloc: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
                >(find("realloc")?),
            }
        };
        // It stays for the life of the process.
        std::mem::forget(library);
        return SHARED.set(functions).map_err(|_| "a library is open already".to_owned());
    }
    Err(format!("{} is not installed", names[0]))
}

// SAFETY: the promise of `malloc`.
unsafe impl Contestant for Shared {
    #[inline(always)]
    fn alloc(size: usize) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { (shared().malloc)(size) }.cast()
    }

    #[inline(always)]
    fn alloc_zeroed(size: usize) -> *mut u8 {
        // SAFETY: any size may be asked for.
        unsafe { (shared().calloc)(1, size) }.cast()
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, _: usize) {
        // SAFETY: passed on.
        unsafe { (shared().free)(block.cast()) }
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, _: usize, new: usize) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { (shared().realloc)(block.cast(), new) }.cast()
    }
}

/// talc behind a spin lock, over one arena.
pub(super) struct Talc;

static TALC: TalcLock<RawSpinlock, Manual> = TalcLock::new(Manual);

/// Gives talc its arena.
pub(super) fn open_talc() -> Result<(), String> {
    const BYTES: usize = 16 << 30;
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping, where the kernel chooses.
    let arena = unsafe { libc::mmap(ptr::null_mut(), BYTES, protection, flags, -1, 0) };
    if arena == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().to_string());
    }
    // SAFETY: the arena is nobody else's, and stays.
    unsafe { TALC.lock().claim(arena.cast(), BYTES) }.map(drop).ok_or("talc refused its arena".to_owned())
}

fn layout(size: usize) -> std::alloc::Layout {
    // SAFETY: 16 is a power of two, and no size here comes near the end of the address space.
    unsafe { std::alloc::Layout::from_size_align_unchecked(size, 16) }
}

// SAFETY: the promise of `GlobalAlloc`.
unsafe impl Contestant for Talc {
    #[inline(always)]
    fn alloc(size: usize) -> *mut u8 {
        // SAFETY: the size is not zero.
        unsafe { std::alloc::GlobalAlloc::alloc(&TALC, layout(size)) }
    }

    #[inline(always)]
    fn alloc_zeroed(size: usize) -> *mut u8 {
        // SAFETY: the size is not zero.
        unsafe { std::alloc::GlobalAlloc::alloc_zeroed(&TALC, layout(size)) }
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, size: usize) {
        // SAFETY: passed on.
        unsafe { std::alloc::GlobalAlloc::dealloc(&TALC, block, layout(size)) }
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize, new: usize) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { std::alloc::GlobalAlloc::realloc(&TALC, block, layout(size), new) }
    }
}

/// A peer whose caller zeroes what it frees: what it takes to leave no old bytes with an allocator that does not see to that.
pub(super) struct Zeroing<C>(C);

// SAFETY: that of `C`.
unsafe impl<C: Contestant> Contestant for Zeroing<C> {
    #[inline(always)]
    fn alloc(size: usize) -> *mut u8 {
        C::alloc(size)
    }

    #[inline(always)]
    fn alloc_zeroed(size: usize) -> *mut u8 {
        C::alloc_zeroed(size)
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, size: usize) {
        // SAFETY: the block is the caller's, so ours.
        unsafe {
            ptr::write_bytes(block, 0, size);
            // Or the compiler, which knows what `free` does, drops the zeroes.
            std::hint::black_box(block);
            C::free(block, size);
        }
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, size: usize, new: usize) -> *mut u8 {
        // A block that moves leaves its old place as it is: to be zeroed, it is moved by hand.
        let moved = C::alloc(new);
        // SAFETY: both are as large, and two.
        unsafe {
            ptr::copy_nonoverlapping(block, moved, size.min(new));
            Self::free(block, size);
        }
        moved
    }
}

/// Nothing: a few fixed places, so that the harness's own cost can be seen.
pub(super) struct Null;

thread_local! {
    /// Never read: zeroed memory of which only what is written becomes real.
    static PLACE: Box<[u64]> = vec![0; (4 << 20) / 8].into_boxed_slice();
}

// SAFETY: it hands the same memory out again and again; the harness writes a few bytes to it and reads none.
unsafe impl Contestant for Null {
    #[inline(always)]
    fn alloc(_: usize) -> *mut u8 {
        PLACE.with(|place| place.as_ptr().cast_mut().cast())
    }

    #[inline(always)]
    fn alloc_zeroed(size: usize) -> *mut u8 {
        Self::alloc(size)
    }

    #[inline(always)]
    unsafe fn free(block: *mut u8, _: usize) {
        std::hint::black_box(block);
    }

    #[inline(always)]
    unsafe fn realloc(block: *mut u8, _: usize, _: usize) -> *mut u8 {
        block
    }
}
