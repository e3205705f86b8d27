//! A machine inside a process: physical memory is one mapping, and a jump keeps nothing but its bytes.
//!
//! ```text
//!  0     1M        16M                      4G          4G+64M
//!  | hole |==== node 0 ====|     hole       |== node 1 ==|          one mapping; holes have no access at all
//!         |image|          ^ guard pages: mprotect; faults: SIGSEGV -> GuardPool::on_fault -> the page opens, the access goes on
//! ```
//!
//! [`Hardware`] is the [`Platform`](crate::Platform). [`Hardware::power`] says what the next boot is booted with; after a
//! [`Machine::jump`](crate::Machine::jump) that is the handover, and the image that the predecessor placed in scratch.

mod chain;
mod fault;
mod hardware;

pub use chain::run_chain;
pub use hardware::{Hardware, Power, small_map};
