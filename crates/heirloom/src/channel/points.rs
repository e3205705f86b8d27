//! Named moments of a hand-over at which a test kills a process.
//!
//! In a build without tests and without the feature `points` this is nothing. Otherwise the variable `VARIABLE` names the point
//! at which this process kills itself, or stops for whoever watches it: `kill PredecessorFrozen`, `stop SuccessorClaimed`; with
//! `both` its whole process group dies, and with it the other side. At a
//! stop the process says so in the file that the variable's third word names, and waits; at a `pause`, the first time, until somebody removes the file.

#![cfg_attr(not(feature = "points"), expect(unreachable_pub, reason = "only tests that kill see it"))]

/// The variable of the environment.
#[cfg(any(test, feature = "points"))]
pub const VARIABLE: &str = "HEIRLOOM_POINT";

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A moment between two steps of a hand-over.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point { $($(#[$doc])* $name,)* }

        impl Point {
            /// All of them, in the order in which a hand-over comes by.
            #[cfg(feature = "points")]
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name, as the variable has it.
            #[cfg(any(test, feature = "points"))]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

points! {
    /// All that could be found wrong with the candidate was looked for.
    PredecessorBegins,
    /// The successor was started, or its connection accepted, and it has the offer.
    PredecessorOffered,
    /// The successor is ready.
    PredecessorHeardReady,
    /// The program has come to rest.
    PredecessorAtRest,
    /// The descriptors are with the successor.
    PredecessorPacked,
    /// The door is closed, the pool folded, the header says so.
    PredecessorFrozen,
    /// The successor may go on.
    PredecessorSaidFrozen,
    /// The successor has answered, or will not.
    PredecessorHeardAnswer,
    /// The offer was found.
    SuccessorFoundOffer,
    /// The heap is mapped and its types were compared.
    SuccessorMapped,
    /// The predecessor was told.
    SuccessorSaidReady,
    /// The descriptors were taken.
    SuccessorTookLuggage,
    /// The predecessor has frozen.
    SuccessorHeardFrozen,
    /// The pool was taken over, the header says nothing of it.
    SuccessorRestored,
    /// The header says that the heap is the successor's.
    SuccessorClaimed,
    /// The predecessor was told.
    SuccessorAcknowledged,
    /// A heap file was opened, and is not locked yet.
    FinderOpened,
    /// A heap that nobody owns was found in a store.
    FinderFound,
    /// It was recovered or restored, the header says nothing of it.
    FinderTook,
    /// A new keeper has its copy of the heap.
    KeeperStarted,
    /// A heap file that is to be set aside is locked.
    AsideLocked,
}

/// Passes a point.
#[cfg(not(any(test, feature = "points")))]
#[inline(always)]
pub(crate) const fn point(_point: Point) {}

/// Passes a point: goes on, or does what the variable says.
#[cfg(any(test, feature = "points"))]
pub(crate) fn point(point: Point) {
    let Some(order) = std::env::var_os(VARIABLE) else { return };
    let order = order.to_string_lossy().into_owned();
    let mut words = order.split(' ');
    let (what, name, file) = (words.next(), words.next(), words.next());
    if name != Some(point.name()) {
        return;
    }
    match what {
        Some("kill") => crate::sys::kill_self(false),
        Some("both") => crate::sys::kill_self(true),
        Some("pause") => {
            static HAS_PAUSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
            if HAS_PAUSED.swap(true, std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            let file = std::path::PathBuf::from(file.unwrap_or_default());
            let is_there = std::fs::write(&file, std::process::id().to_string()).is_ok();
            while is_there && file.exists() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        Some("stop") => {
            if let Some(file) = file {
                let _ = std::fs::write(file, std::process::id().to_string());
            }
            loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
        }
        _ => {}
    }
}
