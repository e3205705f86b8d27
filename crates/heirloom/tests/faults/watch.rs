//! One run: starts the processes of a case, and finds out who has the heap afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heirloom::points;

use crate::case::{Case, Store, Way};
use crate::life;

/// Who has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Has {
    OldOwner,
    Heir,
    NextStart,
}

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(case: &Case, nr: usize) -> Result<Has, String> {
    let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let dir = base.join(format!("heirloom-faults-{}-{nr}", std::process::id()));
    fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let mut run = Run { case, dir, group: 0 };
    let outcome = run.watch();
    let ended = run.end();
    let log = fs::read_to_string(run.dir.join("log")).unwrap_or_default();
    let _ = fs::remove_dir_all(&run.dir);
    outcome.and_then(|has| ended.map(|()| has)).map_err(|fault| format!("{fault}\n{log}"))
}

struct Run<'a> {
    case: &'a Case,
    dir: PathBuf,
    /// The process group of all but the keeper.
    group: i32,
}

impl Run<'_> {
    fn watch(&mut self) -> Result<Has, String> {
        let Case { way, point, both, .. } = *self.case;
        let order = format!("{} {}", if both { "both" } else { "kill" }, point.name());
        let is_founder = point == points::Point::KeeperStarted;
        let dies_first = way == Way::Crash && !is_founder;
        self.start("old", if dies_first { None } else { Some(&order) });
        if way == Way::Socket {
            self.wait_for(|log| log.contains("listening") || log.contains("broken"))?;
            self.start("next", Some(&order));
        }
        if dies_first {
            self.wait_for_end()?;
            self.start("next", Some(&order));
        }
        // Somebody says that it has the heap, beyond the first word of the first owner; or nobody is left.
        let mut started_again = false;
        let deadline = Instant::now() + PATIENCE;
        loop {
            reap();
            let is_over = self.group_has_ended();
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.starts_with("broken")) {
                return Err(line.to_owned());
            }
            let owners = owners(&log);
            let has = owners.iter().copied().filter(|owner| lives(owner.pid)).collect::<Vec<_>>();
            if has.len() > 1 {
                return Err(format!("{} owners", has.len()));
            }
            // Who is to kill both may not have come to it, where the other one has its word already.
            let is_to_come = self.case.both && !started_again && lives(self.group.cast_unsigned());
            if let Some(owner) =
                has.first().filter(|owner| owner.was_first || !is_to_come || Instant::now() > deadline)
            {
                // Once more, a moment later: another one may have been on its way.
                std::thread::sleep(Duration::from_millis(3));
                let later = self.log();
                let nr = self::owners(&later).iter().filter(|owner| lives(owner.pid)).count();
                match nr {
                    1 if started_again => return Ok(Has::NextStart),
                    1 if owner.was_first => return Ok(Has::OldOwner),
                    1 => return Ok(Has::Heir),
                    // It had its word, and was killed.
                    0 => continue,
                    _ => return Err(format!("{nr} owners")),
                }
            }
            if is_over && !started_again {
                started_again = true;
                self.start("start", None);
            } else if is_over || Instant::now() > deadline {
                return Err("nobody has the heap".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn start(&mut self, role: &str, point: Option<&str>) {
        let (way, store) = (format!("{:?}", self.case.way), format!("{:?}", self.case.store));
        let mut command = life::command(role, &way, &store, &self.dir);
        match point {
            Some(order) => command.env(points::VARIABLE, order),
            None => command.env_remove(points::VARIABLE),
        };
        command.process_group(self.group_to_join());
        #[expect(
            clippy::zombie_processes,
            reason = "whoever is left of the group is waited for or killed in the end"
        )]
        let child = command.spawn().expect("the program starts");
        if self.group == 0 || self.group_has_ended() {
            self.group = child.id() as i32;
        }
    }

    fn group_to_join(&self) -> i32 {
        if self.group != 0 && !self.group_has_ended() { self.group } else { 0 }
    }

    fn group_has_ended(&self) -> bool {
        let Some(group) = rustix::process::Pid::from_raw(self.group) else { return true };
        rustix::process::test_kill_process_group(group).is_err()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn wait_for(&self, holds: impl Fn(&str) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.log()) {
            reap();
            if Instant::now() > deadline {
                return Err("it did not begin".to_owned());
            }
            // The old owner may have been killed before it says a word.
            if self.group_has_ended() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn wait_for_end(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !self.group_has_ended() {
            reap();
            if Instant::now() > deadline {
                return Err("it did not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets whoever has the heap close it in order; afterwards no keeper is left.
    fn end(&self) -> Result<(), String> {
        let _ = fs::write(self.dir.join("stop"), "");
        let ended = self.wait_for_end();
        if ended.is_err()
            && let Some(group) = rustix::process::Pid::from_raw(self.group)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        if self.case.store == Store::Keeper && keeper_lives(&self.dir) {
            return Err("the keeper is still there".to_owned());
        }
        ended
    }
}

#[derive(Clone, Copy)]
struct Owner {
    pid: u32,
    was_first: bool,
}

/// Everybody who has said that it owns the heap; the first owner only after its hand-over was called off.
fn owners(log: &str) -> Vec<Owner> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for line in log.lines() {
        let mut words = line.split(' ');
        let (what, pid) = (words.next(), words.next().and_then(|pid| pid.parse().ok()));
        let generation = words.next();
        let Some(pid) = pid else { continue };
        let owner = match what {
            Some("own") if generation != Some("1") => Owner { pid, was_first: false },
            Some("kept") => Owner { pid, was_first: true },
            _ => continue,
        };
        if seen.insert(pid) {
            found.push(owner);
        }
    }
    found
}

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X') | None))
}

fn keeper_lives(dir: &Path) -> bool {
    let name = format!(
        "heirloom-keeper/{}/{}",
        rustix::process::geteuid().as_raw(),
        dir.file_name().unwrap().display()
    );
    fs::read_to_string("/proc/net/unix").is_ok_and(|sockets| sockets.contains(&name))
}

/// Collects whoever has ended: this process is everybody's parent in the end.
fn reap() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    });
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
}
