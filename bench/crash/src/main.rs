//! What is left after `kill -9` under load, and how long until the first read: Heirloom beside its peers.
//!
//! ```text
//! load     puts records 0, 1, 2, .. and acknowledges each     (a process, or a server and this program as its client)
//! kill -9  at a random moment
//! start    until one record is read                           "time to the first read"
//! check    every acknowledged record, byte by byte            "intact" if all are there
//! ```
//!
//! All of it lies on tmpfs, as Heirloom's heap does: nothing here survives a power cut, and nobody pays for a disk. Then the load
//! goes on where it was, in what is left. A system that has lost records starts again with what it has lost.

mod embedded;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of a record.
pub(crate) const RECORD: usize = 100;
/// Whoever has not answered by then does not come up any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The record of a key.
pub(crate) fn record(key: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let mut state = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    bytes
}

/// One system under load.
pub(crate) trait System {
    fn name(&self) -> &'static str;
    /// Puts records from `from` on, for as long as `enough` says no, and dies; the number of records acknowledged in all.
    fn load_and_die(
        &mut self,
        dir: &Path,
        from: u64,
        enough: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64, String>;
    /// Starts again; how long until one of `expected` records was read, and how many of them are not there or not whole.
    fn start_and_check(&mut self, dir: &Path, expected: u64) -> Result<(Duration, u64), String>;
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, dir, number] = &args[..]
        && matches!(role.as_str(), "load" | "check")
    {
        embedded::live(role, name, Path::new(dir), number.parse().expect("a number"));
    }
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let kills: usize = value("--kills").map_or(20, |text| text.parse().expect("--kills: a number"));
    let first: u64 = value("--records").map_or(100_000, |text| text.parse().expect("--records: a number"));
    let chosen = value("--system");
    let is_json = args.iter().any(|arg| arg == "--json");
    if args.iter().any(|arg| arg == "--help") {
        println!("heirloom-crash [--kills 20] [--records 100000] [--system NAME] [--json]");
        return;
    }
    let mut systems: Vec<Box<dyn System>> = embedded::all();
    systems.extend(server::all());
    if !is_json {
        println!(
            "| system | kills | intact | acknowledged records lost, at most | time to the first read, median | worst |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    }
    for mut system in systems {
        if chosen.is_some_and(|chosen| chosen != system.name()) {
            continue;
        }
        let name = system.name();
        match run(system.as_mut(), kills, first) {
            Ok(row) => print(name, kills, &row, is_json),
            Err(reason) => eprintln!("{name} takes no part: {reason}"),
        }
    }
}

struct Row {
    intact: usize,
    lost: u64,
    did_not_start: usize,
    times: Vec<Duration>,
}

fn run(system: &mut dyn System, kills: usize, first: u64) -> Result<Row, String> {
    let dir = Dir::new(system.name())?;
    let mut row = Row { intact: 0, lost: 0, did_not_start: 0, times: Vec::new() };
    let (mut has, mut seed) = (0u64, 0x2545_f491_4f6c_dd1du64 ^ u64::from(std::process::id()));
    for nr in 0..kills {
        eprint!("\r{}: kill {} of {kills}  ", system.name(), nr + 1);
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let after = Duration::from_micros(2_000 + seed % 50_000);
        let mut since = None;
        // First of all there is something to lose.
        let mut enough = |nr| nr >= first && since.get_or_insert_with(Instant::now).elapsed() >= after;
        has = system.load_and_die(&dir.0, has, &mut enough)?;
        match system.start_and_check(&dir.0, has) {
            Ok((took, lost)) => {
                row.intact += usize::from(lost == 0);
                row.lost = row.lost.max(lost);
                row.times.push(took);
                if lost > 0 {
                    // What is left of it is not a beginning; the next kill finds a new one.
                    dir.empty()?;
                    has = 0;
                }
            }
            Err(reason) => {
                if nr == 0 || row.did_not_start == 0 {
                    eprintln!("\n{}: {reason}", system.name());
                }
                row.did_not_start += 1;
                row.lost = row.lost.max(has);
                dir.empty()?;
                has = 0;
            }
        }
    }
    eprintln!();
    Ok(row)
}

fn print(name: &str, kills: usize, row: &Row, is_json: bool) {
    let Row { intact, lost, did_not_start, .. } = *row;
    let mut times = row.times.clone();
    times.sort_unstable();
    let ms = |at: usize| times.get(at).map(|time| time.as_secs_f64() * 1000.0);
    let (median, worst) = (ms(times.len() / 2), ms(times.len().saturating_sub(1)));
    if is_json {
        let number = |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.3}"));
        println!(
            r#"{{"bench":"crash","system":"{name}","kills":{kills},"intact":{intact},"lost":{lost},"did_not_start":{did_not_start},"first_read_ms":{},"worst_ms":{}}}"#,
            number(median),
            number(worst)
        );
    } else {
        let text = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1} ms"));
        let ending =
            if did_not_start > 0 { format!(" ({did_not_start} did not start)") } else { String::new() };
        println!("| {name} | {kills} | {intact}{ending} | {lost} | {} | {} |", text(median), text(worst));
    }
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Result<Self, String> {
        let base =
            if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let dir = Self(base.join(format!("heirloom-crash-{}-{name}", std::process::id())));
        dir.empty()?;
        Ok(dir)
    }

    fn empty(&self) -> Result<(), String> {
        let _ = fs::remove_dir_all(&self.0);
        fs::create_dir_all(&self.0).map_err(|error| error.to_string())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
