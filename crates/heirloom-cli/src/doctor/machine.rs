//! Where the doctor reads: files below a root, and the environment.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A machine that can be looked at.
pub(super) struct Machine {
    root: PathBuf,
    env: HashMap<String, String>,
    /// Looked at where the program runs itself: file system sizes and rights are not of the files' bytes.
    pub(super) is_this_one: bool,
}

/// A kernel's version: the first two numbers decide everything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Machine {
    /// The machine below `root`; the environment is this process's.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), env: std::env::vars().collect(), is_this_one: root == Path::new("/") }
    }

    #[cfg(test)]
    pub(super) fn fake(root: &Path, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { root: root.to_owned(), env, is_this_one: false }
    }

    pub(super) fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The text of a file, white space at its end cut off; `None` where it cannot be read.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// The names in a directory; an error tells nothing from not there.
    pub(super) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(self.path(path))?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    pub(super) fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The release of the running kernel.
    pub(super) fn release(&self) -> Option<String> {
        self.read("/proc/sys/kernel/osrelease")
    }

    /// Its version.
    pub(super) fn version(&self) -> Option<Version> {
        let release = self.release()?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().ok());
        Some(Version(numbers.next()??, numbers.next()??))
    }

    /// What the running kernel was built with: the text of its configuration, and where it was found.
    pub(super) fn kernel_config(&self) -> Option<(String, String)> {
        if let Some(text) = self.read_gz("/proc/config.gz") {
            return Some((text, "/proc/config.gz".to_owned()));
        }
        let release = self.release()?;
        let places = [
            format!("/boot/config-{release}"),
            format!("/usr/lib/modules/{release}/config"),
            format!("/lib/modules/{release}/config"),
            format!("/lib/modules/{release}/build/.config"),
        ];
        places.into_iter().find_map(|place| Some((self.read(&place)?, place)))
    }

    fn read_gz(&self, path: &str) -> Option<String> {
        /// A configuration has a third of a mebibyte; a file that unpacks to more is none.
        const MOST_BYTES: u64 = 16 << 20;
        let file = std::fs::File::open(self.path(path)).ok()?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).take(MOST_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

/// The value of an option in a kernel's configuration: `y`, `m`, a number; `None` where it is not set.
pub(super) fn option<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

/// The last value of a parameter on a kernel's command line; an empty one where it stands alone.
pub(super) fn parameter<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    // What stands behind a lone `--` is for the first process.
    let ours = command_line.split_ascii_whitespace().take_while(|word| *word != "--");
    ours.filter_map(|word| {
        let (found, value) = word.split_once('=').unwrap_or((word, ""));
        (found.replace('-', "_") == name).then_some(value)
    })
    .last()
}

/// As the kernel reads a switch.
pub(super) fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "on" | "1" | "y" | "yes" | "true")
}
