//! QEMU: whether it is here, and one run of it whose console is listened to. What the machine is made of, and what its end means, is said by
//! who runs it: [`kernel`](mod@crate::kernel) and [`linux`](mod@crate::linux).

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The program.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// True where the program can be started.
pub(crate) fn is_here() -> bool {
    let version = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status; a signal leaves none.
    Status(Option<i32>),
    /// The time was up.
    TimedOut(Duration),
}

/// Runs QEMU to its end, or until the time is up, and passes on every line of its standard output.
pub(crate) fn run(command: &mut Command, timeout: Duration, mut hear: impl FnMut(&str)) -> io::Result<End> {
    let deadline = Instant::now() + timeout;
    let mut qemu = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
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
            Err(RecvTimeoutError::Timeout) => return Ok(End::TimedOut(timeout)),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(End::Status(qemu.0.wait()?.code()))
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
