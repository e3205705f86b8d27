//! Finding the heap to open: every source that [`channel::sources`] lists is asked, in that order, and if none has a heap a new one is made.
//!
//! 1. A predecessor that hands its heap over to this process (the environment says so).
//! 2. A running owner at the socket that the options name.
//! 3. A keeper, if the options want one.
//! 4. The options' file, if there is one: closed in order, it is inherited; its owner dead, it is recovered.
//! 5. Without a file: a heap of this name in the service manager's store, inherited or recovered in the same way.
//! 6. Without a file: a heap of this name that the kernel before has left in a live update session.
//! 7. A new heap.
//!
//! The heap is then shown to each source, so that a store keeps it; [`super::open`] has what is done with what was found.
//!
//! # Invariants
//!
//! - *a reason, not a passing mood*: only a heap that is itself at fault is set aside for a new one.

use std::sync::{Mutex, PoisonError};

use super::roots::RootError;
use super::{Heap, HeapError, Options, open};
use crate::backing::BackingError;
use crate::channel::{self, Found, Kept, Source, SourceError};
use crate::evolve::ConvertError;
use crate::note::CandidateError;

pub(super) fn inherit_or_create(name: &str, options: Options) -> Result<Heap, HeapError> {
    // One at a time: whether there is a heap already is asked before anything is written.
    static OPENING: Mutex<()> = Mutex::new(());
    let _one = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut heap = find_or_create(name, options)?;
    // Nobody can want the old state of a root back any more.
    heap.settle_migrations()?;
    heap.look_after();
    // It is ours now, acknowledged and all: threads that wait for it may come in.
    heap.hall.reopen();
    Ok(heap)
}

fn find_or_create(name: &str, options: Options) -> Result<Heap, HeapError> {
    let sources = channel::sources(name, &options);
    for source in &sources {
        let found = match source.find(name) {
            Ok(None) => continue,
            Ok(Some(Found::Offered(incoming))) => {
                return Ok(open::inherit(incoming, options)?.kept_by(name, &sources));
            }
            Ok(Some(Found::Left { heap, luggage })) => {
                open::take_over(heap, source.channel(), luggage, options.clone())
            }
            Err(error) => return Err(error.into()),
        };
        match found {
            Ok(heap) => return Ok(heap.kept_by(name, &sources)),
            Err(error @ HeapError::Backing(BackingError::AddressTaken { .. })) => {
                // Comes back only where it was tried already, or failed.
                source.try_again();
                return Err(error);
            }
            Err(error) if options.cold_start && is_of_the_heap(&error) => {
                let aside = source.set_aside().map_err(|_| std::io::Error::other(error.to_string()))?;
                let mut heap = open::create(name, options, &sources)?;
                heap.set_aside = Some((aside, error.to_string()));
                return Ok(heap);
            }
            Err(error) => return Err(error),
        }
    }
    open::create(name, options, &sources)
}

/// What is wrong with the heap itself, and will be at the next start as well. A heap that somebody owns stays where it is, and so does
/// one that could not be opened because the system was short of something, or would not let this process.
fn is_of_the_heap(error: &HeapError) -> bool {
    match error {
        HeapError::Header(_)
        | HeapError::Tree(_)
        | HeapError::Map(_)
        | HeapError::Pool(_)
        | HeapError::Blocks { .. }
        | HeapError::Diary { .. }
        | HeapError::Broken(_)
        | HeapError::SetAside
        | HeapError::LastGeneration(_) => true,
        HeapError::Backing(error) => matches!(error, BackingError::Header(_)),
        // Types may be converted once there is more room.
        HeapError::Roots(error) => {
            !matches!(error, RootError::Convert { error: ConvertError::NoRoom(_), .. })
        }
        // The others are about this program's own file.
        HeapError::Types(error) => matches!(
            error,
            CandidateError::Abi { .. }
                | CandidateError::Block { .. }
                | CandidateError::Page { .. }
                | CandidateError::UnknownRoot { .. }
                | CandidateError::Type { .. }
                | CandidateError::Damaged { .. }
        ),
        _ => false,
    }
}

impl Heap {
    /// Tells every store which heap is open now. It is open whether or not they keep it.
    fn kept_by(mut self, name: &str, sources: &[std::boxed::Box<dyn Source>]) -> Self {
        if let Err(error) = self.keep(name, sources) {
            eprintln!("heirloom: the heap would not outlive this program: {error}");
        }
        self
    }

    pub(super) fn keep(
        &mut self,
        name: &str,
        sources: &[std::boxed::Box<dyn Source>],
    ) -> Result<(), SourceError> {
        let id = self.backing.read_header().map_err(BackingError::from)?.identity.id;
        let (kept, told) = tell(sources, &channel::Open { name, id, heap: self.backing.fd() });
        self.kept.extend(kept);
        told
    }
}

/// Tells every store, whatever the others say; the first error is the caller's.
fn tell(
    sources: &[std::boxed::Box<dyn Source>],
    heap: &channel::Open<'_>,
) -> (Vec<std::boxed::Box<dyn Kept>>, Result<(), SourceError>) {
    let (mut kept, mut told) = (Vec::new(), Ok(()));
    for source in sources {
        match source.keep(heap) {
            Ok(more) => kept.extend(more),
            Err(error) => told = told.and(Err(error)),
        }
    }
    (kept, told)
}

impl From<SourceError> for HeapError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Incoming(error) => error.into(),
            SourceError::Backing(error) => error.into(),
            SourceError::System(error) => error.into(),
            SourceError::LiveUpdate(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::os::fd::AsFd;
    use std::rc::Rc;

    use super::*;
    use crate::channel::Channel;
    use crate::sys;

    struct Store {
        is_broken: bool,
        nr_told: Rc<Cell<u32>>,
    }

    impl Source for Store {
        fn channel(&self) -> Channel {
            Channel::Keeper
        }

        fn find(&self, _name: &str) -> Result<Option<Found>, SourceError> {
            Ok(None)
        }

        fn keep(&self, _heap: &channel::Open<'_>) -> Result<Option<std::boxed::Box<dyn Kept>>, SourceError> {
            self.nr_told.set(self.nr_told.get() + 1);
            if self.is_broken { Err(io::Error::other("broken").into()) } else { Ok(None) }
        }
    }

    /// A keeper that could not be started kept the service manager from being told.
    #[test]
    fn a_store_that_fails_does_not_keep_the_others_from_being_told() {
        let nr_told = Rc::new(Cell::new(0));
        let store = |is_broken| {
            std::boxed::Box::new(Store { is_broken, nr_told: nr_told.clone() }) as std::boxed::Box<dyn Source>
        };
        let memory = sys::memfd_create("told").unwrap();
        let heap = channel::Open { name: "told", id: [7; 16], heap: memory.as_fd() };
        let (_, told) = tell(&[store(false), store(true), store(true), store(false)], &heap);
        assert!(told.is_err_and(|error| error.to_string() == "broken"));
        assert_eq!(nr_told.get(), 4);
    }
}
