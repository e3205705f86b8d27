//! One instruction at a time: the child, its heap's file, and which bytes of it have changed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::life::{self, PAGE};

/// A child that is about to make a change.
pub(crate) struct Stepped {
    child: Child,
    file: File,
    /// Pages that the change writes.
    watched: Vec<usize>,
    /// The file as it was at the last step.
    pub(crate) bytes: Vec<u8>,
}

/// What came of a step.
pub(crate) enum Step {
    Same,
    /// These pages, by where they start in the file.
    Changed(Vec<(usize, Vec<u8>)>),
    /// The change is made.
    Done,
}

fn command(role: &str, case: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(life::ROLE, role).env(life::CASE, case).env(life::FILE, path).stdin(Stdio::null());
    command
}

/// Makes the heap of a case, closed in order.
pub(crate) fn make(case: &str, path: &Path) -> Result<(), String> {
    let status = command("make", case, path).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("the heap could not be made: {status}")) }
}

/// The pages of the file that the change writes, found out on a copy.
fn touched(case: &str, made: &Path, copy: &Path) -> Result<Vec<usize>, String> {
    std::fs::copy(made, copy).map_err(|error| error.to_string())?;
    let output = command("touch", case, copy).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("the change failed: {} {why}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

impl Stepped {
    pub(crate) fn start(case: &str, made: &Path, path: &Path) -> Result<Self, String> {
        let watched = touched(case, made, path)?;
        std::fs::copy(made, path).map_err(|error| error.to_string())?;
        let child = command("step", case, path).spawn().map_err(|error| error.to_string())?;
        let mut stepped = Self { child, file: File::open(path).unwrap(), watched, bytes: Vec::new() };
        match stepped.wait()? {
            libc::SIGSTOP => {}
            signal => return Err(format!("the child ended before its change: signal {signal}")),
        }
        stepped.bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        Ok(stepped)
    }

    /// Lets the child take one instruction.
    pub(crate) fn step(&mut self) -> Result<Step, String> {
        // SAFETY: the child is traced, and stopped.
        unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.pid(), 0, 0) };
        match self.wait()? {
            libc::SIGTRAP => {}
            libc::SIGSTOP => {
                return if self.is_as_seen()? { Ok(Step::Done) } else { Err("a page changed unseen".into()) };
            }
            signal => return Err(format!("signal {signal} in the middle of the change")),
        }
        let mut page = [0; PAGE];
        let mut changed = Vec::new();
        for &nr in &self.watched {
            let range = nr * PAGE..(nr + 1) * PAGE;
            if range.end > self.bytes.len() {
                // The file has grown: by whole blocks, of zeroes.
                let len = self.file.metadata().map_err(|error| error.to_string())?.len() as usize;
                if len < range.end {
                    continue;
                }
                self.bytes.resize(len, 0);
            }
            self.file.read_exact_at(&mut page, range.start as u64).map_err(|error| error.to_string())?;
            if self.bytes[range.clone()] != page {
                changed.push((range.start, page.to_vec()));
                self.bytes[range].copy_from_slice(&page);
            }
        }
        Ok(if changed.is_empty() { Step::Same } else { Step::Changed(changed) })
    }

    /// Whether no page but the watched ones has changed.
    fn is_as_seen(&mut self) -> Result<bool, String> {
        let len = self.file.metadata().map_err(|error| error.to_string())?.len() as usize;
        self.bytes.resize(len, 0);
        let mut now = vec![0; len];
        self.file.read_exact_at(&mut now, 0).map_err(|error| error.to_string())?;
        Ok(now == self.bytes)
    }

    fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The signal that has stopped the child.
    fn wait(&mut self) -> Result<i32, String> {
        let mut status = 0;
        // SAFETY: waits for a child of ours.
        let pid = unsafe { libc::waitpid(self.pid(), &raw mut status, 0) };
        if pid != self.pid() || !libc::WIFSTOPPED(status) {
            return Err(format!("the child ended: status {status:#x}"));
        }
        Ok(libc::WSTOPSIG(status))
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
