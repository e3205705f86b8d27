//! QEMU as the machine that Linux runs on: software emulation, which is the same on every host and needs no rights.
//!
//! A chain of kernels is one run: QEMU sees nothing of a kexec. It ends when a kernel restarts the machine (`-no-reboot`), or when the time is up.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Error, about};
use crate::qemu::{self, End, PROGRAM};

/// What is missing to run a machine.
pub(super) fn missing() -> Option<Error> {
    let word = format!("{PROGRAM} is missing; `apt-get install qemu-system-x86` (Debian, Ubuntu) gets it");
    (!qemu::is_here()).then_some(Error::Missing(word))
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The machine was restarted or turned off by its kernel.
    Restarted,
    /// QEMU ended in another way: its status, if it had one.
    Otherwise(Option<i32>),
    /// The time was up.
    TimedOut(Duration),
}

/// A machine to be run.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The first kernel.
    pub(crate) kernel: PathBuf,
    /// Its files.
    pub(crate) initrd: PathBuf,
    /// Its command line; the serial console is added.
    pub(crate) command_line: String,
    /// Memory.
    pub(crate) memory_mib: u32,
    /// Processors.
    pub(crate) nr_cpus: u32,
    /// A file as `/dev/vda`.
    pub(crate) disk: Option<PathBuf>,
}

impl Machine {
    /// Runs the machine to its end, or until the time is up, and passes on every line of its console.
    pub(crate) fn run(&self, timeout: Duration, hear: impl FnMut(&str)) -> Result<Ended, Error> {
        Ok(match qemu::run(&mut self.command(), timeout, hear).map_err(about(PROGRAM))? {
            End::Status(Some(0)) => Ended::Restarted,
            End::Status(status) => Ended::Otherwise(status),
            End::TimedOut(timeout) => Ended::TimedOut(timeout),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args([
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
            ])
            .args([
                "-serial",
                "stdio",
                "-smp",
                &self.nr_cpus.to_string(),
                "-m",
                &format!("{}M", self.memory_mib),
            ])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            .args(["-append", &format!("console=ttyS0 {}", self.command_line)]);
        if let Some(disk) = &self.disk {
            command.args(["-drive", &format!("file={},format=raw,if=virtio", disk.display())]);
        }
        command
    }
}
