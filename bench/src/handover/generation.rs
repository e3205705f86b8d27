//! The program that is handed to: `heirloom-generation`, which lies beside this one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::sample::Sample;

const NAME: &str = "heirloom-generation";

/// Finds the program. `cargo run` builds the one binary that it runs; where cargo has started this one, it is asked for the other.
pub(super) fn find() -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = me.with_file_name(NAME);
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", NAME, "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status = build.status().map_err(|error| format!("cargo: {error}"))?;
        if !status.success() {
            return Err(format!("{NAME} cannot be built: cargo ended with {status}"));
        }
    }
    match beside.is_file() {
        true => Ok(beside),
        false => {
            Err(format!("there is no {}: build it with `cargo build --release --bins`", beside.display()))
        }
    }
}

/// A process of it: it is given orders and answers, a line each.
pub(super) struct Generation {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Generation {
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::start_with(program, arguments, None)
    }

    /// Starts it with a file for its standard input: it can be given no orders then.
    pub(super) fn start_with(
        program: &Path,
        arguments: &[&str],
        input: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped());
        command.stdin(input.map_or_else(Stdio::piped, Stdio::from));
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let orders = child.stdin.take();
        let Some(answers) = child.stdout.take() else { return Err("no pipe".to_owned()) };
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    pub(super) fn order(&mut self, order: &str) -> Result<(), String> {
        let Some(orders) = &mut self.orders else { return Err("no orders can be given".to_owned()) };
        writeln!(orders, "{order}").map_err(|error| format!("the process is gone: {error}"))
    }

    /// The next line that it, or one of its successors, says.
    pub(super) fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(0) => Err("the process ended without an answer: see what it printed".to_owned()),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn sample(&mut self) -> Result<Sample, String> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| format!("{error}: `{line}`"))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // With no more orders to come, whichever generation lives ends by itself; its end closes the answers.
        drop(self.orders.take());
        let mut rest = String::new();
        while self.answers.read_line(&mut rest).is_ok_and(|read| read > 0) {
            rest.clear();
        }
        let _ = self.child.wait();
    }
}
