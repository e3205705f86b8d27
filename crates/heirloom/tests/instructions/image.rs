//! A heap as a kill left it: taken over by a process of its own, which looks at everything.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use heirloom::foreign::{Image, Target};

use super::case::Case;
use super::life::{self, PAGE};

/// Seconds until a process that takes an image over is believed to hang.
const PATIENCE: u32 = 30;

/// Processes that look at images, a few at a time.
pub(crate) struct Lookers<'a> {
    case: &'a Case,
    dir: PathBuf,
    /// Process, the number of its image, and the instruction it is of.
    running: Vec<(i32, usize, u64)>,
    pub(crate) nr_bad: u64,
    /// What was wrong first.
    pub(crate) first: Option<String>,
}

impl<'a> Lookers<'a> {
    pub(crate) fn new(case: &'a Case, dir: &Path) -> Self {
        Self { case, dir: dir.to_owned(), running: Vec::new(), nr_bad: 0, first: None }
    }

    /// Looks at an image, behind the instruction of that number. `is_over`: the change was acknowledged.
    pub(crate) fn look(&mut self, bytes: &[u8], instruction: u64, is_over: bool) {
        const MOST: usize = 2;
        while self.running.len() >= MOST {
            self.wait();
        }
        let nr = (0..MOST).find(|nr| self.running.iter().all(|(_, other, _)| other != nr)).unwrap_or(0);
        let path = self.dir.join(format!("image-{nr}"));
        write(&path, bytes);
        // SAFETY: this program has one thread, so the child may do what it likes.
        match unsafe { libc::fork() } {
            0 => {
                let said = File::create(path.with_extension("said")).unwrap();
                // SAFETY: of this process alone: its end, if it hangs, and where its complaints go, of which one is a failure.
                unsafe {
                    libc::alarm(PATIENCE);
                    libc::dup2(said.as_raw_fd(), libc::STDERR_FILENO);
                }
                let outcome = judge(self.case, &path, is_over);
                let outcome =
                    outcome.and_then(|()| match std::fs::read_to_string(path.with_extension("said")) {
                        Ok(said) if said.is_empty() => Ok(()),
                        said => Err(format!("the next start complains: {}", said.unwrap_or_default())),
                    });
                let _ =
                    std::fs::write(path.with_extension("why"), outcome.as_ref().err().map_or("", |why| why));
                // SAFETY: what is to be dropped was.
                unsafe { libc::_exit(i32::from(outcome.is_err())) }
            }
            pid => self.running.push((pid, nr, instruction)),
        }
    }

    fn wait(&mut self) {
        let Some((pid, nr, instruction)) = (!self.running.is_empty()).then(|| self.running.remove(0)) else {
            return;
        };
        let mut status = 0;
        // SAFETY: waits for a child of ours.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if status == 0 {
            return;
        }
        self.nr_bad += 1;
        if self.first.is_none() {
            let path = self.dir.join(format!("image-{nr}.why"));
            let why = match libc::WIFSIGNALED(status) {
                true if libc::WTERMSIG(status) == libc::SIGALRM => "the next start hangs".to_owned(),
                true => {
                    let said = std::fs::read_to_string(path.with_extension("said")).unwrap_or_default();
                    format!("the next start dies of signal {}: {said}", libc::WTERMSIG(status))
                }
                false => std::fs::read_to_string(path).unwrap_or_default(),
            };
            self.first = Some(format!("behind instruction {instruction}: {why}"));
        }
    }

    /// Waits for all.
    pub(crate) fn finish(&mut self) {
        while !self.running.is_empty() {
            self.wait();
        }
    }
}

/// Writes the bytes as a file with holes where they are zero.
fn write(path: &Path, bytes: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (nr, page) in bytes.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().any(|&byte| byte != 0)) {
        file.write_all_at(page, (nr * PAGE) as u64).unwrap();
    }
}

/// Takes the heap over and looks at it, goes on with it, closes it, and looks at its file.
fn judge(case: &Case, path: &Path, is_over: bool) -> Result<(), String> {
    std::panic::set_hook(Box::new(|_| {}));
    let look = || -> Result<(), String> {
        let heap = life::open(path);
        if heap.recovery().is_none() {
            return Err("the heap was not recovered, but opened".to_owned());
        }
        (case.look)(&heap.enter(), is_over)?;
        heap.scan().map_err(|error| format!("behind the look: {error}"))?;
        drop(heap);
        let image = Image::open(&Target::File(path.to_owned())).map_err(|error| error.to_string())?;
        let verdict = image.verify().map_err(|error| error.to_string())?;
        if verdict.is_clean() { Ok(()) } else { Err(format!("verify: {:?}", verdict.broken)) }
    };
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("the next start panics: {}", text.unwrap_or_default()))
    })
}
