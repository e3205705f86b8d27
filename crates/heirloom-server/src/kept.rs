//! Who keeps the heap while no server runs: asked before it is opened, and told at the end.
//!
//! ```text
//! --heap    who keeps it                    refused at the start without               at the end
//! memory    nobody (a manager, if it can)   -                                          closed
//! file:     the file                        -                                          closed
//! fdstore   systemd                         NOTIFY_SOCKET, FDSTORE; a word that got through   closed
//! luo       this process, then the kernel   /dev/liveupdate                            frozen and preserved, if a kernel is loaded
//! ```
//!
//! # Invariants
//!
//! - *said at once*: a server that would lose its heap in the case that it was asked to outlive does not start.

use heirloom::live_update::{self, LuoError};
use heirloom::service_manager::{self, NoStore};
use heirloom::{HandOverError, Heap};

use crate::config::Backing;
use crate::ears::{Ears, Event};
use crate::serve::Notice;
use crate::upgrade::control::{self, Answer};

/// Where the kernel says whether a next one has been loaded.
const KEXEC_LOADED: &str = "/sys/kernel/kexec_loaded";

/// Why nobody would keep the heap.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// No service manager does.
    #[error("--heap fdstore: {0}")]
    NoStore(#[from] NoStore),
    /// The manager could not be told.
    #[error(
        "--heap fdstore: the service manager could not be given the heap; its socket is in NOTIFY_SOCKET"
    )]
    NotStored,
    /// The orchestrator does not.
    #[error("--heap luo: {0}")]
    LiveUpdate(#[from] LuoError),
}

/// Looks whether the environment has what it takes, before there is a heap.
pub(crate) fn look_ahead(place: &Backing) -> Result<(), NotKept> {
    match place {
        Backing::FdStore => Ok(service_manager::check_store()?),
        Backing::LiveUpdate => Ok(live_update::check_device()?),
        Backing::Memory | Backing::File(_) => Ok(()),
    }
}

/// Looks whether the heap that is open now is kept.
pub(crate) fn check(place: &Backing) -> Result<(), NotKept> {
    match place {
        Backing::FdStore if service_manager::stored_as().is_none() => Err(NotKept::NotStored),
        _ => Ok(()),
    }
}

/// Leaves the heap, which nobody uses any more, to the next kernel if one is loaded, and waits for it: until this process ends, or is told
/// again to end, what was preserved is.
pub(crate) fn leave(heap: &Heap, ears: &mut Ears, notify: &dyn Fn(Notice)) {
    if !is_kernel_loaded() {
        let without = "no next kernel is loaded (kexec -s -l), so the heap ends with this process";
        if service_manager::stored_as().is_none() {
            notify(Notice::NotPreserved(without.to_owned()));
        }
        return;
    }
    let preserved: Result<_, HandOverError> = heap.preserve();
    match preserved {
        Ok(preservation) => {
            notify(Notice::Preserved { figures: preservation.figures() });
            while let Event::Upgrade(request) = ears.hear() {
                let reason = "the heap is preserved for the next kernel, and nobody is served".to_owned();
                if let Some(request) = request {
                    control::answer(&request.answer, &Answer::Refused(reason));
                }
            }
        }
        Err(error) => notify(Notice::NotPreserved(error.to_string())),
    }
}

fn is_kernel_loaded() -> bool {
    std::fs::read_to_string(KEXEC_LOADED).is_ok_and(|text| text.trim() == "1")
}
