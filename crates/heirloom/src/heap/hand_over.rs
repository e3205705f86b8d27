//! The owner's side of a hand-over: ask the candidate, close the door, freeze, switch; or take all of it back.
#![expect(unsafe_code, reason = "retires the heap of a hand-over that failed on the other side")]

use std::cell::Cell;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::Ordering::*;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::migrate::{self, Passage};
use super::{Heap, HeapError, Shut, open, roots, spares};
use crate::backing::Backing;
use crate::channel::exec::Exec;
use crate::channel::socket::AtSocket;
use crate::channel::spawn::Spawn;
use crate::channel::{Channel, ChannelOptions, HandOverError, Incumbent, Listener, Luggage, Way};
use crate::command::Command;
use crate::evolve::{CandidateReport, RootWay};
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
        self.hand_over_to(command).go()
    }

    /// As [`Heap::hand_over`], over a channel of choice.
    ///
    /// # Errors
    ///
    /// [`HandOverError`].
    pub fn hand_over_with(&self, command: Command, channel: Channel) -> Result<Infallible, HandOverError> {
        self.hand_over_to(command).channel(channel).go()
    }

    /// Prepares a hand-over to `command`: choose a channel, say what to do at the last moment and which descriptors go along,
    /// and [`HandOver::go`].
    pub fn hand_over_to(&self, command: Command) -> HandOver<'_> {
        self.prepare(To::Command(command))
    }

    /// Prepares a hand-over to the first program that asks for the heap at `listener` and fits: [`HandOver::go`] waits for it. Whoever
    /// does not fit is refused, and the wait goes on.
    pub fn hand_over_at<'a>(&'a self, listener: &'a Listener) -> HandOver<'a> {
        self.hand_over_by(std::boxed::Box::new(AtSocket(listener)))
    }

    /// Prepares a hand-over by a way that starts no command.
    pub(crate) fn hand_over_by<'a>(&'a self, way: std::boxed::Box<dyn Way + 'a>) -> HandOver<'a> {
        self.prepare(To::Way(way))
    }

    fn prepare<'a>(&'a self, to: To<'a>) -> HandOver<'a> {
        let (channel, options) = (Channel::Spawn, ChannelOptions::default());
        HandOver { heap: self, to, channel, at_rest: None, options }
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

    /// Asks a candidate what it would do with each root of this heap as it is now, without handing it over: the same that a
    /// hand-over asks, and that `heirloom check` shows. The heap may be in use meanwhile; the numbers of values are then estimates.
    ///
    /// # Errors
    ///
    /// [`HandOverError::Unfit`] where the candidate does not read this heap's format, or nothing is known of it;
    /// [`HandOverError::Command`].
    pub fn check_candidate(&self, command: &Command) -> Result<CandidateReport, HandOverError> {
        Ok(self.ask(&command.resolve()?)?.0)
    }

    fn ask(&self, program: &Path) -> Result<(CandidateReport, Passage), HandOverError> {
        let unfit = |reason: String| HandOverError::Unfit { program: program.to_owned(), reason };
        let candidate = note::read_candidate(program).map_err(|error| unfit(error.to_string()))?;
        self.plan_passage(&candidate).map_err(|error| unfit(error.to_string()))
    }

    /// Asks a candidate, and what it needs; an error where it cannot take a root.
    fn prepare_passage(&self, program: &Path) -> Result<(CandidateReport, Passage), HandOverError> {
        let (report, passage) = self.ask(program)?;
        let refused = report.roots.iter().find_map(|root| match &root.way {
            RootWay::Refused { reason } => Some(reason.clone()),
            _ => None,
        });
        if let Some(reason) = refused {
            return Err(HandOverError::Unfit { program: program.to_owned(), reason });
        }
        Ok((report, passage))
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
    fn take_back(&self, closing: &mut bool) -> Result<(), HeapError> {
        let live = self.live_cpus.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_live = |index: u32| live.get(index as usize).copied().unwrap_or(false);
        // After an error the heap stays closed: its records are damaged, and a restart recovers it, or refuses it.
        self.undo_passage(is_live)?;
        // What it has left under its number, a lock or the mark of a map that was probed, is not to be its successor's own.
        self.last_generation.fetch_max(self.backing.read_header()?.state.generation, Relaxed);
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

/// A hand-over that is being prepared: see [`Heap::hand_over_to`].
#[must_use = "nothing is handed over before `go`"]
pub struct HandOver<'a> {
    heap: &'a Heap,
    to: To<'a>,
    channel: Channel,
    at_rest: Option<AtRest<'a>>,
    options: ChannelOptions,
}

enum To<'a> {
    Command(Command),
    Way(std::boxed::Box<dyn Way + 'a>),
}

type AnyError = std::boxed::Box<dyn std::error::Error + Send + Sync>;
type AtRest<'a> = std::boxed::Box<dyn FnOnce(&mut Luggage) -> Result<(), AnyError> + 'a>;

impl<'a> HandOver<'a> {
    /// Chooses how the command gets the heap; the default is [`Channel::Spawn`].
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channel = channel;
        self
    }

    /// Sets what runs once the successor is ready and before the door closes (through `exec`: just before it closes). It is the last
    /// moment for the program to come to rest: it may enter the heap, and packs the descriptors that go along. An error calls
    /// the hand-over off.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), std::boxed::Box<dyn std::error::Error>> {
    /// # let heap = heirloom::Heap::inherit_or_create("doc", heirloom::Options::new())?;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let error = heap
    ///     .hand_over_to(heirloom::Command::current_exe()?)
    ///     .at_rest(|luggage| luggage.add("listener", &listener))
    ///     .go()
    ///     .unwrap_err();
    /// // It was called off; the listener is still ours.
    /// # Ok(())
    /// # }
    /// ```
    pub fn at_rest<E: Into<AnyError>>(
        mut self,
        at_rest: impl FnOnce(&mut Luggage) -> Result<(), E> + 'a,
    ) -> Self {
        self.at_rest = Some(std::boxed::Box::new(move |luggage| at_rest(luggage).map_err(Into::into)));
        self
    }

    /// How long to wait from the successor's start until it is ready; the default is 30 s.
    pub fn ready_timeout(mut self, timeout: Duration) -> Self {
        self.options.ready = timeout;
        self
    }

    /// How long to wait from the freeze until the successor has taken the heap; the default is 10 s.
    pub fn take_timeout(mut self, timeout: Duration) -> Self {
        self.options.ack = timeout;
        self
    }

    /// How long to wait until somebody asks at a listener; the default is for ever.
    pub fn ask_timeout(mut self, timeout: Duration) -> Self {
        self.options.ask = Some(timeout);
        self
    }

    /// Hands over, and ends this process with exit status 0, without running destructors. Returns only if it was called off: then
    /// all is as before, the program's descriptors too.
    ///
    /// # Errors
    ///
    /// [`HandOverError`].
    pub fn go(self) -> Result<Infallible, HandOverError> {
        let Self { heap, to, channel, at_rest, options } = self;
        if super::door::is_inside() {
            return Err(HandOverError::Door { threads: 1, waited: Duration::ZERO });
        }
        let (spawn, exec);
        let way: &dyn Way = match (&to, channel) {
            (To::Way(way), _) => way.as_ref(),
            (To::Command(command), Channel::Spawn) => {
                spawn = Spawn(command);
                &spawn
            }
            (To::Command(command), Channel::Exec) => {
                exec = Exec(command);
                &exec
            }
            (To::Command(_), channel) => {
                let instead =
                    "it is for successors that no command starts, or for the time after this program";
                return Err(HandOverError::Channel { channel, instead });
            }
        };
        let (mut options, mut passage) = (options, Passage::default());
        if let To::Command(command) = &to {
            let (report, needed) = heap.prepare_passage(&command.resolve()?)?;
            options.ack += migrate::patience(&report);
            passage = needed;
        }
        // Before anybody waits: it takes its time, and what is freed from now on goes at once.
        heap.keep_spares(0);
        let outcome = way
            .hand_over(&Leaving { heap, at_rest: Cell::new(at_rest), passage: Cell::new(passage) }, &options);
        if outcome.is_err() {
            heap.keep_spares(heap.options.spare_memory);
        }
        outcome?.exit()
    }
}

/// The heap, its program's last moment, and what the candidate needs: that is the heap's own from its freeze on, and gone with a
/// hand-over that does not come so far.
struct Leaving<'a> {
    heap: &'a Heap,
    at_rest: Cell<Option<AtRest<'a>>>,
    passage: Cell<Passage>,
}

