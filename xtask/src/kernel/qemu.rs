//! QEMU as the machine that the kernel runs on.
//!
//! Software emulation, since that is the same on every host, and needs no rights. The kernel is one file, and what
//! its successors are made of is another, the boot module; as a rule both are the same.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::qemu::{self, End, PROGRAM};

/// What QEMU ends with when the kernel says that all is well: its code is 0x10, and QEMU makes `(code << 1) | 1` of it.
const SUCCESS: i32 = (0x10 << 1) | 1;

/// What QEMU ends with when the kernel says that it is not.
const FAILURE: i32 = (0x11 << 1) | 1;

/// Why the kernel cannot be run on this host.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Missing {
    #[error("{PROGRAM} is missing; `apt-get install qemu-system-x86` (Debian, Ubuntu) gets it")]
    Qemu,
    #[error("the kernel is built by the host's own compiler, for x86-64 only")]
    Host,
}

/// Says what is missing, if anything.
pub(super) fn missing() -> Option<Missing> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some(Missing::Host);
    }
    (!qemu::is_here()).then_some(Missing::Qemu)
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The kernel said that all is well.
    Success,
    /// The kernel said that it is not.
    Failure,
    /// QEMU ended by itself: a triple fault, a bad option, a signal (then there is no status).
    Otherwise(Option<i32>),
    /// The time was up.
    TimedOut(Duration),
}

/// A machine to be run.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) kernel: PathBuf,
    /// The file of every generation but the first; with none there is but one generation.
    pub(super) successor: Option<PathBuf>,
    pub(super) memory_mib: u32,
    /// Options to the kernel.
    pub(super) command_line: String,
}

impl Machine {
    /// Runs the machine to its end, or until the time is up, and passes on every line of its console.
    pub(super) fn run(&self, timeout: Duration, hear: impl FnMut(&str)) -> io::Result<Ended> {
        Ok(match qemu::run(&mut self.command(), timeout, hear)? {
            End::Status(Some(SUCCESS)) => Ended::Success,
            End::Status(Some(FAILURE)) => Ended::Failure,
            End::Status(status) => Ended::Otherwise(status),
            End::TimedOut(timeout) => Ended::TimedOut(timeout),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["-accel", "tcg", "-cpu", "max", "-nodefaults", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
            .args(["-m", &format!("{}M", self.memory_mib)])
            .arg("-kernel")
            .arg(&self.kernel)
            .args(["-append", &self.command_line]);
        if let Some(successor) = &self.successor {
            command.arg("-initrd").arg(successor);
        }
        command
    }
}
