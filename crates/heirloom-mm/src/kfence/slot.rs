//! One object page's record: its state, its object, who allocated and who freed it.
//!
//! All fields are atomics, for a fault handler reads them at any moment.

use core::panic::Location;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

use super::report::Site;

/// No object was here yet.
pub(super) const UNUSED: u32 = 0;
/// An object is here.
pub(super) const LIVE: u32 = 1;
/// An object was here.
pub(super) const FREED: u32 = 2;

/// The record of an object page. All zeros is a valid one.
pub(super) struct Slot {
    /// [`UNUSED`], [`LIVE`] or [`FREED`]; written last when an object comes.
    pub(super) state: AtomicU32,
    pub(super) size: AtomicU32,
    /// Bytes from the start of the page to the object.
    pub(super) offset: AtomicU32,
    /// 1 while the object page is open.
    pub(super) is_open: AtomicU32,
    /// Which free of the pool this was: the smallest waits longest.
    pub(super) freed_as: AtomicU64,
    pub(super) allocated: SiteCell,
    pub(super) freed: SiteCell,
}

/// A [`Site`] that may be read while it is written; the state of its slot says when it is whole.
pub(super) struct SiteCell {
    location: AtomicPtr<Location<'static>>,
    caller: AtomicU64,
    time_ns: AtomicU64,
}

impl SiteCell {
    pub(super) const fn new() -> Self {
        Self { location: AtomicPtr::new(null_mut()), caller: AtomicU64::new(0), time_ns: AtomicU64::new(0) }
    }

    pub(super) fn set(&self, site: Option<Site>) {
        let location = site.map_or(null_mut(), |site| core::ptr::from_ref(site.location).cast_mut());
        self.caller.store(site.map_or(0, |site| site.caller), Relaxed);
        self.time_ns.store(site.map_or(0, |site| site.time_ns), Relaxed);
        self.location.store(location, Release);
    }

    #[expect(unsafe_code, reason = "a reference kept as an atomic pointer")]
    pub(super) fn get(&self) -> Option<Site> {
        let location = self.location.load(Acquire);
        // SAFETY: it is null, or came from a reference to a `Location` that lives as long as the program.
        let location = unsafe { location.as_ref() }?;
        Some(Site { location, caller: self.caller.load(Relaxed), time_ns: self.time_ns.load(Relaxed) })
    }
}
