//! Every system call of this crate.
//!
//! `rustix` wherever it has the call; `libc` for `posix_spawn`, `clone` and `execve`, which need a C library's care.
//! Nothing here decides anything: what may be mapped is [`backing`](crate::backing)'s matter, who may go on is
//! [`channel`](crate::channel)'s.
//!
//! - `file`, `memory`: the heap's file and its mapping. `clock`: time, fences, chance.
//! - `identity`: who a process is. `start`: programs beside this one or in its place. `holder`: a second user of this address space.
//! - `socket`: messages. `peer`: sockets by a name, and who is there. `inherited`: what this program was started with.

mod clock;
mod file;
mod holder;
mod identity;
mod inherited;
mod memory;
mod peer;
mod socket;
mod start;

pub(crate) use clock::*;
pub(crate) use file::*;
pub(crate) use holder::*;
pub(crate) use identity::*;
pub(crate) use inherited::*;
pub(crate) use memory::*;
pub(crate) use peer::*;
pub(crate) use socket::*;
pub use start::Ended;
pub(crate) use start::{Child, Image, exec};
