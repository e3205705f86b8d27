//! QEMU as the machine that the kernel runs on.
//!
//! Software emulation, since that is the same on every host, and needs no rights. The kernel is one file, and what
//! its successors are made of is another, the boot module; as a rule both are the same.

use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = "qemu-system-x86_64";

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
    let version = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    (!version.is_ok_and(|status| status.success())).then_some(Missing::Qemu)
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
    pub(super) fn run(&self, timeout: Duration, mut hear: impl FnMut(&str)) -> io::Result<Ended> {
        let deadline = Instant::now() + timeout;
        let mut qemu = Running(self.command().spawn()?);
        let console = qemu.0.stdout.take().ok_or_else(|| io::Error::other("QEMU has no output"))?;
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
        Ok(match qemu.0.wait()?.code() {
            Some(SUCCESS) => Ended::Success,
            Some(FAILURE) => Ended::Failure,
            status => Ended::Otherwise(status),
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
            .args(["-append", &self.command_line])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(successor) = &self.successor {
            command.arg("-initrd").arg(successor);
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
