//! The program that a heap is handed to.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::sys::{self, Image};

/// A program to start as the successor: much of [`std::process::Command`], and it can be looked at first.
///
/// It inherits standard input, output and error, and the environment but for the changes made here.
#[derive(Clone, Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    dir: Option<PathBuf>,
}

/// A [`Command`] that names nothing that can be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no such file, or it may not be executed.
    #[error("{} is not an executable file: name a program by its path, or one that PATH has", program.display())]
    NotExecutable {
        /// The program as it was named.
        program: PathBuf,
    },
    /// An argument or a variable holds a zero byte.
    #[error("{} is given a string with a zero byte in it", program.display())]
    ZeroByte {
        /// The program as it was named.
        program: PathBuf,
    },
    /// The path of the running program is not known.
    #[error("the path of the running program is not known: {0}")]
    CurrentExe(io::Error),
}

impl Command {
    /// Names a program by its path, or by a name without `/` that is looked up in `PATH`.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self { program: program.as_ref().to_owned(), args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// Names the program that runs now, or what has been installed in its place since.
    ///
    /// # Errors
    ///
    /// [`CommandError::CurrentExe`] where the system does not tell.
    pub fn current_exe() -> Result<Self, CommandError> {
        let path = std::env::current_exe().map_err(CommandError::CurrentExe)?;
        let replaced = path.as_os_str().as_bytes().strip_suffix(b" (deleted)").map(OsStr::from_bytes);
        Ok(match replaced {
            Some(replaced) if !path.exists() && Path::new(replaced).exists() => Self::new(replaced),
            Some(_) if !path.exists() => Self::new("/proc/self/exe"),
            _ => Self::new(path),
        })
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Leaves a variable out of the environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    /// Sets the directory in which the program starts. A relative path of the program itself still counts from here.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Returns the program as it was named.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Finds the file that would be executed.
    ///
    /// # Errors
    ///
    /// [`CommandError::NotExecutable`] where there is none.
    pub fn resolve(&self) -> Result<PathBuf, CommandError> {
        let is_path = self.program.as_os_str().as_bytes().contains(&b'/');
        let found = if is_path {
            std::path::absolute(&self.program).ok().filter(|path| sys::is_executable(path))
        } else if self.program.as_os_str().is_empty() {
            None
        } else {
            // The successor's own PATH would be the other choice; std and the shell look in the caller's.
            let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
            std::env::split_paths(&path)
                .filter_map(|dir| std::path::absolute(dir.join(&self.program)).ok())
                .find(|path| sys::is_executable(path))
        };
        found.ok_or_else(|| CommandError::NotExecutable { program: self.program.clone() })
    }

    /// Makes what the system wants, without the variables whose names start with `HEIRLOOM_HANDOVER`: those of an
    /// earlier hand-over are no longer true. Nor does it inherit what tells of numbers of descriptors, ours and a service manager's:
    /// under the same process id they would be believed, and mean others, or none. Descriptors travel as luggage.
    pub(crate) fn image(&self) -> Result<Image, CommandError> {
        let zero_byte = || CommandError::ZeroByte { program: self.program.clone() };
        let text = |bytes: OsString| CString::new(bytes.into_vec()).map_err(|_| zero_byte());
        let path = text(self.resolve()?.into_os_string())?;
        let args = std::iter::once(self.program.clone().into_os_string()).chain(self.args.iter().cloned());
        let args = args.map(text).collect::<Result<_, _>>()?;
        let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let of_descriptors = ["HEIRLOOM_LUO_KEPT", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
        env.retain(|(name, _)| !of_descriptors.iter().any(|other| name == other));
        for (name, value) in &self.env {
            env.retain(|(other, _)| other != name);
            env.extend(value.clone().map(|value| (name.clone(), value)));
        }
        env.retain(|(name, _)| !name.as_bytes().starts_with(b"HEIRLOOM_HANDOVER"));
        let env = env.into_iter().map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            text(variable)
        });
        let mut env: Vec<CString> = env.collect::<Result<_, _>>()?;
        env.extend(crate::channel::fdstore::word_to_successor());
        let dir = self.dir.clone().map(|dir| text(dir.into_os_string())).transpose()?;
        Ok(Image::new(path, args, env, dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_up_in_path() {
        let found = Command::new("sh").resolve().unwrap();
        assert!(found.is_absolute() && found.ends_with("sh"), "{found:?}");
    }

    #[test]
    fn what_cannot_be_executed_is_refused() {
        for program in ["/nonexistent/program", "no-such-program-in-path", "/etc/passwd", "/tmp", ""] {
            let refused = Command::new(program).resolve();
            assert!(matches!(refused, Err(CommandError::NotExecutable { .. })), "{program}");
        }
    }

    #[test]
    fn a_zero_byte_is_refused() {
        let refused = Command::new("sh").arg("a\0b").image();
        assert!(matches!(refused, Err(CommandError::ZeroByte { .. })));
    }
}
