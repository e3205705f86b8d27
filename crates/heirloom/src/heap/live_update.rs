//! The heap's side of a change of kernels: freeze, trim, preserve; or take all of it back.

use std::fmt;
use std::os::fd::BorrowedFd;

use super::Heap;
use crate::backing::Backing;
use crate::channel::luo::{self, LuoError, Preserved};
use crate::channel::{HandOverError, Incumbent};
use crate::sys;

/// What was preserved, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct PreserveFigures {
    /// From the close of the door until every record was folded, in microseconds.
    pub freeze_us: u64,
    /// From there until the kernel had all of it, in microseconds: holes listed and filled, pages pinned and noted.
    pub preserve_us: u64,
    /// The length of the heap's file: as much memory is taken while it is preserved.
    pub file_bytes: u64,
    /// Of it, bytes that were holes, and are again afterwards.
    pub hole_bytes: u64,
}

/// What it took to get the heap back from the kernel before.
#[derive(Clone, Copy, Debug)]
pub struct RetrieveFigures {
    /// From the first look for a session until the heap's file was there, its holes punched, in microseconds.
    pub retrieve_us: u64,
    /// Of it, for the holes.
    pub punch_us: u64,
    /// Bytes of holes that came filled, and were given back.
    pub punched_bytes: u64,
}

/// A frozen heap in a session of the Live Update Orchestrator, which the next kernel finds under the heap's name.
///
/// As long as it lives nobody gets into the heap. Dropped, the hand-over is called off: the heap is preserved no more, and all is
/// as before.
pub struct Preservation<'heap> {
    // INVARIANT: present until the drop.
    preserved: Option<Preserved>,
    heap: &'heap Heap,
    figures: PreserveFigures,
}

impl Heap {
    /// Asks whether the heap could outlive a change of kernels as it is now, without doing anything.
    ///
    /// # Errors
    ///
    /// [`LuoError::Unfit`] with the reason.
    pub fn check_live_update(&self) -> Result<(), LuoError> {
        luo::look_at(self.backing.fd())
    }

    /// What it took to get the heap back, if the kernel before has left it.
    pub fn retrieved(&self) -> Option<RetrieveFigures> {
        luo::figures().filter(|_| self.channel == Some(crate::channel::Channel::LiveUpdate))
    }

    /// Closes the door, freezes the heap and preserves it in `/dev/liveupdate` (Linux 7 with `kho=on liveupdate=on`; as a rule root
    /// only), so that the program that opens a heap of this name under the next kernel inherits it.
    ///
    /// The kernel is replaced by [`Preservation::start_kernel`], or by anybody else while this process, or whoever got a
    /// copy of [`Preservation::session`], holds the session open.
    ///
    /// # Errors
    ///
    /// [`HandOverError`]; the heap is then open as before.
    pub fn preserve(&self) -> Result<Preservation<'_>, HandOverError> {
        if super::door::is_inside() {
            return Err(HandOverError::Door { threads: 1, waited: std::time::Duration::ZERO });
        }
        self.check_live_update()?;
        // Before anybody waits: what is freed from now on goes at once.
        self.keep_spares(0);
        if let Err(error) = self.freeze() {
            self.keep_spares(self.options.spare_memory);
            return Err(error);
        }
        let started = sys::clock_monotonic_ns();
        match self.preserve_frozen() {
            Ok((preserved, freeze_us)) => {
                let figures = PreserveFigures {
                    freeze_us,
                    preserve_us: sys::clock_monotonic_ns().saturating_sub(started) / 1000,
                    file_bytes: self.backing.len(),
                    hole_bytes: preserved.hole_bytes(),
                };
                Ok(Preservation { preserved: Some(preserved), heap: self, figures })
            }
            Err(error) => {
                self.thaw();
                Err(error)
            }
        }
    }

    fn preserve_frozen(&self) -> Result<(Preserved, u64), HandOverError> {
        let broken =
            |error: heirloom_abi::heap::HeaderError| HandOverError::Freeze { reason: error.to_string() };
        // What lies behind the last block is not preserved. The header says so before the file is cut: a file may be longer than it
        // says, and never shorter.
        let end = self.hall.pool().host().end_of_blocks();
        let mut header = self.backing.read_header().map_err(broken)?;
        header.state.file_bytes = end;
        // The next kernel's clock starts anew: a time of this one would say nothing there.
        header.state.frozen_ns = 0;
        header.state.last_operation_ns = 0;
        self.backing.write_state(&header.state).map_err(broken)?;
        self.backing.shrink_to(end);
        let preserved = Preserved::new(header.identity.name.as_str(), Backing::fd(&self.backing))?;
        Ok((preserved, header.state.freeze_us))
    }
}

impl Preservation<'_> {
    /// What was preserved, and how long it took.
    pub fn figures(&self) -> PreserveFigures {
        self.figures
    }

    /// The session. Another process that holds a copy when the kernel is replaced hands the heap over in place of this one; systemd,
    /// from version 261 on, is one to which it can be given.
    pub fn session(&self) -> BorrowedFd<'_> {
        self.preserved.as_ref().expect("present until the drop").session()
    }

    /// Replaces the running kernel by the one that was loaded ([`load_kernel`](crate::live_update::load_kernel)), at once: no other
    /// program is asked. Returns only if that failed; then the hand-over is called off.
    pub fn start_kernel(self) -> LuoError {
        luo::start_kernel()
    }
}

impl Drop for Preservation<'_> {
    fn drop(&mut self) {
        drop(self.preserved.take());
        self.heap.thaw();
    }
}

impl fmt::Debug for Preservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preservation").field("figures", &self.figures).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "drives the pool itself")]
mod tests {
    use heirloom_slab::Contents;

    use super::*;
    use crate::testing::turn;
    use crate::{Heap, Options};

    /// ```text
    /// before  | records | block | 16 MiB, given back |      the header knows of all of it
    /// after   | records | block |                           and of this
    /// ```
    ///
    /// The file was cut first, and a header that knew of more refused itself: the door stayed closed, and so did the heap to every
    /// program after.
    #[test]
    fn a_heap_whose_end_is_free_opens_again_when_it_could_not_be_preserved() {
        let _turn = turn();
        let heap = Heap::inherit_or_create("preserve-cut", Options::new().size_limit(64 << 20)).unwrap();
        {
            let _inside = heap.enter();
            let pool = heap.hall.pool();
            let large = pool.alloc_large(16 << 20, Contents::Any).unwrap();
            // SAFETY: allocated just now, and nobody uses it.
            unsafe { pool.free_large(large) };
        }
        let before = heap.backing.len();
        heap.keep_spares(0);
        heap.freeze().unwrap();
        // A machine as tests run on has no orchestrator; one that has preserves it, and lets go of it here.
        if let Err(error) = heap.preserve_frozen() {
            assert!(!matches!(error, HandOverError::Freeze { .. }), "{error}");
        }
        let header = heap.backing.read_header().unwrap();
        assert!(heap.backing.len() < before, "{before:#x} bytes, and no block behind the first");
        assert_eq!(header.state.file_bytes, heap.backing.len());
        heap.thaw();
        let _inside = heap.enter();
        heap.hall.pool().alloc_large(16 << 20, Contents::Zeroed).unwrap();
    }
}
