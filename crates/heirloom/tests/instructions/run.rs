//! The cases one by one, and the table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::case::{self, Case};
use super::image::Lookers;
use super::life;
use super::steps::{self, Step, Stepped};

/// Images of a case that are looked at in the test.
const SAMPLE: u64 = 8;

/// What came of a case.
struct Row {
    instructions: u64,
    images: u64,
    looked_at: u64,
    bad: u64,
    first: Option<String>,
}

pub(crate) fn main() -> ExitCode {
    if let Ok(role) = std::env::var(life::ROLE) {
        life::live(&role);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    // What the test runner of cargo may pass is not for this program.
    if args.iter().any(|arg| arg == "--list" || arg == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let is_all = args.iter().any(|arg| arg == "--all");
    let seed =
        value("--seed").and_then(|seed| seed.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    let cases = case::all();
    let wanted = |case: &&Case| match value("--case") {
        Some(name) => case.name.starts_with(name.as_str()),
        None => is_all || !case.is_long,
    };
    let base = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let dir = base.join(format!("heirloom-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    if !may_trace(&dir) {
        println!(
            "skipped: this system does not let a process trace its child (ptrace); a container may need SYS_PTRACE"
        );
        let _ = std::fs::remove_dir_all(&dir);
        return ExitCode::SUCCESS;
    }
    match is_all {
        true => {
            println!("every instruction that changes a byte of the heap; of those called large, one in 97")
        }
        false => println!("up to {SAMPLE} instructions of each case, seed {seed}; --all for every one"),
    }
    println!("| change | promised | instructions | that change the heap | looked at | wrong |");
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    let (mut sum, mut faults) = ([0; 4], Vec::new());
    for case in cases.iter().filter(wanted) {
        let outcome = run(case, &dir, if is_all { None } else { Some(seed) });
        match outcome {
            Ok(Row { instructions, images, looked_at, bad, first }) => {
                println!(
                    "| {} | {} | {instructions} | {images} | {looked_at} | {bad} |",
                    case.name, case.promise
                );
                sum = [sum[0] + instructions, sum[1] + images, sum[2] + looked_at, sum[3] + bad];
                faults.extend(first.map(|first| format!("{}: {first}", case.name)));
            }
            Err(fault) => {
                println!("| {} | {} | | | | {fault} |", case.name, case.promise);
                sum[3] += 1;
                faults.push(format!("{}: {fault}", case.name));
            }
        }
    }
    let [instructions, images, looked_at, bad] = sum;
    println!("| all | | {instructions} | {images} | {looked_at} | {bad} |");
    faults.iter().for_each(|fault| println!("{fault}"));
    let _ = std::fs::remove_dir_all(&dir);
    if bad == 0 && instructions > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(case: &Case, dir: &Path, seed: Option<u64>) -> Result<Row, String> {
    let (made, path) = (dir.join("made"), dir.join("heap"));
    let _ = std::fs::remove_file(&made);
    steps::make(case.name, &made)?;
    let walk = Walk::take(case, &made, &path)?;
    let images = walk.images.len() as u64;
    // One from each stretch of instructions, and the last.
    let name = case.name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut random = seed.unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name | 1;
    let stride = match seed {
        Some(_) => (images / SAMPLE).max(1),
        // Most of what a long one stores is a block that nobody can reach yet.
        None if case.is_long => 97,
        None => 1,
    };
    let (mut looked_at, mut next) = (0, draw(&mut random) % stride);
    let mut lookers = Lookers::new(case, dir);
    let mut bytes = walk.first;
    for (nr, image) in walk.images.iter().enumerate() {
        image.apply(&mut bytes);
        if nr as u64 == next {
            lookers.look(&bytes, image.instruction, false);
            looked_at += 1;
            next = (next / stride + 1) * stride + draw(&mut random) % stride;
        }
    }
    lookers.look(&bytes, walk.instructions, true);
    lookers.finish();
    Ok(Row {
        instructions: walk.instructions,
        images: images + 1,
        looked_at: looked_at + 1,
        bad: lookers.nr_bad,
        first: lookers.first,
    })
}

/// All that a change does to the heap's file.
struct Walk {
    first: Vec<u8>,
    images: Vec<Changed>,
    instructions: u64,
}

impl Walk {
    fn take(case: &Case, made: &Path, path: &Path) -> Result<Self, String> {
        let mut stepped = Stepped::start(case.name, made, path)?;
        let mut walk = Self { first: stepped.bytes.clone(), images: Vec::new(), instructions: 0 };
        loop {
            let step = stepped.step()?;
            walk.instructions += 1;
            match step {
                Step::Same => {}
                Step::Changed(pages) => {
                    let instruction = walk.instructions;
                    walk.images.push(Changed { instruction, len: stepped.bytes.len(), pages });
                }
                Step::Done => return Ok(walk),
            }
        }
    }
}

/// What an instruction has changed.
struct Changed {
    instruction: u64,
    len: usize,
    pages: Vec<(usize, Vec<u8>)>,
}

impl Changed {
    fn apply(&self, bytes: &mut Vec<u8>) {
        bytes.resize(self.len, 0);
        for (at, page) in &self.pages {
            bytes[*at..at + page.len()].copy_from_slice(page);
        }
    }
}

fn may_trace(dir: &Path) -> bool {
    let Some(case) = case::all().into_iter().next() else { return false };
    let (made, path) = (dir.join("made"), dir.join("heap"));
    if steps::make(case.name, &made).is_err() {
        // What is wrong is told by the case.
        return true;
    }
    Stepped::start(case.name, &made, &path).is_ok()
}

fn draw(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}
