//! The owner's side of a hand-over: ask the candidate, close the door, freeze, switch; or take all of it back.
#![expect(unsafe_code, reason = "retires the heap of a hand-over that failed on the other side")]

use std::convert::Infallible;
use std::sync::atomic::Ordering::*;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use heirloom_abi::heap::HeaderError;

use super::{Heap, Shut, open, roots, spares};
use crate::backing::Backing;
use crate::channel::{self, Channel, ChannelOptions, HandOverError, Incumbent};
use crate::command::Command;
use crate::{note, sys};

impl Heap {
    /// Hands the heap to `command`, which starts beside this process, takes over, and acknowledges; this process then ends with
    /// exit status 0, without running destructors. Returns only if it was called off: then all is as before.
    ///
    /// The candidate is asked first, by a note in its file, whether it understands what the heap holds.
    ///
    /// # Errors
    ///
    /// [`HandOverError`].
    pub fn hand_over(&self, command: Command) -> Result<Infallible, HandOverError> {
        self.hand_over_with(command, Channel::Spawn)
    }

    /// As [`Heap::hand_over`], over a channel of choice.
    ///
    /// # Errors
    ///
    /// [`HandOverError`].
    pub fn hand_over_with(&self, command: Command, channel: Channel) -> Result<Infallible, HandOverError> {
        if super::door::is_inside() {
            return Err(HandOverError::Door { threads: 1, waited: Duration::ZERO });
        }
        self.check_candidate(&command)?;
        // Before anybody waits: it takes its time, and what is freed from now on goes at once.
        self.keep_spares(0);
        let outcome = channel::hand_over(self, &command, channel, &ChannelOptions::default());
        if outcome.is_err() {
            self.keep_spares(self.options.spare_memory);
        }
        outcome?.exit()
    }

    /// Sets how much memory that nothing is in is kept, and gives the rest back, unless a hand-over of another thread is under
    /// way: then there may be nothing of ours to be touched any more.
    pub(super) fn keep_spares(&self, bytes: u64) {
        let closing = self.closing();
        if *closing || self.gone.load(Acquire) {
            return;
        }
        // While the guard lives no door is closed.
        spares::keep(self.hall.pool(), bytes);
        if bytes == 0 {
            self.hall.pool().trim();
        }
    }

    /// Asks a candidate whether it can inherit this heap as it is now, without handing it over.
    ///
    /// # Errors
    ///
    /// [`HandOverError::Unfit`] with the reason, [`HandOverError::Command`].
    pub fn check_candidate(&self, command: &Command) -> Result<(), HandOverError> {
        let program = command.resolve()?;
        let unfit = |reason: String| HandOverError::Unfit { program: program.clone(), reason };
        let candidate = note::read_candidate(&program).map_err(|error| unfit(error.to_string()))?;
        roots::check_against(&self.backing, self.layout.roots, &candidate)
            .map_err(|error| unfit(error.to_string()))
    }

    /// Ends the use of a heap that another process owns now, without a write to it.
    pub(super) fn abandon(self) {
        self.gone.store(true, Release);
        if self.hall.close(self.options.door_timeout).is_ok() {
            roots::forget_all(self.hall.instance());
            // SAFETY: the door is closed and stays so; the pool is not used any more.
            unsafe { self.hall.retire() };
        }
    }
}

impl Heap {
    /// Takes the heap back from a hand-over and opens the door.
    ///
    /// Whether or not the header shows a claim, the successor may have reset CPU slots before it ended: the pool takes
    /// it over only afterwards. So the slots of the threads that wait at the door are made theirs again in either case.
    fn take_back(&self, closing: &mut bool) -> Result<(), HeaderError> {
        let live = self.live_cpus.lock().unwrap_or_else(PoisonError::into_inner);
        self.hall.pool().reclaim(|index| live.get(index as usize).copied().unwrap_or(false));
        drop(live);
        let state = open::running(&self.backing, self.generation)?;
        self.backing.write_state(&state)?;
        spares::keep(self.hall.pool(), self.options.spare_memory);
        *closing = false;
        self.hall.reopen();
        Ok(())
    }

    fn closing(&self) -> MutexGuard<'_, bool> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incumbent for Heap {
    fn freeze(&self) -> Result<(), HandOverError> {
        let waited = self.options.door_timeout;
        let mut closing = self.close_door(waited).map_err(|shut| match shut {
            Shut::Inside(threads) => HandOverError::Door { threads, waited },
            Shut::HandOver => HandOverError::UnderWay,
        })?;
        let since = sys::clock_monotonic_ns();
        let pool = self.hall.pool();
        let live = (0..pool.nr_cpu_slots()).map(|index| pool.is_claimed(index)).collect();
        *self.live_cpus.lock().unwrap_or_else(PoisonError::into_inner) = live;
        *closing = true;
        self.close_up(self.options.seal.unwrap_or(false), since).map_err(|error| {
            // The header is damaged. If it cannot be written now either, the door stays closed and a restart recovers.
            let _ = self.take_back(&mut closing);
            HandOverError::Freeze { reason: error.to_string() }
        })
    }

    fn thaw(&self) {
        if let Err(error) = self.take_back(&mut self.closing()) {
            // The header is ours and was readable a moment ago; if not, the door stays closed and a restart recovers.
            eprintln!("heirloom: the heap's header was damaged during a hand-over: {error}");
        }
    }

    fn backing(&self) -> &Backing {
        &self.backing
    }

    fn reclaim(&self) -> Result<(), HandOverError> {
        self.take_back(&mut self.closing())
            .map_err(|error| HandOverError::Freeze { reason: error.to_string() })
    }
}
