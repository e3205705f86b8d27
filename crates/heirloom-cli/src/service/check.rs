//! Restarts and kills the service unit of a virtual machine again and again, and says what each of its lives found.
//!
//! ```text
//! start -> restart x n -> kill -9 under load x n -> stop and start -> report -> power off
//! ```
//!
//! It runs as a unit of its own beside the service, speaks to systemd by `systemctl`, and reads what the service appends to
//! a file. `cargo xtask vm fdstore` makes such a machine and reads its console.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Start, report_path};
use crate::EXIT_BROKEN;
use crate::output::print_line;

/// First argument of this process; not for people.
pub(crate) const CHECK: &str = "__check-service";

const UNIT: &str = "heirloom-service.service";

/// How long a life may take to begin; the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line on the console.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Systemd { version: &'a str },
    Life { step: &'a str, down_ms: u64, start: &'a Start },
    Failed { reason: &'a str },
    Done { lives: usize, stored: &'a str },
}

/// Runs the check: `__check-service RESTARTS KILLS`.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let number =
        |at: usize| -> usize { arguments.get(at).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(3) };
    match check(number(0), number(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tell(&Line::Failed { reason: &reason });
            ExitCode::from(EXIT_BROKEN)
        }
    }
}

fn check(restarts: usize, kills: usize) -> Result<(), String> {
    let version = systemctl(&["--version"])?;
    tell(&Line::Systemd { version: version.lines().next().unwrap_or_default() });
    let mut lives = wait_for_life(0)?.0;
    tell(&Line::Life { step: "start", down_ms: 0, start: &lives[0] });
    let mut step = |name: String, act: &dyn Fn() -> Result<String, String>| -> Result<(), String> {
        // Some work in between, so that there is something to be cut short.
        std::thread::sleep(Duration::from_millis(700));
        let began = Instant::now();
        act()?;
        let (found, at) = wait_for_life(lives.len())?;
        let last = found.last().ok_or("no life was reported")?;
        tell(&Line::Life { step: &name, down_ms: (at - began).as_millis() as u64, start: last });
        lives = found;
        Ok(())
    };
    for nth in 1..=restarts {
        step(format!("systemctl restart {nth}"), &|| systemctl(&["restart", UNIT]))?;
    }
    for nth in 1..=kills {
        step(format!("kill -9 {nth}"), &|| systemctl(&["kill", "--signal=KILL", "--kill-whom=main", UNIT]))?;
    }
    step("systemctl stop, start".to_owned(), &|| {
        systemctl(&["stop", UNIT])?;
        systemctl(&["start", UNIT])
    })?;
    let stored = systemctl(&["show", "--property=NFileDescriptorStore", "--value", UNIT])?;
    tell(&Line::Done { lives: lives.len(), stored: stored.trim() });
    Ok(())
}

/// Waits until more than `known` lives have been reported and systemd says that the unit is active again.
fn wait_for_life(known: usize) -> Result<(Vec<Start>, Instant), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let lives = read_lives()?;
        let is_active = lives.len() > known && systemctl(&["is-active", UNIT]).is_ok();
        if is_active {
            return Ok((lives, Instant::now()));
        }
        if Instant::now() > until {
            let state = systemctl(&["status", "--no-pager", UNIT]).unwrap_or_else(|said| said);
            return Err(format!("no new life of {UNIT} within {PATIENCE:?}: {state}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read_lives() -> Result<Vec<Start>, String> {
    let text = match std::fs::read_to_string(report_path()) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.to_string()),
    };
    // The last line may not be whole yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}")))
        .collect()
}

/// Runs `systemctl`, and returns what it printed.
pub(crate) fn systemctl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("systemctl").args(arguments).output();
    let output = output.map_err(|error| format!("systemctl cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("systemctl {} ended with {}: {said} {error}", arguments.join(" "), output.status))
    }
}

fn tell(line: &Line<'_>) {
    print_line(serde_json::to_string(line).expect("a line has string keys"));
}