impl Incumbent for Leaving<'_> {
    fn check_program(&self, program: &Path) -> Result<Duration, HandOverError> {
        let (report, passage) = self.heap.prepare_passage(program)?;
        self.passage.set(passage);
        Ok(migrate::patience(&report))
    }

    fn come_to_rest(&self) -> Result<Luggage, HandOverError> {
        let mut luggage = Luggage::default();
        if let Some(at_rest) = self.at_rest.take() {
            at_rest(&mut luggage).map_err(|reason| HandOverError::NotAtRest { reason })?;
        }
        Ok(luggage)
    }

    fn freeze(&self) -> Result<(), HandOverError> {
        self.heap.freeze_for(self.passage.take())
    }

    fn thaw(&self) {
        self.heap.thaw();
    }

    fn backing(&self) -> &Backing {
        self.heap.backing()
    }

    fn reclaim(&self) -> Result<(), HandOverError> {
        self.heap.reclaim()
    }
}

impl Heap {
    /// Closes the door, does what the successor needs, and freezes.
    fn freeze_for(&self, passage: Passage) -> Result<(), HandOverError> {
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
        if let Err(error) = self.begin_passage(passage) {
            self.take_back(&mut closing)
                .map_err(|error| HandOverError::Freeze { reason: error.to_string() })?;
            return Err(HandOverError::Freeze { reason: error.to_string() });
        }
        self.close_up(self.options.seal.unwrap_or(false), since).map_err(|error| {
            // The header is damaged. If it cannot be written now either, the door stays closed and a restart recovers.
            let _ = self.take_back(&mut closing);
            HandOverError::Freeze { reason: error.to_string() }
        })
    }
}

impl Incumbent for Heap {
    /// For a successor of whom nothing is known: it takes the types as they are.
    fn freeze(&self) -> Result<(), HandOverError> {
        self.freeze_for(Passage::default())
    }

    fn thaw(&self) {
        if let Err(error) = self.take_back(&mut self.closing()) {
            // The records are ours and were readable a moment ago; if not, the door stays closed and a restart recovers.
            eprintln!("heirloom: the heap's records were damaged during a hand-over: {error}");
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
