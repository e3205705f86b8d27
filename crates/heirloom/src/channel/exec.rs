//! The predecessor's side of [`Channel::Exec`]: freeze, and become the successor.
//!
//! `execve` takes the old address space apart before the new program starts, at 63 to 85 ms for each resident GiB of
//! 4 KiB pages. With a [`MemoryHolder`] the address space has a second user, and is taken apart when that
//! one goes, beside the successor.

use std::os::fd::AsFd;

use super::error::HandOverError;
use super::points::{Point, point};
use super::ticket::Ticket;
use super::{Channel, ChannelOptions, Handed, Incumbent, Way};
use crate::command::Command;
use crate::sys::{self, MemoryHolder};

/// This process, with this program in place of its own.
pub(crate) struct Exec<'a>(pub(crate) &'a Command);

impl Way for Exec<'_> {
    fn hand_over(
        &self,
        incumbent: &dyn Incumbent,
        options: &ChannelOptions,
    ) -> Result<Handed, HandOverError> {
        Err(hand_over(incumbent, self.0, options))
    }
}

/// Returns only if the program goes on.
fn hand_over(incumbent: &dyn Incumbent, command: &Command, options: &ChannelOptions) -> HandOverError {
    use std::os::fd::AsRawFd;
    // All that can be found wrong is found before the freeze.
    let mut image = match command.image() {
        Ok(image) => image,
        Err(error) => return error.into(),
    };
    let heap = match incumbent.backing().read_header() {
        Ok(header) => header.identity.id,
        Err(error) => return HandOverError::Freeze { reason: error.to_string() },
    };
    point(Point::PredecessorBegins);
    let luggage = match incumbent.come_to_rest() {
        Ok(luggage) => luggage,
        Err(error) => return error,
    };
    point(Point::PredecessorAtRest);
    let list = match luggage.write_list() {
        Ok(list) => list,
        Err(source) => return HandOverError::System { step: "list the descriptors", source },
    };
    // All that can be made ready is: what comes behind the freeze, nobody answers meanwhile.
    // Without a holder the switch is slower and works all the same.
    let holder = if options.hold_memory { MemoryHolder::start(options.hold).ok() } else { None };
    let heap_fd = incumbent.backing().fd();
    let release = holder.as_ref().map(MemoryHolder::release);
    let ticket = Ticket {
        channel: Channel::Exec,
        from: sys::pid(),
        heap_fd: heap_fd.as_raw_fd(),
        peer_fd: release.map_or(-1, |release| release.as_raw_fd()),
        helper: holder.as_ref().map_or(0, MemoryHolder::pid),
        heap,
        luggage_fd: list.as_ref().map_or(-1, |list| list.as_raw_fd()),
    };
    image.push_env(ticket.variable());
    let packed = luggage.items().iter().map(|(_, fd)| fd.as_fd());
    let keep: Vec<_> = [heap_fd]
        .into_iter()
        .chain(release)
        .chain(list.as_ref().map(|list| list.as_fd()))
        .chain(packed)
        .collect();
    point(Point::PredecessorPacked);
    let error = match incumbent.freeze() {
        Ok(()) => {
            point(Point::PredecessorFrozen);
            let source = sys::exec(&image, &keep);
            incumbent.thaw();
            HandOverError::Start { program: command.program().to_owned(), source }
        }
        Err(error) => error,
    };
    if let Some(holder) = holder {
        holder.stop();
    }
    error
}
