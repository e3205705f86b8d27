//! Builds the five versions, runs the chain, and prints what each upgrade took beside a re-encoding of the same objects by rkyv.
//!
//! ```text
//! v1 -> v2 -> v3 -> v4 -> v5 -> v4 -> v3      each generation checks every field, then encodes and decodes its sessions by rkyv
//! ```

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use serde_json::Value;

const CHANGES: [(&str, &str); 7] = [
    ("v1", "filled"),
    ("v2", "field added, variant added"),
    ("v3", "field removed, field renamed"),
    ("v4", "widened, reordered, variant added"),
    ("v5", "split by the program's own code"),
    ("v4", "rolled back by the program's own code"),
    ("v3", "rolled back by names"),
];

fn main() -> ExitCode {
    let objects = std::env::args().nth(1).unwrap_or_else(|| "1000000".to_owned());
    match run(&objects) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upgrade: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(objects: &str) -> Result<(), Box<dyn std::error::Error>> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = manifest.join("target/versions");
    std::fs::create_dir_all(&dir)?;
    for version in ["v1", "v2", "v3", "v4", "v5"] {
        let features = if version == "v1" { "rkyv".to_owned() } else { format!("rkyv,{version}") };
        eprintln!("upgrade: building {version}");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--quiet", "--bin", "heirloom-chain", "--features", &features]);
        cargo.arg("--manifest-path").arg(manifest.join("Cargo.toml"));
        if !cargo.status()?.success() {
            return Err(format!("{version} does not compile").into());
        }
        std::fs::copy(manifest.join("target/release/heirloom-chain"), dir.join(version))?;
    }
    let path = |version: &str| -> PathBuf { dir.join(version) };
    let mut chain = Command::new(path(CHANGES[0].0));
    chain.args(["--objects", objects]).args(CHANGES[1..].iter().map(|(version, _)| path(version)));
    let began = Instant::now();
    let mut child = chain.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("the chain has no output")?;
    println!(
        "| to | what changed | checked | migration, ms | freeze, ms | rkyv encode + decode, ms | ratio |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    // All generations write to the pipe that the first one was given, which is at its end when the last one is. A row comes as soon as its
    // generation is done: a million objects take each of them some seconds, of which the migration is the least.
    let mut done = 0;
    for (line, (version, what)) in BufReader::new(stdout).lines().zip(CHANGES) {
        let line: Value = serde_json::from_str(&line?)?;
        let number = |name: &str| line[name].as_f64().unwrap_or(f64::NAN);
        let (migration, freeze) = (number("migration_ms"), number("freeze_ms"));
        let peer = number("rkyv_encode_ms") + number("rkyv_decode_ms");
        // Forward the successor converts, on the way back the predecessor does, before its freeze is done.
        let own = migration.max(freeze);
        println!(
            "| {version} | {what} | {} | {migration:.1} | {freeze:.1} | {peer:.1} | {:.2} |",
            line["checked"],
            own / peer
        );
        done += 1;
        eprintln!(
            "upgrade: {done} of {} generations after {:.1} s",
            CHANGES.len(),
            began.elapsed().as_secs_f64()
        );
    }
    child.wait()?;
    if done != CHANGES.len() {
        return Err(format!("the chain ended after {done} of {} generations", CHANGES.len()).into());
    }
    Ok(())
}
