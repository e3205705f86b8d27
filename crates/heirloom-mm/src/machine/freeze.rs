//! Freeze, thaw, the successor's place, the jump.
//!
//! ```text
//! running --freeze--> frozen --jump--> the successor
//!    ^                  |
//!    '------ thaw ------'     as if it had never been frozen
//! ```

use super::Machine;
use crate::kho::{AuditError, HandoverTally};
use crate::platform::{Handover, Platform};

/// A machine was not frozen; it runs on as if nothing had been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreezeError {
    /// It is frozen already.
    #[error("the machine is frozen already")]
    Already,
    /// Nothing is preserved: the successor could not tell that from a map that was lost. It boots cold, without a handover.
    #[error("nothing is preserved: there is no handover to make")]
    Nothing,
    /// The handover is not as it must be.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// A frozen machine's word for its successor.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frozen machine jumps or is thawed"]
pub struct Frozen {
    handover: Handover,
    tally: HandoverTally,
}

impl Frozen {
    /// What the successor is told.
    pub fn handover(&self) -> Handover {
        self.handover
    }

    /// What is handed over.
    pub fn tally(&self) -> HandoverTally {
        self.tally
    }
}

/// Places in scratch that a successor's image was given.
#[derive(Default)]
pub(super) struct Runs {
    runs: [(u64, u64); 16],
    nr: usize,
}

impl<P: Platform> Machine<'_, P> {
    /// Freezes: the preserve pool is settled and sealed, all that is handed over is looked at once more, the tree is written. From here on
    /// nothing preserved changes, until [`Machine::thaw`].
    ///
    /// # Errors
    ///
    /// [`FreezeError`]; the machine runs on.
    pub fn freeze(&self) -> Result<Frozen, FreezeError> {
        let _guard = self.enter();
        if self.is_frozen.get() {
            return Err(FreezeError::Already);
        }
        if let Some(preserve) = &self.preserve {
            preserve.pool.freeze(true);
        }
        match self.audit() {
            Ok((handover, tally)) => {
                self.is_frozen.set(true);
                Ok(Frozen { handover, tally })
            }
            Err(error) => {
                if let Some(preserve) = &self.preserve {
                    preserve.pool.thaw();
                }
                Err(error)
            }
        }
    }

    fn audit(&self) -> Result<(Handover, HandoverTally), FreezeError> {
        let outgoing = self.ground.outgoing.borrow();
        let outgoing = outgoing.as_ref().ok_or(FreezeError::Nothing)?;
        let tally = outgoing.audit(self.ground, |_| !self.ground.policy.unchecked)?;
        if tally.preserved_frames == 0 {
            return Err(FreezeError::Nothing);
        }
        Ok((outgoing.handover(), tally))
    }

    /// Takes a freeze back: the machine runs on as if it had never been frozen.
    pub fn thaw(&self, frozen: Frozen) {
        let _guard = self.enter();
        let Frozen { .. } = frozen;
        if let Some(preserve) = &self.preserve {
            preserve.pool.thaw();
        }
        self.is_frozen.set(false);
        self.forget_runs();
    }

    /// Has the platform put the successor's image into scratch: the address at which it is entered. Where an image was placed before is
    /// free again.
    ///
    /// `None` where the platform has none, or scratch no room for it.
    pub fn load_successor(&self) -> Option<u64> {
        let _guard = self.enter();
        self.forget_runs();
        let mut placed = self.placed.borrow_mut();
        let placed = &mut *placed;
        self.ground.platform.load_successor(&mut |bytes, align| {
            let run = placed.runs.get_mut(placed.nr)?;
            let mut buddy = self.ground.buddy.borrow_mut();
            let start = self.ground.scratch.iter().find_map(|area| buddy.take_run(&area, bytes, align))?;
            let end = start + bytes.max(1).next_multiple_of(crate::phys::PAGE_BYTES);
            *run = (start, end);
            placed.nr += 1;
            Some(start)
        })
    }

    /// Enters the successor. On bare metal this does not return; a hosted platform notes the handover, and what this machine was is
    /// nothing but bytes from then on.
    pub fn jump(self, entry: u64, frozen: Frozen) {
        let platform = self.ground.platform;
        platform.watch(None);
        platform.jump(entry, frozen.handover);
    }

    fn forget_runs(&self) {
        let mut placed = self.placed.borrow_mut();
        let nr = core::mem::take(&mut placed.nr);
        let mut buddy = self.ground.buddy.borrow_mut();
        for &(start, end) in &placed.runs[..nr] {
            // It was taken page by page.
            let _ = buddy.free_range(&(start..end));
        }
    }
}
