//! QEMU as the machine that Linux runs on: software emulation, which is the same on every host and needs no rights.
//!
//! A chain of kernels is one run: QEMU sees nothing of a kexec. It ends when a kernel restarts the machine (`-no-reboot`), or when the time is up.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Error, about};

const PROGRAM: &str = "qemu-system-x86_64";

/// What is missing to run a machine.
pub(super) fn missing() -> Option<Error> {
    let version = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let word = format!("{PROGRAM} is missing; `apt-get install qemu-system-x86` (Debian, Ubuntu) gets it");
    (!version.is_ok_and(|status| status.success())).then_some(Error::Missing(word))
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
    pub(crate) fn run(&self, timeout: Duration, mut hear: impl FnMut(&str)) -> Result<Ended, Error> {
        let deadline = Instant::now() + timeout;
        let mut qemu = Running(self.command().spawn().map_err(about(PROGRAM))?);
        let Some(console) = qemu.0.stdout.take() else {
            return Err(Error::Missing(format!("{PROGRAM} has no output")));
        };
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // Ends with QEMU. What is no text is shown as far as it is.
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => hear(&line),
                Err(RecvTimeoutError::Timeout) => return Ok(Ended::TimedOut(timeout)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(match qemu.0.wait().map_err(about(PROGRAM))?.code() {
            Some(0) => Ended::Restarted,
            status => Ended::Otherwise(status),
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
            .args(["-append", &format!("console=ttyS0 {}", self.command_line)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(disk) = &self.disk {
            command.args(["-drive", &format!("file={},format=raw,if=virtio", disk.display())]);
        }
        command
    }
}

/// QEMU, which does not outlive us.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or its time is up; there is nothing to be done about an error.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
