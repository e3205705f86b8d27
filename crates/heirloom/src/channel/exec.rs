//! The predecessor's side of [`Channel::Exec`]: freeze, and become the successor.
//!
//! `execve` takes the old address space apart before the new program starts, at 63 to 85 ms for each resident GiB of
//! 4 KiB pages. With a [`MemoryHolder`] the address space has a second user, and is taken apart when that
//! one goes, beside the successor.

use super::error::HandOverError;
use super::ticket::Ticket;
use super::{Channel, ChannelOptions, Incumbent};
use crate::command::Command;
use crate::sys::{self, MemoryHolder};

/// Returns only if the program goes on.
pub(super) fn hand_over(
    incumbent: &dyn Incumbent,
    command: &Command,
    options: &ChannelOptions,
) -> HandOverError {
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
    };
    image.push_env(ticket.variable());
    let keep: Vec<_> = [heap_fd].into_iter().chain(release).collect();
    let error = match incumbent.freeze() {
        Ok(()) => {
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
