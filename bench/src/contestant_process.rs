//! A contestant's process, as the benchmark sees it: an order a line to its standard input, an answer a line from its standard output.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A process that takes orders.
pub(crate) struct ContestantProcess {
    name: &'static str,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ContestantProcess {
    /// Starts it. Its first line is `ready`, or says why it cannot take part.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".to_owned());
        };
        let mut process = Self { name, child, orders, answers: BufReader::new(answers) };
        let ready = process.line().map_err(|error| error.to_string())?;
        if ready.trim() == "ready" { Ok(process) } else { Err(ready.trim().to_owned()) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Gives an order and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, order: &impl Serialize) -> io::Result<A> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        let line = self.line()?;
        serde_json::from_str(&line)
            .map_err(|error| io::Error::other(format!("{}: {error}: `{}`", self.name, line.trim())))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            return Err(io::Error::other(format!("the process of {} ended with {status}", self.name)));
        }
        Ok(line)
    }
}

impl Drop for ContestantProcess {
    fn drop(&mut self) {
        // It ends at the end of its input; nothing of it is of use after that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
