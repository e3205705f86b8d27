//! Finds the text files below the input paths.
//!
//! Directories named `target` and `.git` are passed over, symbolic links are followed only where the user named them, and
//! a file with a zero byte near its start is not text. What the user named must be there and readable; what lies
//! below and is not readable is counted and passed over.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Directories that hold no text of the user's own.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// How much of a file is looked at for a zero byte: what git looks at.
const PROBED_BYTES: usize = 8000;

/// Why an input path cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("cannot read input `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("input `{}` is neither a file nor a directory", .0.display())]
    NoText(PathBuf),
    #[error("no text file below {}", list(.0))]
    Empty(Vec<PathBuf>),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

/// Makes sure that each path the user named is there and can be read.
pub(crate) fn check(inputs: &[PathBuf]) -> Result<(), InputError> {
    for path in inputs {
        let unreadable = |source| InputError::Unreadable { path: path.clone(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            fs::read_dir(path).map_err(unreadable)?;
        } else if metadata.is_file() {
            // Opening is not enough: some files can be opened and fail at the first read.
            io::Read::read(&mut fs::File::open(path).map_err(unreadable)?, &mut [0]).map_err(unreadable)?;
        } else {
            return Err(InputError::NoText(path.clone()));
        }
    }
    Ok(())
}

/// The files found, sorted, each once, and how many entries could not be read.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) nr_unreadable: u64,
}

/// Collects the files below `inputs`. Whether one is text shows when it is read.
pub(crate) fn collect_files(inputs: &[PathBuf]) -> Result<Walked, InputError> {
    check(inputs)?;
    let mut walked = Walked::default();
    for path in inputs {
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            collect_below(path, &mut walked);
        } else {
            walked.files.push(path.clone());
        }
    }
    walked.files.sort();
    walked.files.dedup();
    Ok(walked)
}

fn collect_below(directory: &Path, walked: &mut Walked) {
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            walked.nr_unreadable += 1;
            continue;
        };
        for entry in entries {
            let Ok((entry, kind)) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))
            else {
                walked.nr_unreadable += 1;
                continue;
            };
            if kind.is_dir() && !SKIPPED.iter().any(|name| entry.file_name() == OsStr::new(name)) {
                pending.push(entry.path());
            } else if kind.is_file() {
                walked.files.push(entry.path());
            }
        }
    }
}

/// A text file as it was when it was read.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    /// When it was last changed, or [`TOO_FRESH`].
    pub(crate) modified_ns: i64,
}

/// Stands for the time of a file that was changed just before it was read: the clock of the file system steps by
/// up to 10 ms, so that another change could follow unseen. No file has this time.
pub(crate) const TOO_FRESH: i64 = i64::MIN;

/// Twice the coarsest step of that clock.
const FRESH_NS: i64 = 20_000_000;

/// Reads a file; `None` if it is not text.
pub(crate) fn read_text(path: &Path) -> io::Result<Option<Text>> {
    // The time is taken before the bytes: a change in between shows as a file newer than its record.
    let modified_ns = modified_ns(&fs::metadata(path)?);
    let is_fresh = now_ns().saturating_sub(modified_ns) < FRESH_NS;
    let modified_ns = if is_fresh { TOO_FRESH } else { modified_ns };
    let bytes = fs::read(path)?;
    let is_binary = bytes[..bytes.len().min(PROBED_BYTES)].contains(&0);
    Ok((!is_binary).then_some(Text { bytes, modified_ns }))
}

fn now_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}

/// Returns the time of the last change, in nanoseconds since 1970.
pub(crate) fn modified_ns(metadata: &fs::Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_text_and_passes_over_what_is_not() {
        let root = std::env::temp_dir().join(format!("heirloom-walk-{}", std::process::id()));
        for directory in ["a/b", "target/debug", "a/.git"] {
            fs::create_dir_all(root.join(directory)).expect("temporary directory");
        }
        for file in ["z.txt", "a/b/c.txt", "target/debug/t.txt", "a/.git/g.txt"] {
            fs::write(root.join(file), "text").expect("temporary file");
        }
        fs::write(root.join("binary"), b"\x7fELF\0").expect("temporary file");
        std::os::unix::fs::symlink(&root, root.join("a/loop")).expect("temporary link");

        let walked = collect_files(&[root.clone(), root.join("z.txt")]).expect("all readable");
        let names: Vec<_> =
            walked.files.iter().map(|path| path.strip_prefix(&root).expect("below")).collect();
        assert_eq!(names, ["a/b/c.txt", "binary", "z.txt"].map(Path::new));
        assert_eq!(walked.nr_unreadable, 0);
        assert!(read_text(&root.join("binary")).expect("readable").is_none());
        assert!(read_text(&root.join("z.txt")).expect("readable").is_some());
        fs::remove_dir_all(&root).expect("ours to remove");
    }

    #[test]
    fn what_the_user_named_must_be_readable() {
        let missing = PathBuf::from("/nonexistent/heirloom");
        assert!(matches!(check(&[missing]), Err(InputError::Unreadable { .. })));
        assert!(matches!(check(&["/dev/null".into()]), Err(InputError::NoText(_))));
        // Opens, and fails at the first read: whoever runs the test.
        assert!(matches!(check(&["/proc/self/mem".into()]), Err(InputError::Unreadable { .. })));
    }
}
